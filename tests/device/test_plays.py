"""Matches to plays: how a play starts, continues, bridges gaps, ends and replaces another."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overheard.events import (
    Alternative,
    Event,
    Match,
    MusicUnknown,
    Play,
    PlayEnded,
    PlayStarted,
    PlayUpdated,
    Silence,
    Track,
)
from overheard.recognize.plays.tracker import PlayTracker, TrackRules
from overheard.settings import TrackSettings

A = Track("a" * 12, "Alpha", "Ann", "", "/a.flac", "music", 200.0)
B = Track("b" * 12, "Beta", "Bob", "", "/b.flac", "music", 180.0)


def match(track: Track, end_s: float, begin_s: float, score: float = 5.5, length_s: float = 5.0) -> Match:
    """Return the match of a window; the track's own beginning lies at `begin_s` on the source's clock."""
    start_s = max(0.0, end_s - length_s)
    return Match(track, start_s, end_s, start_s - begin_s, score, 4.0, min(1.0, score / 10), 0.1)


def feed(tracker: PlayTracker, matches: list[Match | None], end_s: float = 5.0) -> list[Event]:
    """Give one match a second, the first of a window that ends at `end_s`."""
    events: list[Event] = []
    for i, found in enumerate(matches):
        events += tracker.update(found, end_s + i - 5.0, end_s + i)
    return events


def run_of(track: Track, first: float, last: float, begin_s: float, score: float = 5.5) -> list[Match | None]:
    return [match(track, end, begin_s, score) for end in range(int(first), int(last) + 1)]


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events if not isinstance(event, PlayUpdated)]


def test_one_weak_match_does_not_start_a_play_and_two_that_agree_do():
    tracker = PlayTracker()
    assert tracker.update(match(A, 5, -30), 0, 5) == []
    assert tracker.update(match(A, 6, -30), 1, 6) == []  # an overlapping window confirms nothing
    (started,) = tracker.update(match(A, 11, -30), 6, 11)
    assert isinstance(started, PlayStarted)
    assert (started.play.start_s, started.play.end_s, started.play.offset_s) == (0, 11, 30)


def test_one_strong_match_is_a_play():
    (started,) = PlayTracker().update(match(A, 5, -30, score=10.5), 0, 5)
    assert isinstance(started, PlayStarted)


@pytest.mark.parametrize("second", [match(B, 6, -30), match(A, 6, -50)])
def test_two_matches_that_disagree_do_not_start_a_play(second: Match):
    tracker = PlayTracker()
    tracker.update(match(A, 5, -30), 0, 5)
    assert tracker.update(second, 1, 6) == []


@pytest.mark.parametrize(
    ("begin_s", "score"),
    [
        (-30.8, 4.5),  # similar music fits a little earlier or later; a recording keeps its alignment
        (-30.0, 3.5),  # agrees, but is not accepted
        (-80.0, 4.5),
    ],
)
def test_a_match_is_not_confirmed_if_the_one_just_before_it_says_otherwise(begin_s: float, score: float):
    tracker = PlayTracker()
    events = feed(tracker, [*run_of(A, 5, 10, -30, score=3.5), match(A, 11, begin_s, score)])
    assert kinds(events + tracker.update(match(A, 12, -30), 7, 12)) == []
    assert kinds(tracker.update(match(A, 13, -30), 8, 13)) == ["PlayStarted"]


@pytest.mark.parametrize(("score", "n_starts"), [(6.2, 0), (7.2, 1)])
def test_a_good_match_is_confirmed_by_the_one_just_before_it_even_if_that_is_not_accepted(
    score: float, n_starts: int
):
    events = feed(PlayTracker(), [*run_of(A, 5, 10, -30, score=3.5), match(A, 11, -30, score)])
    assert kinds(events) == ["PlayStarted"] * n_starts


def test_a_match_is_not_confirmed_by_one_since_which_other_tracks_matched():
    others = [match(B, end, -10 * end, score=4.5) for end in range(6, 11)]
    tracker = PlayTracker()
    assert kinds(feed(tracker, [match(A, 5, -30), *others, match(A, 11, -30), match(A, 12, -30)])) == []
    assert kinds(feed(tracker, run_of(A, 13, 15, -30), end_s=13.0)) == ["PlayStarted"]


@pytest.mark.parametrize(("score", "n_starts"), [(5.0, 0), (5.4, 1)])
def test_a_second_match_that_shares_sound_with_the_first_must_be_clearly_accepted(
    score: float, n_starts: int
):
    events = feed(PlayTracker(), run_of(A, 5, 9, -30, score))  # each overlaps with the first
    assert kinds(events) == ["PlayStarted"] * n_starts


def test_the_stronger_a_second_match_is_the_sooner_it_confirms_the_first():
    def started_s(score: float) -> float:
        tracker = PlayTracker()
        for end_s in range(10, 30):
            if tracker.update(match(A, end_s, -30, score if end_s > 10 else 4.5), end_s - 5, end_s):
                return end_s
        return 30

    delays = [started_s(score) for score in (5.3, 6.5, 8.0)]
    assert delays == sorted(delays, reverse=True)
    assert delays[0] > delays[-1]


def test_matches_that_share_no_sound_confirm_each_other_if_the_second_is_accepted():
    tracker = PlayTracker()
    wide = [match(A, end_s, -30, 4.1, length_s=8.0) for end_s in range(8, 18)]
    started = [end_s for end_s, one in enumerate(wide, 8) if kinds(tracker.update(one, end_s - 8, end_s))]
    assert started[0] == 16  # the first window ended at 8 s


def test_a_match_recurs_if_earlier_sound_fits_the_same_alignment_however_weakly():
    tracker = PlayTracker()
    tracker.update(match(A, 5, -30, score=1.0), 0, 5)
    assert not tracker.recurs(match(A, 6, -30, score=1.0))  # mostly the same sound
    assert tracker.recurs(match(A, 8, -30, score=1.0))
    assert not tracker.recurs(match(A, 8, -31, score=1.0))
    assert not tracker.recurs(match(B, 8, -30, score=1.0))


@pytest.mark.parametrize(
    ("period_s", "n_starts"),
    [
        (0.8, 0),  # steady sound: its best alignment wanders between neighbours that fit as well
        (8.0, 1),  # a loop: which repeat fits best changes, but each repeat is exact
    ],
)
def test_only_distant_alignments_that_fit_as_well_are_repeats_of_the_music(period_s: float, n_starts: int):
    order = [0, 2, 1] * 4
    found: list[Match | None] = []
    for end_s, best in enumerate(order, 5):
        one = match(A, end_s, -30 - best * period_s, score=5.4)
        others = tuple(30 + one.start_s + i * period_s for i in range(3) if i != best)
        found.append(dataclasses.replace(one, repeats=others))
    assert kinds(feed(PlayTracker(), found)) == ["PlayStarted"] * n_starts


@pytest.mark.parametrize(("wandering_s", "n_starts"), [(5, 1), (16, 0)])
def test_an_alignment_that_is_steady_only_after_it_has_wandered_for_long_is_no_play(
    wandering_s: int, n_starts: int
):
    wandering = [match(A, end_s, -30 - 3 * (end_s % 7), score=4.2) for end_s in range(30 - wandering_s, 30)]
    events = feed(PlayTracker(), [*wandering, *run_of(A, 30, 33, -90, score=6.0)], end_s=30.0 - wandering_s)
    assert kinds(events).count("PlayStarted") == n_starts


@pytest.mark.parametrize(("begin_s", "n_starts"), [(-30.0, 1), (-33.0, 0)])
def test_a_track_that_is_where_it_would_be_after_a_passage_that_matched_others_is_a_play(
    begin_s: float, n_starts: int
):
    wide = [match(A, end_s, begin_s, 4.2, length_s=8.0) for end_s in range(8, 12)]
    others = [match(B, end_s, -7 * end_s, 2.0) for end_s in range(12, 40)]
    again = [match(A, end_s, -30, 4.9, length_s=8.0) for end_s in range(40, 42)]
    events = feed(PlayTracker(), [*wide, *others, *again], end_s=8.0)
    assert kinds(events).count("PlayStarted") == n_starts


def test_two_matches_far_apart_in_time_do_not_start_a_play():
    events = feed(PlayTracker(), [match(A, 5, -30), *[None] * 11, match(A, 17, -30)])
    assert kinds(events) == ["MusicUnknown"]


def test_matches_below_the_threshold_continue_a_play_but_do_not_start_one():
    assert feed(PlayTracker(), run_of(A, 5, 12, -30, score=2.0)) == []
    tracker = PlayTracker()
    events = feed(tracker, run_of(A, 5, 11, -30) + run_of(A, 12, 30, -30, score=1.0))
    assert kinds(events) == ["PlayStarted"]
    assert tracker.playing is not None
    assert tracker.playing.end_s == 30


def test_a_play_starts_at_the_first_weak_match_that_agrees():
    events = feed(PlayTracker(), run_of(A, 5, 9, -30, score=2.0) + run_of(A, 10, 16, -30))
    assert isinstance(events[0], PlayStarted)
    assert events[0].play.start_s == 0
    assert events[0].play.offset_s == 30


@pytest.mark.parametrize(("weak_s", "start_s"), [(45.0, 5.0), (80.0, 50.0)])
def test_a_play_starts_where_a_weak_match_up_to_a_minute_ago_agrees(weak_s: float, start_s: float):
    tracker = PlayTracker()
    tracker.update(match(A, 10, -30, score=2.0), 5, 10)
    end_s = 10 + weak_s
    assert tracker.update(match(A, end_s, -30, score=10.5), end_s - 5, end_s)
    assert tracker.playing is not None
    assert tracker.playing.start_s == (start_s if weak_s < 60 else end_s - 5)


def test_no_play_starts_before_its_track():
    events = feed(PlayTracker(), run_of(A, 5, 11, 3))
    assert isinstance(events[0], PlayStarted)
    assert (events[0].play.start_s, events[0].play.offset_s) == (3, 0)


def test_no_play_outlasts_its_track():
    tracker = PlayTracker()
    events = feed(tracker, run_of(A, 5, 30, -180)) + tracker.finish(40)
    assert isinstance(events[-1], PlayEnded)
    assert events[-1].play.end_s == 20


def test_a_short_gap_is_bridged_and_a_long_one_ends():
    tracker = PlayTracker(TrackSettings(gap_s=6))
    events = feed(tracker, [*run_of(A, 5, 11, -30), *[None] * 6, *run_of(A, 18, 20, -30)])
    assert kinds(events) == ["PlayStarted"]
    events = feed(tracker, [None] * 7, end_s=21)
    assert kinds(events) == ["PlayEnded"]
    assert isinstance(events[0], PlayEnded)
    assert events[0].play.end_s == 20


def test_a_play_that_was_not_heard_for_long_goes_on_where_it_would_be():
    tracker = PlayTracker()
    events = feed(tracker, [*run_of(A, 5, 20, -30), *[None] * 90, *run_of(A, 111, 120, -30)])
    assert kinds(events) == ["PlayStarted", "PlayEnded", "MusicUnknown", "PlayStarted"]
    assert tracker.playing is not None
    assert (tracker.playing.start_s, tracker.playing.end_s) == (0, 120)


@pytest.mark.parametrize(("paused_s", "n_plays"), [(20, 1), (90, 2)])
def test_a_play_goes_on_after_a_short_pause(paused_s: int, n_plays: int):
    tracker = PlayTracker()
    events = feed(tracker, run_of(A, 5, 20, -30))
    for now in range(21, 20 + paused_s):
        events += tracker.silence(now)
    events += feed(tracker, run_of(A, 25 + paused_s, 40 + paused_s, -30 + paused_s), 25 + paused_s)
    events += tracker.finish(100 + paused_s)
    assert len({event.play.start_s for event in events if isinstance(event, PlayStarted)}) == n_plays


def test_a_play_goes_on_after_a_pause_in_which_music_that_repeats_itself_matches_a_later_repeat():
    tracker = PlayTracker()
    events = feed(tracker, run_of(A, 5, 20, -30))
    for now in range(21, 40):
        events += tracker.silence(now)
    later = run_of(A, 45, 60, -74)  # 64 s further on, where the music is the same
    events += feed(
        tracker, [one and dataclasses.replace(one, repeats=(one.offset_s - 64,)) for one in later], 45
    )
    events += tracker.finish(100)
    starts = [event.play for event in events if isinstance(event, PlayStarted)]
    assert [(play.start_s, play.offset_s) for play in starts] == [(0, 30), (0, 30)]
    ended = events[-1]
    assert isinstance(ended, PlayEnded)
    assert ended.play.end_s == 60


def test_a_track_that_begins_again_after_its_end_is_a_new_play_although_the_end_is_like_the_beginning():
    tracker = PlayTracker()
    events = feed(tracker, run_of(A, 155, 200, 0), 155)
    for now in range(201, 210):
        events += tracker.silence(now)
    again = run_of(A, 214, 230, 209)
    events += feed(
        tracker, [one and dataclasses.replace(one, repeats=(one.offset_s + 192,)) for one in again], 214
    )
    starts = {event.play.start_s for event in events if isinstance(event, PlayStarted)}
    assert len(starts) == 2


def test_a_slightly_wrong_speed_stays_one_play():
    tracker = PlayTracker()
    matches: list[Match | None] = [
        dataclasses.replace(match(A, end, -10), offset_s=10 + (end - 5) * 1.01) for end in range(5, 180)
    ]
    assert kinds(feed(tracker, matches)) == ["PlayStarted"]
    assert tracker.playing is not None
    assert tracker.playing.speed == pytest.approx(1.01, abs=0.001)


def test_another_track_takes_over_after_two_matches():
    tracker = PlayTracker()
    events = feed(tracker, [*run_of(A, 5, 20, -30), *run_of(B, 21, 27, -60)])
    assert kinds(events) == ["PlayStarted", "PlayEnded", "PlayStarted"]
    ended, started = (event for event in events[-5:] if not isinstance(event, PlayUpdated))
    assert isinstance(ended, PlayEnded)
    assert isinstance(started, PlayStarted)
    assert ended.play.track == A
    assert started.play.track == B
    assert ended.play.end_s == started.play.start_s == 18  # midway between B's first window and A's last
    assert started.play.offset_s == 78


def test_the_change_to_a_track_from_its_beginning_is_exact():
    tracker = PlayTracker()
    events = feed(tracker, [*run_of(A, 5, 20, -30), *run_of(B, 21, 27, 17.5)])
    (ended,) = (event for event in events if isinstance(event, PlayEnded))
    started = [event for event in events if isinstance(event, PlayStarted)][-1]
    assert ended.play.end_s == started.play.start_s == 17.5
    assert started.play.offset_s == 0


def test_a_single_match_of_another_track_changes_nothing():
    tracker = PlayTracker()
    matches = [*run_of(A, 5, 12, -30), match(B, 13, 0), *run_of(A, 14, 20, -30), match(B, 21, 0)]
    events = feed(tracker, matches)
    assert kinds(events) == ["PlayStarted"]


def test_repeating_music_and_a_seek_stay_one_play():
    tracker = PlayTracker()
    events = feed(tracker, [*run_of(A, 5, 20, -30), *run_of(A, 21, 30, -90), *run_of(A, 31, 40, -30)])
    assert kinds(events) == ["PlayStarted"]
    assert tracker.playing is not None
    assert tracker.playing.end_s == 40


def test_a_track_on_repeat_is_two_plays():
    tracker = PlayTracker()
    events = feed(tracker, [*run_of(A, 5, 20, -180), *run_of(A, 21, 40, 20.5)])
    assert kinds(events) == ["PlayStarted", "PlayEnded", "PlayStarted"]


def test_a_play_that_began_on_the_wrong_repeat_is_corrected():
    """A loop of 8 s, heard from 7 s on: the play begins on the last repeat, which seems to end soon."""
    tracker = PlayTracker()
    repeats = tuple(float(position) for position in range(7, 190, 8))
    first = dataclasses.replace(match(A, 3, -191, 9.0, 3.0), repeats=repeats)
    events = tracker.update(first, 0, 3)
    for end in range(4, 40):
        found = dataclasses.replace(match(A, end, -7, 9.0), repeats=(float(end - 5 - 1.0),))
        events += tracker.update(found, max(0, end - 5), end)
    assert kinds(events) == ["PlayStarted"]
    assert tracker.playing is not None
    assert (tracker.playing.offset_s, tracker.playing.end_s) == (7, 39)


def test_silence_ends_a_play_after_the_gap_and_is_reported_once():
    tracker = PlayTracker(TrackSettings(gap_s=6))
    feed(tracker, run_of(A, 5, 20, -30))
    events = [event for now in range(21, 60) for event in tracker.silence(now)]
    assert kinds(events) == ["Silence", "PlayEnded"]
    assert events[0] == Silence(20)


def test_lost_audio_is_not_silence_and_a_sound_before_it_is_not_short():
    tracker = PlayTracker(TrackSettings(gap_s=6))
    events = tracker.update(match(A, 5, -30), 0, 5)
    events += tracker.gap(6)
    assert events + tracker.silence(7) == [Silence(5)]  # one weak match starts no play
    events = tracker.update(match(A, 12, -30), 7, 12) + tracker.gap(13)
    events += tracker.update(match(A, 18, -30), 13, 18)  # agrees with what was heard before
    assert kinds(events) == ["PlayStarted"]
    assert kinds(tracker.gap(23)) == []
    assert kinds(tracker.gap(25)) == ["PlayEnded"]


def test_unknown_music_is_reported_once_per_stretch_of_sound():
    tracker = PlayTracker(TrackSettings(unknown_s=15))
    events = feed(tracker, [None] * 60)
    assert events == [MusicUnknown(0, 15)]
    assert [e for now in range(65, 100) for e in tracker.silence(now)] == [Silence(64)]
    assert kinds(feed(tracker, [None] * 30, end_s=105)) == ["MusicUnknown"]


def test_short_pauses_do_not_repeat_the_report_of_unknown_music():
    tracker = PlayTracker(TrackSettings(unknown_s=15))
    events: list[Event] = []
    for turn in range(10):
        events += feed(tracker, [None] * 10, end_s=5 + turn * 13)
        events += tracker.silence(5 + turn * 13 + 12)
    assert kinds(events).count("MusicUnknown") == 1


def test_unknown_music_is_reported_again_after_a_play():
    tracker = PlayTracker(TrackSettings(unknown_s=15, gap_s=6))
    events = feed(tracker, [*[None] * 20, *run_of(A, 25, 40, -30), *[None] * 30])
    assert kinds(events) == ["MusicUnknown", "PlayStarted", "PlayEnded", "MusicUnknown"]
    assert isinstance(events[-1], MusicUnknown)
    assert events[-1].start_s == 40


def test_unknown_music_after_silence_starts_at_its_first_sound():
    tracker = PlayTracker(TrackSettings(unknown_s=15, gap_s=6))
    feed(tracker, run_of(A, 5, 20, -30))
    for now in range(21, 31):
        tracker.silence(now)
    events = [e for end in range(32, 60) for e in tracker.update(None, max(30, end - 5), end)]
    assert events == [MusicUnknown(30, 55)]  # later than usual: the track would still go on


def test_weak_matches_that_agree_delay_the_report_of_unknown_music():
    tracker = PlayTracker(TrackSettings(unknown_s=15))
    events = feed(tracker, [*[None] * 5, *run_of(A, 10, 17, -30, score=2.0), *run_of(A, 18, 25, -30)])
    assert kinds(events) == ["PlayStarted"]
    events = feed(PlayTracker(TrackSettings(unknown_s=15)), run_of(A, 5, 60, -30, score=2.0))
    assert events == [MusicUnknown(0, 25)]


def test_sound_that_is_no_music_is_never_unknown_music():
    tracker = PlayTracker()
    events = [e for now in range(5, 65) for e in tracker.update(None, now - 5, now, music=False)]
    assert events == []
    events = [e for now in range(65, 90) for e in tracker.update(None, now - 5, now)]
    (unknown,) = [event for event in events if isinstance(event, MusicUnknown)]
    assert unknown.start_s == 64
    assert unknown.end_s == 79


def test_a_single_weak_match_in_sound_that_is_no_music_is_no_play():
    """Where the detector hears no music, each search of the schedule is followed by silence."""
    heard = {}
    for music in (True, False):
        tracker = PlayTracker()
        events = tracker.update(match(A, 5, -30), 0, 5, music)
        heard[music] = kinds(events + tracker.silence(6) + tracker.finish(7))
    assert heard == {True: ["PlayStarted", "PlayEnded", "Silence"], False: []}


def test_finish_ends_the_open_play():
    tracker = PlayTracker()
    feed(tracker, run_of(A, 5, 20, -30))
    (ended,) = tracker.finish(20)
    assert isinstance(ended, PlayEnded)
    assert ended.play.end_s == 20
    assert tracker.finish(21) == []


def test_a_clip_of_one_window_is_recognized_by_its_only_match():
    tracker = PlayTracker()
    assert tracker.update(match(A, 2, -30, length_s=2), 0, 2) == []
    started, ended = tracker.finish(2)
    assert isinstance(started, PlayStarted)
    assert isinstance(ended, PlayEnded)
    assert (ended.play.start_s, ended.play.end_s, ended.play.offset_s) == (0, 2, 30)


def test_a_jump_in_time_ends_the_play_at_its_last_match():
    tracker = PlayTracker()
    feed(tracker, run_of(A, 5, 20, -30))
    events = tracker.gap(600) + tracker.update(None, 600, 605)
    assert isinstance(events[0], PlayEnded)
    assert events[0].play.end_s == 20


found = st.one_of(
    st.none(),
    st.tuples(
        st.sampled_from([A, B]), st.sampled_from([-30.0, -90.0, 4.0]), st.sampled_from([-1.0, 2.0, 4.5, 10.5])
    ),
    st.sampled_from(["quiet", "gap"]),
)


@settings(deadline=None, max_examples=200)
@given(found=st.lists(found, max_size=80))
def test_plays_are_in_order_do_not_overlap_and_end(found: list):
    tracker = PlayTracker()
    events: list[Event] = []
    for i, item in enumerate(found):
        end = 5.0 + i
        if item == "quiet":
            events += tracker.silence(end)
        elif item == "gap":
            events += tracker.gap(end)
        else:
            events += tracker.update(item and match(item[0], end, item[1], item[2]), end - 5, end)
    events += tracker.finish(5.0 + len(found))
    open_play, last_end, ended = None, 0.0, set()
    for event in events:
        if isinstance(event, PlayStarted):
            assert open_play is None
            open_play = event.play
            went_on = (open_play.track.id, open_play.start_s) in ended
            assert open_play.start_s >= last_end or went_on
        elif isinstance(event, PlayUpdated | PlayEnded):
            assert open_play is not None
            tracks = [open_play.track, *(other.track for other in open_play.alternatives)]
            assert event.play.track in tracks  # another one only if it was ambiguous
            open_play = event.play
            assert event.play.start_s == open_play.start_s <= event.play.end_s
            assert event.play.end_s <= 5.0 + len(found)
            if isinstance(event, PlayEnded):
                assert event.play.end_s - event.play.start_s >= TrackRules.shortest_s
                ended.add((event.play.track.id, event.play.start_s))
                open_play, last_end = None, max(last_end, event.play.end_s)
    assert open_play is None


# Several recordings contain what is heard

C = Track("c" * 12, "Gamma", "Cem", "", "/c.flac", "music", 150.0)


def shared(end_s: float, *tracks: tuple[Track, float], score: float = 5.5) -> Match:
    """Return a match that several tracks fit; each comes with the second at which its beginning lies."""
    found, *others = [match(track, end_s, begin_s, score) for track, begin_s in tracks]
    return dataclasses.replace(
        found, alternatives=tuple(Alternative(other.track, other.offset_s) for other in others)
    )


def last_play(events: list[Event]) -> Play:
    return [event.play for event in events if isinstance(event, PlayStarted | PlayUpdated | PlayEnded)][-1]


def ids(play: Play) -> str:
    """Return the first letters of the play's track and of its alternatives."""
    return "".join(track.id[0] for track in (play.track, *(other.track for other in play.alternatives)))


