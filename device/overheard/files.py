"""Atomic writes, after which a file is either the old one or the new one; and folders of links."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def atomic_write(path: Path, private: bool = False) -> Iterator[BinaryIO]:
    """Yield a file that replaces `path` when the block ends without an exception.

    The data goes to ``NAME.tmp`` in the same folder, is flushed to disk, and is then renamed. If the block
    raises an exception or the disk is full, `path` stays unchanged and the temporary file is deleted.

    Parameters
    ----------
    path : Path
    private : bool
        Whether only the user may read the file, and a folder that is created for it.

    Raises
    ------
    OSError
        If the file cannot be written, for example because the disk is full.
    """
    create_folder(path.parent, private)
    partial = path.with_name(f"{path.name}.tmp")
    mode = 0o600 if private else 0o666
    try:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()  # of an interrupted run; it may have other permissions
        with open(partial, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    sync_folder(path.parent)


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
