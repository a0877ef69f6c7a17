"""The schedule of a listener as a table: what is heard at each moment, and what is done."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from overheard.recognize.schedule import Action, Schedule, ScheduleRules, SoundState

TICK_S = 0.25
RULES = ScheduleRules()


class World:
    """Sound with music from and to some seconds, and plays; counts what the schedule does each second."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.music: list[tuple[float, float]] = [(0.0, seconds)]
        self.changes: list[float] = []
        self.play: tuple[float, float] | None = None  # the sound that is a track of the catalogue
        self.recognized_after_s = 3.0
        self.expected_end_s = math.inf
        self.promising = False
        self.settled = True

    def run(self) -> list[tuple[float, Action]]:
        """Return what is done when."""
        schedule, playing, failed = Schedule(), False, 0
        done: list[tuple[float, Action]] = []
        last_s = -1.0
        for i in range(int(self.seconds / TICK_S)):
            now_s = i * TICK_S
            music = any(first <= now_s < end for first, end in self.music)
            changed = any(last_s < at_s <= now_s for at_s in self.changes)
            heard = SoundState(now_s, music, changed, playing, self.settled, self.expected_end_s)
            action = schedule.next(heard)
            last_s = now_s
            first, end = self.play or (math.inf, math.inf)
            inside = first + self.recognized_after_s <= now_s < end
            if action is Action.SEARCH:
                failed = 0 if inside else failed + 1
                playing = inside or (playing and failed < 6)
                schedule.searched(now_s, self.promising, agrees=inside)
            elif action is Action.VERIFY:
                schedule.verified(now_s, inside)
            if action is not Action.REST:
                done.append((now_s, action))
        return done


def times(done: list[tuple[float, Action]], action: Action, first: float, end: float) -> list[float]:
    return [at_s for at_s, each in done if each is action and first <= at_s < end]


def test_sound_without_music_is_searched_rarely_because_the_detector_may_be_wrong() -> None:
    world = World(600)
    world.music = []
    searches = times(world.run(), Action.SEARCH, 0, 600)
    assert searches[0] == RULES.no_music_s[0]
    gaps = [b - a for a, b in itertools.pairwise(searches)]
    assert gaps[:6] == [3, 5, 8, 15, 30, 40]
    assert gaps[6:] == [40] * len(gaps[6:])


def test_talk_with_pauses_is_not_searched_after_each_pause() -> None:
    schedule, searches = Schedule(), 0
    for second in range(600):
        if second % 10 == 0:
            schedule.reset()  # the gate was closed
        if schedule.next(SoundState(float(second), False)) is Action.SEARCH:
            searches += 1
            schedule.searched(float(second), promising=False)
    assert 3 <= searches <= 20


def test_music_is_searched_closely_after_its_onset_then_at_growing_intervals() -> None:
    world = World(600)
    world.music = [(10, 600)]
    searches = times(world.run(), Action.SEARCH, 9, 600)
    assert searches[0] == 10
    early = [at_s for at_s in searches if at_s < 10 + RULES.early_s]
    assert max(b - a for a, b in itertools.pairwise(early)) == RULES.onset_hop_s
    late = [at_s for at_s in searches if at_s >= 10 + RULES.onset_s]
    gaps = [b - a for a, b in itertools.pairwise(late)]
    assert gaps[:4] == [2, 3, 10, 20]
    assert gaps[4:] == [20] * len(gaps[4:])


@pytest.mark.parametrize("at_s", [45.0, 130.0, 333.25])
def test_a_change_or_an_onset_of_unknown_music_is_searched_at_once(at_s: float) -> None:
    for changes, music in (([at_s], [(0.0, 600.0)]), ([], [(0.0, at_s - 5), (at_s, 600.0)])):
        world = World(600)
        world.changes, world.music = changes, music
        searches = times(world.run(), Action.SEARCH, at_s, 600)
        assert searches[0] - at_s <= TICK_S
        assert len([each for each in searches if each < at_s + RULES.onset_s]) >= 10


def test_promising_music_is_searched_on() -> None:
    world = World(60)
    world.promising = True
    searches = times(world.run(), Action.SEARCH, 0, 60)
    assert max(b - a for a, b in itertools.pairwise(searches)) <= RULES.hop_s


