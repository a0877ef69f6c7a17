"""The rule that decides which plays count, as a table."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from overheard.events import Alternative, Event, PlayEnded, PlayStarted, PlayUpdated, Silence
from overheard.sinks.scrobble import Listened, NowPlaying, ScrobbleRule, enough_s
from sink_fakes import NOON, play, track

# Each play: track, start on the clock of the source, length, position in the track at the start.
Heard = tuple[int, float, float, float]


def counted(
    heard: list[Heard], duration_s: float = 200.0, shortest_s: float = 0.0
) -> list[tuple[int, float]]:
    """Return the tracks that count, with the start of their listening; updates arrive every second."""
    rule, found = ScrobbleRule(shortest_s), list[tuple[int, float]]()
    for number, start_s, length_s, offset_s in heard:
        base = dataclasses.replace(play(number, start_s, 0, offset_s), track=track(number, duration_s))
        events: list[Event] = [PlayStarted(dataclasses.replace(base, end_s=start_s + min(3.0, length_s)))]
        events += [
            PlayUpdated(dataclasses.replace(base, end_s=start_s + at_s)) for at_s in range(4, int(length_s))
        ]
        events.append(PlayEnded(dataclasses.replace(base, end_s=start_s + length_s)))
        for event in events:
            found += [
                (int(each.track.id, 16), each.started_at - NOON)
                for each in rule.follow(event, NOON)
                if isinstance(each, Listened)
            ]
    return found


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        pytest.param([(1, 0, 99, 0)], [], id="less than half"),
        pytest.param([(1, 0, 100, 0)], [(1, 0)], id="half"),
        pytest.param([(1, 5, 200, 0)], [(1, 5)], id="all of it"),
        pytest.param([(1, 0, 120, 80)], [(1, 0)], id="the second half"),
        pytest.param([(1, 0, 200, 0), (1, 200, 200, 0)], [(1, 0), (1, 200)], id="on repeat"),
        pytest.param(
            [(1, 0, 200, 0), (1, 203, 197, 3), (1, 400, 200, 0)], [(1, 0), (1, 203), (1, 400)], id="thrice"
        ),
        pytest.param([(1, 0, 60, 0), (1, 66, 60, 66)], [(1, 0)], id="interrupted by talk"),
        pytest.param([(1, 0, 110, 0), (1, 115, 85, 115)], [(1, 0)], id="interrupted after it counted"),
        pytest.param(
            [(1, start, 8, start) for start in range(0, 200, 10)], [(1, 0)], id="flickering all the time"
        ),
        pytest.param(
            [(1, 0, 50, 0), (2, 50, 8, 0), (1, 60, 140, 60)], [(1, 0)], id="another one for a moment"
        ),
        pytest.param([(1, 0, 60, 0), (1, 300, 60, 60)], [(1, 0)], id="paused for four minutes"),
        pytest.param([(1, 0, 60, 0), (1, 3600, 60, 60)], [], id="paused for an hour"),
        pytest.param([(1, 0, 99, 0), (1, 99, 99, 0)], [], id="started again before it counted"),
        pytest.param([(1, 0, 15, 0), (1, 15, 200, 0)], [(1, 15)], id="started again soon"),
        pytest.param(
            [(1, 0, 200, 0), (2, 200, 200, 0), (1, 400, 200, 0)], [(1, 0), (2, 200), (1, 400)], id="three"
        ),
    ],
)
def test_what_counts(heard: list[Heard], expected: list[tuple[int, float]]) -> None:
    assert counted(heard) == expected


@pytest.mark.parametrize(
    ("duration_s", "enough"), [(20, 10), (60, 30), (478, 239), (480, 240), (3600, 240), (0, 240)]
)
def test_half_or_four_minutes(duration_s: float, enough: float) -> None:
    assert enough_s(duration_s) == enough
    assert counted([(1, 0, enough - 1, 0)], duration_s) == []
    assert counted([(1, 0, enough, 0)], duration_s) == [(1, 0)]


def test_short_tracks_count_only_where_they_may() -> None:
    assert counted([(1, 0, 29, 0)], 29, shortest_s=30) == []
    assert counted([(1, 0, 30, 0)], 30, shortest_s=30) == [(1, 0)]
    assert counted([(1, 0, 300, 0)], 0, shortest_s=30) == [(1, 0)], "an unknown duration is not a short one"


def test_an_ambiguous_play_counts_when_it_has_settled() -> None:
    rule = ScrobbleRule()
    ambiguous = dataclasses.replace(play(1, 0, 90), alternatives=(Alternative(track(2), 0.0),))
    assert rule.follow(PlayStarted(ambiguous), NOON) == []
    assert rule.follow(PlayUpdated(dataclasses.replace(ambiguous, end_s=150)), NOON) == []
    settled = rule.follow(PlayUpdated(play(2, 0, 160)), NOON)
    assert settled == [NowPlaying(track(2), 40.0), Listened(track(2), NOON)]
    assert rule.follow(PlayEnded(play(2, 0, 180)), NOON) == []


@pytest.mark.parametrize(("after_s", "counts"), [(15, False), (45, True)])
def test_a_play_that_goes_on_after_a_pause_counts_once_and_without_the_pause(
    after_s: float, counts: bool
) -> None:
    """The tracker reports the same start again; the position is corrected by the pause."""
    rule = ScrobbleRule()
    rule.follow(PlayStarted(play(1, 0, 5)), NOON)
    rule.follow(PlayEnded(play(1, 0, 60)), NOON)
    found = rule.follow(PlayStarted(play(1, 0, 115, -50)), NOON + 0.5)
    found += rule.follow(PlayEnded(play(1, 0, 115 + after_s, -50)), NOON)
    found += rule.follow(PlayStarted(play(1, 0, 200, -80)), NOON)
    found += rule.follow(PlayEnded(play(1, 0, 201, -80)), NOON)
    assert [each for each in found if isinstance(each, Listened)] == [Listened(track(1), NOON)] * counts


def test_what_plays_now() -> None:
    rule = ScrobbleRule()
    assert rule.follow(PlayStarted(play(1, 0, 5, 20)), NOON) == [NowPlaying(track(1), 175.0)]
    assert rule.follow(PlayUpdated(play(1, 0, 6, 20)), NOON) == []
    assert rule.follow(Silence(6), NOON) == []
    assert rule.follow(PlayEnded(play(1, 0, 6, 20)), NOON) == []


def test_a_restart_does_not_count_a_song_twice() -> None:
    rule = ScrobbleRule()
    assert len(rule.follow(PlayStarted(play(1, 0, 120)), NOON)) == 2
    after = ScrobbleRule(recent=rule.recent())
    found = after.follow(PlayStarted(play(1, 0, 75, 125)), NOON + 125)
    assert [type(each) for each in found] == [NowPlaying]
    again = after.follow(PlayStarted(play(1, 300, 120, 0)), NOON)
    assert [type(each) for each in again] == [NowPlaying, Listened]


def test_what_another_version_has_stored_is_ignored() -> None:
    (stored,) = after_half().recent()
    changed: list[Any] = [1, {}, {**stored, "x": 1}, {**stored, "heard_s": "long"}, {**stored, "track_id": 7}]
    assert ScrobbleRule(recent=changed).recent() == []
    assert ScrobbleRule(recent=[stored]).recent() == [stored]


def after_half() -> ScrobbleRule:
    rule = ScrobbleRule()
    rule.follow(PlayStarted(play(1, 0, 120)), NOON)
    return rule


def test_the_start_moves_with_a_clock_that_is_set() -> None:
    rule = ScrobbleRule()
    rule.follow(PlayStarted(play(1, 0, 50)), 100.0)  # a Pi without a clock, before it reaches a time server
    (listened,) = rule.follow(PlayUpdated(play(1, 0, 110)), NOON)
    assert listened == Listened(track(1), NOON)


def test_memory_is_bounded() -> None:
    rule = ScrobbleRule()
    for number in range(500):
        rule.follow(PlayStarted(play(number, 10.0 * number, 5)), NOON)
        rule.follow(PlayEnded(play(number, 10.0 * number, 9)), NOON)
    assert len(rule.recent()) == 50
