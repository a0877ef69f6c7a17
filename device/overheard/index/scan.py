"""Find the audio files in folders, including linked folders, each file once."""

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
    (
        *(".wav", ".wave", ".aiff", ".aif", ".aifc"),
        *(".flac", ".ape", ".wv", ".tta", ".w64"),
        *(".mp3", ".mp2", ".aac", ".m4a", ".m4b", ".mp4", ".mpc"),
        *(".ogg", ".oga", ".opus", ".wma", ".mka", ".webm"),
        *(".dsf", ".dff"),
    )
)


def find_audio(folders: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """List the audio files in folders.

    Parameters
    ----------
    folders : iterable of path-like
        Folders, with everything below them, and single files.

    Returns
    -------
    list of Path
        Absolute paths, sorted. A file that can be reached by several paths is listed once. Hidden files and
        folders are skipped; unreadable subfolders are logged and skipped.

    Raises
    ------
    AudioError
        If one of `folders` does not exist.
    """
    return scan_audio(folders)[0]


def scan_audio(folders: Iterable[str | os.PathLike[str]]) -> tuple[list[Path], list[tuple[str, str]]]:
    """List audio files as :func:`find_audio` does, and the (path, reason) of each unreadable subfolder."""
    problems: list[tuple[str, str]] = []
    path_by_real_path: dict[str, Path] = {}
    for folder in folders:
        root = absolute(folder)
        if not root.exists():
            raise AudioError(f"{clean(str(root))}: no such file or folder", "check the path")
        if not root.is_dir() and not _is_regular(root):
            raise AudioError(f"{clean(str(root))}: not a regular file")  # opening a FIFO would block
        for path in _walk(root, problems) if root.is_dir() else [root]:
            real = os.path.realpath(path)
            if real not in path_by_real_path or real == str(path):  # prefer the file itself to a link
                path_by_real_path[real] = path
    return sorted(path_by_real_path.values(), key=os.fsencode), problems


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return an absolute path without ``..`` that keeps symbolic links."""
    # Path.absolute keeps "..", and Path.resolve replaces links by their targets.
    return Path(os.path.abspath(path))  # noqa: PTH100


def file_size(path: Path) -> int:
    """Return a file's size in bytes, 0 if it does not exist."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _walk(root: Path, problems: list[tuple[str, str]]) -> Iterator[Path]:
    def skip(error: OSError) -> None:
        _log.warning("%s: %s", error.filename, error.strerror)
        problems.append((str(error.filename), error.strerror or "cannot be read"))

    visited: set[str] = set()
    for folder, subfolders, names in os.walk(root, onerror=skip, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # a link to a folder above it would never end
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            # Names with a leading dot are hidden, or macOS resource forks (._song.mp3), which are not audio.
            path = Path(folder, name)
            if path.suffix.lower() in AUDIO_SUFFIXES and not name.startswith(".") and _is_regular(path):
                yield path


def _is_regular(path: Path) -> bool:
    """Return whether this is a file that reading does not block on, such as a FIFO."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True  # decoding it reports the reason
