"""Encoders by name. To add one, add a module here and a line to ``ENCODERS``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from overheard.fingerprint.spec import FingerprintSpec
from overheard_train.registry import Part, find_factory

if TYPE_CHECKING:
    import keras

ENCODERS = {
    "residual": "overheard_train.encoders.residual:residual",
    "woo": "overheard_train.encoders.woo:woo",
    "now_playing": "overheard_train.encoders.now_playing:now_playing",
    "nafp": "overheard_train.encoders.nafp:nafp",
}


def build_encoder(part: Part, spec: FingerprintSpec) -> keras.Model:
    """Build an encoder: from (batch, n_frames, n_mels, 1) to (batch, dim), float32 of unit norm."""
    return find_factory(ENCODERS, part, "encoder")(spec, **part.options)
