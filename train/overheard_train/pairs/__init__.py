"""Pair makers by name. To add one, add a module here and a line to ``PAIRS``.

A pair maker makes batches of segments from recordings. The rows of one pair are the same moment of one track:
the first is as the catalogue holds it, the others are degraded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from overheard_train.pairs.labels import Batch, Labels, PairMaker, labels_of
from overheard_train.registry import find_factory

if TYPE_CHECKING:
    from overheard_train.data import Data
    from overheard_train.recipes import Recipe

__all__ = ["PAIRS", "Batch", "Labels", "PairMaker", "labels_of", "make_pairs"]

PAIRS = {
    "degraded": "overheard_train.pairs.degraded:make",
    "rivals": "overheard_train.pairs.rivals:make",
    "taught": "overheard_train.pairs.taught:make",
    "white_noise": "overheard_train.pairs.white_noise:make",
}


def make_pairs(recipe: Recipe, data: Data, split: str = "train", seed: int = 0) -> PairMaker:
    """Create the pair maker of a recipe for one split of the data.

    Raises
    ------
    OverheardError
        The recipe names an unknown pair maker, or the data lack what it needs.
    """
    make = find_factory(PAIRS, recipe.pairs, "pair maker")
    maker: PairMaker = make(recipe.spec, data, split, seed, views=recipe.views, **recipe.pairs.options)
    return maker
