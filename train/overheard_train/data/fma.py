"""Read the layout of the Free Music Archive: tables in ``fma_metadata``, audio in ``fma_small`` and others.

Source: Defferrard et al., FMA: A Dataset for Music Analysis, ISMIR 2017, and mdeff/fma's ``utils.py``.
``tracks.csv`` begins with two rows of column names and one with the name of the index, ``track_id``. Track 2
of ``fma_small`` is ``fma_small/000/000002.mp3``.
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

# A track that is in several is read from the first of these: full tracks before cuts of 30 s.
SUBSETS = ("fma_full", "fma_large", "fma_medium", "fma_small")
SPLITS = ("training", "validation", "test")
_MAX_FIELD = 16 << 20  # characters; biographies of artists are long
_SPLIT, _ARTIST, _NAME = ("set", "split"), ("artist", "id"), ("artist", "name")


@dataclasses.dataclass(frozen=True)
class Track:
    """A track that is in the tables and in an audio folder.

    Attributes
    ----------
    split : ``training``, ``validation`` or ``test``; no artist is in two of them
    artist : the artist's number, or the name if the table has no number
    """

    path: Path
    split: str
    artist: str


def is_fma(root: Path) -> bool:
    """Return whether a folder is the root of FMA or one of its audio folders, by name."""
    return _is_subset(root) or any((root / subset).is_dir() for subset in SUBSETS)


def find_tables(root: Path) -> Path | None:
    """Return ``tracks.csv`` for the root of FMA or one of its audio folders; None if there is none."""
    if not is_fma(root):
        return None
    roots = [root, root.absolute().parent] if _is_subset(root) else [root]
    tables = [parent / folder / "tracks.csv" for parent in roots for folder in ("fma_metadata", ".")]
    return next((path for path in tables if path.is_file()), None)


def _is_subset(root: Path) -> bool:
    return Path(os.path.normpath(root.absolute())).name in SUBSETS


def list_tracks(root: Path) -> list[Track]:
    """List the tracks that are both in ``tracks.csv`` and in an audio folder.

    Raises
    ------
    AudioError
        ``tracks.csv`` is missing, unreadable, or lacks columns.
    """
    tables = find_tables(root)
    if tables is None:
        raise AudioError(
            f"{root} lacks FMA's fma_metadata/tracks.csv",
            f"unpack fma_metadata.zip beside the audio, or give --data music={root} to split it by folder",
        )
    files = _audio_files(root)
    tracks = [
        Track(files.pop(number), split, artist)
        for number, split, artist in _read_tracks(tables)
        if number in files
    ]
    if files:
        log.warning("%s: %d files are ignored; %s does not list them", root, len(files), tables.name)
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
    """Yield number, split and artist of each track that has a split."""
    try:
        with _long_fields(), path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            columns = split, artist, name = _columns(path, next(rows, []), next(rows, []))
            for row in rows:
                if not row or not row[0].isdecimal():  # such as the row with track_id
                    continue
                if len(row) <= max(columns):
                    raise csv.Error(f"line {rows.line_num} has {len(row)} columns")
                if row[split] in SPLITS:
                    yield int(row[0]), row[split], row[artist] or row[name] or f"of {row[0]}"
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AudioError(f"{path} is unreadable ({error})", "unpack fma_metadata.zip again") from error


def _columns(path: Path, groups: list[str], names: list[str]) -> tuple[int, int, int]:
    """Return the columns of the split, the artist's number and the artist's name."""
    columns = {pair: index for index, pair in enumerate(zip(groups, names, strict=False))}
    if _SPLIT not in columns or not {_ARTIST, _NAME} & set(columns):
        raise AudioError(
            f"{path} has no columns (set, split) and (artist, id)", "use tracks.csv of fma_metadata.zip"
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
