"""Change a network's scales so that all processors round equally: a PC and a Pi compute the same output.

XNNPACK converts a sum of int8 products to int8 with one factor per channel: the input's scale times the
weights' scale, divided by the output's scale. On x86 it multiplies in float32 and rounds halves to even. On
ARM it multiplies in fixed point, which is exact, and rounds halves up. The results differ if the float32
product is a half, or if the factors differ in their last bit. This happens about once in a million values,
but it can change all later layers.
Two changes prevent it. The scales of activations become powers of two: then a factor has exactly the bits of
a weight scale, and additions are exact. Weight scales move by a few units in the last place, so that no
product within the range of int8 is a half.

Source: XNNPACK, src/qs8-igemm (fp32-avx512vnni, rndnu-neon), src/qs8-vadd and src/microparams-init.c.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from tensorflow.lite.python import schema_py_generated as schema

from overheard.errors import ModelError

LARGEST = 256  # maximum distance of an int8 output from its zero point
MAX_NUDGE = 4096  # units in the last place, which is at most 0.05%
IDENTIFIER = b"TFL3"
LAYERS = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.FULLY_CONNECTED)
ADD = schema.BuiltinOperator.ADD
UNTOUCHED = (schema.BuiltinOperator.L2_NORMALIZATION,)  # its output scale is a power of two already
MOVING = (schema.BuiltinOperator.RESHAPE, schema.BuiltinOperator.PAD, schema.BuiltinOperator.STRIDED_SLICE)


def agree_everywhere(
    factors: npt.NDArray[np.float32], reach: npt.NDArray[np.float64] | float = 2.0**31
) -> npt.NDArray[np.bool_]:
    """Return for each factor ``(n,)`` whether both kinds of rounding agree for every sum.

    Parameters
    ----------
    reach : maximum absolute sum of each channel: a channel with tiny weights may never reach a half
    """
    halves = np.arange(LARGEST, dtype=np.float64) + 0.5
    exact_factors = factors.astype(np.float64)[:, None]
    sums = np.rint(halves / exact_factors)  # only the products of these sums can be halves
    agree = np.ones(len(factors), dtype=bool)
    for sign in (1, -1):
        exact = sign * sums * exact_factors  # at most 45 bits: exact in float64
        in_float = np.rint((sign * sums).astype(np.float32) * factors[:, None])
        same = in_float == np.floor(exact + 0.5)
        agree &= np.all(same | (sums > np.reshape(reach, (-1, 1))), axis=1)
    return agree


def nudge(
    scales: npt.NDArray[np.float32],
    input_scale: np.float32,
    output_scale: np.float32,
    reach: npt.NDArray[np.float64] | float = 2.0**31,
) -> npt.NDArray[np.float32]:
    """Return the nearest scales ``(n,)``, at or above the given ones, whose factors round equally.

    Raises
    ------
    ModelError
        There are none within `MAX_NUDGE` units in the last place.
    """
    nudged = scales.astype(np.float32).copy()
    for _ in range(MAX_NUDGE):
        bad = ~agree_everywhere(nudged * input_scale / output_scale, reach)
        if not bad.any():
            return nudged
        nudged[bad] = np.nextafter(nudged[bad], np.float32(np.inf))
    raise ModelError("no scale close to a channel's rounds equally on all processors", "train for longer")


def can_round_alike(tflite: bytes) -> bool:
    """Return whether :func:`round_alike` supports all operators of a network."""
    known = (*LAYERS, ADD, *MOVING, *UNTOUCHED)
    return all(kind in known for kind, _ in _operators(_unpack(tflite)))


def round_alike(tflite: bytes, quality: Callable[[bytes], float]) -> bytes:
    """Change the scales of an int8 model so that all processors round equally.

    Parameters
    ----------
    quality : rates a candidate model. For each activation it decides between the next larger power of two,
        which is coarser, and the next smaller one, which clips.
    """
    clipped: tuple[int, ...] = ()
    best = quality(_rescaled(tflite, clipped))
    for number in range(len(_activations(_unpack(tflite)))):
        candidate = (*clipped, number)
        rating = quality(_rescaled(tflite, candidate))
        if rating > best:
            best, clipped = rating, candidate
    return _rescaled(tflite, clipped, nudged=True)


def _rescaled(tflite: bytes, clipped: Collection[int], nudged: bool = False) -> bytes:
    """Make the scale of every activation a power of two, and adapt the biases."""
    model = _unpack(tflite)
    layers = [tensors for kind, tensors in _operators(model) if kind in LAYERS]
    biases = [_integers(model, bias) * _scales(bias).astype(np.float64) for _, _, bias, _ in layers]
    for number, tensor in enumerate(_activations(model)):
        _to_power_of_two(tensor.quantization, smaller=number in clipped)
    for kind, (source, *_, moved) in _operators(model):
        if kind in MOVING:
            moved.quantization.scale = source.quantization.scale
            moved.quantization.zeroPoint = source.quantization.zeroPoint
    for (source, weights, bias, output), values in zip(layers, biases, strict=True):
        if nudged:
            scales = _scales(weights), _scales(source)[0], _scales(output)[0]
            reach = _reach(model, weights, values / scales[0] / scales[1])
            weights.quantization.scale = nudge(*scales, reach)
        bias.quantization.scale = _scales(weights) * _scales(source)
        integers = np.rint(values / _scales(bias).astype(np.float64)).astype("<i4")
        model.buffers[bias.buffer].data = np.frombuffer(integers.tobytes(), np.uint8)
    builder = flatbuffers.Builder(len(tflite))
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _reach(model: Any, weights: Any, bias: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the maximum absolute sum of each channel; inputs differ by up to 255 from their zero point."""
    kernel = np.frombuffer(bytes(model.buffers[weights.buffer].data), np.int8)
    channels = np.abs(kernel.astype(np.float64)).reshape(len(bias), -1).sum(axis=1)
    reach: npt.NDArray[np.float64] = 255 * channels + np.abs(bias) + 1
    return reach


def _to_power_of_two(quantization: Any, smaller: bool) -> None:
    """Keep the middle of the range, or its start if that is zero, as after a ReLU."""
    scale, zero_point = float(quantization.scale[0]), int(quantization.zeroPoint[0])
    new = 2.0 ** (np.ceil(np.log2(scale)) - smaller)
    if zero_point != -128:
        zero_point = int(np.clip(np.rint((zero_point + 0.5) * scale / new - 0.5), -128, 127))
    quantization.scale = np.array([new], np.float32)
    quantization.zeroPoint = np.array([zero_point], np.int64)


def _unpack(tflite: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))


def _operators(model: Any) -> Iterator[tuple[int, list[Any]]]:
    """Yield each operator's kind and its tensors: all inputs, then the first output."""
    (graph,) = model.subgraphs
    for operator in graph.operators:
        kind = model.operatorCodes[operator.opcodeIndex].builtinCode
        yield kind, [graph.tensors[number] for number in (*operator.inputs, operator.outputs[0])]


def _activations(model: Any) -> list[Any]:
    """Return the network's input, and the outputs of its layers and additions."""
    (graph,) = model.subgraphs
    written = [tensors[-1] for kind, tensors in _operators(model) if kind in (*LAYERS, ADD)]
    return [graph.tensors[graph.inputs[0]], *written]


def _scales(tensor: Any) -> npt.NDArray[np.float32]:
    return np.asarray(tensor.quantization.scale, dtype=np.float32)


def _integers(model: Any, tensor: Any) -> npt.NDArray[np.int32]:
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), "<i4")
