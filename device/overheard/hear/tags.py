"""Read title, artist, album and duration from the tags of audio files."""

from __future__ import annotations

import dataclasses
import logging
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mutagen

from overheard.text import clean

_log = logging.getLogger(__name__)
_TAG_NAMES = {  # mutagen's "easy" names first, then those of ID3 in WAV and AIFF, MP4, ASF and APE
    "title": ("title", "TIT2", "\xa9nam", "Title"),
    "artist": ("artist", "TPE1", "\xa9ART", "Author", "Artist", "albumartist", "TPE2", "WM/AlbumArtist"),
    "album": ("album", "TALB", "\xa9alb", "WM/AlbumTitle", "Album"),
}
# mutagen documents MutagenError, but its parsers raise any of these for damaged files.
_PARSER_ERRORS = (
    *(mutagen.MutagenError, OSError, EOFError, struct.error),
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError),
)


@dataclasses.dataclass(frozen=True)
class Tags:
    """Tags of an audio file. `title` is never empty; `duration_s` is 0 if it is unknown."""

    title: str
    artist: str
    album: str
    duration_s: float


def read_tags(path: str | os.PathLike[str]) -> Tags:
    """Read the tags of an audio file.

    A missing title becomes the file name without its suffix; other missing tags become empty. A file with
    damaged tags counts as a file without tags.
    """
    stem = clean(Path(path).stem)
    values, duration_s = _parse(path)
    title, artist, album = (_first_text(values[field]) for field in _TAG_NAMES)
    return Tags(title or stem, artist, album, duration_s)


def _parse(path: str | os.PathLike[str]) -> tuple[dict[str, list[Any]], float]:
    """Return the values of each field, in the order of `_TAG_NAMES`, and the duration in seconds."""
    nothing: dict[str, list[Any]] = {field: [] for field in _TAG_NAMES}
    try:
        file = mutagen.File(os.fspath(path), easy=True)
        if file is None:
            return nothing, 0.0
        values = {field: _values(file.tags, names) for field, names in _TAG_NAMES.items()}
        return values, float(getattr(file.info, "length", 0.0) or 0.0)
    except _PARSER_ERRORS as error:
        _log.info("%s: the tags cannot be read: %s", path, error)
        _log.debug("traceback of mutagen:", exc_info=True)
        return nothing, 0.0


def _values(tags: Any, names: Sequence[str]) -> list[Any]:
    if tags is None:
        return []
    values = []
    for name in names:
        try:
            values.append(tags[name])
        except (KeyError, ValueError):  # Vorbis comments raise ValueError for names such as "\xa9nam"
            continue
    return values


def _first_text(values: Sequence[Any]) -> str:
    for value in values:
        text = clean(str(value[0] if isinstance(value, list) and value else value or ""))
        if text:
            return text
    return ""
