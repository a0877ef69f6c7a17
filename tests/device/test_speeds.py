"""Music that plays too fast or too slow, from the sound to the plays."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import soxr

from indexed_songs import RATE, SONG_S, Counter, recognizer, songs
from overheard.catalogue import search
from overheard.commands.history import to_text
from overheard.commands.identify import play_text
from overheard.demo.room import cafe
from overheard.events import Event, MusicUnknown, Play, PlayEnded, PlayStarted, Silence, Track
from overheard.fingerprint.frontend import FloatArray, log_mel
from overheard.fingerprint.spec import SPEC
from overheard.history.writer import HistorySink, read_plays
from overheard.recognize.recognizer import Recognizer
from overheard.recognize.speed.clock import MusicClock
from overheard.recognize.speed.drift import Drift
from overheard.recognize.speed.speed_plan import SPEEDS, SpeedPlan, SpeedRules
from overheard.recognize.speed.warp import NORMAL, Speed, corrected
from overheard.recognize.windows import OTHER_SPEED_SEARCH_SHARE
from overheard.sinks.terminal import found_line, to_line

__all__ = ["recognizer", "songs"]  # fixtures

pytestmark = pytest.mark.slow

BLOCK = RATE // 4


def at_speed(song: FloatArray, speed: float, begin_s: float = 0.0, end_s: float = SONG_S) -> FloatArray:
    """Play a part of a song at a speed, in a café."""
    part = song[round(begin_s * RATE) : round(end_s * RATE)]
    music = part if speed == 1 else soxr.resample(part, RATE * speed, RATE)
    noise = cafe(np.random.default_rng(3), len(music), RATE)
    noise *= np.sqrt(np.mean(music**2) / np.mean(noise**2)) * 10 ** (-10 / 20)
    mixed = music + noise
    return (0.5 * mixed / np.abs(mixed).max()).astype(np.float32)


def hear(recognizer: Recognizer, waveform: FloatArray) -> list[Event]:
    listener = recognizer.listener()
    events: list[Event] = []
    for first in range(0, len(waveform), BLOCK):
        events += listener.process(waveform[first : first + BLOCK])
    return events + listener.finish()


def ended(events: list[Event]) -> list[Play]:
    return [event.play for event in events if isinstance(event, PlayEnded)]


# Frames


@pytest.mark.parametrize("speed", [0.94, 1.06])
def test_slowed_frames_are_those_of_the_track_at_its_own_speed(songs: list[FloatArray], speed: float) -> None:
    spec, part = SPEC.frontend, songs[0][: 10 * RATE]
    original = log_mel(part, spec)
    faster = log_mel(soxr.resample(part, RATE * speed, RATE).astype(np.float32), spec)
    positions = np.arange(250) / speed
    undone = corrected(faster, positions, speed, spec)
    bands = slice(5, 90)

    def correlation(one: FloatArray) -> float:
        return float(np.corrcoef(one[:250, bands].ravel(), original[:250, bands].ravel())[0, 1])

    assert correlation(undone) > 0.97
    assert correlation(faster[:250]) < 0.8
    assert correlation(corrected(faster, positions, 1.0, spec)) < 0.9  # in time alone


def test_bands_above_the_highest_frequency_of_the_sound_are_empty() -> None:
    frames = np.zeros((4, 96), np.float32)
    found = corrected(frames, np.arange(4.0), 1.06, SPEC.frontend)
    assert (found[:, -1] < -90).all()
    assert (found[:, :90] == 0).all()
    assert (corrected(frames, np.arange(4.0), 0.94, SPEC.frontend) == 0).all()


# Recordings


@pytest.mark.parametrize("speed", [0.92, 0.97, 1.04, 1.08])
def test_a_clip_at_another_speed_is_recognized_with_speed_and_position(
    recognizer: Recognizer, songs: list[FloatArray], speed: float
) -> None:
    found = recognizer.identify(at_speed(songs[1], speed, 20.0, 30.0))
    (play,) = found.plays
    assert play.track.title == "1"
    assert play.speed == pytest.approx(speed, abs=0.006)
    assert play.position_s(0.0) == pytest.approx(20.0, abs=0.4)
    assert play.position_s(10.0) == pytest.approx(20.0 + 10 * speed, abs=0.4)
    assert play.end_s <= found.duration_s


def test_a_clip_at_the_tracks_own_speed_costs_nothing_more(
    recognizer: Recognizer, songs: list[FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(recognizer, monkeypatch)
    (play,) = recognizer.identify(at_speed(songs[1], 1.0, 20.0, 30.0)).plays
    assert play.speed == 1.0
    known = counter.n
    assert recognizer.identify(at_speed(songs[3], 1.0, 20.0, 30.0)).plays == ()
    assert counter.n - known <= 6 * known


def test_searches_at_other_speeds_are_no_deeper_than_those_of_a_listener(
    recognizer: Recognizer, songs: list[FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []
    candidates = recognizer.index.candidates

    def counted(queries: FloatArray, without: Collection[int] = (), share: float = 1.0) -> search.Candidates:
        shares.append(share)
        return candidates(queries, without, share)

    monkeypatch.setattr(recognizer.index, "candidates", counted)
    recognizer.identify(at_speed(songs[3], 1, 10, 15))
    assert shares[0] == 1.0
    assert len(shares) > len(SPEEDS)
    assert set(shares[1:]) == {OTHER_SPEED_SEARCH_SHARE}


def test_unknown_music_is_recognized_at_no_speed(recognizer: Recognizer, songs: list[FloatArray]) -> None:
    for speed, begin_s in ((0.94, 0.0), (1.0, 20.0), (1.03, 40.0)):
        clip = at_speed(songs[3], speed, begin_s, begin_s + 8)
        assert recognizer.identify(clip).verdict == "unknown"


@pytest.mark.parametrize("speed", [0.935, 1.03])
def test_a_recording_that_is_a_little_too_long_for_one_window(
    recognizer: Recognizer, songs: list[FloatArray], speed: float
) -> None:
    found = recognizer.identify(at_speed(songs[1], speed, 20.0, 20.0 + 17 * speed))
    (play,) = found.plays
    assert play.track.title == "1"
    assert play.speed == pytest.approx(speed, abs=0.006)
    assert play.position_s(0.0) == pytest.approx(20.0, abs=0.4)


def test_a_long_recording_at_another_speed_is_one_play(
    recognizer: Recognizer, songs: list[FloatArray]
) -> None:
    parts = at_speed(songs[3], 1.0, end_s=25), at_speed(songs[2], 1.05, end_s=42)
    found = recognizer.identify(np.concatenate(parts))
    (play,) = found.plays
    assert play.track.title == "2"
    assert play.speed == pytest.approx(1.05, abs=0.006)
    assert play.position_s(25.0) == pytest.approx(0.0, abs=0.8)
    assert play.end_s == pytest.approx(25 + 42 / 1.05, abs=2.5)


# Listening


@pytest.mark.parametrize("speed", [0.95, 1.06])
def test_a_track_at_another_speed_is_one_play(
    recognizer: Recognizer, songs: list[FloatArray], speed: float
) -> None:
    events = hear(recognizer, at_speed(songs[0], speed))
    (play,) = ended(events)
    assert play.track.title == "0"
    assert play.speed == pytest.approx(speed, abs=0.006)
    assert play.start_s < 45
    assert play.end_s == pytest.approx(SONG_S / speed, abs=2.5)
    for at_s in (play.start_s, play.end_s):
        assert play.position_s(at_s) == pytest.approx(speed * at_s, abs=0.6)
    started = [event.play for event in events if isinstance(event, PlayStarted)]
    assert [one.start_s for one in started] == [play.start_s]


def test_the_speed_of_the_last_track_is_tried_first(recognizer: Recognizer, songs: list[FloatArray]) -> None:
    evening = [at_speed(songs[0], 0.95, 15), at_speed(songs[2], 0.95, 0, 35), at_speed(songs[1], 1.0, 0, 35)]
    plays = ended(hear(recognizer, np.concatenate(evening)))
    assert [play.track.title for play in plays] == ["0", "2", "1"]
    assert [play.speed for play in plays] == pytest.approx([0.95, 0.95, 1.0], abs=0.006)
    begins_s = np.cumsum([0, *map(len, evening)]) / RATE
    for play, begin_s, position_s in zip(plays, begins_s, (15, 0, 0), strict=False):
        assert play.position_s(begin_s) == pytest.approx(position_s, abs=0.8)
    assert plays[1].start_s - begins_s[1] < 5
    assert plays[2].start_s - begins_s[2] < 13


def test_a_track_at_its_own_speed_starts_soon_after_one_at_another(
    recognizer: Recognizer, songs: list[FloatArray]
) -> None:
    first, second = at_speed(songs[0], 0.95, 17), at_speed(songs[1], 1.0, 0, 15)
    evening, listener = np.concatenate([first, second]), recognizer.listener()
    began_s = len(first) / RATE
    events = [
        (start / RATE - began_s, event)
        for start in range(0, len(evening), BLOCK)
        for event in listener.process(evening[start : start + BLOCK])
    ]
    started = [(at_s, event.play) for at_s, event in events if isinstance(event, PlayStarted)]
    assert [play.track.title for _, play in started] == ["0", "1"]
    assert started[1][0] < 7  # it took more than 9 s to try its speed
    assert started[1][1].position_s(began_s) == pytest.approx(0.0, abs=0.4)
    assert started[1][1].speed == 1.0
    (end,) = [event.play for _, event in events if isinstance(event, PlayEnded)]
    assert end.end_s == pytest.approx(began_s, abs=1.0)
    assert end.speed == pytest.approx(0.95, abs=0.006)


def test_a_play_at_another_speed_survives_a_pause(recognizer: Recognizer, songs: list[FloatArray]) -> None:
    music = at_speed(songs[0], 1.04)
    half, end = 25 * RATE, 38 * RATE
    with_pause = np.concatenate([music[:half], np.zeros(3 * RATE, np.float32), music[half:end]])
    plays = ended(hear(recognizer, with_pause))
    assert {play.track.title for play in plays} == {"0"}
    assert plays[-1].end_s == pytest.approx(41, abs=2.5)


def test_unknown_music_at_another_speed_stays_unknown(
    recognizer: Recognizer, songs: list[FloatArray]
) -> None:
    events = hear(recognizer, at_speed(songs[3], 1.03, end_s=30))
    assert [type(event) for event in events] == [MusicUnknown]


# The drift of an alignment


def drifting(speed: float, length_s: float, jump_s: float = 0.0) -> Drift:
    drift = Drift()
    for at_s in np.arange(100.0, 100.0 + length_s, 5.0):
        jumped = jump_s if at_s > 100 + length_s / 2 else 0.0
        alignment = round((20.0 + (speed - 1) * (at_s - 100)) * 8) / 8 + jumped  # an eighth of a second
        drift.add(float(at_s), alignment)
    return drift


@pytest.mark.parametrize("speed", [0.995, 1.005, 1.012])
def test_a_turntable_that_is_slightly_off_shows_in_the_drift(speed: float) -> None:
    assert drifting(speed, 180.0).speed == pytest.approx(speed, abs=0.001)


def test_a_short_play_a_jump_and_noise_are_no_drift() -> None:
    assert Drift().speed == 1.0
    assert drifting(1.005, 55.0).speed == 1.0
    assert drifting(1.0, 180.0).speed == 1.0
    assert drifting(1.001, 180.0).speed == 1.0
    assert drifting(1.0, 240.0, jump_s=30.0).speed == 1.0
    assert drifting(1.0, 80.0, jump_s=0.125).speed == 1.0


# When to compare at which speed


def ask(plan: SpeedPlan, *moments_s: float) -> list[float | None]:
    found = [plan.due(now_s) for now_s in moments_s]
    return [None if speed is None else speed.tempo for speed in found]


def test_unknown_music_is_compared_at_one_speed_after_the_other() -> None:
    plan = SpeedPlan(SpeedRules(first_s=7, known_first_s=3, hop_s=4, n_saved=4, refill_s=45))
    plan.onset(100.0)
    assert ask(plan, 101, 106.9) == [None, None]  # the music may be recognized yet
    assert ask(plan, 107, 108, 111, 115, 119) == [SPEEDS[0], None, SPEEDS[1], SPEEDS[2], SPEEDS[3]]
    assert ask(plan, 123, 130, 140) == [None, None, None]  # nothing is left
    assert ask(plan, 153, 160, 198) == [SPEEDS[0], None, SPEEDS[1]]


def test_music_that_changes_often_does_not_cost_more() -> None:
    plan = SpeedPlan(SpeedRules(first_s=7, n_saved=4, refill_s=45))
    n = 0
    for second in range(3600):
        if second % 20 == 0:
            plan.onset(float(second))
        n += plan.due(float(second)) is not None
    assert n <= 4 + 3600 / 45


def test_the_speed_that_was_recognized_last_comes_first_and_early() -> None:
    plan = SpeedPlan(SpeedRules(first_s=7, known_first_s=3, hop_s=4, n_saved=4, refill_s=45))
    plan.recognized_at(Speed.of(1.043))
    plan.onset(100.0)
    assert ask(plan, 102, 103, 105, 107, 111) == [None, 1.043, None, SPEEDS[0], SPEEDS[1]]


# The music's clock

TRACK = Track("id", "Alpha", "Ann", "", "", "pack", 200.0)


def test_a_clock_converts_between_the_source_and_the_music() -> None:
    clock = MusicClock()
    assert clock.music_s(12.5) == clock.source_s(12.5) == 12.5
    clock.change(20.0, Speed.of(1.05), from_s=10.0)
    assert clock.music_s(30.0) == pytest.approx(20 + 10 * 1.05)
    assert clock.source_s(clock.music_s(33.3)) == pytest.approx(33.3)
    assert clock.source_s(12.0) == pytest.approx(20 - 8 / 1.05)  # it had this speed already
    assert clock.source_s(8.0) == 8.0
    clock.change(clock.music_s(40.0), NORMAL)
    assert clock.music_s(50.0) == pytest.approx(20 + 20 * 1.05 + 10)
    assert clock.source_s(clock.music_s(50.0)) == pytest.approx(50)
    assert clock.source_s(30.5) == pytest.approx(30)


def test_events_have_the_times_of_the_source_and_the_speed() -> None:
    clock = MusicClock()
    play = Play(TRACK, 20.0, 41.0, 62.0, 5.0, 0.9)
    assert clock.event(PlayEnded(play)) == PlayEnded(play)
    clock.change(20.0, Speed.of(1.05), from_s=20.0)
    event = clock.event(PlayEnded(play))
    assert isinstance(event, PlayEnded)
    assert (event.play.start_s, event.play.end_s) == (20.0, 40.0)
    assert event.play.position_s(event.play.end_s) == pytest.approx(62 + 21)
    assert clock.event(Silence(41.0)) == Silence(40.0)
    assert clock.event(MusicUnknown(20.0, 41.0)) == MusicUnknown(20.0, 40.0)


def test_the_clock_forgets_speeds_of_long_ago() -> None:
    clock = MusicClock()
    for number in range(1000):
        clock.change(float(number), Speed.of(1.03 if number % 2 else 0.97))
    assert math.isfinite(clock.source_s(1.0))
    assert clock.source_s(clock.music_s(2000.0)) == pytest.approx(2000)


def test_lines_show_the_speed_and_the_position_advances_with_it(tmp_path: Path) -> None:
    play = Play(TRACK, 10.0, 30.0, 62.0, 5.0, 0.93, speed=1.05)
    assert (to_line(PlayStarted(play), 0.0) or "").endswith("Ann - Alpha  (at 1:02, 93%, speed +5.0%)")
    assert found_line(play, 30.0, 0.0).endswith("(at 1:23, 93%, speed +5.0%)")
    assert play_text(play).endswith("Ann - Alpha  (at 1:02)  93%  speed +5.0%")
    assert "speed" not in play_text(dataclasses.replace(play, speed=1.001))
    history = HistorySink(tmp_path / "history.sqlite", "mic")
    history.handle(PlayEnded(play), 1_700_000_000.0)
    history.close()
    rows, count = read_plays(tmp_path / "history.sqlite")
    assert rows[0].speed == 1.05
    assert "Ann - Alpha  [speed +5.0%]" in to_text(rows, count)[1]
