"""Listen on a Unix-domain socket of one user; replace what a crash left, never a live one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from pathlib import Path

from overheard.errors import OverheardError
from overheard.files import create_folder
from overheard.live.address import MAX_PATH_BYTES

_BACKLOG = 16


class SocketTaken(OverheardError):
    """Another process listens on the socket."""


class SocketFile:
    """A listening Unix-domain socket, and the lock that tells a live one from what a crash left.

    Parameters
    ----------
    path : of the socket; a lock file of the same name with ``.lock`` stays beside it

    Raises
    ------
    SocketTaken
        If another process has it.
    OverheardError
        If the path is too long for a socket, or something else than a socket is there.
    OSError
        If the socket cannot be created.
    """

    def __init__(self, path: Path) -> None:
        if len(os.fsencode(path)) > MAX_PATH_BYTES:
            raise OverheardError(f"{path}: too long for a socket", "set XDG_RUNTIME_DIR to a short path")
        _refuse_other_files(path)
        self.path = path
        create_folder(path.parent, private=True)
        self._lock = os.open(
            path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SocketTaken(f"{path}: another process has this socket") from error
            path.unlink(missing_ok=True)  # whoever had it has ended
            self.socket = _bound(path)
        except BaseException:
            os.close(self._lock)
            raise
        self._id = _file_id(path)

    def close(self) -> None:
        """Stop listening, and delete the socket unless somebody else has replaced it."""
        self.socket.close()
        with contextlib.suppress(OSError):
            if _file_id(self.path) == self._id:
                self.path.unlink()
        os.close(self._lock)


def _refuse_other_files(path: Path) -> None:
    """Raise OverheardError if something is there that is no socket: it would be deleted."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OverheardError(f"{path}: already exists and is not a socket", "choose another path")


def _bound(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listening.fileno(), 0o600)  # Linux creates the file with this mode, so there is no gap
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _file_id(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
