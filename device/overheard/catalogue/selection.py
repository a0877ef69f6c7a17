"""Choose and open packs: all packs, or those that the user selects."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from overheard.catalogue.pack import PACK_SUFFIX, Pack, open_pack
from overheard.errors import PackError
from overheard.fingerprint.model import Model
from overheard.settings import Settings

log = logging.getLogger(__name__)

MAKE_A_PACK = "make one: overheard index FOLDER"


def shipped_packs_dir() -> Path:
    """Return the folder of the packs that ship with overheard."""
    return Path(str(resources.files("overheard"))) / "packs"


def pack_paths(settings: Settings) -> dict[str, Path]:
    """Return all packs by name: the user's own and those that ship with overheard.

    If two have the same name, the user's own is used.
    """
    paths: dict[str, Path] = {}
    for folder in (shipped_packs_dir(), settings.packs_dir):
        paths.update({path.stem: path for path in sorted(folder.glob(f"*{PACK_SUFFIX}"))})
    return paths


def choose_packs(settings: Settings, names: Iterable[str] | None = None) -> dict[str, Path]:
    """Return packs by name.

    Parameters
    ----------
    settings : Settings
    names : iterable of str or None
        Names or paths of packs. None selects those in the settings, or all packs if the settings have none.

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
        elif name.endswith(PACK_SUFFIX) and Path(name).is_file():
            chosen[Path(name).stem] = Path(name)
        else:
            existing = f"choose one of {', '.join(known)}" if known else MAKE_A_PACK
            raise PackError(f"no pack named {name}", existing)
    if not wanted and not known:
        raise PackError("there is no pack to search", MAKE_A_PACK)
    return chosen or known


def open_packs(settings: Settings, model: Model, names: Iterable[str] | None = None) -> list[Pack]:
    """Open packs for one model.

    Parameters
    ----------
    settings, names : see :func:`choose_packs`
    model : the model that the packs must be made with

    Raises
    ------
    PackError
        If a selected pack cannot be used. Without a selection, unusable packs are logged and skipped; the
        error is raised if no usable pack remains.
    """
    selected = bool(names or settings.packs)
    packs: list[Pack] = []
    reason: PackError | None = None
    for path in choose_packs(settings, names).values():
        try:
            packs.append(open_pack(path, model.digest))
        except PackError as error:
            if selected:
                raise
            log.warning("skipped: %s", error)
            reason = error
    if not packs and reason is not None:
        raise reason
    return packs
