"""Open audio files with PyAV: local files only, unless the source has its own options.

This module does without NumPy, so that what reads only tags and covers stays small.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import av

from overheard.errors import AudioError
from overheard.text import clean

Source = str | os.PathLike[str] | BinaryIO
# Only local files: a playlist with the suffix .mp3 must not make the decoder open a network address.
_OPEN_OPTIONS = {"protocol_whitelist": "file"}


@contextlib.contextmanager
def opened(source: Source, shown: str = "") -> Iterator[Any]:
    """Open an audio file; yield PyAV's container, whose tags are decoded with ``surrogateescape``.

    Parameters
    ----------
    source : path-like or binary file
        Any file that ffmpeg's libraries can read.
    shown : str
        Its name in error messages, if it has another one.

    Raises
    ------
    AudioError
        If the file is not audio, or cannot be read now or in the block.
    """
    shown = shown or shown_name(source)
    try:
        timeout = getattr(source, "timeout_s", None)
        with av.open(
            *(openable(source, shown),), options=_options(source), timeout=timeout, **_metadata_options()
        ) as container:
            if not container.streams.audio:
                raise AudioError(f"{shown}: no audio in this file")
            yield container
    except (av.error.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{shown}: cannot be read as audio ({reason})") from error


def shown_name(source: Source) -> str:
    """Return the name of a source for messages."""
    return clean(os.fspath(source)) if isinstance(source, str | os.PathLike) else "standard input"


def _options(source: Source) -> dict[str, str]:
    probe_bytes = getattr(source, "probe_bytes", None)
    options: dict[str, str] = getattr(source, "open_options", _OPEN_OPTIONS)
    return options | ({"formatprobesize": str(probe_bytes)} if probe_bytes else {})


def openable(source: Source, shown: str) -> str | BinaryIO:
    """Return what `av.open` takes; raise AudioError for a file that cannot be audio, without opening it."""
    if not isinstance(source, str | os.PathLike):
        return cast(BinaryIO, getattr(source, "url", source))  # of `RemoteAudio`
    path = Path(source)
    if not os.fspath(source):
        raise AudioError("the name of the file is empty", "give the path of an audio file")
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AudioError(f"{shown}: no such file", "check the path") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{shown}: is a folder", f"name the files in it: {shown}/*")
    # A FIFO would wait for a writer, and a device may have no end.
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(f"{shown}: not a regular file", "pipe the audio into `overheard identify -`")
    if status.st_size == 0:
        raise AudioError(f"{shown}: the file is empty")
    # ffmpeg takes the "a:" of a relative path "a:b.ogg" for a protocol. Path.absolute, unlike
    # Path.resolve, keeps the name that the user gave.
    return str(path.absolute())


def _metadata_options() -> dict[str, Any]:
    """Return arguments of `av.open` that let it open files whose tags are not valid UTF-8.

    Before PyAV 19, `av.open` raises UnicodeDecodeError for such a file unless `metadata_errors` is set.
    PyAV 19 decodes tags with surrogateescape and has no such argument. Source: PyAV pull request 2386.
    """
    major = int(av.__version__.partition(".")[0])
    return {"metadata_errors": "surrogateescape"} if major < 19 else {}