JINGLE = ((A, -30.0), (B, -10.0), (C, 0.0))


def test_a_play_that_several_tracks_explain_is_ambiguous_and_stays_so():
    tracker = PlayTracker()
    (started,) = tracker.update(shared(5, *JINGLE, score=10.0), 0, 5)
    assert isinstance(started, PlayStarted)
    assert ids(started.play) == "abc"
    assert [other.offset_s for other in started.play.alternatives] == [10, 0]
    assert started.play.confidence == pytest.approx(1 / 3)
    tracker.update(shared(6, *JINGLE), 1, 6)
    ended = last_play(tracker.finish(8))
    assert ids(ended) == "abc"
    assert ended.ambiguous


def test_tracks_that_fit_less_well_take_less_of_the_confidence():
    found = shared(5, *JINGLE, score=10.0)
    nearly, hardly = (
        dataclasses.replace(other, odds=odds)
        for other, odds in zip(found.alternatives, (0.9, 0.1), strict=True)
    )
    (started,) = PlayTracker().update(dataclasses.replace(found, alternatives=(nearly, hardly)), 0, 5)
    assert isinstance(started, PlayStarted)
    assert started.play.confidence == pytest.approx(0.5)


@pytest.mark.parametrize(("track", "begin_s"), JINGLE)
def test_a_play_settles_on_the_track_that_is_left(track: Track, begin_s: float):
    tracker = PlayTracker()
    events = feed(tracker, [shared(5, *JINGLE, score=10.0), shared(6, *JINGLE)])
    events += feed(tracker, [match(track, 7, begin_s), match(track, 8, begin_s)], 7)
    assert kinds(events) == ["PlayStarted"]
    play = last_play(events)
    assert (play.track, play.alternatives, play.start_s, play.end_s) == (track, (), 0, 8)
    assert play.offset_s == max(0, -begin_s)
    assert play.confidence == 1.0
    # It stays settled when the passage is heard again.
    assert ids(last_play(feed(tracker, [shared(9, *JINGLE), shared(10, *JINGLE)], 9))) == track.id[0]


