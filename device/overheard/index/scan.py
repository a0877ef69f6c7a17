"""Find the audio files in folders, including linked folders, each file once."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from overheard.errors import AudioError
from overheard.index.cue_files import CUE_SUFFIX, Facts, combined_facts, cue_paths
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
_UNREADABLE: Facts = (0, 0)  # facts of a file that does not answer; decoding it reports the reason

Problems = list[tuple[str, str]]  # (path, reason)


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


def scan_audio(folders: Iterable[str | os.PathLike[str]]) -> tuple[list[Path], Problems]:
    """List audio files as :func:`find_audio` does, and the (path, reason) of each unreadable subfolder."""
    files, problems = scan_files(folders)
    return [Path(path) for path in files], problems


def scan_files(folders: Iterable[str | os.PathLike[str]]) -> tuple[dict[str, Facts], Problems]:
    """Return the facts of the files of :func:`find_audio` by path, and the unreadable subfolders.

    The facts are size and modification time of the file, together with its cue sheet; (0, 0) if the file
    does not answer.
    """
    problems: Problems = []
    found: dict[str, tuple[str, Facts]] = {}  # path and facts by real path
    for folder in folders:
        root = absolute(folder)
        if not root.exists():
            raise AudioError(f"{clean(str(root))}: no such file or folder", "check the path")
        if not root.is_dir() and not _is_regular(root):
            raise AudioError(f"{clean(str(root))}: not a regular file")  # opening a FIFO would block
        for path, real, facts in _walk(str(root), problems) if root.is_dir() else _single(root):
            if real not in found or real == path:  # prefer the file itself to a link
                found[real] = path, facts
    return dict(sorted(found.values(), key=lambda file: os.fsencode(file[0]))), problems


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


def _single(path: Path) -> Iterator[tuple[str, str, Facts]]:
    cues = cue_paths(str(path.parent), [path.name, *_names(path.parent)])
    facts = _facts(str(path), cues.get(path.name))
    if facts is not None:
        yield str(path), os.path.realpath(path), facts


def _names(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.lower().endswith(CUE_SUFFIX)]
    except OSError:
        return []


def _walk(root: str, problems: Problems) -> Iterator[tuple[str, str, Facts]]:
    """Yield path, real path and facts of each audio file below a folder."""
    visited: set[str] = set()
    folders = [(root, os.path.realpath(root))]
    while folders:
        folder, real = folders.pop()
        if real in visited:  # a link to a folder above it would never end
            continue
        visited.add(real)
        try:
            with os.scandir(folder) as listed:
                # A leading dot: hidden files, and macOS resource forks (._song.mp3), which are not audio.
                entries = sorted(
                    (entry for entry in listed if not entry.name.startswith(".")),
                    key=lambda entry: entry.name,
                )
        except OSError as error:
            _log.warning("%s: %s", folder, error.strerror)
            problems.append((folder, error.strerror or "cannot be read"))
            continue
        subfolders = [entry for entry in entries if _is_folder(entry)]
        folders += [(entry.path, _real(entry, real)) for entry in reversed(subfolders)]
        yield from _audio_in(folder, real, entries)


def _audio_in(folder: str, real: str, entries: list[os.DirEntry[str]]) -> Iterator[tuple[str, str, Facts]]:
    audio = [entry for entry in entries if _suffix(entry.name) in AUDIO_SUFFIXES]
    sheets = [entry.name for entry in entries if _suffix(entry.name) == CUE_SUFFIX]
    cues = cue_paths(folder, [*sheets, *(entry.name for entry in audio)]) if sheets else {}
    for entry in audio:
        facts = _facts(entry.path, cues.get(entry.name))
        if facts is not None:
            yield entry.path, _real(entry, real), facts


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path for each of 100,000 files takes seconds


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _real(entry: os.DirEntry[str], real_folder: str) -> str:
    """Return the real path of an entry of a folder, whose real path is known."""
    try:
        is_link = entry.is_symlink()
    except OSError:
        is_link = True
    if is_link:
        return os.path.realpath(entry.path)
    return os.path.join(real_folder, entry.name)  # noqa: PTH118


def _facts(path: str, cue: str | None) -> Facts | None:
    """Return size and modification time; None for what is no file: reading a FIFO would block."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return _UNREADABLE
    return combined_facts(status, cue) if stat.S_ISREG(status.st_mode) else None


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True  # decoding it reports the reason
