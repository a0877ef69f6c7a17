"""Chromaprint (Lukas Lalinsky): 32-bit chroma features, https://github.com/acoustid/chromaprint.

Chromaprint computes fingerprints. AcoustID, the online service that identifies them, expects complete
recordings. So this module does the search: it compares a query with every position of every track and takes
the position with the fewest different bits, the measure of Haitsma and Kalker ("A Highly Robust Audio
Fingerprinting System", ISMIR 2002). The search is exhaustive, so a faster index could not identify more.

`fpcalc -help` documents the options, src/cmd/fpcalc.cpp of the repository the output and the exit codes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from overheard_bench.peers.base import Answers, Candidate, Features, Peer, PeerError, Setting, stored_bytes

ITEM_BITS = 32
ITEM_S = 1365 / 11025  # a third of a 4096-sample frame at 11025 Hz: src/fingerprinter_configuration.cpp
SPAN_ITEMS = 22  # one item depends on 20 frames, as long as 22 of these steps: 2.7 s
SCORE_SCALE = 100  # scores are whole numbers: hundredths of a standard deviation
FINGERPRINT = re.compile(r"FINGERPRINT=(?P<items>\d+(,\d+)*)")
OTHER_LINE = re.compile(r"DURATION=[\d.]+")
TOO_SHORT = "ERROR: Empty fingerprint"  # the audio is shorter than the span of one item
EXIT_FAILED = 2
EXIT_WARNING = (
    3  # a complete fingerprint and a decoder warning: 1.5.1 with FFmpeg 5 warns at every file's end
)

Items = NDArray[np.uint32]


class Chromaprint(Peer):
    """The default algorithm of fpcalc, over the full length of each file."""

    name = "Chromaprint"
    variable = "FPCALC"  # as pyacoustid calls it
    commands = ("fpcalc",)
    how_to_install = "apt-get install libchromaprint-tools"
    settings = (Setting("Chromaprint"),)
    # fpcalc has no database and no search: a user needs a lookup service or a matcher like the one below.
    features = Features(offline=False, own_music=False, always_on=False)

    @cached_property
    def _version(self) -> str:
        return self.run(["-version"], Path.cwd()).stdout.strip()

    def version(self) -> str:
        """Return the output of -version."""
        return self._version

    def store(self, setting: Setting, tracks: Sequence[Path], folder: Path) -> int:
        """Write the fingerprints of all tracks, uncompressed, into one file."""
        fingerprints = [self.fingerprint(setting, track) for track in tracks]
        lengths = np.array([len(items) for items in fingerprints], np.uint32)
        database = folder / "chromaprint.npz"
        stems = np.array([track.stem for track in tracks], np.bytes_)
        np.savez(database, stems=stems, lengths=lengths, items=np.concatenate(fingerprints))
        return stored_bytes([database])

    def query(self, setting: Setting, queries: Sequence[Path], folder: Path) -> Answers:
        """Compare each query with every position of the database."""
        with np.load(folder / "chromaprint.npz") as database:
            stems = [stem.decode() for stem in database["stems"]]
            search = Search(stems, database["lengths"], database["items"])
        return {query.stem: search.best(self.fingerprint(setting, query)) for query in queries}

    def fingerprint(self, setting: Setting, path: Path) -> Items:
        """Return (n,) uint32, one item every `ITEM_S`; n is 0 if the file is too short. Raises PeerError."""
        arguments = ["-raw", "-length", "0", *setting.options, str(path)]
        process = self.run(arguments, path.parent, success=(0, EXIT_FAILED, EXIT_WARNING))
        items = list(self.parse(process.stdout.splitlines()))
        if len(items) == 1:
            return items[0]
        if not items and TOO_SHORT in process.stderr:
            return np.zeros(0, np.uint32)
        raise PeerError(f"{self.name} printed no fingerprint of {path.name}: {process.stderr.strip()}")

    def parse(self, lines: Iterable[str]) -> Iterator[Items]:
        """Read the lines that fpcalc prints. Raises PeerError."""
        for line in lines:
            if match := FINGERPRINT.fullmatch(line):
                yield np.array(match["items"].split(","), np.uint32)
            elif line and not OTHER_LINE.fullmatch(line):
                raise self.unexpected(line)


class Search:
    """Exhaustive search for the position with the fewest bit errors.

    Parameters
    ----------
    stems : names of the tracks
    lengths : (t,) number of items of each track
    items : (n,) items of all tracks, in order
    """

    def __init__(self, stems: Sequence[str], lengths: NDArray[np.uint32], items: Items) -> None:
        self.stems = stems
        self.items = items
        self.ends = np.cumsum(lengths, dtype=np.int64)
        self.left = np.repeat(self.ends, lengths) - np.arange(len(items))  # items until the track's end

    def best(self, query: Items) -> Candidate | None:
        """Return the best position for the (n,) items of a query; None if the query has no items."""
        n_positions = len(self.items) - len(query) + 1
        if not len(query) or n_positions < 1:
            return None
        errors = np.zeros(n_positions, np.uint32)
        for number, item in enumerate(query):
            errors += np.bitwise_count(self.items[number : number + n_positions] ^ item)
        errors[self.left[:n_positions] < len(query)] = ITEM_BITS * len(query)  # would span two tracks
        position = int(np.argmin(errors))
        track = int(np.searchsorted(self.ends, position, side="right"))
        start = self.ends[track - 1] if track else 0
        score = round(SCORE_SCALE * deviations(len(query), int(errors[position])))
        return Candidate(self.stems[track], score, float(position - start) * ITEM_S)


def deviations(n_items: int, n_errors: int) -> float:
    """Return by how many standard deviations the bit errors are fewer than those of unrelated items.

    Half of n independent bits differ by chance, with a standard deviation of half the square root of n. Items
    overlap in time, so only one in `SPAN_ITEMS` counts as independent. The bit error rate alone is not
    comparable between queries: at the best of all positions it is lower for a short query, by chance.
    """
    n_independent = ITEM_BITS * (1 + (n_items - 1) / SPAN_ITEMS)
    bit_error_rate = n_errors / (ITEM_BITS * n_items)
    return (1 - 2 * bit_error_rate) * math.sqrt(n_independent)