def test_a_play_is_narrowed_by_each_match_but_not_by_weak_ones_or_other_alignments():
    tracker = PlayTracker()
    feed(tracker, [shared(5, *JINGLE, score=10.0)])
    assert ids(last_play(feed(tracker, [match(A, 6, -30, score=1.0)], 6))) == "abc"
    assert ids(last_play(feed(tracker, [shared(7, (B, -10), (C, 0))], 7))) == "bc"
    assert ids(last_play(feed(tracker, [shared(8, (B, -10), (C, 50))], 8))) == "b"


def test_matches_confirm_each_other_if_one_track_explains_both():
    tracker = PlayTracker()
    assert feed(tracker, [shared(5, (A, -30), (B, -10)), None]) == []
    (started,) = tracker.update(shared(11, (C, 0), (B, -10)), 6, 11)
    assert isinstance(started, PlayStarted)
    assert ids(started.play) == "b"
    assert started.play.offset_s == 10


def test_a_passage_that_is_repeated_is_still_ambiguous():
    tracker = PlayTracker()
    feed(tracker, [shared(end, *JINGLE, score=10.0) for end in range(5, 9)])
    again = [(track, begin_s + 20) for track, begin_s in JINGLE]
    events = feed(tracker, [shared(end, *again, score=10.0) for end in range(25, 29)], 25)
    assert ids(last_play(events)) == "abc"


