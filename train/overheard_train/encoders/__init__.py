"""Encoders by name. One more is a file beside these and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overheard.fingerprint.spec import FingerprintSpec
from overheard_train.parts import Part, pick

if TYPE_CHECKING:
    import keras

ENCODERS = {
    "residual": "overheard_train.encoders.residual:residual",
    "woo": "overheard_train.encoders.woo:woo",
    "now_playing": "overheard_train.encoders.now_playing:now_playing",
    "nafp": "overheard_train.encoders.nafp:nafp",
}


def build_encoder(part: Part, spec: FingerprintSpec) -> keras.Model:
    """Build an encoder: (batch, n_frames, n_mels, 1) to (batch, dim), unit norm, float32."""
    return pick(ENCODERS, part, "encoder")(spec, **part.options)
