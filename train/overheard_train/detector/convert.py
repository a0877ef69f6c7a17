"""Convert the detector's network to a small int8 TFLite file, and write it with its manifest."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from overheard.files import atomic_write
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.runtime import Network
from overheard.hear.detector import MANIFEST_VERSION, DetectorNetwork, Smoothing, digest_of, spec_digest
from overheard.hear.texture import N_FEATURES
from overheard_train.detector.network import CLIP, Fitted

IDENTIFIER = b"TFL3"
MAX_BYTES = 10_000
N_REPRESENTATIVE = 2000


def convert(fitted: Fitted, features: npt.NDArray[np.floating]) -> bytes:
    """Convert a network to full int8 TFLite (int8 in, int8 out, batch 1) without names and metadata.

    Parameters
    ----------
    features : (n, N_FEATURES), examples, which set the ranges of the activations
    """
    import tensorflow as tf

    chosen = fitted.normalized(features[:: max(1, len(features) // N_REPRESENTATIVE)])
    chosen[0], chosen[-1] = CLIP, -CLIP  # the input's range
    with tempfile.TemporaryDirectory() as folder:
        signature = tf.TensorSpec((1, N_FEATURES), tf.float32)
        fitted.network.export(folder, input_signature=[signature], verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([row[None]] for row in chosen)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        return stripped(bytes(converter.convert()))


def stripped(tflite: bytes) -> bytes:
    """Return the network without names, signatures, metadata and unused buffers: a sixth of the file."""
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    model.description = model.metadata = model.signatureDefs = model.metadataBuffer = None
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    used = sorted({0} | {tensor.buffer for tensor in tensors})
    for graph in model.subgraphs:
        graph.name = None
    for tensor in tensors:
        tensor.name = tensor.shapeSignature = None
        tensor.buffer = used.index(tensor.buffer)
        if tensor.quantization is not None:
            tensor.quantization.min = tensor.quantization.max = None
    model.buffers = [model.buffers[number] for number in used]
    builder = flatbuffers.Builder(len(tflite))
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def outputs_of(tflite: bytes, fitted: Fitted, features: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the log-odds that the device computes for many features ``(n, N_FEATURES)``."""
    network = DetectorNetwork(tflite, fitted.mean, fitted.deviation)
    return np.array([network(one) for one in features.astype(np.float32)])


def write_detector(
    path: Path, tflite: bytes, fitted: Fitted, smoothing: Smoothing, facts: dict[str, Any]
) -> None:
    """Write ``NAME.tflite`` and then its manifest ``NAME.json``.

    Parameters
    ----------
    path : of the manifest
    facts : fields to add: how the detector was trained, and what it does on held-out recordings
    """
    network = Network(tflite)
    fields = {
        "manifest_version": MANIFEST_VERSION,
        "name": path.stem,
        "digest": digest_of(tflite),
        "spec_digest": spec_digest(),
        "network": {
            "bytes": len(tflite),
            "input": {"scale": float(network.input_scale), "zero_point": int(network.input_zero_point)},
            "output": {"scale": float(network.output_scale), "zero_point": int(network.output_zero_point)},
        },
        "features": {name: listed(getattr(fitted, name)) for name in ("mean", "deviation")},
        "smoothing": vars(smoothing),
        **facts,
    }
    with atomic_write(path.with_suffix(".tflite")) as file:
        file.write(tflite)
    with atomic_write(path) as file:
        file.write((json.dumps(fields, indent=1) + "\n").encode())


def listed(values: FloatArray) -> list[float]:
    """Return numbers for JSON with the digits that distinguish them."""
    return [float(f"{value:.5f}") for value in values]
