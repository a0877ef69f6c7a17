"""A listener with a schedule: it hears what one without hears, for a fraction of the network's runs."""

from __future__ import annotations

import numpy as np
import pytest

from indexed_songs import RATE, SONG_S, Counter, recognizer, songs
from overheard.catalogue.pack import open_pack, shipped_packs_dir
from overheard.demo.room import cafe
from overheard.events import Event, MusicUnknown, PlayEnded, PlayStarted, Silence
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import default_model
from overheard.recognize.change import ChangeDetector
from overheard.recognize.listener import Listener
from overheard.recognize.recognizer import Recognizer, second_opinion
from overheard.recognize.schedule import Schedule

__all__ = ["recognizer", "songs"]  # fixtures

pytestmark = pytest.mark.slow

BLOCK = RATE // 4


class Ear:
    """A music detector that hears music in the given seconds."""

    probability = 0.0

    def __init__(self, *music: tuple[float, float]) -> None:
        self._music, self._n_frames = music, 0

    def process(self, frames: FloatArray) -> bool:
        self._n_frames += len(frames)
        at_s = self._n_frames / 32
        self.probability = float(any(first <= at_s < end for first, end in self._music))
        return bool(self.probability)

    def reset(self) -> None:
        self._n_frames = 0


def noisy(*parts: FloatArray, snr_db: float = 8.0) -> FloatArray:
    waveform = np.concatenate(parts)
    noise = cafe(np.random.default_rng(3), len(waveform), RATE)
    noise *= np.sqrt(np.mean(parts[0] ** 2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
    mixed = waveform + noise
    return (0.5 * mixed / np.abs(mixed).max()).astype(np.float32)


def hear(listener: Listener, waveform: FloatArray, block: int = BLOCK) -> list[tuple[float, Event]]:
    """Return events, each with the second at which it came."""
    events: list[tuple[float, Event]] = []
    for first in range(0, len(waveform), block):
        at_s = min(first + block, len(waveform)) / RATE
        events += [(at_s, event) for event in listener.process(waveform[first : first + block])]
    return events + [(len(waveform) / RATE, event) for event in listener.finish()]


def ended(events: list[tuple[float, Event]]) -> list[PlayEnded]:
    return [event for _, event in events if isinstance(event, PlayEnded)]


def test_plays_are_those_of_a_listener_without_schedule(
    recognizer: Recognizer, songs: list[FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    evening = noisy(songs[0][: 35 * RATE], songs[2][10 * RATE : 45 * RATE], songs[1][: 35 * RATE])
    counter, found, runs = Counter(recognizer, monkeypatch), [], []
    for scheduled in (True, False):
        monkeypatch.setattr(recognizer, "scheduled", scheduled)
        counter.n = 0
        found.append(ended(hear(recognizer.listener(), evening)))
        runs.append(counter.n)
    assert [each.play.track.title for each in found[0]] == ["0", "2", "1"]
    for one, other in zip(*found, strict=True):
        assert one.play.track == other.play.track
        assert one.play.start_s == pytest.approx(other.play.start_s, abs=2.5)
        assert one.play.end_s == pytest.approx(other.play.end_s, abs=2.5)
    assert runs[0] < 0.4 * runs[1]


def test_the_end_of_a_play_is_noticed_in_time_although_noise_goes_on(
    recognizer: Recognizer, songs: list[FloatArray]
) -> None:
    for cut_s in (33.0, 35.5):  # between two verifications
        events = hear(
            recognizer.listener(), noisy(songs[1][: int(cut_s * RATE)], np.zeros(15 * RATE, np.float32))
        )
        (at_s,) = [at_s for at_s, event in events if isinstance(event, PlayEnded)]
        (end,) = ended(events)
        assert end.play.end_s == pytest.approx(cut_s, abs=1.5)
        assert at_s - cut_s < 8.5


def test_a_jump_within_the_track_is_followed(recognizer: Recognizer, songs: list[FloatArray]) -> None:
    events = hear(recognizer.listener(), noisy(songs[2][: 25 * RATE], songs[2][40 * RATE : 58 * RATE]))
    assert {event.play.track.title for event in ended(events)} == {"2"}
    assert sum(event.play.end_s - event.play.start_s for event in ended(events)) == pytest.approx(43, abs=4)


def test_unknown_music_is_reported_and_then_rarely_searched(
    recognizer: Recognizer, songs: list[FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(recognizer, monkeypatch)
    events = hear(recognizer.listener(), noisy(songs[3]))
    assert [type(event) for _, event in events] == [MusicUnknown]
    assert events[0][0] < 25
    assert counter.n < 100  # without a schedule 117, without other speeds 65


def test_known_music_after_unknown_music_is_found_although_no_change_is_noticed(
    recognizer: Recognizer, songs: list[FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChangeDetector, "_is_different", lambda self: False)
    unknown = np.tile(songs[3], 2)
    events = hear(recognizer.listener(), noisy(unknown, songs[0]))
    (start,) = [at_s for at_s, event in events if isinstance(event, PlayStarted)]
    assert 0 < start - len(unknown) / RATE < 23


def test_little_is_embedded_while_the_detector_hears_no_music(
    recognizer: Recognizer, songs: list[FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(recognizer, monkeypatch)
    listener = Listener(lambda: recognizer._engine, detector=Ear(), schedule=Schedule())
    hear(listener, noisy(songs[3]))
    assert counter.n < 45  # five searches in a minute
    assert listener.status().state == "no music"


def test_the_first_window_reaches_back_to_what_the_detector_heard(
    recognizer: Recognizer, songs: list[FloatArray]
) -> None:
    listener = Listener(lambda: recognizer._engine, detector=Ear((32.0, 60.0)), schedule=Schedule())
    events = hear(listener, noisy(songs[3][: 30 * RATE], songs[0][: 30 * RATE]))
    (start,) = [(at_s, event) for at_s, event in events if isinstance(event, PlayStarted)]
    assert start[0] < 35
    assert start[1].play.start_s == pytest.approx(30, abs=1.5)


def test_known_music_that_the_detector_does_not_hear_is_found(
    recognizer: Recognizer, songs: list[FloatArray]
) -> None:
    listener = Listener(lambda: recognizer._engine, detector=Ear(), schedule=Schedule())
    events = hear(listener, noisy(songs[1]))
    assert min(at_s for at_s, event in events if isinstance(event, PlayStarted)) < 5
    (end,) = ended(events)
    assert end.play.end_s - end.play.start_s > 50


def test_a_detector_that_loses_the_music_does_not_end_a_play(
    recognizer: Recognizer, songs: list[FloatArray]
) -> None:
    listener = Listener(lambda: recognizer._engine, detector=Ear((1.0, 20.0)), schedule=Schedule())
    (end,) = ended(hear(listener, noisy(songs[1])))
    assert end.play.end_s == pytest.approx(SONG_S, abs=2)


def test_plays_do_not_depend_on_the_length_of_blocks(recognizer: Recognizer, songs: list[FloatArray]) -> None:
    evening = noisy(songs[0][: 30 * RATE], songs[1])
    found = [ended(hear(recognizer.listener(), evening, block)) for block in (500, BLOCK, len(evening))]
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert one.play.track == two.play.track
            assert one.play.end_s == pytest.approx(two.play.end_s, abs=2)


def test_the_status_says_what_is_done(recognizer: Recognizer, songs: list[FloatArray]) -> None:
    listener = recognizer.listener()
    assert listener.status().state == "silence"
    hear_some = noisy(songs[0])[: 20 * RATE]
    for first in range(0, len(hear_some), BLOCK):
        listener.process(hear_some[first : first + BLOCK])
    status = listener.status()
    assert status.state == "playing"
    assert status.playing is not None
    assert status.playing.track.title == "0"
    assert status.next_check_s is not None
    assert 0 < status.next_check_s <= 5
    assert status.gate_open
    assert status.audio_s == 20
    assert set(status.cpu_s) == {"gate", "frontend", "detector", "network", "search", "match"}
    assert all(status.cpu_s[stage] > 0 for stage in ("gate", "frontend", "network", "search", "match"))
    unknown = recognizer.listener()
    for first in range(0, 30 * RATE, BLOCK):
        unknown.process(songs[3][first : first + BLOCK])
    assert unknown.status().state == "unknown music"
    unknown.gap(RATE)
    assert unknown.status().lost_s == 1


def test_music_after_a_long_quiet_starts_where_it_does_without_a_schedule(
    recognizer: Recognizer, songs: list[FloatArray]
) -> None:
    hiss = np.random.default_rng(1).standard_normal(31 * RATE, dtype=np.float32) * np.float32(1e-4)
    evening = np.concatenate([hiss, noisy(songs[0][: 20 * RATE]), hiss])
    listener = recognizer.listener()
    events = hear(listener, evening)
    assert listener.now_s == len(evening) / RATE
    (start,) = [(at_s, event) for at_s, event in events if isinstance(event, PlayStarted)]
    assert start[0] < 36
    assert start[1].play.start_s == pytest.approx(31, abs=1)
    assert any(isinstance(event, Silence) for _, event in events)


@pytest.mark.parametrize("has_opinion", [True, False])
def test_noise_that_the_detector_takes_for_music_is_not_reported_as_unknown_music(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch, has_opinion: bool
) -> None:
    counter, opinion = Counter(recognizer, monkeypatch), second_opinion(recognizer.model)
    assert opinion is not None
    listener = Listener(
        lambda: recognizer._engine,
        detector=Ear((1.0, 60.0)),
        schedule=Schedule(),
        opinion=opinion if has_opinion else None,
    )
    noise = 0.05 * np.random.default_rng(4).standard_normal(60 * RATE)
    noise *= 1 + 0.9 * np.sin(2 * np.pi * 0.7 / RATE * np.arange(len(noise)))
    events = hear(listener, noise.astype(np.float32))
    assert not any(isinstance(event, PlayStarted) for _, event in events)
    assert any(isinstance(event, MusicUnknown) for _, event in events) == (not has_opinion)
    assert (counter.n < 40) == has_opinion


def test_music_that_the_detector_does_not_hear_is_heard_by_the_second_opinion(
    recognizer: Recognizer, songs: list[FloatArray]
) -> None:
    opinion = second_opinion(recognizer.model)
    listener = Listener(lambda: recognizer._engine, detector=Ear(), schedule=Schedule(), opinion=opinion)
    events = hear(listener, noisy(songs[3]))
    assert min(at_s for at_s, event in events if isinstance(event, MusicUnknown)) < 30
    listener = Listener(lambda: recognizer._engine, detector=Ear(), schedule=Schedule(), opinion=opinion)
    events = hear(listener, noisy(songs[1]))
    assert min(at_s for at_s, event in events if isinstance(event, PlayStarted)) < 8


@pytest.mark.parametrize("hz", [440, 1000])
def test_a_steady_tone_is_neither_a_track_nor_unknown_music(hz: int) -> None:
    model = default_model()
    listener = Recognizer(model, [open_pack(shipped_packs_dir() / "starter.pack", model.digest)]).listener()
    tone = (0.1 * np.sin(2 * np.pi * hz * np.arange(40 * RATE) / RATE)).astype(np.float32)
    events = [
        event
        for start in range(0, len(tone), BLOCK)
        for event in listener.process(tone[start : start + BLOCK])
    ]
    events += listener.finish()
    assert not [event for event in events if isinstance(event, PlayStarted | MusicUnknown)]


def test_what_the_detector_hears_is_not_music_before_the_second_opinion(recognizer: Recognizer) -> None:
    opinion = second_opinion(recognizer.model)
    detector = Ear((0.0, 60.0))
    listener = Listener(lambda: recognizer._engine, detector=detector, schedule=Schedule(), opinion=opinion)
    noise = (0.05 * np.random.default_rng(4).standard_normal(10 * RATE)).astype(np.float32)
    states = set()
    for first in range(0, len(noise), BLOCK):
        listener.process(noise[first : first + BLOCK])
        states.add(listener.status().state)
    assert detector.probability
    assert states == {"no music"}
