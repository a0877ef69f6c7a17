"""Pair makers: shape, reproducibility, and the effect of each degradation."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.fft

from overheard.errors import OverheardError
from overheard.fingerprint.spec import SPEC
from overheard.hear.resampler import to_float
from overheard_train.data import Clips, open_data
from overheard_train.pairs import degraded, labels_of, make_pairs, responses
from overheard_train.pairs.degradation import NO_VARIATION, Degradation, Variation
from overheard_train.pairs.degraded import DegradedPairs
from overheard_train.pairs.labels import near_duplicate_groups
from overheard_train.pairs.waveforms import resample_about
from overheard_train.pairs.white_noise import WhiteNoisePairs, add_white_noise
from overheard_train.recipes import RECIPES
from overheard_train.registry import Part

NONE = Degradation(
    max_shift_s=0,
    room=0,
    noise=0,
    noise_resample=0,
    noise_room=0,
    noise_swell_db=0,
    microphone=0,
    band_limit=0,
    overdrive=0,
    hiss=0,
    speed=0,
    mask=0,
)
WINDOW = degraded.WINDOW_SAMPLES
N_BINS = WINDOW // 2 + 1


def clips(*samples: np.ndarray) -> Clips:
    starts = np.cumsum([0, *(len(part) for part in samples)])
    return Clips(np.concatenate(samples), starts, tuple(f"{i}.wav" for i in range(len(samples))))


def hiss(seed: int, n_samples: int = 60000) -> np.ndarray:
    return (3000 * np.random.default_rng(seed).standard_normal(n_samples)).astype(np.int16)


def response(seed: int = 0) -> np.ndarray:
    """Return a direct sound and a decaying tail."""
    rng, n_samples = np.random.default_rng(seed), 6000
    samples = 0.05 * rng.standard_normal(n_samples) * np.exp(-np.arange(n_samples) / 1500)
    samples[50] = 1
    return samples.astype(np.float32)


def pair_maker(
    degradation: Degradation | None = None,
    variation: Variation | None = None,
    n_tracks: int = 10,
    sound: bool = True,
) -> DegradedPairs:
    rng = np.random.default_rng(0)
    level = 1 if sound else 0
    return DegradedPairs(
        clips(*(level * hiss(i) for i in range(n_tracks))),
        clips(level * hiss(100), level * hiss(101, 20000)),
        clips(level * hiss(200), level * hiss(201, 5000)),
        responses.room_variations([response(0), response(1)], rng, 4, 4, WINDOW),
        responses.microphone_responses([response(2)[:800]], WINDOW),
        degradation,
        variation,
    )


def test_batches_have_the_documented_shape_and_are_finite() -> None:
    batch, labels = pair_maker().batch(np.random.default_rng(1), 6)
    assert labels.shape == (12, 2)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels[:6], labels[6:])
    np.testing.assert_array_equal(labels[:6, 0], np.arange(6))
    assert batch.shape == (12, SPEC.n_frames, SPEC.frontend.n_mels)
    assert batch.dtype == np.float32
    assert np.isfinite(batch).all()
    assert np.all(batch[:6].std(axis=(1, 2)) > 0.05)


def test_a_seed_always_gives_the_same_batch() -> None:
    one, two = pair_maker(), pair_maker()
    first, labels = one.batch(np.random.default_rng([3, 4]), 4)
    for maker in (two, one):
        again, same = maker.batch(np.random.default_rng([3, 4]), 4)
        np.testing.assert_array_equal(first, again)
        np.testing.assert_array_equal(labels, same)
    assert np.abs(first - one.batch(np.random.default_rng([3, 5]), 4)[0]).max() > 0.1


def test_without_degradation_both_rows_are_equal() -> None:
    clean, heard = np.split(pair_maker(NONE, NO_VARIATION).batch(np.random.default_rng(2), 4)[0], 2)
    np.testing.assert_allclose(heard, clean, atol=1e-3)
    assert not np.allclose(clean[0], clean[1], atol=0.1)


def test_the_shift_stays_within_half_the_hop() -> None:
    maker = pair_maker(dataclasses.replace(NONE, max_shift_s=0.5), NO_VARIATION)
    rng, size = np.random.default_rng(3), 2 * SPEC.segment_samples
    shifts = []
    for track in [0, 1, 2, 3] * 10:
        clean, heard = maker.waveforms(rng, track)
        product = scipy.fft.rfft(clean, size) * np.conj(scipy.fft.rfft(heard, size))
        correlation = scipy.fft.irfft(product, size)
        shifts.append((int(np.argmax(correlation)) + size // 2) % size - size // 2)
    assert max(map(abs, shifts)) <= 0.5 * responses.RATE
    assert min(shifts) < -500
    assert max(shifts) > 500


@pytest.mark.parametrize("snr_db", [-8.0, 0.0, 15.0])
def test_noise_has_the_requested_ratio(snr_db: float) -> None:
    maker = pair_maker(dataclasses.replace(NONE, noise=1.0, snr_db=(snr_db, snr_db)), NO_VARIATION)
    rng = np.random.default_rng(4)
    ratios_db = []
    for track in range(10):
        clean, heard = maker.waveforms(rng, track)
        music = clean * (np.vdot(clean, heard) / np.vdot(clean, clean))
        ratios_db.append(10 * np.log10(np.sum(music**2) / np.sum((heard - music) ** 2)))
    assert np.abs(np.array(ratios_db) - snr_db).max() < 1.5  # the ratio holds for the whole window only
    assert np.mean(ratios_db) == pytest.approx(snr_db, abs=0.5)


@pytest.mark.parametrize("change", [{"noise_room": 1.0}, {"noise_resample": 1.0}, {"noise_swell_db": 20.0}])
def test_varied_noise_differs_at_a_similar_level(change: dict[str, Any]) -> None:
    plain = dataclasses.replace(NONE, noise=1.0, snr_db=(0.0, 0.0))
    different = 0
    makers = [pair_maker(each, NO_VARIATION) for each in (plain, dataclasses.replace(plain, **change))]
    for seed in range(60):  # includes every kind of noise
        pair = [maker.waveforms(np.random.default_rng(seed), 0)[1] for maker in makers]
        different += not np.allclose(pair[0], pair[1], atol=1e-2)
        powers = [float(np.mean(heard**2)) for heard in pair]
        assert powers[0] / 3 < powers[1] < powers[0] * 3
    assert different > 0


def test_no_track_is_drawn_twice_if_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    maker, seen = pair_maker(NONE, NO_VARIATION), []

    def waveforms(_rng: np.random.Generator, track: int) -> tuple[np.ndarray, np.ndarray]:
        seen.append(track)
        return (np.zeros(SPEC.segment_samples, np.float32),) * 2

    monkeypatch.setattr(maker, "waveforms", waveforms)
    maker.batch(np.random.default_rng(5), 10)
    assert sorted(seen) == list(range(10))
    seen.clear()
    maker.batch(np.random.default_rng(6), 25)
    assert set(np.bincount(seen, minlength=10)) == {2, 3}


def test_silent_and_short_recordings_give_finite_batches() -> None:
    silent = pair_maker(sound=False)
    assert np.isfinite(silent.batch(np.random.default_rng(7), 12)[0]).all()
    sounding = pair_maker()
    mixed = DegradedPairs(
        clips(np.zeros(50000, np.int16), hiss(1, 100), hiss(2), np.zeros(0, np.int16)),
        clips(np.zeros(9, np.int16), hiss(3, 40)),
        clips(hiss(4, 1), np.zeros(40000, np.int16)),
        sounding.rooms,
        sounding.microphones,
    )
    for seed in range(4):
        assert np.isfinite(mixed.batch(np.random.default_rng(seed), 8)[0]).all()


def test_fully_degraded_waveforms_are_float32_and_finite() -> None:
    every = Degradation(
        room=1, noise=1, microphone=1, band_limit=1, overdrive=1, hiss=1, speed=1, max_speed=0.05, mask=1
    )
    maker = pair_maker(every, Variation(resample=1, reverse=1, equalize=1, overlay=1))
    for wave in maker.waveforms(np.random.default_rng(8), 0):
        assert wave.shape == (SPEC.segment_samples,)
        assert wave.dtype == np.float32
        assert np.isfinite(wave).all()


def test_masks_cover_frames_or_mels_of_degraded_rows_only() -> None:
    maker = pair_maker(dataclasses.replace(NONE, mask=1.0), NO_VARIATION)
    clean, heard = np.split(maker.batch(np.random.default_rng(9), 10)[0], 2)
    masked = np.abs(clean - heard) > 1e-3
    some = [mask for mask in masked if mask.any()]
    assert len(some) >= 5  # 84% of them have a mask
    for mask in some:
        covered = np.sum(mask.mean(axis=1) > 0.9) + np.sum(
            mask.mean(axis=0) > 0.9
        )  # some values equal the fill
        assert 0 < covered <= maker.degradation.max_mask_frames + maker.degradation.max_mask_mels


def test_rooms_keep_the_ratio_of_direct_sound_to_tail() -> None:
    rooms = responses.room_variations([response(3)], np.random.default_rng(10), 30, 10, WINDOW)
    assert rooms.shape == (40, N_BINS)
    assert rooms.dtype == np.complex64
    np.testing.assert_allclose(np.mean(np.abs(rooms) ** 2, axis=1), 1, rtol=1e-3)
    for spectrum in rooms[:30]:
        samples = scipy.fft.irfft(spectrum, WINDOW)
        direct_end = 8 + int(0.0025 * responses.RATE)
        ratio = np.sum(samples[:direct_end] ** 2) / np.sum(samples[direct_end:] ** 2)
        assert -15.2 <= 10 * np.log10(ratio) <= 12.2
        assert np.abs(samples[int(1.2 * responses.RATE) :]).max() < 1e-4  # not longer than the context


def test_equalizers_are_positive_and_band_limits_cut_low_frequencies() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        equalizer = responses.random_equalizer(rng, 10.0, WINDOW)
        limits = responses.band_limit(rng, WINDOW)
        assert equalizer.shape == limits.shape == (N_BINS,)
        assert equalizer.dtype == limits.dtype == np.float32
        assert np.all(equalizer > 0)
        assert limits[0] == 0
        middle = np.abs(np.exp(responses.log_frequencies(WINDOW)) - 1000) < 200
        assert np.all(limits[middle] > 0.9)
        assert limits.max() <= 1


def test_a_change_of_speed_keeps_the_center() -> None:
    ramp = np.arange(WINDOW, dtype=np.float32)
    faster = resample_about(ramp, 1.006, 16000.0)
    assert faster[16000] == pytest.approx(16000, abs=0.01)
    assert faster[17000] - faster[16000] == pytest.approx(1006, abs=0.1)


def test_further_views_are_other_degradations_of_the_same_moment() -> None:
    maker = pair_maker(dataclasses.replace(NONE, noise=1.0, snr_db=(0.0, 0.0)), NO_VARIATION)
    maker.views = 3
    segments, labels = maker.batch(np.random.default_rng(1), 5)
    clean, one, other = np.split(segments, 3)
    assert np.abs(one - other).max() > 0.1
    for heard in (one, other):  # nearer to its own moment than to any other
        distances = np.mean((heard[:, None] - clean[None]) ** 2, axis=(2, 3))
        np.testing.assert_array_equal(np.argmin(distances, axis=1), np.arange(5))
    np.testing.assert_array_equal(labels, np.tile(labels[:5], (3, 1)))


def test_longer_windows_give_longer_moments() -> None:
    window, rng = 2**16, np.random.default_rng(0)
    maker = DegradedPairs(
        clips(hiss(0, 90000)),
        clips(hiss(1)),
        clips(hiss(2)),
        responses.room_variations([response(0)], rng, 2, 2, window),
        responses.microphone_responses([response(2)[:800]], window),
        dataclasses.replace(NONE, room=1.0),
        NO_VARIATION,
        window_samples=window,
    )
    music = to_float(maker.music.clip(0)[:window])
    (clean, heard), start = maker.views_of(rng, music, 40000)
    np.testing.assert_array_equal(clean, music[start : start + 40000])
    assert heard.shape == (40000,)
    assert np.corrcoef(clean, heard)[0, 1] > 0.1


def test_white_noise_has_the_requested_ratio() -> None:
    clean = to_float(hiss(0))
    noise = add_white_noise(np.random.default_rng(2), clean, 6.0) - clean
    assert 10 * np.log10(np.mean(clean**2) / np.mean(noise**2)) == pytest.approx(6, abs=0.2)


def test_white_noise_pairs_have_the_documented_shape() -> None:
    maker = WhiteNoisePairs(SPEC, clips(hiss(0), hiss(1)), (6.0, 6.0))
    segments, labels = maker.batch(np.random.default_rng(3), 4)
    assert segments.shape == (8, SPEC.n_frames, SPEC.frontend.n_mels)
    assert np.isfinite(segments).all()
    assert np.bincount(labels[:4, 1]).tolist() == [2, 2]


def test_near_duplicates_have_the_same_label(tmp_path: Path) -> None:
    listed = tmp_path / "pairs.json"
    listed.write_text(json.dumps({"pairs": [["a", "c"], ["c", "d"], ["b", "elsewhere"]]}))
    a, b, c, d = near_duplicate_groups(["a", "b", "c", "d"], listed)
    assert a == c == d != b
    assert len(set(near_duplicate_groups(["a", "b", "c"], tmp_path / "none.json").tolist())) == 3
    np.testing.assert_array_equal(labels_of(np.array([7, 9], np.int32), 2), [[0, 7], [1, 9]] * 2)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_makes_pairs_of_its_own_segments(name: str, corpus: Path) -> None:
    recipe = RECIPES[name]
    few: dict[str, Any] = {"n_rooms": (2, 2)} if recipe.pairs.name in ("degraded", "rivals") else {}
    if recipe.pairs.name == "taught":
        few = {"n_moments": 48}
    pairs = Part(recipe.pairs.name, {**recipe.pairs.options, **few})
    for split in ("train", "valid"):
        maker = make_pairs(dataclasses.replace(recipe, pairs=pairs), open_data([corpus]), split)
        segments, labels = maker.batch(np.random.default_rng(0), 3)
        size = (recipe.spec.n_frames, recipe.spec.frontend.n_mels)
        assert segments.shape == (3 * recipe.views, *size)
        n_others = recipe.pairs.options.get("n_others", 0)
        # The teacher's embedding of the pair, then a number and an embedding of each other moment.
        n_taught = recipe.spec.dim + n_others * (1 + recipe.spec.dim)
        assert labels.shape == (3 * recipe.views, 2 + (n_taught if recipe.pairs.name == "taught" else 0))
        assert np.isfinite(segments).all()
        assert segments.dtype == np.float32
        clean, heard = segments[:3], segments[3:6]
        assert np.abs(clean - heard).max() > 0.05


def test_unknown_pair_makers_are_errors(corpus: Path) -> None:
    recipe = dataclasses.replace(RECIPES["trial"], pairs=Part("mixup"))
    listed = "unknown pair maker mixup; choose one of degraded, rivals, taught, white_noise"
    with pytest.raises(OverheardError, match=listed):
        make_pairs(recipe, open_data([corpus]))
