"""Write the golden vectors anew: `python tests/golden/renew.py`, after a wanted change of front-end or model.

frontend.npz holds log-mel frames of a synthesized piece; network.npz int8 inputs and outputs of the shipped network,
which every machine and runtime must give bit for bit.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def waveform() -> np.ndarray:
    """Two seconds that hold tones, noise, a click and silence; made without a library that may change."""
    time = np.arange(16000) / 8000
    noise = np.sin(np.arange(16000) ** 2 * 12.9898) * 0.05  # no generator whose stream a version could change
    tone = 0.3 * np.sin(2 * np.pi * (220 + 400 * time) * time)
    samples = tone + noise
    samples[4000] += 0.6
    samples[14000:] = 0
    return samples.astype(np.float32)


def main() -> int:
    from overheard.embedder import Embedder, default_model
    from overheard.frontend import log_mel, slice_segments

    mel = log_mel(waveform())
    np.savez_compressed(HERE / "frontend.npz", log_mel=mel)
    model = default_model()
    embedder = Embedder(model)
    inputs = embedder.quantize(slice_segments(mel, 4, model.spec))
    outputs = np.stack([embedder.network.invoke(values[None, :, :, None])[0] for values in inputs])
    np.savez_compressed(HERE / "network.npz", inputs=inputs, outputs=outputs, digest=np.array(model.digest))
    return 0


if __name__ == "__main__":
    sys.exit(main())
