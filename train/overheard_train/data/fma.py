"""The Free Music Archive's layout: tables in ``fma_metadata``, audio in ``fma_small`` to ``fma_full``.

Source: Defferrard et al., FMA: A Dataset for Music Analysis, ISMIR 2017, and mdeff/fma's ``utils.py``:
``tracks.csv`` has two rows of column names and one that names the index, ``track_id``; track 2 of
``fma_small`` is ``fma_small/000/000002.mp3``.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from overheard.errors import AudioError
from overheard.index.scan import AUDIO_SUFFIXES

log = logging.getLogger(__name__)

# Where a track is in several, the earliest of these is taken: whole, then cut to 30 s.
SUBSETS = ("fma_full", "fma_large", "fma_medium", "fma_small")
SPLITS = ("training", "validation", "test")
_MAX_FIELD = 16 << 20  # artists' biographies
_SPLIT, _ARTIST, _NAME = ("set", "split"), ("artist", "id"), ("artist", "name")


@dataclasses.dataclass(frozen=True)
class Track:
    """A track whose audio is there.

    Attributes
    ----------
    split : ``training``, ``validation`` or ``test``; FMA has no artist in two of them
    artist : FMA's number of the artist, or the name where the table has no number
    """

    path: Path
    split: str
    artist: str


def is_fma(root: Path) -> bool:
    """Tell a root of FMA, and each of its audio folders, by the names."""
    return _is_subset(root) or any((root / subset).is_dir() for subset in SUBSETS)


def find_tables(root: Path) -> Path | None:
    """Return ``tracks.csv`` of a root of FMA, or of one of its audio folders; None where there is none."""
    if not is_fma(root):
        return None
    places = [root, root.absolute().parent] if _is_subset(root) else [root]
    tables = [place / folder / "tracks.csv" for place in places for folder in ("fma_metadata", ".")]
    return next((path for path in tables if path.is_file()), None)


def _is_subset(root: Path) -> bool:
    return Path(os.path.abspath(root)).name in SUBSETS


def list_tracks(root: Path) -> list[Track]:
    """List the tracks that the tables and the audio folders both have.

    Raises
    ------
    AudioError
        ``tracks.csv`` is missing, unreadable or something else.
    """
    tables = find_tables(root)
    if tables is None:
        raise AudioError(
            f"{root} lacks FMA's fma_metadata/tracks.csv: unpack fma_metadata.zip beside the audio, "
            f"or name it music={root} to split it by folder"
        )
    files = _audio_files(root)
    tracks = [
        Track(files.pop(number), split, artist)
        for number, split, artist in _read_tracks(tables)
        if number in files
    ]
    if files:
        log.warning("%s: %d files are left out: %s does not list them", root, len(files), tables.name)
    return tracks


def _audio_files(root: Path) -> dict[int, Path]:
    folders = [root / subset for subset in SUBSETS if (root / subset).is_dir()] or [root]
    files: dict[int, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("[0-9][0-9][0-9]/*")):
            if path.suffix.lower() in AUDIO_SUFFIXES and path.stem.isdecimal():
                files.setdefault(int(path.stem), path)
    return files


def _read_tracks(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield number, split and artist of each track that has them."""
    try:
        with _long_fields(), open(path, newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            split, artist, name = _columns(path, next(rows, []), next(rows, []))
            for row in rows:
                if row and row[0].isdecimal() and row[split] in SPLITS:  # not the row that says track_id
                    yield int(row[0]), row[split], row[artist] or row[name] or f"of {row[0]}"
    except (OSError, UnicodeDecodeError, csv.Error, IndexError) as error:
        raise AudioError(f"{path} is unreadable ({error}): unpack fma_metadata.zip anew") from error


def _columns(path: Path, groups: list[str], names: list[str]) -> tuple[int, int, int]:
    """Return where split, artist's number and artist's name are."""
    columns = {pair: place for place, pair in enumerate(zip(groups, names, strict=False))}
    if _SPLIT not in columns or not {_ARTIST, _NAME} & set(columns):
        raise AudioError(
            f"{path} has no columns (set, split) and (artist, id): take tracks.csv of fma_metadata.zip"
        )
    artist = columns.get(_ARTIST, columns.get(_NAME, 0))
    return columns[_SPLIT], artist, columns.get(_NAME, artist)


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(_MAX_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)
