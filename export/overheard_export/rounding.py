"""Scales with which every processor rounds alike, so that a network's output is the same on a PC and on a Pi.

XNNPACK turns a sum of int8 products into int8 by one factor a channel: on x86 it multiplies in float32 and
rounds halves to even, on ARM it multiplies in fixed point, which is exact, and rounds halves up. They differ
only where the float32 product is a half: about once in a million values, but then everything after it may.
A factor a few units in the last place away has no such value within the range of int8; it is looked for here.
Additions multiply both sides by factors that are rounded to more bits or fewer; of few bits they are exact.
Source: XNNPACK, src/qs8-igemm (fp32-avx512vnni, rndnu-neon), src/qs8-vadd and src/microparams-init.c.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt

from overheard.errors import ModelError

LARGEST = 256  # what an int8 output is from its zero point, at most
MAX_NUDGE = 4096  # units in the last place: 0.05% at most
ADDEND_STEPS = 256  # an addend's scale is a whole number of these parts of its sum's,
SUM_STEPS = 4096  # which has so few bits that the quotient of the two is exact
IDENTIFIER = b"TFL3"


def agree_everywhere(factors: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return for each factor ``(n,)`` whether both ways of rounding give the same for every int32 sum."""
    halves = np.arange(LARGEST, dtype=np.float64) + 0.5
    exact_factors = factors.astype(np.float64)[:, None]
    sums = np.rint(halves / exact_factors)  # the only ones whose product may be a half
    agree = np.ones(len(factors), dtype=bool)
    for sign in (1, -1):
        exact = sign * sums * exact_factors  # at most 45 bits: exact in float64
        in_float = np.rint((sign * sums).astype(np.float32) * factors[:, None])
        agree &= np.all(in_float == np.floor(exact + 0.5), axis=1)
    return agree


def nudge(
    scales: npt.NDArray[np.float32], input_scale: np.float32, output_scale: np.float32
) -> npt.NDArray[np.float32]:
    """Return the nearest scales at or above ``(n,)`` whose factors round alike everywhere.

    Raises
    ------
    ModelError
        There is none within `MAX_NUDGE` units in the last place.
    """
    found = scales.astype(np.float32).copy()
    for _ in range(MAX_NUDGE):
        bad = ~agree_everywhere(found * input_scale / output_scale)
        if not bad.any():
            return found
        found[bad] = np.nextafter(found[bad], np.float32(np.inf))
    raise ModelError("no scale near a channel's rounds alike everywhere: train on, or convert otherwise")


def round_alike(tflite: bytes) -> bytes:
    """Change the scales of an int8 model a little, to ones with which all processors round alike."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    (graph,) = model.subgraphs

    def tensors_of(kinds: Collection[int]) -> Iterator[list[Any]]:
        for operator in reversed(graph.operators):
            if model.operatorCodes[operator.opcodeIndex].builtinCode in kinds:
                yield [graph.tensors[number] for number in (*operator.inputs, operator.outputs[0])]

    layers = list(tensors_of((schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.FULLY_CONNECTED)))
    moving = (
        schema.BuiltinOperator.RESHAPE,
        schema.BuiltinOperator.PAD,
        schema.BuiltinOperator.STRIDED_SLICE,
    )
    biases = [_integers(model, bias) * _scales(bias).astype(np.float64) for _, _, bias, _ in layers]
    sums = list(tensors_of((schema.BuiltinOperator.ADD,)))
    totals = [id(total) for *_, total in sums]
    for *addends, total in sums:  # the last first, since a total may be an addend of a later one
        mantissa, exponent = np.frexp(_scales(total))
        total.quantization.scale = np.ldexp(np.ceil(mantissa * SUM_STEPS) / np.float32(SUM_STEPS), exponent)
        for addend in addends:
            parts = np.ceil(_scales(addend) / _scales(total) * ADDEND_STEPS)
            if id(addend) in totals:  # its own addends need its few bits
                parts = np.exp2(np.ceil(np.log2(parts)))
            addend.quantization.scale = parts * _scales(total) / np.float32(ADDEND_STEPS)
    for source, *_, moved in reversed(list(tensors_of(moving))):
        moved.quantization.scale = _scales(source)
    for (source, weights, bias, output), values in zip(layers, biases, strict=True):
        weights.quantization.scale = nudge(_scales(weights), _scales(source)[0], _scales(output)[0])
        bias.quantization.scale = _scales(weights) * _scales(source)
        integers = np.rint(values / _scales(bias).astype(np.float64)).astype("<i4")
        model.buffers[bias.buffer].data = np.frombuffer(integers.tobytes(), np.uint8)
    builder = flatbuffers.Builder(len(tflite))
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _scales(tensor: Any) -> npt.NDArray[np.float32]:
    return np.asarray(tensor.quantization.scale, dtype=np.float32)


def _integers(model: Any, tensor: Any) -> npt.NDArray[np.int32]:
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), "<i4")
