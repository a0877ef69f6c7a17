"""Read the MusicBrainz id of a recording from the tags of its audio file."""

from __future__ import annotations

import os
import re
from pathlib import Path

from overheard.errors import AudioError
from overheard.files import open_regular
from overheard.hear.container import opened

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NAME = "musicbrainztrackid"  # without spaces and underscores; in this tag is the id of the recording
# In MP3 it is a frame that ffmpeg does not read; https://picard-docs.musicbrainz.org/en/appendices/tag_mapping.html
_FRAME = re.compile(rb"UFID.{6}http://musicbrainz\.org\0(" + _UUID.encode() + rb")", re.DOTALL)
_FRAME_BYTES = 1 << 18  # pictures usually come after it


def read_recording_id(path: str | os.PathLike[str]) -> str:
    """Return the MusicBrainz id of the recording in a file; empty if its tags have none, or it is missing."""
    try:
        with opened(Path(path)) as container:
            streams = [item for stream in container.streams.audio[:1] for item in stream.metadata.items()]
            for name, value in (*streams, *container.metadata.items()):
                plain = re.sub(r"[ _]", "", name).lower().removeprefix("----:com.apple.itunes:")
                if plain == _NAME and re.fullmatch(_UUID, value.strip().lower()):
                    return str(value).strip().lower()
            if container.format.name != "mp3":
                return ""
        with open_regular(Path(path)) as file:
            found = _FRAME.search(file.read(_FRAME_BYTES))
    except (AudioError, OSError, ValueError):
        return ""
    return found[1].decode() if found else ""
