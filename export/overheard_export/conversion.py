"""Convert a float encoder to an int8 TFLite network that computes the same bits on every processor."""

from __future__ import annotations

import logging
import tempfile
from typing import TYPE_CHECKING

from overheard.fingerprint.frontend import FloatArray
from overheard_export.int8 import Int8Encoder, mean_cosine

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

PROJECTED_ROWS = 4  # a convolution with one output pixel would run in a kernel that rounds differently
N_COMPARED = 128  # segments on which candidate scales are compared


def convert(encoder: keras.Model, representative: FloatArray) -> bytes:
    """Convert an encoder to full int8 TFLite (int8 in, int8 out, batch 1).

    Parameters
    ----------
    encoder : keras.Model, (batch, n_frames, n_mels, 1) -> (batch, dim)
    representative : (n, n_frames, n_mels) float32
        Normalized segments, clean and degraded. They set the ranges of the activations.
    """
    import tensorflow as tf

    from overheard_export.rounding import can_round_alike, round_alike

    with tempfile.TemporaryDirectory() as folder:
        signature = tf.TensorSpec((1, *representative.shape[1:], 1), tf.float32)
        convolutional(encoder).export(folder, input_signature=[signature], verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([segment[None, ..., None]] for segment in representative)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
        converted = bytes(converter.convert())
    if not can_round_alike(converted):
        log.info("the network has operators that may round differently on other processors")
        return without_names(converted)
    some = representative[:: max(1, len(representative) // N_COMPARED)]
    exact = encoder.predict(some[..., None], verbose=0)
    return without_names(round_alike(converted, lambda tflite: mean_cosine(exact, Int8Encoder(tflite)(some))))


def without_names(tflite: bytes) -> bytes:
    """Return a network without the names of its tensors, which no device needs."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(tflite))
    flatbuffer_utils.strip_strings(model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def convolutional(encoder: keras.Model) -> keras.Model:
    """Return an equal encoder whose projection is a convolution; only one of its output rows is used.

    On ARM, dense layers and convolutions with one output pixel run in kernels that do not round as on x86.
    """
    import keras

    from overheard_train.encoders.layers import UnitNorm

    layers = {layer.name: layer for layer in encoder.layers}
    if "projection" not in layers or len(layers["flatten"].input.shape) != 4:
        return encoder
    dense = layers["projection"]
    features = encoder.get_layer("flatten").input  # (batch, height, width, channels)
    size = features.shape[1:3]
    projection = keras.layers.Conv2D(dense.units, size, dtype="float32", name="projection")
    padded = keras.layers.ZeroPadding2D(((0, PROJECTED_ROWS - 1), (0, 0)), dtype="float32")(features)
    projected = projection(padded)[:, :1]  # (batch, 1, 1, dim): the other rows are padding
    kernel, bias = dense.get_weights()
    projection.set_weights([kernel.reshape(*size, -1, dense.units), bias])
    outputs = UnitNorm(dtype="float32")(keras.layers.Flatten(dtype="float32")(projected))
    return keras.Model(encoder.inputs, outputs)
