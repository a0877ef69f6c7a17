"""Find the audio files in folders."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from overheard.errors import AudioError
from overheard.text import clean

_log = logging.getLogger(__name__)
AUDIO_SUFFIXES = frozenset(
    [
        ".wav",
        ".wave",
        ".flac",
        ".mp3",
        ".mp2",
        ".ogg",
        ".oga",
        ".opus",
        ".m4a",
        ".m4b",
        ".mp4",
        ".aac",
        ".wma",
        ".aiff",
        ".aif",
        ".aifc",
        ".ape",
        ".wv",
    ]
)


def find_audio(folders: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """List the audio files in folders (and single files), sorted, each real file once.

    Raises
    ------
    AudioError
        If one of `folders` does not exist. Folders inside that cannot be read are logged and left out.
    """
    return scan_audio(folders)[0]


def file_size(path: Path) -> int:
    """Return a file's size in bytes, 0 where it is gone."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def scan_audio(folders: Iterable[str | os.PathLike[str]]) -> tuple[list[Path], list[tuple[str, str]]]:
    """As :func:`find_audio`, and also the (path, reason) of folders inside that could not be read."""
    problems: list[tuple[str, str]] = []
    found: dict[str, Path] = {}
    for folder in folders:
        root = Path(os.path.abspath(folder))
        if not root.exists():
            raise AudioError(f"{clean(str(root))}: no such file or folder")
        for path in [root] if not root.is_dir() else _walk(root, problems):
            real = os.path.realpath(path)
            if real not in found or real == str(path):  # rather the file itself than a link to it
                found[real] = path
    return sorted(found.values(), key=os.fsencode), problems


def _walk(root: Path, problems: list[tuple[str, str]]) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        _log.warning("%s: %s", error.filename, error.strerror)
        problems.append((str(error.filename), error.strerror or "cannot be read"))

    seen: set[str] = set()
    for folder, subfolders, names in os.walk(root, onerror=unreadable, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            # A leading dot is hidden, or macOS's resource fork (._song.mp3), which is no audio.
            if os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES and not name.startswith("."):
                path = Path(folder, name)
                if _is_regular(path):
                    yield path


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True  # let reading it name the reason
