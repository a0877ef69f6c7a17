"""Choose which packs are open: all, or those that a user names."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from overheard.catalogue.pack import Pack, open_pack
from overheard.errors import PackError
from overheard.fingerprint.model import Model
from overheard.settings import Settings

log = logging.getLogger(__name__)


def shipped_packs_dir() -> Path:
    """Folder of the packs inside the package."""
    return Path(str(resources.files("overheard"))) / "packs"


def pack_paths(settings: Settings) -> dict[str, Path]:
    """Find all packs by name: those that ship with overheard, and the user's own, which win."""
    found: dict[str, Path] = {}
    for folder in (shipped_packs_dir(), settings.packs_dir):
        found.update({path.stem: path for path in sorted(folder.glob("*.pack"))})
    return found


def choose_packs(settings: Settings, names: Iterable[str] | None = None) -> dict[str, Path]:
    """Pick packs by name or by path, by default those of the settings, or all.

    Raises
    ------
    PackError
        If a name is unknown, or there is no pack at all.
    """
    known = pack_paths(settings)
    wanted = tuple(names or settings.packs)
    chosen: dict[str, Path] = {}
    for name in wanted:
        if name in known:
            chosen[name] = known[name]
        elif name.endswith(".pack") and Path(name).is_file():
            chosen[Path(name).stem] = Path(name)
        else:
            raise PackError(f"no pack named {name}; `overheard packs` lists {', '.join(known) or 'none yet'}")
    if not wanted and not known:
        raise PackError("there is no pack to search; make one with `overheard index FOLDER`")
    return chosen or known


def open_packs(settings: Settings, model: Model, names: Iterable[str] | None = None) -> list[Pack]:
    """Open packs for one model.

    A pack asked for by name must be usable; of the others, those that are not are told and left out.

    Raises
    ------
    PackError
        If a named pack cannot be used, or none can.
    """
    named = bool(names or settings.packs)
    packs: list[Pack] = []
    reason: PackError | None = None
    for path in choose_packs(settings, names).values():
        try:
            packs.append(open_pack(path, model.digest))
        except PackError as error:
            if named:
                raise
            log.warning("left out: %s", error)
            reason = error
    if not packs and reason is not None:
        raise reason
    return packs
