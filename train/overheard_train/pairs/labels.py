"""Pair makers and their batches: draw the tracks of a batch, and label its rows by pair and track."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from overheard.errors import OverheardError
from overheard.fingerprint.frontend import FloatArray
from overheard_train.checkout import default_near_duplicates

if TYPE_CHECKING:
    from overheard.fingerprint.spec import FingerprintSpec
    from overheard_train.data import Clips, Data

Labels = npt.NDArray[np.int32] | npt.NDArray[np.float32]  # see overheard_train.losses
Batch = tuple[FloatArray, Labels]


class PairMaker(Protocol):
    """Makes batches of pairs."""

    def batch(self, rng: np.random.Generator, n_pairs: int) -> Batch:
        """Return the segments and labels of a batch.

        Returns
        -------
        Normalized segments ``(views * n_pairs, n_frames, n_mels)`` float32, the first rows of all pairs
        first, and their labels, see :mod:`overheard_train.losses`.
        """


def training_music(data: Data, split: str, spec: FingerprintSpec) -> Clips:
    """Return the music of a split.

    Raises
    ------
    OverheardError
        Fewer than two tracks are as long as a segment; training needs tracks to distinguish.
    """
    music = data.clips(["music"], split)
    n_long = int(np.sum(np.diff(music.starts) >= spec.segment_samples))
    if n_long < 2:
        raise OverheardError(
            f"the split {split} has {n_long} tracks of {spec.segment_s:.1f} s or longer; training needs two",
            "add music with --data music=FOLDER",
        )
    return music


def draw_tracks(rng: np.random.Generator, n_tracks: int, n_pairs: int) -> npt.NDArray[np.int32]:
    """Draw the track of each pair, ``(n_pairs,)``.

    No track is drawn twice before all have been drawn: two moments of one track can sound the same, and one
    would then be a negative of the other.
    """
    rounds = [rng.permutation(n_tracks) for _ in range(max(1, -(-n_pairs // n_tracks)))]
    return np.concatenate(rounds)[:n_pairs].astype(np.int32)


def near_duplicate_groups(paths: Sequence[str], file: Path | None = None) -> npt.NDArray[np.int32]:
    """Return a number for each track, ``(n,)``, equal for tracks that are near-duplicates.

    Parameters
    ----------
    paths : the tracks
    file : JSON with ``pairs`` of paths; by default :func:`~overheard_train.checkout.default_near_duplicates`;
        all tracks differ if it does not exist
    """
    file = file or default_near_duplicates()
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
    """Return the labels of a batch, ``(views * n_pairs, 2)``, from the track of each pair."""
    one_view = np.stack([np.arange(len(tracks), dtype=np.int32), tracks], axis=1)
    return np.tile(one_view, (views, 1))
