"""Find out which files of a pack on disk came from a repository, and which the user made or changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from overheard.catalogue.layer import open_layer
from overheard.catalogue.layer_files import layer_files, layer_name, layers_folder
from overheard.catalogue.pack import PACK_SUFFIX, shipped_packs_dir
from overheard.catalogue.pack_file import Stamp
from overheard.catalogue.pack_format import UnusablePack
from overheard.errors import PackError, UpdateError
from overheard.updates.documents import PackEntry, PackFile
from overheard.updates.state import InstalledFile

_CHUNK_BYTES = 1 << 20


def pack_path(folder: Path, name: str) -> Path:
    """Return the path of a pack's base in the folder of packs."""
    return folder / f"{name}{PACK_SUFFIX}"


def file_path(base: Path, file: PackFile) -> Path:
    """Return the place of a file of the pack whose base has this path."""
    return base if file.base else layers_folder(base) / layer_name(file.first, file.last)


def installed_files(base: Path, entry: PackEntry, known: Iterable[InstalledFile]) -> list[InstalledFile]:
    """Return the files of a pack that came from a repository, as they are on disk now, without damaged ones.

    A lineage and a serial stand for the same tracks everywhere. So files that were merged or compacted on
    this machine count as the repository's; what the user added to the pack does not.

    Parameters
    ----------
    base : path of the pack's base, which may not exist
    entry : the pack in the index
    known : the files that an earlier update put there

    Raises
    ------
    UpdateError
        If there is a pack of this name that an update would overwrite.
    """
    known = tuple(known)
    _require_free(base, entry.name)
    # A file with the contents of one in the repository is one, as after the subscriptions were lost.
    offered = tuple(InstalledFile(file, entry.lineage) for file in entry.files)
    found: list[InstalledFile] = []
    for path in (base, *layer_files(base)):
        own = _own(path, path == base, known, offered)
        if own is not None:
            found.append(own)
        elif path == base and path.exists() and (not known or _lineage(path)):
            raise _taken(base, bool(known))
        elif found and path != base and _lineage(path) == found[0].lineage:
            raise _taken(base, True)
    return found


def _own(
    path: Path, is_base: bool, known: Sequence[InstalledFile], offered: Sequence[InstalledFile]
) -> InstalledFile | None:
    """Return a file that came from a repository, or None."""
    try:
        stamp = Stamp.of(path.stat())
        for each in known:
            if each.stamp == stamp and each.file.base == is_base:
                return each
        layer = open_layer(path)
        file = PackFile(is_base, layer.first, layer.last, layer.bytes, _sha256(path))
    except (OSError, PackError, UnusablePack):
        return None
    own = InstalledFile(file, layer.lineage, layer.stamp)
    same = [each for each in known if each.lineage == own.lineage]
    serials = {(each.file.base, each.file.first, each.file.last) for each in same}
    if file in {each.file for each in (*same, *offered)}:
        return own
    merged = (is_base, file.first, file.last) not in serials
    return own if merged and file.last <= max((each.file.last for each in same), default=-1) else None


def _lineage(path: Path) -> str | None:
    """Return the lineage of a file that can be used; None of another."""
    try:
        return open_layer(path).lineage
    except (PackError, UnusablePack):
        return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _require_free(base: Path, name: str) -> None:
    """Raise UpdateError for a name that cannot be used, whether there is a pack or not."""
    if (shipped_packs_dir() / base.name).exists():
        problem = f"a pack with the name {name} ships with overheard"
        raise UpdateError(problem, "ask its publisher to rename it")
    if base.with_name(f"{base.stem}.indexing.sqlite").exists():  # `overheard index` is making it
        raise _taken(base, False)


def _taken(base: Path, changed: bool) -> UpdateError:
    """Return the error for a pack that an update would overwrite."""
    what = f"you have a pack of your own with the name {base.stem}: {base}"
    if changed:
        what = f"{base} was changed on this machine, and an update would overwrite that"
    remedy = f"rename it, or remove it (overheard packs remove {base.stem}), and update again"
    return UpdateError(what, remedy)
