"""Atomic writes, after which a file is either the old one or the new one; folders of links; safe reads."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from overheard.errors import SettingsError


@contextlib.contextmanager
def atomic_write(path: Path, private: bool = False, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield a file that replaces `path` when the block ends without an exception.

    The data goes to a temporary file in the same folder, ``NAME.PID-RANDOM.tmp``, is flushed to disk, and is
    then renamed. If the block raises an exception or the disk is full, `path` stays unchanged and the
    temporary file is deleted. Of several writers at the same time, each writes a whole file, and the last one
    wins. What a killed writer has left is deleted by the next one, if the file system has locks.

    Parameters
    ----------
    path : Path
    private : bool
        Whether only the user may read the file, and a folder that is created for it.
    durable : bool
        Whether the file is flushed to disk. If not, it may be empty after a power cut.

    Raises
    ------
    OSError
        If the file cannot be written, for example because the disk is full.
    """
    create_folder(path.parent, private)
    for left in partials(path):
        _delete_abandoned(left, without_locks=False)
    partial, file = _new_partial(path, 0o600 if private else 0o666)
    try:
        with file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
            partial.replace(path)  # while it is open and so locked: otherwise it would look abandoned
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    if durable:
        sync_folder(path.parent)


def remove_partial(path: Path) -> None:
    """Delete what :func:`atomic_write` left when its process was killed, while nobody writes `path`."""
    for left in partials(path):
        _delete_abandoned(left, without_locks=True)


def partials(path: Path) -> list[Path]:
    """Return the temporary files of :func:`atomic_write` for this path; those of earlier versions too."""
    name = re.compile(re.escape(path.name) + r"(\.\d+-[0-9a-f]{8})?\.tmp")
    try:
        return [file for file in path.parent.iterdir() if name.fullmatch(file.name)]
    except OSError:  # no such folder, or one that may not be read
        return []


def _new_partial(path: Path, mode: int) -> tuple[Path, BinaryIO]:
    """Create and lock a temporary file."""
    while True:
        partial = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
        file = open(partial, "xb", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
        try:
            lock_file(file.fileno())
            if os.path.samestat(os.fstat(file.fileno()), partial.stat()):
                return partial, file
        except (BlockingIOError, FileNotFoundError):  # deleted as abandoned before it was locked
            pass
        except BaseException:
            file.close()
            raise
        file.close()


def _delete_abandoned(partial: Path, without_locks: bool) -> None:
    """Delete a temporary file unless its writer holds its lock.

    Parameters
    ----------
    without_locks : whether to delete it also on a file system without locks, where the writer is unknown
    """
    with contextlib.suppress(OSError):  # BlockingIOError: it is being written
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(partial, flags)
        try:
            if lock_file(descriptor) or without_locks:
                partial.unlink()
        finally:
            os.close(descriptor)


def lock_file(descriptor: int) -> bool:
    """Lock an open file until it is closed; return False where there are no locks.

    Raises
    ------
    BlockingIOError
        If another process, or another part of this one, holds the lock.
    """
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (ImportError, OSError):  # the operating system or the file system has no locks
        return False
    return True


def create_folder(folder: Path, private: bool = False) -> None:
    """Create a folder and its parents; if `private`, only the user may open those that did not exist.

    Raises
    ------
    OSError
        If a folder cannot be created.
    """
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        missing.mkdir(mode=0o700 if private else 0o777, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)  # an error, if it exists and is no folder


def link_files(folder: Path, targets: Mapping[str, Path]) -> None:
    """Fill a folder with symbolic links to exactly these files, and remove all other links from it.

    Parameters
    ----------
    targets : the file that each link points to, by the link's path in the folder
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {folder / name: target for name, target in targets.items()}
    for link in [path for path in folder.rglob("*") if path.is_symlink() and path not in wanted]:
        link.unlink()
    for link, target in wanted.items():
        if link.is_symlink():
            if link.readlink() == target.absolute():
                continue
            link.unlink()
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target.absolute())


def sync_folder(folder: Path) -> None:
    """Flush a folder to disk, if the file system can, so that renames in it survive a power cut."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file, or /dev/null, for reading; do not wait for the writer of a named pipe.

    Raises
    ------
    OSError
        If the file cannot be opened, or is not a regular file.
    """
    # On Windows there are no named pipes in folders.
    nonblocking = getattr(os, "O_NONBLOCK", 0)
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | nonblocking))  # noqa: SIM115
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) and not os.path.samestat(status, Path(os.devnull).stat()):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Return the contents of a regular file, or of /dev/null; do not wait for the writer of a named pipe.

    Raises
    ------
    OSError
        If the file cannot be read, is not a regular file, or is larger than `max_bytes`.
    """
    with open_regular(path) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"larger than {max_bytes} bytes", str(path))
    return content


def expand_user(path: str | Path) -> Path:
    """Replace ``~`` or ``~NAME`` at the start of a path by the home folder.

    Raises
    ------
    SettingsError
        If there is no such user, or the user's home folder is unknown.
    """
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError):  # ValueError: the name contains NUL
        remedy = "write the whole path, or set the environment variable HOME"
        raise SettingsError(f"{path}: the home folder of this user is unknown", remedy) from None
