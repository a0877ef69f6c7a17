"""Real audio through the real model, catalogue and matcher."""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overheard.catalogue.pack import open_pack, write_pack
from overheard.catalogue.search import N_CANDIDATES, Candidates, Catalogue
from overheard.catalogue.track_list import TrackEntry
from overheard.demo.room import cafe
from overheard.demo.synth import Piece, synthesize
from overheard.events import Match, MusicUnknown, PlayEnded, PlayStarted
from overheard.fingerprint.embedder import Embedder, Queries, embed_waveform, fingerprint
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import default_model
from overheard.recognize.recognizer import Recognizer
from overheard.recognize.windows import Windows

RATE = 8000
SECONDS = 75.0


@pytest.fixture(scope="module")
def pieces() -> list[Piece]:
    return [synthesize(seed, SECONDS) for seed in range(200, 207)]


def entry(piece: Piece, path: str) -> TrackEntry:
    model = default_model()
    packed_cells, codes = model.encode_track(fingerprint(Embedder(model), piece.waveform))
    return TrackEntry(
        title=piece.title,
        artist=piece.artist,
        path=path,
        duration_s=SECONDS,
        packed_cells=packed_cells,
        codes=codes,
    )


@pytest.fixture(scope="module")
def recognizer(pieces: list[Piece], tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    """Six of the seven pieces, in two packs."""
    model, folder = default_model(), tmp_path_factory.mktemp("packs")
    entries = [entry(piece, f"{number}.wav") for number, piece in enumerate(pieces[:6])]
    for name, some in (("one", entries[:4]), ("two", entries[4:])):
        write_pack(folder / f"{name}.pack", name, model.digest, model.spec, some)
    packs = [open_pack(folder / f"{name}.pack", model.digest) for name in ("one", "two")]
    return Recognizer(model, packs)


def noisy(waveform: np.ndarray, snr_db: float, seed: int = 1) -> np.ndarray:
    noise = cafe(np.random.default_rng(seed), len(waveform), RATE)
    noise *= np.sqrt(np.mean(waveform**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
    mixed = waveform + noise
    return (0.5 * mixed / np.abs(mixed).max()).astype(np.float32)


def cut(piece: Piece, start_s: float, length_s: float) -> np.ndarray:
    return piece.waveform[int(start_s * RATE) :][: int(length_s * RATE)]


@pytest.mark.parametrize(
    ("number", "start_s", "length_s"), [(0, 10.37, 2), (2, 33.3, 3), (5, 51.9, 5), (4, 7.7, 10)]
)
def test_clips_are_recognized(
    recognizer: Recognizer, pieces: list[Piece], number: int, start_s: float, length_s: float
) -> None:
    found = recognizer.identify(cut(pieces[number], start_s, length_s))
    assert found.verdict == "recognized"
    assert len(found.plays) == 1
    assert found.plays[0].track.title == pieces[number].title
    assert found.plays[0].track.pack == ("one" if number < 4 else "two")
    assert found.plays[0].offset_s == pytest.approx(start_s, abs=0.3)
    assert found.best is not None
    assert found.best.score >= found.best.threshold


def test_noisy_clips_are_recognized(recognizer: Recognizer, pieces: list[Piece]) -> None:
    right = 0
    for number in range(6):
        found = recognizer.identify(noisy(cut(pieces[number], 20.2 + number, 10), 3.0, number))
        titles = [play.track.title for play in found.plays]
        assert titles in ([], [pieces[number].title])
        right += bool(titles)
    assert right >= 5


@pytest.mark.parametrize("length_s", [9.0, 14.9, 15.5, 15.99, 16.1, 29.0])
def test_music_that_barely_matches_throughout_is_recognized_at_any_length(
    recognizer: Recognizer, pieces: list[Piece], monkeypatch: pytest.MonkeyPatch, length_s: float
) -> None:
    track = recognizer.index.track(0)

    def barely(window: object, start_s: float, end_s: float, *_: object, **others: object) -> Match:
        return Match(track, start_s, end_s, 10 + start_s, 4.1, 4.0, 0.98, 0.1)

    monkeypatch.setattr(recognizer.matcher, "match", barely)
    found = recognizer.identify(cut(pieces[0], 10.0, length_s))
    assert [play.track for play in found.plays] == [track]


@pytest.mark.parametrize(
    ("number", "most_embedded"), [(0, 0.8), (6, 1.0)], ids=["catalogue music", "unknown music"]
)
def test_the_cost_of_a_recording_grows_no_faster_than_its_length(
    recognizer: Recognizer,
    pieces: list[Piece],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    most_embedded: float,
) -> None:
    counts = {"embedded": 0, "searched": 0, "matched": 0}
    query, candidates = recognizer.embedder.query, recognizer.index.candidates
    match = recognizer.matcher.match

    def counted_query(segments: FloatArray) -> Queries:
        counts["embedded"] += len(segments)
        return query(segments)

    def counted_candidates(queries: FloatArray, without: Collection[int] = (), **others: Any) -> Candidates:
        counts["searched"] += len(queries)
        return candidates(queries, without, **others)

    def counted_match(*arguments: Any, **others: Any) -> Match | None:
        counts["matched"] += 1
        return match(*arguments, **others)

    monkeypatch.setattr(recognizer.matcher, "match", counted_match)
    monkeypatch.setattr(recognizer.embedder, "query", counted_query)
    monkeypatch.setattr(recognizer.index, "candidates", counted_candidates)
    per_second = {}
    lengths_s = (16.1, 17.0, 20.0, 31.0, 45.0, 60.0)
    for length_s in (15.0, *lengths_s):
        counts |= dict.fromkeys(counts, 0)
        recognizer.identify(np.resize(pieces[number].waveform, int(length_s * RATE)))
        per_second[length_s] = {name: count / length_s for name, count in counts.items()}
    assert per_second[15.0]["embedded"] > 1.5  # 1.3 in the coarse pass; the rest varies
    for length_s in lengths_s:
        assert per_second[length_s]["embedded"] < most_embedded * per_second[15.0]["embedded"]
        assert per_second[length_s]["searched"] < 0.95 * per_second[15.0]["searched"]  # pays for more windows
        assert per_second[length_s]["matched"] < 1.3  # of unknown music, also at other speeds


@pytest.mark.parametrize("batch_s", [5.0, 30.0])
def test_sound_that_is_processed_in_batches_gives_the_same_plays(
    recognizer: Recognizer, pieces: list[Piece], batch_s: float
) -> None:
    waveform = evening(pieces)
    windows = dataclasses.replace(Windows.of_recording(len(waveform) / RATE), batch_s=0.0)
    plays = []
    for each in (windows, dataclasses.replace(windows, batch_s=batch_s)):
        listener, events = recognizer.listener(each), []
        for start in range(0, len(waveform), RATE):
            events += listener.process(waveform[start : start + RATE])
        events += listener.finish()
        plays.append([event.play for event in events if isinstance(event, PlayEnded)])
    assert len(plays[0]) == len(plays[1]) == 2
    for one, two in zip(*plays, strict=True):
        assert one.track == two.track
        assert (two.start_s, two.end_s) == pytest.approx((one.start_s, one.end_s), abs=0.01)


@pytest.mark.parametrize(
    "length_s", [0.0, 0.9, 5.0, 16.1, 40.0, 63.9, 70.0, pytest.param(460.0, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("block", [1777, 40_000])
def test_a_recording_gives_the_same_answer_at_once_and_in_blocks(
    recognizer: Recognizer, pieces: list[Piece], length_s: float, block: int
) -> None:
    whole = np.concatenate([evening(pieces)[RATE:], np.zeros(320 * RATE, np.float32), evening(pieces)])
    waveform = whole[: int(length_s * RATE)]
    blocks = (waveform[i : i + block] for i in range(0, len(waveform), block))
    assert recognizer.identify_blocks(blocks) == recognizer.identify(waveform)


@pytest.mark.slow
def test_a_recording_of_many_hours_takes_bounded_memory(recognizer: Recognizer) -> None:
    silence = np.zeros(60 * RATE, np.float32)
    recognizer.identify(silence)
    tracemalloc.start()
    try:
        found = recognizer.identify_blocks(silence for _ in range(10 * 60))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (found.verdict, found.duration_s) == ("silence", 36_000)
    assert peak < 50e6  # all ten hours would be 1.2 GB


def test_silence_and_unknown(recognizer: Recognizer, pieces: list[Piece]) -> None:
    silent = recognizer.identify(np.zeros(5 * RATE, dtype=np.float32))
    assert (silent.verdict, silent.plays, silent.best) == ("silence", (), None)
    unknown = recognizer.identify(cut(pieces[6], 12.0, 10))
    assert (unknown.verdict, unknown.plays) == ("unknown", ())
    assert unknown.best is not None
    assert unknown.best.score < unknown.best.threshold


@pytest.mark.parametrize(
    ("n_samples", "verdict"),
    [(0, "silence"), (1, "unknown"), (100, "unknown"), (8000, "recognized"), (12774, "recognized")],
)
def test_very_short_recordings_are_not_recognized_as_another_track(
    recognizer: Recognizer, pieces: list[Piece], n_samples: int, verdict: str
) -> None:
    found = recognizer.identify(pieces[0].waveform[8000:][:n_samples])
    assert found.duration_s == n_samples / RATE
    assert found.verdict == verdict
    assert (found.verdict == "recognized") == bool(found.plays)
    assert {play.track.title for play in found.plays} <= {pieces[0].title}
    assert all(play.end_s <= found.duration_s for play in found.plays)
    assert found.verdict != "silence" or found.best is None


def evening(pieces: list[Piece]) -> np.ndarray:
    """20 s of piece 1, 6 s pause, 25 s of the unknown piece, 20 s of piece 4, as a microphone hears them."""
    pause = np.zeros(6 * RATE, dtype=np.float32)
    parts = [cut(pieces[1], 30, 20), pause, cut(pieces[6], 5, 25), cut(pieces[4], 12, 20)]
    return np.concatenate(parts)


def test_a_long_recording_gives_a_timeline(recognizer: Recognizer, pieces: list[Piece]) -> None:
    found = recognizer.identify(evening(pieces))
    assert [play.track.title for play in found.plays] == [pieces[1].title, pieces[4].title]
    first, second = found.plays
    assert first.start_s == pytest.approx(0, abs=2)
    assert first.end_s == pytest.approx(20, abs=3)
    assert first.offset_s == pytest.approx(30 + first.start_s, abs=0.5)
    assert second.start_s == pytest.approx(51, abs=3.5)
    assert second.end_s == pytest.approx(71, abs=3)


def test_block_sizes_do_not_matter(
    recognizer: Recognizer, pieces: list[Piece], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        recognizer, "scheduled", False
    )  # when it searches unknown music depends on small changes
    waveform, rng = evening(pieces), np.random.default_rng(3)
    plays = []
    for largest in (200, 4000, 30000):
        listener, events, start = recognizer.listener(), [], 0
        while start < len(waveform):
            size = int(rng.integers(1, largest))
            events += listener.process(waveform[start : start + size])
            start += size
        events += listener.finish()
        plays.append([e.play for e in events if isinstance(e, PlayEnded)])
        assert sum(isinstance(e, PlayStarted) for e in events) == len(plays[-1])
        assert any(isinstance(e, MusicUnknown) for e in events)
    for other in plays[1:]:
        for one, two in zip(plays[0], other, strict=True):
            assert one.track == two.track
            assert one.start_s == pytest.approx(two.start_s, abs=4)  # the gate opens on whole blocks
            assert one.end_s == pytest.approx(two.end_s, abs=4)


def test_a_play_stays_with_its_track_if_the_catalogue_contains_it_twice(
    pieces: list[Piece], tmp_path: Path
) -> None:
    model, piece = default_model(), pieces[3]
    other = dataclasses.replace(piece, title="The same", waveform=noisy(piece.waveform[4000:], 20.0))
    entries = [entry(piece, "a.wav"), entry(other, "b.wav")]  # on grids half a second apart
    write_pack(tmp_path / "twice.pack", "twice", model.digest, model.spec, entries)
    listener = Recognizer(model, [open_pack(tmp_path / "twice.pack", model.digest)]).listener()
    events = listener.process(noisy(cut(piece, 5, 60), 10.0)) + listener.finish()
    (play,) = [event.play for event in events if isinstance(event, PlayEnded)]
    assert play.end_s - play.start_s == pytest.approx(60, abs=4)


def test_lost_audio_does_not_shift_the_clock(recognizer: Recognizer, pieces: list[Piece]) -> None:
    listener = recognizer.listener()
    events = listener.process(cut(pieces[0], 0, 15)) + listener.gap(30 * RATE)
    events += listener.process(cut(pieces[2], 20, 15)) + listener.finish()
    plays = [e.play for e in events if isinstance(e, PlayEnded)]
    assert [play.track.title for play in plays] == [pieces[0].title, pieces[2].title]
    assert plays[1].start_s == pytest.approx(45, abs=2)
    assert plays[1].offset_s == pytest.approx(plays[1].start_s - 45 + 20, abs=0.5)


def test_chunked_embedding_equals_whole(pieces: list[Piece]) -> None:
    model = default_model()
    embedder = Embedder(model)
    long = np.concatenate([piece.waveform for piece in pieces[:4]])  # more segments than one chunk holds
    embeddings = fingerprint(embedder, long)
    hop = model.spec.hop_frames * model.spec.frontend.hop_length
    assert len(embeddings) == (len(long) - model.spec.segment_samples) // hop + 1 > 256
    for number in (0, 100, 255, 256, 257, len(embeddings) - 1):
        alone = fingerprint(embedder, long[number * hop :][: model.spec.segment_samples])
        assert float(alone[0] @ embeddings[number]) > 0.999


def test_candidates_are_the_nearest_codes(recognizer: Recognizer, pieces: list[Piece]) -> None:
    catalogue = recognizer.index
    assert isinstance(catalogue, Catalogue)
    queries = embed_waveform(recognizer.embedder, noisy(cut(pieces[4], 11, 10), 5.0), 16)
    exact = catalogue.similarities(queries, np.arange(catalogue.n_segments))
    found = catalogue.candidates(queries)
    hits = [best in row for best, row in zip(exact.argmax(axis=1), found.segments, strict=True)]
    assert np.mean(hits) > 0.8
    assert found.segments.shape == (len(queries), N_CANDIDATES)
    np.testing.assert_allclose(found.similarities, np.take_along_axis(exact, found.segments, 1), atol=1e-5)


def test_candidates_ignore_the_excluded_tracks(recognizer: Recognizer, pieces: list[Piece]) -> None:
    catalogue = recognizer.index
    assert isinstance(catalogue, Catalogue)
    queries = embed_waveform(recognizer.embedder, cut(pieces[4], 11, 4), 16)
    everything = catalogue.candidates(queries)
    own = int(np.searchsorted(catalogue.first_segment, everything.segments[0, 0], side="right")) - 1
    assert catalogue.track(own).title == pieces[4].title
    others = catalogue.candidates(queries, without={own})
    tracks = np.searchsorted(catalogue.first_segment, others.segments, side="right") - 1
    assert not np.any(tracks == own)
    assert np.all(others.segments >= 0)


def test_two_packs_answer_as_one(recognizer: Recognizer, pieces: list[Piece], tmp_path: Path) -> None:
    model = default_model()
    entries = [entry(piece, f"{number}.wav") for number, piece in enumerate(pieces[:6])]
    write_pack(tmp_path / "all.pack", "all", model.digest, model.spec, entries)
    joined = Recognizer(model, [open_pack(tmp_path / "all.pack", model.digest)])
    for number in (1, 5):
        clip = noisy(cut(pieces[number], 40.4, 5), 6.0)
        one, two = recognizer.identify(clip), joined.identify(clip)
        assert one.best is not None
        assert two.best is not None
        assert one.best.track.title == two.best.track.title
        assert one.best.score == pytest.approx(two.best.score, abs=1e-3)


def test_compact_packs_recognize_what_full_ones_do_and_mix_with_them(
    pieces: list[Piece], tmp_path: Path
) -> None:
    model = default_model()
    n_compact = model.quantizer.widths[0]
    entries = [entry(piece, f"{number}.wav") for number, piece in enumerate(pieces[:4])]
    halves = [dataclasses.replace(e, codes=e.codes[:, :n_compact]) for e in entries]
    write_pack(tmp_path / "compact.pack", "compact", model.digest, model.spec, halves[:2])
    write_pack(tmp_path / "full.pack", "full", model.digest, model.spec, entries[2:])
    packs = [open_pack(tmp_path / f"{name}.pack", model.digest) for name in ("compact", "full")]
    for chosen, numbers in ((packs[:1], (0, 1)), (packs, (0, 1, 2, 3))):
        recognizer = Recognizer(model, chosen)
        for number in numbers:
            match = recognizer.identify(cut(pieces[number], 30.3, 6)).best
            assert match is not None
            assert match.accepted
            assert match.track.title == pieces[number].title
            assert match.offset_s == pytest.approx(30.3, abs=0.3)