def test_another_track_replaces_an_ambiguous_play():
    tracker = PlayTracker()
    events = feed(tracker, [shared(5, (A, -30), (B, -10), score=10.0)])
    events += feed(tracker, run_of(C, 12, 14, 7, score=10.0), 12)
    assert kinds(events) == ["PlayStarted", "PlayEnded", "PlayStarted"]
    assert ids(last_play(events)) == "c"


def test_the_oldest_play_that_is_remembered_goes_on_while_another_one_plays():
    tracks = [dataclasses.replace(A, id=str(number) * 12) for number in range(6)]
    for n_between in range(1, len(tracks)):
        tracker, events = PlayTracker(), list[Event]()
        for number, track in enumerate([*tracks[: n_between + 1], tracks[0]]):
            first_s = 5 + 12 * number
            events += feed(tracker, run_of(track, first_s, first_s + 11, -5, score=10.5), end_s=first_s)
        events += tracker.finish(first_s + 11)
        plays = [event.play for event in events if isinstance(event, PlayEnded)]
        assert plays[-1].track == tracks[0], n_between
        assert plays[-1].end_s == first_s + 11


@pytest.mark.parametrize("seed", range(40))
def test_a_long_evening_of_many_tracks_gives_plays_one_after_the_other(seed: int):
    rng = random.Random(seed)  # noqa: S311
    tracker, now_s, playing = PlayTracker(), 5.0, 0
    tracks = [dataclasses.replace(A, id=f"{n:012}", duration_s=(15, 40, 90, 200)[n % 4]) for n in range(7)]
    begins_s, track = {one.id: -rng.uniform(0, 60) for one in tracks}, tracks[0]

    def anything() -> list[Event]:
        length_s = rng.choice([2.0, 5.0, 6.5, 10.0])
        drift_s, score = rng.choice([0, 0, 0, 0.1, -0.2, 0.8, -1.5]), rng.choice([1.0, 3.0, 4.2, 5.5, 10.5])
        heard = match(track, now_s, begins_s[track.id] + drift_s, score, length_s)
        window = now_s - length_s, now_s
        does = (lambda: tracker.update(None, *window), *(lambda: tracker.update(heard, *window),) * 6)
        others = (lambda: tracker.silence(now_s), lambda: tracker.gap(now_s), list)
        return rng.choice([*does, *others])()

    for _ in range(400):
        now_s += rng.choice([0.5, 1, 1, 1, 2, 3, 7, 20])
        track = rng.choice(tracks) if rng.random() < 0.08 else track
        if rng.random() < 0.05:  # it begins again, or jumps
            begins_s[track.id] = now_s - rng.choice([0, 3, 10, 30])
        for event in anything():
            playing += isinstance(event, PlayStarted) - isinstance(event, PlayEnded)
            assert playing in (0, 1)
    assert playing == len([event for event in tracker.finish(now_s) if isinstance(event, PlayEnded)])
