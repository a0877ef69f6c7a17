"""Wait for changes of the files in folders, until they have been quiet for a while.

With the package watchdog, the operating system reports changes. Folders of which it reports none, such as
those on network shares, are scanned from time to time; so are the others, seldom, because reports can be lost
and do not cover linked folders.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import logging
import os
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from overheard.errors import AudioError
from overheard.index.cue_files import CUE_SUFFIX
from overheard.index.scan import AUDIO_SUFFIXES, absolute, scan_files
from overheard.text import one_line

log = logging.getLogger(__name__)

QUIET_S = 10.0  # without changes, until they are indexed: a file may still be copied
POLL_S = 60.0  # between two scans of folders without reports
_SELDOM = 10  # other folders are scanned this many times less often
_MAX_SHARE = 0.05  # of the time that scans may take
_STEP_S = 0.2
_CHANGES = frozenset(("created", "modified", "moved", "deleted", "closed"))
_NETWORK = ("nfs", "cifs", "smb", "afs", "ceph", "9p", "davfs", "fuse.", "glusterfs", "lustre", "ncpfs")
_MOUNTS = Path("/proc/self/mounts")


class Changes:
    """The changes in folders, from the `with` statement on.

    Parameters
    ----------
    folders : folders and files
    quiet_s : seconds without changes that end a series of changes
    poll_s : seconds between two scans of folders on network shares
    """

    def __init__(
        self, folders: Iterable[str | os.PathLike[str]], quiet_s: float = QUIET_S, poll_s: float = POLL_S
    ) -> None:
        self._folders = tuple(str(absolute(folder)) for folder in folders)
        self._quiet_s, self._poll_s = quiet_s, poll_s
        self._last_change: float | None = None
        self._observer: Any = None
        self._polled_often = True
        self._roots: tuple[object, ...] = ()
        self._state = b""
        self._next_poll = self._last_poll = 0.0

    def __enter__(self) -> Changes:
        """Start to watch."""
        self._roots = self._identities()
        self._observe()
        self._state = self._scan()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the threads that watch."""
        self._stop_observer()

    def wait(self, stop: threading.Event) -> bool:
        """Wait until something changed, and then until nothing changes any more; return False if stopped."""
        while not stop.wait(_STEP_S):
            if time.monotonic() >= self._next_poll:
                self._poll()
            if self._is_quiet():
                self._last_change = None
                return True
        return False

    def _is_quiet(self) -> bool:
        """Return whether something changed, and nothing since then for the quiet period."""
        changed = self._last_change
        if changed is None:
            return False
        # Without reports, only a scan after that period shows that nothing has changed in it.
        seen = self._last_poll if self._polled_often else time.monotonic()
        return seen - changed >= self._quiet_s

    def touch(self) -> None:
        """Report a change."""
        self._last_change = time.monotonic()

    def retry(self) -> None:
        """Report a change after :meth:`wait` has waited for one poll: the last run failed."""
        self._state = b""
        self._next_poll = min(self._next_poll, time.monotonic() + self._poll_s)

    def _poll(self) -> None:
        roots = self._identities()
        if roots != self._roots:  # a share was mounted again: the old reports have ended
            self._roots = roots
            self._observe()
            self.touch()
        state = self._scan()
        if state != self._state:
            self._state = state
            self.touch()
        if self._last_change is not None and self._polled_often:
            self._next_poll = max(time.monotonic(), self._last_change + self._quiet_s)

    def _scan(self) -> bytes:
        """Return a hash of the paths, sizes and times of all files, and plan the next scan."""
        started = time.monotonic()
        digest = hashlib.sha256()
        with contextlib.suppress(AudioError):  # a folder that vanished meanwhile
            files, _ = scan_files([folder for folder in self._folders if os.path.exists(folder)])  # noqa: PTH110
            for path, (size, mtime_ns) in files.items():
                digest.update(b"%s\0%d %d\n" % (os.fsencode(path), size, mtime_ns))
        now = time.monotonic()
        wait_s = self._poll_s if self._polled_often else self._poll_s * _SELDOM
        self._next_poll = now + max(wait_s, (now - started) / _MAX_SHARE)
        self._last_poll = started
        return digest.digest()

    def _identities(self) -> tuple[object, ...]:
        """Return what changes when a folder is replaced, or another drive is mounted in its place."""
        found: list[object] = []
        for folder in self._folders:
            try:
                status = os.stat(folder)  # noqa: PTH116
                found.append((status.st_dev, status.st_ino))
            except OSError:
                found.append(None)
        return tuple(found)

    def _observe(self) -> None:
        self._stop_observer()
        self._observer = _start_observer(self._folders, self)
        self._polled_often = self._observer is None or any(map(on_network, self._folders))

    def _stop_observer(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None


def on_network(path: str) -> bool:
    """Return whether a path is on a file system whose changes on other machines are not reported."""
    real, best, kind = os.path.realpath(path), "", ""
    try:
        lines = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return False
    for line in lines:
        _, mount, name = (line.split(" ") + [""] * 3)[:3]
        mount = mount.replace("\\040", " ")
        if (real + os.sep).startswith(mount.rstrip(os.sep) + os.sep) and len(mount) >= len(best):
            best, kind = mount, name
    return kind.startswith(_NETWORK)


class _Handler:
    """Receives the reports of watchdog, which calls `dispatch` and nothing else."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    def dispatch(self, event: Any) -> None:
        """Note a change."""
        if _matters(event):
            self._changes.touch()


def _start_observer(folders: Sequence[str], changes: Changes) -> Any:
    """Return a running observer of watchdog; None if it is not installed or cannot watch the folders."""
    try:
        observers = importlib.import_module("watchdog.observers")
    except ImportError:
        log.info("watchdog is not installed; the folders are scanned at intervals (index.poll_s)")
        return None
    observer = observers.Observer()
    try:
        for folder in folders:
            if os.path.exists(folder):  # noqa: PTH110
                observer.schedule(_Handler(changes), folder, recursive=True)
        observer.start()
    except OSError as error:  # such as more folders than inotify may watch
        log.warning("the folders are scanned at intervals (index.poll_s): %s", one_line(str(error)))
        with contextlib.suppress(RuntimeError):  # if it has not started
            observer.stop()
            observer.join()
        return None
    return observer


def _matters(event: Any) -> bool:
    """Return whether a report can be of a change in the music."""
    if event.event_type not in _CHANGES:  # such as that a file was opened
        return False
    if event.is_directory:
        return bool(event.event_type != "modified")  # a file in it changed, which has a report of its own
    names = (event.src_path, getattr(event, "dest_path", ""))
    suffixes = {os.path.splitext(os.fsdecode(name))[1].lower() for name in names if name}  # noqa: PTH122
    return bool(suffixes & (AUDIO_SUFFIXES | {CUE_SUFFIX}))
