"""The encoder of Google's Now Playing: convolutions and a two-level divide-and-encode block."""

from __future__ import annotations

import keras

from overheard.fingerprint.spec import FingerprintSpec
from overheard_train.encoders.layers import convolution, divide_and_encode


def now_playing(
    spec: FingerprintSpec, widths: tuple[int, ...] = (32, 64, 96, 128, 192), hidden: int = 8
) -> keras.Model:
    """Build the encoder of Now Playing (1711.10958), section 3.

    The paper gives no sizes. ReLU replaces its ELU, which int8 conversion breaks into three operators.

    Parameters
    ----------
    widths : channels of the convolutions, each halves time and frequency
    hidden : units per slice in the first level of the block

    Returns
    -------
    keras.Model from (batch, n_frames, n_mels, 1) to (batch, dim), float32 of unit norm
    """
    inputs = keras.Input((spec.n_frames, spec.frontend.n_mels, 1), name="log_mel")
    x = inputs
    for width in widths:
        x = convolution(x, width, stride=2)
    return keras.Model(inputs, divide_and_encode(x, spec.dim, hidden), name="encoder")
