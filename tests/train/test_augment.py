from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.fft

from overheard.spec import SPEC
from overheard_train import augment, responses
from overheard_train.augment import Degradation, PairMaker, Variation
from overheard_train.dataset import Clips

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
AS_IS = Variation(resample=0, reverse=0, equalize=0, overlay=0)
N_BINS = augment.WINDOW_SAMPLES // 2 + 1


def clips(*samples: np.ndarray) -> Clips:
    starts = np.cumsum([0, *(len(part) for part in samples)])
    return Clips(np.concatenate(samples), starts, tuple(f"{i}.wav" for i in range(len(samples))))


def hiss(seed: int, n_samples: int = 60000) -> np.ndarray:
    return (3000 * np.random.default_rng(seed).standard_normal(n_samples)).astype(np.int16)


def response(seed: int = 0) -> np.ndarray:
    """A direct sound and a tail that decays."""
    rng, n_samples = np.random.default_rng(seed), 6000
    samples = 0.05 * rng.standard_normal(n_samples) * np.exp(-np.arange(n_samples) / 1500)
    samples[50] = 1
    return samples.astype(np.float32)


def pair_maker(
    degradation: Degradation | None = None,
    variation: Variation | None = None,
    n_tracks: int = 10,
    sound: bool = True,
) -> PairMaker:
    rng = np.random.default_rng(0)
    level = 1 if sound else 0
    return PairMaker(
        clips(*(level * hiss(i) for i in range(n_tracks))),
        clips(level * hiss(100), level * hiss(101, 20000)),
        clips(level * hiss(200), level * hiss(201, 5000)),
        responses.room_variations([response(0), response(1)], rng, 4, 4),
        responses.microphone_responses([response(2)[:800]]),
        degradation,
        variation,
    )


def test_batches_have_their_shape_and_are_finite() -> None:
    batch = pair_maker().batch(np.random.default_rng(1), 6)
    assert batch.shape == (12, SPEC.n_frames, SPEC.frontend.n_mels) and batch.dtype == np.float32
    assert np.isfinite(batch).all()
    assert np.all(batch[:6].std(axis=(1, 2)) > 0.05)


def test_a_seed_gives_the_same_batch_always() -> None:
    one, two = pair_maker(), pair_maker()
    first = one.batch(np.random.default_rng([3, 4]), 4)
    np.testing.assert_array_equal(first, two.batch(np.random.default_rng([3, 4]), 4))
    np.testing.assert_array_equal(first, one.batch(np.random.default_rng([3, 4]), 4))
    assert np.abs(first - one.batch(np.random.default_rng([3, 5]), 4)).max() > 0.1


def test_without_degradation_both_sides_are_the_same() -> None:
    clean, degraded = np.split(pair_maker(NONE, AS_IS).batch(np.random.default_rng(2), 4), 2)
    np.testing.assert_allclose(degraded, clean, atol=1e-3)
    assert not np.allclose(clean[0], clean[1], atol=0.1)


