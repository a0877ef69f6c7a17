"""Ways of making pairs, by name. One more is a file beside these and a line here.

A maker's ``batch(rng, n_pairs)`` returns normalized segments ``(views * n_pairs, n_frames, n_mels)`` float32,
the first rows as the catalogue holds them, and labels ``(views * n_pairs, 2)`` int32: pair and track of each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from overheard.errors import OverheardError
from overheard.fingerprint.frontend import FloatArray
from overheard_train.parts import pick

if TYPE_CHECKING:
    from overheard.fingerprint.spec import FingerprintSpec
    from overheard_train.data import Clips, Data
    from overheard_train.recipes import Recipe

Labels = npt.NDArray[np.int32]
Batch = tuple[FloatArray, Labels]

NEAR_DUPLICATES_FILE = Path(__file__).parents[2] / "near_duplicates.json"
PAIRS = {
    "degraded": "overheard_train.pairs.degraded:make",
    "rivals": "overheard_train.pairs.rivals:make",
    "white_noise": "overheard_train.pairs.white_noise:make",
}


class PairMaker(Protocol):
    """What training asks of a way of making pairs."""

    def batch(self, rng: np.random.Generator, n_pairs: int) -> Batch:
        """Return segments and labels of so many pairs."""


def make_pairs(recipe: Recipe, data: Data, split: str = "train", seed: int = 0) -> PairMaker:
    """Make a recipe's maker of pairs from one split of the data."""
    maker: PairMaker = pick(PAIRS, recipe.pairs, "way of making pairs")(
        recipe.spec, data, split, seed, views=recipe.views, **recipe.pairs.options
    )
    return maker


def music_to_learn(data: Data, split: str, spec: FingerprintSpec) -> Clips:
    """Return a split's music.

    Raises
    ------
    OverheardError
        It has fewer than two tracks of a segment or longer: nothing could be told from each other.
    """
    music = data.clips(["music"], split)
    n_long = int(np.sum(np.diff(music.starts) >= spec.segment_samples))
    if n_long < 2:
        raise OverheardError(
            f"the split {split} has {n_long} tracks of {spec.segment_s:.1f} s or longer, and two are needed "
            "at least: name more with --data music=FOLDER"
        )
    return music


def draw_tracks(rng: np.random.Generator, n_tracks: int, n_pairs: int) -> npt.NDArray[np.int32]:
    """Return a track for each pair; none comes twice where there are enough.

    A repeating track is then never its own negative.
    """
    rounds = [rng.permutation(n_tracks) for _ in range(max(1, -(-n_pairs // n_tracks)))]
    return np.concatenate(rounds)[:n_pairs].astype(np.int32)


def same_music(paths: Sequence[str], file: Path = NEAR_DUPLICATES_FILE) -> npt.NDArray[np.int32]:
    """Return a number for each track, the same for tracks that are listed as near-duplicates."""
    parent = {path: path for path in paths}

    def root(path: str) -> str:
        while parent[path] != path:
            path = parent[path]
        return path

    pairs = json.loads(file.read_text(encoding="utf-8"))["pairs"] if file.is_file() else []
    for first, second in pairs:
        if first in parent and second in parent:
            parent[root(second)] = root(first)
    numbers = {path: number for number, path in enumerate(paths)}
    return np.array([numbers[root(path)] for path in paths], dtype=np.int32)


def labels_of(tracks: npt.NDArray[np.int32], views: int) -> Labels:
    """Return the labels of a batch whose pairs are of these tracks."""
    one_view = np.stack([np.arange(len(tracks), dtype=np.int32), tracks], axis=1)
    return np.tile(one_view, (views, 1))
