"""One play per listening: scenes of real audio through the real listener, and the plays they must give."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from fnmatch import fnmatch

import av
import av.filter
import numpy as np
import pytest
import soxr

from overheard.catalogue.pack import open_pack, write_pack
from overheard.catalogue.track_list import TrackEntry
from overheard.demo.room import cafe
from overheard.demo.synth import synthesize
from overheard.events import Event, Play, PlayEnded, PlayStarted
from overheard.fingerprint.embedder import Embedder, fingerprint
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import default_model
from overheard.recognize.recognizer import Recognizer

pytestmark = pytest.mark.slow

RATE = 8000
BLOCK = RATE // 4
SHORTEST_S = 2.0


def seconds(wave: FloatArray, start_s: float, end_s: float) -> FloatArray:
    return wave[round(start_s * RATE) : round(end_s * RATE)]


def sections(names: str, seed: int = 310, length_s: float = 12.0) -> FloatArray:
    """Join sections of one piece, each exactly the same where its letter returns."""
    piece = synthesize(seed, 60.0).waveform
    return np.concatenate(
        [seconds(piece, *(length_s * (ord(name) - 65 + i) for i in (0, 1))) for name in names]
    )


@functools.cache
def tracks() -> dict[str, FloatArray]:
    jingle = synthesize(320, 6.0).waveform
    shows = {f"show {i}": np.concatenate([jingle, synthesize(321 + i, 40.0).waveform]) for i in (1, 2, 3)}
    songs = {f"song {i}": synthesize(300 + i, 60.0).waveform for i in (1, 2, 3)}
    return {
        **songs,
        "loops": sections("AABABCAB"),
        "short loops": sections("AABAACAA", 312, 6.0),
        "short edit": sections("ABCABCAB", 311)[: 50 * RATE],
        **shows,
    }


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    model, folder = default_model(), tmp_path_factory.mktemp("packs")
    embedder, entries = Embedder(model), []
    for name, wave in tracks().items():
        cells, codes = model.encode_track(fingerprint(embedder, wave))
        entries.append(
            TrackEntry(
                title=name, artist="", path=name, duration_s=len(wave) / RATE, packed_cells=cells, codes=codes
            )
        )
    write_pack(folder / "music.pack", "music", model.digest, model.spec, entries)
    return Recognizer(model, [open_pack(folder / "music.pack", model.digest)])


def silence(length_s: float) -> FloatArray:
    return np.zeros(round(length_s * RATE), np.float32)


def noise(length_s: float, level: float = 0.05) -> FloatArray:
    sound = cafe(np.random.default_rng(5), round(length_s * RATE), RATE)
    return np.asarray(sound * level / np.sqrt(np.mean(sound**2)), np.float32)


def join(*parts: FloatArray) -> FloatArray:
    return np.concatenate(parts).astype(np.float32)


def crossfade(parts: list[FloatArray], overlap_s: float) -> FloatArray:
    n = round(overlap_s * RATE)
    ramp = np.linspace(0, 1, n, dtype=np.float32)
    mixed = parts[0].copy()
    for part in parts[1:]:
        end = mixed[-n:] * np.sqrt(1 - ramp) + part[:n] * np.sqrt(ramp)
        mixed = np.concatenate([mixed[:-n], end, part[n:]])
    return mixed


def over(wave: FloatArray, start_s: float, other: FloatArray) -> FloatArray:
    """Add a sound to a part of another."""
    mixed = wave.copy()
    begin = round(start_s * RATE)
    mixed[begin : begin + len(other)] += other
    return mixed


def faster(wave: FloatArray, speed: float) -> FloatArray:
    """Change tempo and pitch, as a turntable does."""
    return np.asarray(soxr.resample(wave, speed, 1.0), np.float32)


def with_tempo(wave: FloatArray, tempo: float) -> FloatArray:
    """Change the tempo and keep the pitch, as DJ software does."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=RATE, format="flt", layout="mono")
    graph.link_nodes(source, graph.add("atempo", str(tempo)), graph.add("abuffersink")).configure()
    frame = av.AudioFrame.from_ndarray(wave.reshape(1, -1), format="flt", layout="mono")
    frame.sample_rate = RATE
    graph.push(frame)
    graph.push(None)
    parts: list[FloatArray] = []
    with contextlib.suppress(av.error.EOFError):
        while True:
            parts.append(np.asarray(graph.pull().to_ndarray().ravel(), np.float32))
    return join(*parts)


def song(number: int) -> FloatArray:
    return tracks()[f"song {number}"]