def test_the_shift_stays_within_half_the_hop() -> None:
    maker = pair_maker(dataclasses.replace(NONE, max_shift_s=0.5), AS_IS)
    rng, size = np.random.default_rng(3), 2 * SPEC.segment_samples
    shifts = []
    for track in [0, 1, 2, 3] * 10:
        clean, heard = maker.waveforms(rng, track)
        product = scipy.fft.rfft(clean, size) * np.conj(scipy.fft.rfft(heard, size))
        correlation = scipy.fft.irfft(product, size)
        shifts.append((int(np.argmax(correlation)) + size // 2) % size - size // 2)
    assert max(map(abs, shifts)) <= 0.5 * augment.RATE
    assert min(shifts) < -500 and max(shifts) > 500


@pytest.mark.parametrize("snr_db", [-8.0, 0.0, 15.0])
def test_noise_comes_at_the_ratio_that_was_asked_for(snr_db: float) -> None:
    maker = pair_maker(dataclasses.replace(NONE, noise=1.0, snr_db=(snr_db, snr_db)), AS_IS)
    rng = np.random.default_rng(4)
    found = []
    for track in range(10):
        clean, heard = maker.waveforms(rng, track)
        music = clean * (np.vdot(clean, heard) / np.vdot(clean, clean))
        found.append(10 * np.log10(np.sum(music**2) / np.sum((heard - music) ** 2)))
    assert np.abs(np.array(found) - snr_db).max() < 1.5  # one segment of a window, at that
    assert np.mean(found) == pytest.approx(snr_db, abs=0.5)


@pytest.mark.parametrize("change", [{"noise_room": 1.0}, {"noise_resample": 1.0}, {"noise_swell_db": 20.0}])
def test_varied_noise_is_other_noise_about_as_loud(change: dict[str, float]) -> None:
    plain = dataclasses.replace(NONE, noise=1.0, snr_db=(0.0, 0.0))
    different = 0
    for seed in range(60):  # each kind of noise comes
        pair = [
            pair_maker(degradation, AS_IS).waveforms(np.random.default_rng(seed), 0)[1]
            for degradation in (plain, dataclasses.replace(plain, **change))
        ]
        different += not np.allclose(*pair, atol=1e-2)
        powers = [float(np.mean(heard**2)) for heard in pair]
        assert powers[0] / 3 < powers[1] < powers[0] * 3
    assert different > 0


def test_no_track_comes_twice_where_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    maker, seen = pair_maker(NONE, AS_IS), []

    def waveforms(_rng: np.random.Generator, track: int) -> tuple[np.ndarray, np.ndarray]:
        seen.append(track)
        return (np.zeros(SPEC.segment_samples, np.float32),) * 2

    monkeypatch.setattr(maker, "waveforms", waveforms)
    maker.batch(np.random.default_rng(5), 10)
    assert sorted(seen) == list(range(10))
    seen.clear()
    maker.batch(np.random.default_rng(6), 25)
    assert set(np.bincount(seen, minlength=10)) == {2, 3}


def test_silent_and_short_recordings_do_no_harm() -> None:
    silent = pair_maker(sound=False)
    assert np.isfinite(silent.batch(np.random.default_rng(7), 12)).all()
    sounding = pair_maker()
    mixed = PairMaker(
        clips(np.zeros(50000, np.int16), hiss(1, 100), hiss(2), np.zeros(0, np.int16)),
        clips(np.zeros(9, np.int16), hiss(3, 40)),
        clips(hiss(4, 1), np.zeros(40000, np.int16)),
        sounding.rooms,
        sounding.microphones,
    )
    for seed in range(4):
        assert np.isfinite(mixed.batch(np.random.default_rng(seed), 8)).all()


def test_waveforms_stay_float32_and_full_degradation_is_finite() -> None:
    every = Degradation(
        room=1, noise=1, microphone=1, band_limit=1, overdrive=1, hiss=1, speed=1, max_speed=0.05, mask=1
    )
    maker = pair_maker(every, Variation(resample=1, reverse=1, equalize=1, overlay=1))
    for wave in maker.waveforms(np.random.default_rng(8), 0):
        assert wave.shape == (SPEC.segment_samples,) and wave.dtype == np.float32
        assert np.isfinite(wave).all()


def test_masks_cover_whole_frames_or_mels_of_the_degraded_side_only() -> None:
    maker = pair_maker(dataclasses.replace(NONE, mask=1.0), AS_IS)
    clean, degraded = np.split(maker.batch(np.random.default_rng(9), 10), 2)
    masked = np.abs(clean - degraded) > 1e-3
    some = [mask for mask in masked if mask.any()]
    assert len(some) >= 5  # of ten, 84% get one
    for mask in some:
        covered = np.sum(mask.mean(axis=1) > 0.9) + np.sum(mask.mean(axis=0) > 0.9)  # some equal the fill
        assert 0 < covered <= maker.degradation.max_mask_frames + maker.degradation.max_mask_mels


def test_rooms_keep_the_ratio_of_direct_sound_to_tail() -> None:
    rooms = responses.room_variations([response(3)], np.random.default_rng(10), 30, 10)
    assert rooms.shape == (40, N_BINS) and rooms.dtype == np.complex64
    np.testing.assert_allclose(np.mean(np.abs(rooms) ** 2, axis=1), 1, rtol=1e-3)
    for spectrum in rooms[:30]:
        samples = scipy.fft.irfft(spectrum, augment.WINDOW_SAMPLES)
        direct_end = 8 + int(0.0025 * augment.RATE)
        ratio = np.sum(samples[:direct_end] ** 2) / np.sum(samples[direct_end:] ** 2)
        assert -15.2 <= 10 * np.log10(ratio) <= 12.2
        assert np.abs(samples[int(1.2 * augment.RATE) :]).max() < 1e-4  # rings no longer than the context


def test_filters_are_positive_and_band_limits_cut() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        equalizer, limits = responses.random_equalizer(rng, 10.0), responses.band_limit(rng)
        assert equalizer.shape == limits.shape == (N_BINS,) and equalizer.dtype == limits.dtype == np.float32
        assert np.all(equalizer > 0) and limits[0] == 0
        middle = np.abs(responses.FREQUENCIES - 1000) < 200
        assert np.all(limits[middle] > 0.9) and limits.max() <= 1


def test_changing_the_speed_keeps_the_place() -> None:
    ramp = np.arange(augment.WINDOW_SAMPLES, dtype=np.float32)
    faster = augment._resample_about(ramp, 1.006, 16000.0)
    assert faster[16000] == pytest.approx(16000, abs=0.01)
    assert faster[17000] - faster[16000] == pytest.approx(1006, abs=0.1)
