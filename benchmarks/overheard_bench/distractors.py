"""Draw tracks that behave like real ones in a search: distractors, to measure a catalogue of any size.

A drawn track takes its cells, and each group of code words, from another real track, at consecutive segments;
these donors resemble each other. Cells and words are nearly uncorrelated, so the drawn embeddings have the
mean, the covariance and the correlation in time of the real ones. Only the combination of donors is new, and
almost never that of a real segment. `scale_validation` compares their effect with that of real tracks.

Source of the idea: Synthetic Latent Fingerprint Generation (2509.18620), which trains a generative model.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from overheard.catalogue.pack import Pack, TrackEntry
from overheard.fingerprint.codebooks import CodeArray
from overheard.fingerprint.hubness import PackedCellArray, cells_of
from overheard.fingerprint.quantizer import Quantizer

VERSION = 3  # raise it when the same seed draws other tracks
DRAWN_FOLDER = "drawn/"
DRAWN_S = 240.0  # a usual length of a song
MIN_SECTION, MAX_SECTION = 15, 60  # segments from the same donors: about a verse or a chorus
N_SIMILAR = 16  # tracks that a section's donors come from
WORD_GROUPS = (0, 1, 3, 6, 10)  # first word of each group


@dataclasses.dataclass(frozen=True)
class Donors:
    """Tracks that distractors are made of.

    Attributes
    ----------
    packed_cells : (n,) uint16
    codes : (n, code_bytes) uint8
    first_segment : (n_tracks + 1,) int64
    similar : (n_tracks, at most N_SIMILAR) int64
        The tracks with the most similar mean embedding, itself first.
    """

    packed_cells: PackedCellArray
    codes: CodeArray
    first_segment: npt.NDArray[np.int64]
    similar: npt.NDArray[np.int64]

    @classmethod
    def of_pack(cls, pack: Pack, quantizer: Quantizer, numbers: Sequence[int] | None = None) -> Donors:
        """Return tracks of a pack by their numbers, or all; those shorter than a section cannot donate."""
        entries = [*pack.entries()]
        chosen = entries if numbers is None else [entries[number] for number in numbers]
        long = [entry for entry in chosen if len(entry.packed_cells) >= MIN_SECTION]
        if not long:
            raise RuntimeError(f"no track of {pack.name} is long enough to make distractors of")
        packed_cells = np.concatenate([entry.packed_cells for entry in long])
        codes = np.concatenate([entry.codes for entry in long])
        first_segment = np.cumsum([0, *(len(entry.packed_cells) for entry in long)], dtype=np.int64)
        sums = quantizer.sums(cells_of(packed_cells, len(quantizer.cells)), codes)
        means = np.add.reduceat(sums, first_segment[:-1], axis=0)
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        similar = np.argsort(-(means @ means.T), axis=1, kind="stable")[:, :N_SIMILAR]
        return cls(packed_cells, codes, first_segment, similar.astype(np.int64))


def draw_track(donors: Donors, seed: int, number: int, n_segments: int) -> tuple[PackedCellArray, CodeArray]:
    """Draw one track, which depends only on the donors, the seed and its number.

    Returns
    -------
    packed_cells : (n_segments,) uint16
    codes : (n_segments, code_bytes) uint8
    """
    rng = np.random.default_rng([seed, number])
    width = donors.codes.shape[1]
    groups = [first for first in WORD_GROUPS if first < width]
    lengths = np.diff(donors.first_segment)
    n_sections = n_segments // MIN_SECTION + 1
    leading = rng.integers(len(lengths), size=n_sections)
    among = rng.integers(donors.similar.shape[1], size=(n_sections, 1 + len(groups)))
    among[:, 0] = 0  # the leading donor itself, which gives the cells
    tracks = donors.similar[leading[:, None], among]
    shares = rng.random(among.shape)
    sizes = np.minimum(rng.integers(MIN_SECTION, MAX_SECTION + 1, n_sections), lengths[tracks].min(axis=1))
    starts = donors.first_segment[tracks] + (shares * (lengths[tracks] - sizes[:, None] + 1)).astype(np.int64)
    # rows[i, 0] is the segment that gives the cell of segment i, rows[i, g] the one that gives group g - 1.
    rows = np.repeat(starts, sizes, axis=0)[:n_segments]
    begins = np.repeat(np.cumsum(sizes) - sizes, sizes)[:n_segments]
    rows += (np.arange(n_segments) - begins)[:, None]
    codes = np.empty((n_segments, width), dtype=np.uint8)
    for column, (first, end) in enumerate(itertools.pairwise([*groups, width]), 1):
        codes[:, first:end] = donors.codes[rows[:, column], first:end]
    return donors.packed_cells[rows[:, 0]], codes


def is_drawn(path: str) -> bool:
    """Return whether a track of a pack is a drawn one, by its path."""
    return path.startswith(DRAWN_FOLDER)


def drawn_entry(donors: Donors, seed: int, number: int, n_segments: int) -> TrackEntry:
    """Return a drawn track as an entry of a pack, in an album of twelve."""
    packed_cells, codes = draw_track(donors, seed, number, n_segments)
    album, position = divmod(number, 12)
    return TrackEntry(
        title=f"Drawn track {number:06d}",
        artist=f"Drawn artist {album // 4:05d}",
        album=f"Drawn album {album:05d}",
        path=f"{DRAWN_FOLDER}{album // 4:05d}/{album:05d}/{position + 1:02d} - {number:06d}.ogg",
        duration_s=DRAWN_S,
        size=4_000_000 + number,
        mtime_ns=1_700_000_000_000_000_000 + number,
        packed_cells=packed_cells,
        codes=codes,
    )
