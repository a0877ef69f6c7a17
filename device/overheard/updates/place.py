"""Put downloaded files of a pack into place, in an order that shows readers the old or the new pack."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from overheard.catalogue.live_layers import layer_files, layer_name, layers_folder
from overheard.catalogue.pack import PACK_SUFFIX
from overheard.catalogue.pack_file import Stamp
from overheard.errors import UpdateError
from overheard.files import create_folder, sync_folder
from overheard.updates.documents import PackFile
from overheard.updates.plan import Plan
from overheard.updates.state import InstalledFile

_CHUNK_BYTES = 1 << 20


def pack_path(folder: Path, name: str) -> Path:
    """Return the path of a pack's base in the folder of packs."""
    return folder / f"{name}{PACK_SUFFIX}"


def file_path(base: Path, file: PackFile) -> Path:
    """Return the place of a file of the pack whose base has this path."""
    return base if file.base else layers_folder(base) / layer_name(file.first, file.last)


def present(base: Path, known: Iterable[InstalledFile]) -> list[InstalledFile]:
    """Return the files of a pack that are in place and unchanged, with their present stamps.

    A file that was touched or copied is read once, and compared with the SHA-256 that it had.
    """
    found = []
    for installed in known:
        path = file_path(base, installed.file)
        try:
            stamp = Stamp.of(path.stat())
            same = stamp == installed.stamp
            if same or (stamp.size == installed.file.size and _sha256(path) == installed.file.sha256):
                found.append(dataclasses.replace(installed, stamp=stamp))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UpdateError(f"{path}: cannot be read ({error.strerror or error})") from error
    return found


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def place(base: Path, plan: Plan, parts: Mapping[PackFile, Path]) -> None:
    """Rename downloaded files into place, the lowest last, and delete files that are no longer used.

    Until the lowest file is in place, the others do not continue the installed ones, and readers ignore them.

    Parameters
    ----------
    base : path of the pack's base
    plan : what the pack consists of afterwards
    parts : where new files of the plan are now, unless they are in place

    Raises
    ------
    UpdateError
        If a file cannot be renamed.
    """
    try:
        for file in reversed([file for file in plan.new if file in parts]):
            target = file_path(base, file)
            create_folder(target.parent, private=True)
            parts[file].replace(target)
            sync_folder(target.parent)
    except OSError as error:
        raise UpdateError(f"{base}: cannot be written ({error.strerror or error})") from error
    remove_unused(base, (*plan.kept, *plan.new))


def remove_unused(base: Path, used: Iterable[PackFile]) -> None:
    """Delete the layers that a pack does not use; what cannot be deleted stays, because nobody reads it."""
    keep = {file_path(base, file) for file in used}
    for path in layer_files(base):
        if path not in keep:
            with contextlib.suppress(OSError):
                path.unlink()
    with contextlib.suppress(OSError):
        layers_folder(base).rmdir()  # unless a layer is in it
