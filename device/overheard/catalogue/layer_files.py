"""Find the files that a pack consists of: its base, and the layers that continue it without a gap.

Layers are in the folder ``NAME.layers`` beside ``NAME.pack``. The name of a layer's file holds the serials
that it covers: ``00000008.pack``, or ``00000009-00000015.pack`` for one that was merged from several.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from overheard.catalogue.layer import Layer, lineage_of, open_layer
from overheard.catalogue.pack_file import Stamp
from overheard.catalogue.pack_format import UnusablePack
from overheard.errors import PackError
from overheard.text import one_line, plural

log = logging.getLogger(__name__)

MAX_LAYER_FILES = 256  # a writer merges layers long before
MAX_FILES = 4096  # names in the folder of layers that are read
_NAME = re.compile(r"(\d{8,12})(?:-(\d{8,12}))?\.pack")
_ATTEMPTS = 5  # at reading files that a writer replaces meanwhile

Stamps = tuple[tuple[str, Stamp], ...]


def layers_folder(path: Path) -> Path:
    """Return the folder of a pack's layers, which may not exist."""
    return path.with_name(f"{path.stem}.layers")


def layer_name(first: int, last: int) -> str:
    """Return the name of the file of a layer that covers these serials."""
    return f"{first:08d}.pack" if first == last else f"{first:08d}-{last:08d}.pack"


def layer_files(path: Path) -> dict[Path, tuple[int, int]]:
    """Return first and last serial of each file in the folder of layers, live or not, by their names."""
    found: dict[Path, tuple[int, int]] = {}
    try:
        for file in layers_folder(path).iterdir():
            if (match := _NAME.fullmatch(file.name)) and len(found) < MAX_FILES:
                first, last = int(match[1]), int(match[2] or match[1])
                found[file] = first, last
    except (FileNotFoundError, NotADirectoryError, ValueError):
        pass
    except OSError as error:
        raise PackError(f"{layers_folder(path)}: cannot be read ({error.strerror or error})") from error
    return dict(sorted(found.items(), key=lambda item: (item[1][0], -item[1][1], item[0].name)))


def stamps_of(path: Path) -> Stamps:
    """Return what changes when a pack's base or any of its layers changes; empty if there is no base."""
    stamps: list[tuple[str, Stamp]] = []
    for file in (path, *layer_files(path)):
        try:
            stamps.append((file.name, Stamp.of(file.stat())))
        except (OSError, ValueError):  # ValueError: the path contains NUL
            if file == path:
                return ()
    return tuple(stamps)


def open_live_layers(path: Path) -> tuple[tuple[Layer, ...], Stamps]:
    """Open a pack's base and its live layers, as they were at one moment, lowest first.

    Raises
    ------
    PackError
        If the base cannot be read, or a writer replaces files faster than they can be opened.
    UnusablePack
        If the base is damaged, or of another format version.
    """
    for _ in range(_ATTEMPTS):
        stamps = stamps_of(path)
        base = open_layer(path)
        layers, problem = _continue(base, layer_files(path))
        if stamps_of(path) == stamps:
            if problem is not None:
                log.warning("%s", one_line(problem))
            return (base, *layers), stamps
    raise PackError(f"{path}: another program keeps changing it", "try again later")


def _continue(base: Layer, files: dict[Path, tuple[int, int]]) -> tuple[list[Layer], str | None]:
    """Return the live layers on top of a base, and why layers after them cannot be used, if there are any."""
    layers: list[Layer] = []
    covered, problem = base.last, ""
    for file, (first, last) in files.items():
        if first != covered + 1 or last < first or len(layers) == MAX_LAYER_FILES:
            continue
        try:
            layer = open_layer(file)
        except (UnusablePack, PackError) as error:
            problem = problem or (str(error) if isinstance(error, PackError) else f"{file}: {error}")
            continue
        if (layer.first, layer.last) != (first, last):
            problem = problem or f"{file}: its name is not that of the serials {layer.first} to {layer.last}"
        elif layer.lineage == base.lineage and layer.digest != base.digest:
            problem = problem or f"{file}: made for another model than its base"
        elif layer.lineage == base.lineage:
            layers.append(layer)
            covered, problem = last, ""
    return layers, _explain(base, covered, files, problem)


def _explain(base: Layer, covered: int, files: dict[Path, tuple[int, int]], problem: str) -> str | None:
    later = sum(
        1 for _ in _of_lineage(base, [file for file, (first, _) in files.items() if first > covered + 1])
    )
    if not problem and not later:
        return None
    reason = problem or f"{base.path}: its layer {layer_name(covered + 1, covered + 1)} is missing"
    others = f"; {plural(later, 'later layer')} cannot be used either" if later else ""
    again = f"Index its music again (overheard index FOLDER --pack {base.path.stem})"
    return f"{reason}{others}. {again}, or if the pack is from a repository: overheard packs update"


def _of_lineage(base: Layer, files: list[Path]) -> Iterator[Path]:
    """Yield the files that continue this base; those that cannot be read are none of its layers."""
    for file in files[:MAX_LAYER_FILES]:
        try:
            if lineage_of(file) == base.lineage:
                yield file
        except (UnusablePack, PackError):
            continue
