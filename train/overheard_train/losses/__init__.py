"""Losses by name. One more is a file beside these and a line here.

A loss is a layer that is called with embeddings ``(n, dim)``, float32 of unit norm, and labels ``(n, 2)``,
int32: the pair and the track of each row. Rows of one pair are the same moment of one track, the first of
them as the catalogue holds it. It returns the loss, a scalar, and how often the nearest other row is of the
same pair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from overheard_train.parts import Part, pick

if TYPE_CHECKING:
    import keras

LOSSES = {
    "nt_xent": "overheard_train.losses.nt_xent:NTXent",
    "triplet": "overheard_train.losses.triplet:Triplet",
}


def make_loss(part: Part) -> keras.layers.Layer:
    """Make a loss."""
    layer: keras.layers.Layer = pick(LOSSES, part, "loss")(**part.options)
    return layer