SCENES: dict[str, tuple[Callable[[], FloatArray], list[str]]] = {
    "a whole track": (lambda: song(1), ["song 1"]),
    "a track in noise": (lambda: song(1) + noise(60, 0.06), ["song 1"]),
    "one track after another": (lambda: join(song(1), song(2), song(3)), ["song 1", "song 2", "song 3"]),
    "a crossfade of 8 s": (
        lambda: crossfade([song(1), song(2), song(3)], 8.0),
        ["song 1", "song 2", "song 3"],
    ),
    "a DJ mix with overlaps of 16 s": (
        lambda: crossfade([seconds(song(1), 5, 50), seconds(song(3), 3, 55), seconds(song(2), 8, 60)], 16.0),
        ["song 1", "song 3", "song 2"],
    ),
    "a pause of 20 s": (
        lambda: join(seconds(song(1), 0, 30), silence(20), seconds(song(1), 30, 60)),
        ["song 1"],
    ),
    "a pause of 20 s with noise in the room": (
        lambda: join(seconds(song(1), 0, 30), silence(20), seconds(song(1), 30, 60)) + noise(80, 0.015),
        ["song 1"],
    ),
    "a pause of 20 s in a section that is repeated": (
        lambda: join(seconds(tracks()["loops"], 0, 38), silence(20), seconds(tracks()["loops"], 38, 96)),
        ["loops"],
    ),
    "a pause of 20 s with noise in a section that is repeated": (
        lambda: (
            join(seconds(tracks()["loops"], 0, 62), silence(20), seconds(tracks()["loops"], 62, 96))
            + noise(116, 0.03)
        ),
        ["loops"],
    ),
    "a track three times": (lambda: join(song(2), song(2), song(2)), ["song 2"] * 3),
    "a track three times with a crossfade": (
        lambda: crossfade([song(2), song(2), song(2)], 8.0),
        ["song 2"] * 3,
    ),
    "a track of repeated sections": (lambda: tracks()["loops"], ["loops"]),
    "a track of repeated sections from its seventh second": (
        lambda: tracks()["loops"][7 * RATE :],
        ["loops"],
    ),
    "a track of repeated sections in noise": (
        lambda: tracks()["loops"][7 * RATE :] + noise(89, 0.06),
        ["loops"],
    ),
    "a track of repeated sections twice": (lambda: join(tracks()["loops"], tracks()["loops"]), ["loops"] * 2),
    "a track of short loops twice, with a pause of 9 s": (
        lambda: join(tracks()["short loops"], silence(9), tracks()["short loops"]),
        ["short loops"] * 2,
    ),
    "a seek forwards": (lambda: join(seconds(song(3), 0, 20), seconds(song(3), 35, 60)), ["song 3"]),
    "a seek backwards": (lambda: join(seconds(song(3), 5, 45), seconds(song(3), 20, 60)), ["song 3"]),
    "a seek back near the end": (lambda: join(seconds(song(3), 5, 59), seconds(song(3), 25, 60)), ["song 3"]),
    "talk over music": (lambda: over(song(2), 20, noise(15, 0.4)), ["song 2"]),
    "a copy that goes on after the end": (lambda: sections("ABCABC", 311), ["short edit"]),
    "shows that share a jingle": (
        lambda: join(tracks()["show 2"], tracks()["show 3"], tracks()["show 1"]),
        ["show 2", "show 3", "show 1"],
    ),
    "a pause of 20 s in which somebody talks": (
        lambda: join(seconds(song(1), 0, 30), noise(20, 0.1), seconds(song(1), 30, 60)),
        ["song 1"],
    ),
    "noise for 20 s after the end": (lambda: join(song(3), noise(20, 0.1)), ["song 3"]),
    "a DJ mix that is 6% too fast": (
        lambda: faster(crossfade([song(1), song(2), song(3)], 8.0), 1.06),
        ["song 1", "song 2", "song 3"],
    ),
    "tracks whose tempo alone is 6% faster": (
        lambda: join(with_tempo(song(1), 1.06), with_tempo(song(2), 1.06)),
        ["song 1", "song 2"],
    ),
    "tracks whose tempo alone is 8% slower": (
        lambda: join(with_tempo(song(3), 0.92), with_tempo(song(1), 0.92)),
        ["song 3", "song 1"],
    ),
    "a song after the jingle of shows": (
        lambda: join(seconds(tracks()["show 2"], 0, 6), song(1)),
        ["show *", "song 1"],
    ),
}


def listen(recognizer: Recognizer, wave: FloatArray) -> list[Event]:
    listener, events = recognizer.listener(), []
    for begin in range(0, len(wave), BLOCK):
        events += listener.process(np.clip(wave[begin : begin + BLOCK], -1, 1))
    return events + listener.finish()


def plays_of(events: list[Event]) -> list[Play]:
    """Return the plays as the history stores them: one that goes on after a pause is the same play."""
    plays: dict[float, Play] = {}
    for event in events:
        if isinstance(event, PlayStarted | PlayEnded):
            plays[event.play.start_s] = event.play
    return list(plays.values())


@pytest.mark.parametrize("scene", SCENES)
def test_each_listening_is_one_play(recognizer: Recognizer, scene: str) -> None:
    make, expected = SCENES[scene]
    plays = plays_of(listen(recognizer, make()))
    found = [play.track.title for play in plays]
    shown = [(play.track.title, round(play.start_s, 1), round(play.end_s, 1)) for play in plays]
    assert len(found) == len(expected), shown
    assert all(fnmatch(title, wanted) for title, wanted in zip(found, expected, strict=True)), shown
    assert min(play.end_s - play.start_s for play in plays) >= SHORTEST_S, shown
