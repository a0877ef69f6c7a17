"""The encoder of Chang et al.'s Neural Audio Fingerprint: separable convolutions, divide and encode."""

from __future__ import annotations

import keras

from overheard.fingerprint.spec import FingerprintSpec
from overheard_train.encoders.layers import convolution, divide_and_encode


def nafp(
    spec: FingerprintSpec,
    widths: tuple[int, ...] = (128, 128, 256, 256, 512, 512, 1024, 1024),
    hidden: int = 32,
) -> keras.Model:
    """Build the encoder of Chang et al. (2010.11910), section 2.2 and table 1.

    Batch norm and ReLU replace its layer norm and ELU, which int8 conversion splits into hundreds of
    operators.

    Parameters
    ----------
    widths : channels of the eight blocks, each a 1x3 and a 3x1 convolution with stride 2
    hidden : units per slice in the first level of the projection

    Returns
    -------
    keras.Model from (batch, n_frames, n_mels, 1) to (batch, dim), float32 of unit norm
    """
    inputs = keras.Input((spec.n_frames, spec.frontend.n_mels, 1), name="log_mel")
    x = inputs
    for width in widths:
        x = convolution(x, width, size=(3, 1), stride=(2 if x.shape[1] > 1 else 1, 1))
        x = convolution(x, width, size=(1, 3), stride=(1, 2 if x.shape[2] > 1 else 1))
    return keras.Model(inputs, divide_and_encode(x, spec.dim, hidden), name="encoder")
