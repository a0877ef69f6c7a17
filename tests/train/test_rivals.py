"""Pairs of moments that the model confuses easily."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import train_corpus
from overheard.errors import OverheardError
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.spec import SPEC
from overheard_train.data import Clips, open_data
from overheard_train.pairs import make_pairs, rivals
from overheard_train.pairs.degradation import NO_VARIATION, UNDEGRADED
from overheard_train.pairs.degraded import DegradedPairs
from overheard_train.pairs.responses import microphone_responses, room_variations
from overheard_train.pairs.rivals import N_RIVALS, RivalPairs, find_rivals
from overheard_train.recipes import RECIPES
from overheard_train.registry import Part

HOP = 8000


def clips(*recordings: np.ndarray) -> Clips:
    starts = np.cumsum([0, *map(len, recordings)])
    return Clips(np.concatenate(recordings), starts, tuple(f"{i}.wav" for i in range(len(recordings))))


def near(axis: int, cosine: float) -> FloatArray:
    """Return a unit vector with this cosine to an axis, and orthogonal to the other axes but the last."""
    vector = np.zeros(10, np.float32)
    vector[axis], vector[9] = cosine, np.sqrt(1 - cosine**2)
    return vector


def test_the_nearest_moments_of_other_music_are_found() -> None:
    loud = np.full(SPEC.segment_samples, 900, np.int16)
    second, silent = np.full(HOP, 900, np.int16), np.zeros(HOP, np.int16)
    recordings = [np.concatenate([second, loud]), np.concatenate([silent, loud]), *[loud] * 4, loud]
    axes = np.eye(10, dtype=np.float32)
    embeddings = iter(
        [
            np.stack([axes[0], axes[1]]),
            np.stack([axes[0], near(0, 0.8)]),  # the first is silent
            *(near(1, cosine)[None] for cosine in (0.5, 0.6, 0.7, 0.95)),  # the last is too near
            axes[:1],  # listed as the same music as the first recording
        ]
    )
    groups = np.array([0, 1, 2, 3, 4, 5, 0], np.int32)
    found = find_rivals(clips(*recordings), groups, lambda segments: next(embeddings)[: len(segments)], SPEC)
    assert found.tracks.tolist() == [0, 0, 1, 2, 3, 4, 5, 6]
    assert found.starts.tolist() == [0, HOP, HOP, 0, 0, 0, 0, 0]
    assert 2 in found.nearest[0]
    assert found.cosines[0] == pytest.approx(0.8)
    assert {3, 4, 5} <= set(found.nearest[1])
    assert 6 not in found.nearest[1]
    assert found.cosines[1] == pytest.approx(0.7)


def test_few_rivals_repeat_and_moments_without_rivals_are_not_drawn() -> None:
    long = np.full(SPEC.segment_samples, 900, np.int16)
    axes = np.eye(10, dtype=np.float32)
    vectors = [axes[0], near(0, 0.8), near(0, 0.7), *[axes[3]] * 4]  # the last four are one recording
    given = iter(vector[None] for vector in vectors)
    groups = np.array([0, 1, 1, 1, 1, 1, 1], np.int32)
    found = find_rivals(clips(*[long] * 7), groups, lambda _: next(given), SPEC)
    assert set(found.nearest[1]) == set(found.nearest[2]) == {0}
    groups = np.array([0, 0, 1, 2, 2, 2, 2], np.int32)
    alone = dataclasses.replace(found, cosines=np.where(found.tracks == 3, rivals.NO_RIVAL, found.cosines))
    assert 3 not in np.concatenate(alone.hardest())


def test_too_little_music_is_an_error() -> None:
    long, short = (np.full(length, 900, np.int16) for length in (SPEC.segment_samples, HOP))
    same = np.eye(1, 10, dtype=np.float32)
    for n in (1, 6):  # six moments, all with the same embedding
        with pytest.raises(OverheardError, match="too little music to find rivals in; add more with --data"):
            find_rivals(clips(*[long] * n), np.arange(n, dtype=np.int32), lambda _: same, SPEC)
    with pytest.raises(OverheardError, match="as long as a segment; add longer music with --data"):
        find_rivals(clips(short), np.zeros(1, np.int32), lambda _: same, SPEC)


def maker(share: float) -> RivalPairs:
    ramp = (np.arange(120000) // 4).astype(np.int16)
    noise = (900 * np.random.default_rng(1).standard_normal(60000)).astype(np.int16)
    response = np.eye(1, 900, 8, dtype=np.float32)[0]
    pairs = DegradedPairs(
        clips(*[ramp] * 6),
        clips(noise),
        clips(noise),
        room_variations([response], np.random.default_rng(0), 2, 2, 32768),
        microphone_responses([response], 32768),
        dataclasses.replace(UNDEGRADED, max_shift_s=0.5),
        NO_VARIATION,
    )
    tracks = np.repeat(np.arange(6), 10)
    starts = np.tile(np.arange(10) * HOP, 6)
    nearest = np.tile(
        (np.arange(60)[:, None] + 10) % 60, (1, N_RIVALS)
    )  # the same position in the next track
    cosines = np.tile(np.linspace(0.1, 0.8, 10, dtype=np.float32), 6)
    return RivalPairs(pairs, rivals.Rivals(tracks, starts, nearest, cosines), share)


def test_a_share_of_a_batch_consists_of_moments_and_their_rivals() -> None:
    segments, labels = maker(0.5).batch(np.random.default_rng(0), 16)
    assert segments.shape == (32, SPEC.n_frames, SPEC.frontend.n_mels)
    assert np.isfinite(segments).all()
    tracks = labels[:16, 1]
    assert np.array_equal(tracks[4:8], (tracks[:4] + 1) % 6)
    np.testing.assert_array_equal(labels[:, 0], np.tile(np.arange(16), 2))
    again, _ = maker(0.5).batch(np.random.default_rng(0), 16)
    np.testing.assert_array_equal(segments, again)


def test_moments_have_their_position_and_the_hardest_are_drawn() -> None:
    made = maker(1.0)
    assert [moments.tolist() for moments in made.rivals.hardest()[:2]] == [
        [9, 8, 7, 6, 5],
        [19, 18, 17, 16, 15],
    ]
    rng = np.random.default_rng(2)
    for factor in (1.0, 1.3):
        for moment in (5, 17):
            clean = made.waveforms(rng, moment, factor)[0]
            assert 4 * 32768 * clean[0] == pytest.approx(made.rivals.starts[moment], abs=0.3 * 8000 * factor)


def test_rivals_are_found_once_and_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERHEARD_CACHE_DIR", str(tmp_path / "cache"))
    data = open_data([str(train_corpus.write_corpus(tmp_path / "corpus"))])
    recipe = dataclasses.replace(RECIPES["trial"], pairs=Part("rivals", {"n_rooms": (4, 4)}))
    first, _ = make_pairs(recipe, data).batch(np.random.default_rng(0), 8)
    monkeypatch.setattr(rivals, "Embedder", None)
    second, _ = make_pairs(recipe, data).batch(np.random.default_rng(0), 8)
    np.testing.assert_array_equal(first, second)
    (cached,) = (tmp_path / "cache").glob("rivals-train-*.npz")
    cached.write_bytes(b"junk")
    with pytest.raises(OverheardError, match=f"{cached}.*delete it"):
        make_pairs(recipe, data)
