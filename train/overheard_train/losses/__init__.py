"""Losses by name. To add one, add a module here and a line to ``LOSSES``.

A loss is a Keras layer. Its inputs are embeddings ``(n, dim)``, float32 of unit norm, and labels ``(n, 2)``
int32: pair and track of each row; near-duplicate tracks have one number. The rows of one pair are the same
moment of one track; the first is as the catalogue holds it. If the pairs come with a teacher, the labels are
``(n, 2 + dim + n_others * (1 + dim))`` float32: the teacher's embedding of the pair's clean segment follows,
and then, for each of `n_others` other moments, its track and its embedding by the teacher. The outputs of a
loss are its value, a scalar, and the accuracy: the share of rows whose nearest other row is of the same pair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from overheard_train.registry import Part, find_factory

if TYPE_CHECKING:
    import keras

LOSSES = {
    "distil": "overheard_train.losses.distil:Distil",
    "nt_xent": "overheard_train.losses.nt_xent:NTXent",
    "triplet": "overheard_train.losses.triplet:Triplet",
}


def make_loss(part: Part) -> keras.layers.Layer:
    """Create a loss."""
    layer: keras.layers.Layer = find_factory(LOSSES, part, "loss")(**part.options)
    return layer
