"""Scales with which a PC and a Pi round alike."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="exporting a model needs requirements-train.txt")

from overheard.fingerprint.runtime import Network
from overheard.fingerprint.spec import SPEC
from overheard_export.conversion import convert
from overheard_export.rounding import agree_everywhere, nudge, round_alike


def round_as_x86(sums: np.ndarray, factor: np.float32) -> np.ndarray:
    """XNNPACK's fp32 requantization: a float32 product, halves to even."""
    return np.rint(sums.astype(np.float32) * factor).astype(np.int64)


def round_as_arm(sums: np.ndarray, factor: np.float32) -> np.ndarray:
    """XNNPACK's rndnu: the high half of a doubling product, and a shift that rounds halves up."""
    mantissa, exponent = np.frexp(factor)
    multiplier = int(mantissa * 2**31)
    shift = -int(exponent)
    assert shift >= 1, "the factors of a real network are well below one"
    assert np.abs(sums).max() < 2**30, "the doubled products would not fit into 64 bits"
    high = (sums.astype(np.int64) * multiplier * 2) >> 32
    return (high + (1 << (shift - 1))) >> shift


@pytest.mark.parametrize("exponent", [-6, -9, -11])
def test_a_factor_that_agrees_rounds_every_sum_alike(exponent: int) -> None:
    rng = np.random.default_rng(-exponent)
    factors = np.ldexp(rng.uniform(1, 2, 400).astype(np.float32), exponent)
    agrees = agree_everywhere(factors)
    assert agrees.any()
    assert not agrees.all()
    for factor, agree in list(zip(factors, agrees, strict=True))[:12]:
        sums = np.arange(-int(256 / factor), int(256 / factor) + 1)
        same = np.array_equal(round_as_x86(sums, factor), round_as_arm(sums, factor))
        assert same == agree, factor


def test_a_power_of_two_has_halves_and_does_not_agree() -> None:
    assert not agree_everywhere(np.array([2**-10], np.float32))[0]


def test_halves_that_a_channel_never_comes_to_do_not_count() -> None:
    factors = np.full(2, 2**-10, np.float32)  # the first half is that of a sum of 512
    assert agree_everywhere(factors, np.array([511.0, 513.0])).tolist() == [True, False]
    scales = np.full(2, 0.25, np.float32)
    kept = nudge(scales, np.float32(2**-8), np.float32(1), np.array([511.0, 513.0]))
    assert kept[0] == scales[0]
    assert kept[1] > scales[1]


def test_nudged_scales_are_near_and_agree() -> None:
    rng = np.random.default_rng(5)
    scales = rng.uniform(0.0005, 0.004, 200).astype(np.float32)
    source, output = np.float32(0.0497), np.float32(0.0713)
    nudged = nudge(scales, source, output)
    assert agree_everywhere(nudged * source / output).all()
    assert (nudged >= scales).all()
    assert np.max(nudged / scales - 1) < 5e-4
    assert np.array_equal(nudge(nudged, source, output), nudged)


@pytest.fixture(scope="module")
def residual() -> bytes:
    """A converted network with sums, small."""
    import keras

    from overheard_train.encoders.residual import residual as build

    keras.utils.set_random_seed(3)
    keras.mixed_precision.set_global_policy("float32")
    encoder = build(SPEC, (8, 16, 16), (1, 2, 0))
    shape = (64, SPEC.n_frames, SPEC.frontend.n_mels)
    pictures = np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    encoder(pictures[..., None], training=True)
    return convert(encoder, pictures)


def scales_of(tflite: bytes, kind: str) -> list[list[np.ndarray]]:
    """Return the scales of the inputs and the output of each operator of a kind."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=tflite)
    scales = {
        tensor["index"]: tensor["quantization_parameters"]["scales"]
        for tensor in interpreter.get_tensor_details()
    }
    found = [
        [scales[number] for number in (*operator["inputs"], operator["outputs"][0])]
        for operator in interpreter._get_ops_details()
        if operator["op_name"] == kind
    ]
    assert found
    return found


def test_every_layer_of_a_converted_network_rounds_alike(residual: bytes) -> None:
    for source, weights, bias, output in scales_of(residual, "CONV_2D"):
        assert agree_everywhere(weights * source / output).all()
        np.testing.assert_allclose(bias, weights * source, rtol=1e-6)


def test_a_converted_network_has_no_names_that_no_device_reads(residual: bytes) -> None:
    assert b"conv2d" not in residual
    assert b"Relu" not in residual


def test_the_scales_of_activations_are_powers_of_two(residual: bytes) -> None:
    sums = scales_of(residual, "ADD")
    assert len(sums) == 3
    activations = [scales[number] for scales in scales_of(residual, "CONV_2D") for number in (0, -1)]
    for (scale,) in (*activations, *(scale for scales in sums for scale in scales)):
        assert np.frexp(scale)[0] == 0.5


def test_the_better_of_two_scales_is_taken(residual: bytes) -> None:
    asked = []

    def quality(tflite: bytes) -> float:
        asked.append(sum(float(np.sum(scales[-1])) for scales in scales_of(tflite, "ADD")))
        return -asked[-1]  # as if finer sums were all that counts

    finest = round_alike(residual, quality)
    assert sum(float(np.sum(scales[-1])) for scales in scales_of(finest, "ADD")) == min(asked) < asked[0]


def test_no_dense_layer_is_left_and_the_network_runs(residual: bytes) -> None:
    from ai_edge_litert.interpreter import Interpreter

    names = {operator["op_name"] for operator in Interpreter(model_content=residual)._get_ops_details()}
    assert "FULLY_CONNECTED" not in names
    network = Network(residual)
    output = network.invoke(np.zeros(network.input_shape, np.int8))
    assert output.shape == (1, SPEC.dim)
    assert np.any(output)
