"""Read title, artist, album and duration from the tags of audio files."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av

from overheard.errors import AudioError
from overheard.files import open_regular
from overheard.hear.container import opened
from overheard.hear.cue import MAX_CUE_BYTES
from overheard.hear.tag_text import decode_text, encoding_of, legacy_bytes
from overheard.text import clean

_log = logging.getLogger(__name__)
_TAG_NAMES = {  # in ffmpeg's words, which are the same for most formats
    "title": ("title",),
    "artist": ("artist", "author", "album_artist", "albumartist", "wm/albumartist"),
    "album": ("album", "wm/albumtitle"),
}
# Formats that prescribe an encoding. In others, such as ID3 in MP3, text is often not what it is declared as.
_DECLARED = frozenset(("flac", "ogg", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf"))
_MAX_ALBUM_FILES = 40
_ID3V1_BYTES = 128


@dataclasses.dataclass(frozen=True)
class Tags:
    """Tags of an audio file.

    `title` is never empty; `duration_s` is 0 if it is unknown. `cue_sheet` is an embedded cue sheet, decoded
    with ``surrogateescape``.
    """

    title: str
    artist: str
    album: str
    duration_s: float
    cue_sheet: str = ""


@dataclasses.dataclass(frozen=True)
class _RawTags:
    """The first value of each field of `_TAG_NAMES`; bytes if its encoding is unknown."""

    values: Mapping[str, str | bytes]
    duration_s: float = 0.0
    cue_sheet: str = ""

    @property
    def unknown(self) -> list[bytes]:
        """The values whose encoding is unknown."""
        return [value for value in self.values.values() if isinstance(value, bytes)]


def read_tags(path: str | os.PathLike[str]) -> Tags:
    """Read the tags of an audio file.

    A missing title becomes the file name without its suffix; other missing tags become empty. A file with
    damaged tags counts as a file without tags. Where tags do not state their encoding, it is found from the
    tags of the album, which are the files in the same folder with the same album or artist.
    """
    path = Path(path)
    raw = _parse(path)
    encoding = _album_encoding(path, raw) if raw.unknown else ""
    title, artist, album = (
        clean(decode_text(value, encoding) if isinstance(value, bytes) else value)
        for value in (raw.values.get(field, "") for field in _TAG_NAMES)
    )
    return Tags(title or clean(path.stem), artist, album, raw.duration_s, raw.cue_sheet)


def _album_encoding(path: Path, raw: _RawTags) -> str:
    """Return the encoding of an album's tags, of which `raw` are those of one file."""
    texts = raw.unknown
    for other in _folder_tags(path.parent, path.suffix):
        shared = (raw.values.get(field) == other.get(field) is not None for field in ("artist", "album"))
        if any(shared):
            texts += [value for value in other.values() if isinstance(value, bytes)]
    return encoding_of(texts)


@functools.lru_cache(maxsize=4)  # indexing reads the files of a folder one after another
def _folder_tags(folder: Path, suffix: str) -> tuple[Mapping[str, str | bytes], ...]:
    """Return the tags of the first files of a folder that have this suffix."""
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == suffix)
    except OSError:
        return ()
    return tuple(_parse(path).values for path in files[:_MAX_ALBUM_FILES])


def _parse(path: Path) -> _RawTags:
    try:
        with opened(path) as container:
            found = {name.lower(): text for name, text in _metadata(container)}
            if container.format.name == "mp3":
                found = _id3v1(path) | found
            declared = container.format.name in _DECLARED
            duration_s = (container.duration or 0) / av.time_base
    except (AudioError, OSError, ValueError) as error:
        _log.info("%s: the tags cannot be read: %s", path, error)
        return _RawTags({})
    values: dict[str, str | bytes] = {}
    for field, names in _TAG_NAMES.items():
        for text in (found.get(name, "") for name in names):
            unknown = legacy_bytes(text, declared)
            if unknown or clean(text):
                values.setdefault(field, text if unknown is None else unknown)
    return _RawTags(values, duration_s, found.get("cuesheet", "")[:MAX_CUE_BYTES])


def _metadata(container: Any) -> list[tuple[str, str]]:
    """Return the tags of the file; Ogg has them in the stream."""
    streams = [item for stream in container.streams.audio[:1] for item in stream.metadata.items()]
    return [*streams, *container.metadata.items()]


def _id3v1(path: Path) -> dict[str, str]:
    """Return the tags in the last 128 bytes of an MP3. ffmpeg reads them only if there is no ID3v2."""
    with open_regular(path) as file:
        file.seek(-min(_ID3V1_BYTES, os.fstat(file.fileno()).st_size), os.SEEK_END)
        tag = file.read(_ID3V1_BYTES)
    if len(tag) < _ID3V1_BYTES or not tag.startswith(b"TAG"):
        return {}
    texts = (tag[start : start + 30].split(b"\0")[0].rstrip() for start in (3, 33, 63))
    return {
        field: text.decode("utf-8", "surrogateescape")
        for field, text in zip(("title", "artist", "album"), texts, strict=True)
        if text
    }
