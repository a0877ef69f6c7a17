from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden import renew
from overheard.fingerprint.frontend import (
    StreamingFrontend,
    log_mel,
    mel_matrix,
    normalize_segments,
    slice_segments,
)
from overheard.fingerprint.json_values import JsonValueError
from overheard.fingerprint.spec import SPEC, FingerprintSpec

TOLERANCE_DB = 2e-3  # an FFT of many rows and one of few round differently


def test_golden_frames() -> None:
    with np.load(renew.HERE / "frontend.npz") as golden:
        np.testing.assert_allclose(log_mel(renew.waveform()), golden["log_mel"], atol=TOLERANCE_DB)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_streaming_equals_whole(sizes: list[int], seed: int) -> None:
    samples = np.random.default_rng(seed).uniform(-1, 1, sum(sizes)).astype(np.float32)
    frontend = StreamingFrontend()
    blocks = np.split(samples, np.cumsum(sizes)[:-1])
    streamed = np.concatenate([frontend.process(block) for block in blocks])
    whole = log_mel(samples)
    n_whole = max(0, (len(samples) - SPEC.frontend.n_fft) // SPEC.frontend.hop_length + 1)
    assert streamed.shape == whole.shape == (n_whole, SPEC.frontend.n_mels)
    assert streamed.dtype == whole.dtype == np.float32
    np.testing.assert_allclose(streamed, whole, atol=TOLERANCE_DB)


def test_reset_forgets_pending_samples() -> None:
    frontend = StreamingFrontend()
    samples = renew.waveform()
    frontend.process(samples[:5000])
    frontend.reset()
    np.testing.assert_allclose(frontend.process(samples), log_mel(samples), atol=TOLERANCE_DB)


def test_segments_do_not_depend_on_neighbours_or_gain() -> None:
    samples = renew.waveform()
    segments = slice_segments(log_mel(samples), 4)
    alone = normalize_segments(segments[1:2])
    among = normalize_segments(segments)[1:2]
    np.testing.assert_array_equal(alone, among)
    quieter = normalize_segments(slice_segments(log_mel(samples * np.float32(0.25)), 4))
    np.testing.assert_allclose(quieter[:1], normalize_segments(segments)[:1], atol=0.02)


def test_each_channel_of_a_batch_is_independent() -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, (3, 9000)).astype(np.float32)
    together = log_mel(samples)
    np.testing.assert_allclose(together[1], log_mel(samples[1]), atol=TOLERANCE_DB)


def test_a_tone_lands_in_its_band() -> None:
    time = np.arange(8000) / SPEC.frontend.sample_rate
    loudest = log_mel(np.sin(2 * np.pi * 1000 * time).astype(np.float32)).mean(axis=0).argmax()
    bins = np.arange(SPEC.frontend.n_fft // 2 + 1) * SPEC.frontend.sample_rate / SPEC.frontend.n_fft
    centre = float(bins @ mel_matrix()[:, loudest])
    assert abs(centre - 1000) < 40


@pytest.mark.parametrize("n_samples", [0, 1, SPEC.frontend.n_fft - 1])
def test_too_short_gives_no_frame(n_samples: int) -> None:
    assert log_mel(np.zeros(n_samples, dtype=np.float32)).shape == (0, SPEC.frontend.n_mels)


def test_digital_silence_is_finite() -> None:
    assert np.isfinite(log_mel(np.zeros(4000, dtype=np.float32))).all()


def test_two_seconds_hold_a_segment() -> None:
    assert SPEC.segment_s <= 2.0
    assert len(slice_segments(log_mel(np.zeros(2 * SPEC.frontend.sample_rate, dtype=np.float32)), 1)) >= 1


def test_digest_changes_with_every_parameter() -> None:
    digests = {SPEC.digest()}
    for field in dataclasses.fields(SPEC.frontend):
        value = getattr(SPEC.frontend, field.name)
        frontend = dataclasses.replace(SPEC.frontend, **{field.name: value + 1})
        digests.add(dataclasses.replace(SPEC, frontend=frontend).digest())
    for field in dataclasses.fields(SPEC):
        if field.name != "frontend":
            digests.add(dataclasses.replace(SPEC, **{field.name: getattr(SPEC, field.name) + 1}).digest())
    assert len(digests) == len(dataclasses.fields(SPEC)) + len(dataclasses.fields(SPEC.frontend))
    again = FingerprintSpec.from_dict(SPEC.to_dict())
    assert (again, again.digest()) == (SPEC, SPEC.digest())


@pytest.mark.parametrize("value", [None, "48", True, 48.5, 0, -1, float("nan"), float("inf"), 10**9, 10**400])
@pytest.mark.parametrize(("part", "name"), [("spec", "n_frames"), ("frontend", "hop_length")])
def test_invalid_parameters_are_refused(part: str, name: str, value: object) -> None:
    values = SPEC.to_dict()
    changed = values if part == "spec" else values["frontend"]
    assert isinstance(changed, dict)
    changed[name] = value
    with pytest.raises(JsonValueError, match=name):
        FingerprintSpec.from_dict(values)


@pytest.mark.parametrize("value", ["70", True, 0.0, float("nan"), float("-inf")])
def test_a_parameter_that_may_be_a_fraction_must_be_a_positive_finite_number(value: object) -> None:
    with pytest.raises(JsonValueError, match="dynamic_range_db"):
        FingerprintSpec.from_dict(SPEC.to_dict() | {"dynamic_range_db": value})
    assert FingerprintSpec.from_dict(SPEC.to_dict() | {"dynamic_range_db": 70}) == SPEC


def test_missing_and_unknown_parameters_are_refused() -> None:
    values = SPEC.to_dict()
    fewer = {name: value for name, value in values.items() if name != "dim"}
    with pytest.raises(JsonValueError, match="dim is missing"):
        FingerprintSpec.from_dict(fewer)
    with pytest.raises(JsonValueError, match="unknown parameters colour"):
        FingerprintSpec.from_dict(values | {"colour": 3})
    for frontend, reason in ((1, "frontend must be an object"), ({}, "sample_rate is missing")):
        with pytest.raises(JsonValueError, match=reason):
            FingerprintSpec.from_dict(values | {"frontend": frontend})
