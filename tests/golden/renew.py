"""Write new golden vectors after an intended change of the front-end or model: python tests/golden/renew.py.

frontend.npz contains the log-mel frames of a synthetic waveform. network.npz contains int8 inputs of the
shipped network and its outputs, which must be the same bits on every machine.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from overheard.fingerprint.embedder import Embedder
from overheard.fingerprint.frontend import log_mel, slice_segments
from overheard.fingerprint.model import Model, default_model
from overheard.fingerprint.runtime import Network

HERE = Path(__file__).parent


def waveform() -> np.ndarray:
    """Return 2 s of a tone, noise, a click and silence, computed without a library that may change."""
    time = np.arange(16000) / 8000
    noise = np.sin(np.arange(16000) ** 2 * 12.9898) * 0.05  # no generator that another version may change
    tone = 0.3 * np.sin(2 * np.pi * (220 + 400 * time) * time)
    samples = tone + noise
    samples[4000] += 0.6
    samples[14000:] = 0
    return samples.astype(np.float32)


def segments(model: Model) -> np.ndarray:
    """Return ``(n, n_frames, n_mels)`` int8: the waveform's, then extreme values."""
    shape = (model.spec.n_frames, model.spec.frontend.n_mels)
    heard = Embedder(model).quantize(slice_segments(log_mel(waveform()), 2, model.spec))
    odd = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % 2 == 1
    hashed = np.arange(2 * shape[0] * shape[1], dtype=np.uint32) * np.uint32(2654435761)  # Knuth's
    made = [np.full(shape, -128), np.full(shape, 127), np.where(odd, 127, -128)]
    made += list((hashed >> 24).astype(int).reshape(2, *shape) - 128)
    return np.concatenate([heard, np.asarray(made, dtype=np.int8)])


def builtin_outputs(model: Model, inputs: np.ndarray) -> np.ndarray:
    """Run ai-edge-litert's network without the XNNPACK delegate."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=model.tflite, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    outputs = []
    for values in inputs:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values[None, :, :, None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.stack(outputs)


def main() -> int:
    mel, path = log_mel(waveform()), HERE / "frontend.npz"
    if not np.allclose(np.load(path)["log_mel"], mel, atol=1e-4):  # the last bits depend on the processor
        np.savez_compressed(path, log_mel=mel)
    model = default_model()
    network = Network(model.tflite, runtime="ai-edge-litert")
    inputs = segments(model)
    outputs = np.stack([network.invoke(values[None, :, :, None])[0] for values in inputs])
    np.savez_compressed(
        HERE / "network.npz",
        inputs=inputs,
        xnnpack=outputs,
        builtin=builtin_outputs(model, inputs),
        digest=np.array(model.digest),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
