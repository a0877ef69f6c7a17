"""Keep files that are derived from large packs: checksummed, mapped, and made again when missing or damaged.

They are in the folder ``.derived`` beside the packs, named by the SHA-256 of the manifest of the file that
they are derived from. They never travel, and may be deleted at any time. A small file ``NAME.json`` remembers
which files have been verified: large files are not read completely each time that they are opened.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import mmap
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from overheard.catalogue.pack_file import Stamp
from overheard.catalogue.pack_format import (
    HEADER,
    Layout,
    Part,
    UnusablePack,
    find_parts,
    read_manifest,
    verify_parts,
    write_parts,
)
from overheard.files import atomic_write, read_regular
from overheard.fingerprint.json_values import parse_object
from overheard.text import one_line

log = logging.getLogger(__name__)

FOLDER = ".derived"
MAX_RECORD_BYTES = 1 << 16
_MIN_AGE_S = 3600.0  # of files that may still be in the making

Parts = Mapping[str, memoryview]


def derived_folder(path: Path) -> Path:
    """Return the folder of the files that are derived from a base or a layer; it may not exist."""
    return (path.parent.parent if path.parent.suffix == ".layers" else path.parent) / FOLDER


class Record:
    """Remembers which versions of a file, and of those derived from it, have been verified.

    Parameters
    ----------
    path : of the base or layer
    source : SHA-256 of its manifest
    """

    def __init__(self, path: Path, source: str) -> None:
        self._path = derived_folder(path) / f"{source}.json"

    def holds(self, name: str, stamp: Stamp) -> bool:
        """Return whether this version of the file with this name has been verified."""
        return self._read().get(name) == _to_json(stamp)

    def add(self, name: str, stamp: Stamp, only: bool = False) -> None:
        """Remember that a version has been verified. If the folder cannot be written, nothing happens.

        Parameters
        ----------
        name : of the file
        stamp : Stamp
        only : forget the other files
        """
        contents = json.dumps({**({} if only else self._read()), name: _to_json(stamp)}).encode()
        with contextlib.suppress(OSError):
            replace(self._path, lambda file: file.write(contents))

    def _read(self) -> dict[str, Any]:
        try:
            return parse_object(read_regular(self._path, MAX_RECORD_BYTES))
        except (OSError, ValueError):
            return {}


def _to_json(stamp: Stamp) -> list[int]:
    return [stamp.size, stamp.mtime_ns, stamp.inode, stamp.device]


def replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file atomically, also if another program writes the same at the same time. Raises OSError."""
    own = path.with_name(f"{path.name}.{os.getpid()}")
    with atomic_write(own, private=True) as file:
        write(file)
    own.replace(path)


def derive(
    path: Path,
    source: str,
    name: str,
    layout: Layout,
    facts: dict[str, Any],
    make: Callable[[], Mapping[str, Part]],
    is_valid: Callable[[Parts], bool] = lambda _: True,
) -> Parts:
    """Return the parts of a valid or new derived file; temporary if the folder cannot be written.

    Parameters
    ----------
    path : the base or layer that it is derived from
    source : SHA-256 of that file's manifest
    name : what the derived file holds; the suffix of its name
    layout : of the derived file
    facts : what else it depends on
    make : computes its parts, which it may do more than once
    is_valid : whether parts that the file holds agree with each other
    """
    file, record = derived_folder(path) / f"{source}.{name}", Record(path, source)
    facts = {"source": source, **facts}
    try:
        parts = _open(file, layout, facts, record)
        if is_valid(parts):
            return parts
        log.warning("%s: is inconsistent; it is made again", file)
    except FileNotFoundError:
        pass
    except (OSError, UnusablePack) as error:
        log.warning("%s: cannot be used (%s); it is made again", file, one_line(str(error)))
    try:
        replace(file, lambda out: write_parts(out, facts, make(), layout=layout))
        prune(file.parent)
        return _open(file, layout, facts, record)
    except (OSError, UnusablePack) as error:
        log.warning("%s: cannot be saved (%s); it is made again at each start", file, one_line(str(error)))
    return _temporary(layout, facts, make)


def _open(file: Path, layout: Layout, facts: dict[str, Any], record: Record) -> Parts:
    """Map a derived file. Raises OSError or UnusablePack."""
    with open(file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as opened:
        stamp = Stamp.of(os.fstat(opened.fileno()))
        view = _mapped(opened)
    manifest = read_manifest(view, layout)
    if any(manifest.get(name) != value for name, value in facts.items()):
        raise UnusablePack("it was made for something else")
    if not record.holds(file.suffix, stamp):
        verify_parts(view, manifest, layout)
        record.add(file.suffix, stamp)
    return {name: view[where] for name, where in find_parts(view, manifest, layout).items()}


def _mapped(file: BinaryIO) -> memoryview:
    """Return the contents of a file, mapped. Raises OSError; UnusablePack if it is empty."""
    if os.fstat(file.fileno()).st_size < HEADER.size:
        raise UnusablePack("it is truncated")
    contents = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_RANDOM"):  # a list is shorter than what the system would read ahead
        contents.madvise(mmap.MADV_RANDOM)
    return memoryview(contents)


def _temporary(layout: Layout, facts: dict[str, Any], make: Callable[[], Mapping[str, Part]]) -> Parts:
    """Return the parts of a new file without a name, or in memory if no temporary file can be written."""
    try:
        with tempfile.TemporaryFile() as file:
            write_parts(file, facts, make(), layout=layout)
            file.flush()
            view = _mapped(file)
    except OSError:
        memory = io.BytesIO()
        write_parts(memory, facts, make(), layout=layout)
        view = memoryview(memory.getvalue())
    return {
        name: view[where] for name, where in find_parts(view, read_manifest(view, layout), layout).items()
    }


def derived_files(path: Path) -> list[Path]:
    """Return what is derived from a base or a layer, with the record of its verification."""
    source = _source(path)
    return sorted(derived_folder(path).glob(f"{source}.*")) if source else []


def delete_derived(files: Iterable[Path]) -> None:
    """Delete what is derived from these bases and layers, which still exist. Raises OSError."""
    for file in files:
        for old in derived_files(file):
            old.unlink(missing_ok=True)


def prune(folder: Path) -> None:
    """Delete derived files whose pack or layer is gone; those of programs that may be running stay."""
    try:
        wanted = {_source(file) for file in _pack_files(folder.parent)}
        ages = {file: file.stat().st_mtime for file in folder.iterdir()}
        for file, written in ages.items():
            unused = file.name.partition(".")[0] not in wanted or file.name.count(".") > 1
            if unused and written < max(ages.values()) - _MIN_AGE_S:
                file.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s: cannot be cleaned (%s)", folder, one_line(error.strerror or str(error)))


def _pack_files(folder: Path) -> Iterator[Path]:
    yield from folder.glob("*.pack")
    yield from folder.glob("*.layers/*.pack")


def _source(path: Path) -> str:
    """Return the SHA-256 of the manifest of a pack's file, as its header says; empty if there is none."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            header = file.read(HEADER.size)
    except OSError:
        return ""
    return HEADER.unpack(header)[4].hex() if len(header) == HEADER.size else ""
