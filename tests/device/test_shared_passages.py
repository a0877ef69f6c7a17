"""A jingle that is in ten tracks, and two encodings of one track: real audio through the whole pipeline."""

from __future__ import annotations

import numpy as np
import pytest

from overheard.catalogue.pack import open_pack, write_pack
from overheard.catalogue.track_list import TrackEntry
from overheard.demo.room import cafe
from overheard.demo.synth import synthesize
from overheard.events import Event, Play, PlayEnded, PlayStarted, PlayUpdated
from overheard.fingerprint.embedder import Embedder, fingerprint
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import default_model
from overheard.recognize.recognizer import Recognizer

RATE = 8000
JINGLE_S, OWN_S = 8.0, 14.0
N_EPISODES = 10
QUIET = np.zeros(4 * RATE, np.float32)


@pytest.fixture(scope="module")
def jingle() -> FloatArray:
    return synthesize(500, JINGLE_S).waveform


@pytest.fixture(scope="module")
def episodes(jingle: FloatArray) -> list[FloatArray]:
    """Tracks that start with the jingle; the last one starts with 3 s of its own."""
    own = [synthesize(600 + number, OWN_S).waveform for number in range(N_EPISODES)]
    found = [np.concatenate([jingle, music]) for music in own]
    found[-1] = np.concatenate([synthesize(700, 3.0).waveform, found[-1]])
    return [episode.astype(np.float32) for episode in found]


def noisy(waveform: FloatArray, snr_db: float) -> FloatArray:
    noise = cafe(np.random.default_rng(1), len(waveform), RATE)
    noise *= np.sqrt(np.mean(waveform**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
    mixed = waveform + noise
    return (0.5 * mixed / np.abs(mixed).max()).astype(np.float32)


@pytest.fixture(scope="module")
def recognizer(episodes: list[FloatArray], tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    """The episodes, and a track and a noisy copy of it."""
    model = default_model()
    embedder = Embedder(model)
    track = synthesize(800, 30.0).waveform
    named = {f"episode {number}": waveform for number, waveform in enumerate(episodes)}
    named |= {"original": track, "copy": noisy(np.roll(track, 4000), 15.0)}
    entries = []
    for title, waveform in named.items():
        packed_cells, codes = model.encode_track(fingerprint(embedder, waveform))
        entries.append(
            TrackEntry(
                title=title,
                artist="",
                path=f"{title}.wav",
                duration_s=len(waveform) / RATE,
                packed_cells=packed_cells,
                codes=codes,
            )
        )
    path = tmp_path_factory.mktemp("packs") / "series.pack"
    write_pack(path, "series", model.digest, model.spec, entries)
    return Recognizer(model, [open_pack(path, model.digest)])


def listen(recognizer: Recognizer, waveform: FloatArray) -> list[Event]:
    listener = recognizer.listener()
    events: list[Event] = []
    for start in range(0, len(waveform), RATE):
        events += listener.process(waveform[start : start + RATE])
    return events + listener.finish()


def plays(events: list[Event]) -> list[Play]:
    return [event.play for event in events if isinstance(event, PlayStarted | PlayUpdated | PlayEnded)]


def titles(play: Play) -> set[str]:
    return {track.title for track in (play.track, *(other.track for other in play.alternatives))}


ALL = {f"episode {number}" for number in range(N_EPISODES)}


def test_a_jingle_alone_is_ambiguous(recognizer: Recognizer, jingle: FloatArray) -> None:
    for start_s, waveform in ((0, jingle), (2, noisy(jingle[2 * RATE :], 3.0))):
        found = recognizer.identify(waveform)
        (play,) = found.plays
        assert titles(play) == ALL
        assert play.confidence < 0.2
        offsets = {other.track.title: other.offset_s for other in play.alternatives}
        offsets |= {play.track.title: play.offset_s}
        assert offsets.pop(f"episode {N_EPISODES - 1}") == pytest.approx(start_s + 3.0, abs=0.3)
        assert list(offsets.values()) == pytest.approx([start_s] * (N_EPISODES - 1), abs=0.3)
        assert found.best is not None
        assert len(found.best.alternatives) == N_EPISODES - 1


def test_a_jingle_at_the_microphone_stays_ambiguous_whatever_follows(
    recognizer: Recognizer, jingle: FloatArray
) -> None:
    unknown = synthesize(900, 6.0).waveform
    for after in (QUIET, unknown):
        events = listen(recognizer, np.concatenate([jingle, after, QUIET]))
        assert sum(isinstance(event, PlayStarted) for event in events) == 1
        assert titles(plays(events)[-1]) == ALL


@pytest.mark.parametrize("number", [3, N_EPISODES - 1])
@pytest.mark.parametrize("snr_db", [None, 3.0])
def test_the_music_after_the_jingle_settles_the_play(
    recognizer: Recognizer, episodes: list[FloatArray], number: int, snr_db: float | None
) -> None:
    start = 3 * RATE if number == N_EPISODES - 1 else 0
    waveform = episodes[number][start:]
    waveform = waveform if snr_db is None else noisy(waveform, snr_db)
    events = listen(recognizer, np.concatenate([waveform, QUIET]))
    assert sum(isinstance(event, PlayStarted) for event in events) == 1
    first, last = plays(events)[0], plays(events)[-1]
    assert titles(first) >= ALL  # and rarely another one, for a moment
    assert titles(last) == {f"episode {number}"}
    assert last.start_s == first.start_s
    assert last.offset_s == pytest.approx(start / RATE, abs=0.4)
    assert last.confidence > 0.9
    assert [titles(play) for play in recognizer.identify(waveform).plays] == [{f"episode {number}"}]


def test_music_before_the_jingle_tells_the_episode(
    recognizer: Recognizer, episodes: list[FloatArray]
) -> None:
    """The play that is open settles what the jingle alone does not."""
    events = listen(recognizer, np.concatenate([episodes[-1][: 11 * RATE], QUIET]))
    assert titles(plays(events)[-1]) == {f"episode {N_EPISODES - 1}"}


@pytest.mark.parametrize("length_s", [3, 10])
def test_encodings_of_one_track_are_not_ambiguous(recognizer: Recognizer, length_s: int) -> None:
    track = synthesize(800, 30.0).waveform
    (play,) = recognizer.identify(track[5 * RATE :][: length_s * RATE]).plays
    assert play.track.title in ("original", "copy")
    assert not play.ambiguous
    assert play.confidence > 0.9