def test_a_play_is_verified_and_not_searched() -> None:
    world = World(200)
    world.play = (0, 200)
    done = world.run()
    assert times(done, Action.SEARCH, 4, 200) == []
    checks = times(done, Action.VERIFY, 0, 200)
    gaps = [b - a for a, b in itertools.pairwise(checks)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == RULES.verify_s[-1] <= 5


@pytest.mark.parametrize("end_s", [60.0, 61.5, 63.25, 64.75])
def test_the_end_of_a_play_is_searched_within_seconds(end_s: float) -> None:
    world = World(120)
    world.play = (0, end_s)
    searches = times(world.run(), Action.SEARCH, 10, 120)
    assert end_s <= searches[0] <= end_s + RULES.verify_s[-1] + TICK_S


def test_the_expected_end_is_searched_without_waiting_for_a_verification() -> None:
    world = World(120)
    world.play, world.expected_end_s = (0, 60.0), 60.0
    searches = times(world.run(), Action.SEARCH, 10, 120)
    assert 60.0 <= searches[0] <= 61.0


def test_a_change_during_a_play_is_verified_at_once() -> None:
    world = World(120)
    world.play, world.changes = (0, 120), [52.0]
    done = world.run()
    assert 52.0 <= times(done, Action.VERIFY, 51, 120)[0] <= 52.0 + TICK_S
    assert times(done, Action.SEARCH, 4, 120) == []


def test_a_play_is_verified_at_once_when_the_detector_hears_no_music_any_more() -> None:
    world = World(120)
    world.play, world.music = (0, 120), [(0, 52.0)]
    checks = times(world.run(), Action.VERIFY, 51, 120)
    assert 52.0 <= checks[0] <= 52.0 + TICK_S
    assert checks[-1] > 110  # it agreed, so that the detector is wrong


def test_an_ambiguous_play_is_searched_for_a_while() -> None:
    world = World(120)
    world.play, world.settled = (0, 120), False
    searches = times(world.run(), Action.SEARCH, 5, 120)
    assert RULES.unsettled_s <= searches[-1] <= RULES.unsettled_s + 2 * world.recognized_after_s


def test_a_play_that_goes_on_after_lost_sound_is_searched_at_once() -> None:
    schedule = Schedule()
    assert schedule.next(SoundState(100.0, True, playing=True)) is Action.SEARCH


def test_sound_that_is_surely_no_music_is_searched_more_rarely() -> None:
    schedule, searches = Schedule(), list[float]()
    for tick in range(2400):
        now_s = tick * TICK_S
        if schedule.next(SoundState(now_s, False, no_music_confirmed=True)) is Action.SEARCH:
            searches.append(now_s)
            schedule.searched(now_s, promising=False)
    assert searches[:7] == [2, 5, 8, 11, 27, 87, 207]
    assert set(np.diff(searches[6:])) == {120}


def test_a_doubt_about_what_was_surely_no_music_makes_the_next_search_sooner() -> None:
    schedule, searches = Schedule(), list[float]()
    for tick in range(2400):
        now_s = tick * TICK_S
        if schedule.next(SoundState(now_s, False, no_music_confirmed=now_s < 400)) is Action.SEARCH:
            searches.append(now_s)
            schedule.searched(now_s, promising=False)
    assert [at_s for at_s in searches if 330 < at_s < 500] == [402, 442, 482]


@pytest.mark.parametrize(("music_s", "n_more"), [(1.5, 0), (4.0, 4)])
def test_only_music_of_some_length_makes_the_waits_start_again(music_s: float, n_more: int) -> None:
    schedule, searches = Schedule(), list[float]()
    for tick in range(2000):
        now_s = tick * TICK_S
        music = 400 <= now_s < 400 + music_s
        if schedule.next(SoundState(now_s, music, no_music_confirmed=not music)) is Action.SEARCH:
            searches.append(now_s)
            schedule.searched(now_s, promising=False)
    assert min(at_s for at_s in searches if at_s >= 400) == 400  # at once, while it lasts
    assert len([at_s for at_s in searches if 400 + music_s <= at_s < 420]) == n_more


def test_a_doubt_that_the_next_opinion_dispels_causes_no_search() -> None:
    schedule, searches = Schedule(), list[float]()
    for tick in range(2000):
        now_s = tick * TICK_S
        doubtful = 300 <= now_s < 301.5
        if schedule.next(SoundState(now_s, False, no_music_confirmed=not doubtful)) is Action.SEARCH:
            searches.append(now_s)
            schedule.searched(now_s, promising=False)
    assert [at_s for at_s in searches if 208 < at_s < 326] == []


@pytest.mark.parametrize(("nearly_accepted", "n_more"), [(False, 1), (True, 5)])
def test_searches_go_on_when_music_that_was_nearly_recognized_seems_to_end(
    nearly_accepted: bool, n_more: int
) -> None:
    schedule, searches = Schedule(), list[float]()
    for tick in range(80):
        now_s = tick * TICK_S
        if schedule.next(SoundState(now_s, music=now_s < 6, no_music_confirmed=now_s >= 6)) is Action.SEARCH:
            searches.append(now_s)
            schedule.searched(now_s, promising=now_s < 6, nearly_accepted=nearly_accepted and now_s < 6)
    assert len([at_s for at_s in searches if 6 <= at_s < 10]) == n_more
