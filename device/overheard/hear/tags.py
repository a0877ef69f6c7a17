"""Read title, artist and album of audio files."""

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
_TAG_NAMES = {  # mutagen's easy names, then ID3 in WAV and AIFF, MP4, ASF and APE
    "title": ("title", "TIT2", "\xa9nam", "Title"),
    "artist": ("artist", "TPE1", "\xa9ART", "Author", "Artist", "albumartist", "TPE2", "WM/AlbumArtist"),
    "album": ("album", "TALB", "\xa9alb", "WM/AlbumTitle", "Album"),
}
# What mutagen lets through, besides its own error, when a file's tags are damaged.
_TAG_ERRORS = (
    *(mutagen.MutagenError, OSError, EOFError, struct.error),
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError),
)


@dataclasses.dataclass(frozen=True)
class Tags:
    """What a file says about itself; `title` is never empty, `duration_s` is 0 where unknown."""

    title: str
    artist: str
    album: str
    duration_s: float


def read_tags(path: str | os.PathLike[str]) -> Tags:
    """Read title, artist, album and duration; what cannot be read is empty, or the file's stem as title."""
    stem = clean(Path(path).stem)
    try:
        file = mutagen.File(os.fspath(path), easy=True)
        if file is None:
            return Tags(stem, "", "", 0.0)
        title, artist, album = (_first(file.tags, names) for names in _TAG_NAMES.values())
        duration_s = float(getattr(file.info, "length", 0.0) or 0.0)
    except _TAG_ERRORS as error:
        _log.info("tags of %s cannot be read: %s", path, error)
        return Tags(stem, "", "", 0.0)
    return Tags(title or stem, artist, album, duration_s)


def _first(tags: Any, names: Sequence[str]) -> str:
    if tags is None:
        return ""
    for name in names:
        try:
            value = tags[name]
        except (KeyError, ValueError):  # Vorbis comments refuse names such as "\xa9nam"
            continue
        text = clean(str(value[0] if isinstance(value, list) and value else value or ""))
        if text:
            return text
    return ""
