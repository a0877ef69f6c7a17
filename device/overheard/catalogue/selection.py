"""Choose and open packs: all packs, or those that the user selects."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from overheard.catalogue.names import LABELLED, is_labelled
from overheard.catalogue.pack import PACK_SUFFIX, Pack, open_pack, pack_error, shipped_packs_dir
from overheard.catalogue.pack_format import UnusablePack
from overheard.catalogue.pack_model import digest_of_model, digest_of_pack
from overheard.catalogue.pack_state import load_state
from overheard.errors import PackError
from overheard.fingerprint import model_choice
from overheard.fingerprint.hubness import PACKED_CELLS
from overheard.fingerprint.model import Model
from overheard.settings import Settings

log = logging.getLogger(__name__)

__all__ = [
    "LABELLED",
    "choose_packs",
    "enabled_packs",
    "mismatch",
    "open_for_model",
    "open_packs",
    "pack_paths",
    "present_packs",
    "shipped_packs_dir",
]

MAKE_A_PACK = "make one: overheard index FOLDER"


def pack_paths(settings: Settings) -> dict[str, Path]:
    """Return all packs by name: the user's own first, then those that ship with overheard.

    If two have the same name, the user's own is used. If two contain the same track, the first is reported.
    """
    own = {path.stem: path for path in sorted(settings.packs_dir.glob(f"*{PACK_SUFFIX}"))}
    shipped = {path.stem: path for path in sorted(shipped_packs_dir().glob(f"*{PACK_SUFFIX}"))}
    return {**own, **{name: path for name, path in shipped.items() if name not in own}}


def enabled_packs(settings: Settings, known: Mapping[str, Path] | None = None) -> dict[str, Path]:
    """Return the packs that are searched unless the user selects others.

    The packs that ship with overheard are disabled as soon as the user has a pack, and can be enabled again:
    music that the user does not have is only a source of false positives.

    Parameters
    ----------
    settings : Settings
    known : the packs to choose from; all if None

    Raises
    ------
    PackError
        If it is unknown which packs are enabled.
    """
    known = pack_paths(settings) if known is None else known
    shipped = {name for name, path in known.items() if path.parent == shipped_packs_dir()}
    state = load_state(settings.packs_dir)
    has_own = not all(map(is_labelled, known.keys() - shipped))
    return {name: path for name, path in known.items() if state.is_enabled(name, name in shipped, has_own)}


def choose_packs(settings: Settings, names: Iterable[str] | None = None) -> dict[str, Path]:
    """Return packs by name; by path if another one has the same name.

    Parameters
    ----------
    settings : Settings
    names : iterable of str or None
        Names or paths of packs. None selects those in the settings, or the enabled ones if the settings have
        none.

    Raises
    ------
    PackError
        If a name is unknown, or there is no pack at all.
    """
    known = pack_paths(settings)
    wanted = tuple(names or settings.packs)
    chosen: dict[str, Path] = {}
    for name in wanted:
        path = known.get(name) or Path(name)
        if name not in known and not (name.endswith(PACK_SUFFIX) and path.is_file()):
            existing = f"choose one of {', '.join(known)}" if known else MAKE_A_PACK
            raise PackError(f"no pack named {name}", existing)
        same_name = chosen.get(path.stem, path)
        chosen[path.stem if same_name.resolve() == path.resolve() else str(path)] = path
    if not wanted and not known:
        raise PackError("there is no pack to search", MAKE_A_PACK)
    chosen = chosen or enabled_packs(settings, known)
    if not chosen:
        raise PackError("all packs are disabled", "enable one: overheard packs enable NAME")
    return chosen


def open_for_model(path: Path, model: Model) -> Pack:
    """Open a pack and verify that each of its values is one that the model can have written.

    Raises
    ------
    PackError
        If the pack cannot be used with this model.
    """
    pack = open_pack(path, model.digest)
    problem = mismatch(pack, model)
    if problem is not None:
        raise pack_error(path, UnusablePack(problem))
    return pack


def mismatch(pack: Pack, model: Model) -> str | None:
    """Return why a pack with the model's digest is not of the model, or None."""
    if pack.manifest.get("spec") != model.spec.to_dict():
        return "its fingerprint parameters are not those of its model"
    widths, n_cells = model.quantizer.widths, len(model.quantizer.cells)
    for layer in pack.layers:
        if layer.n_segments and layer.code_bytes not in widths:
            valid = " or ".join(map(str, widths))
            return f"its codes have {layer.code_bytes} bytes; those of its model have {valid}"
        if (  # with 1,024 cells, all numbers of 16 bits are valid
            PACKED_CELLS % n_cells
            and layer.max_packed_cell is not None
            and layer.max_packed_cell // (PACKED_CELLS // n_cells) >= n_cells
        ):
            return "it contains cells that its model does not have"
    return None


def present_packs(settings: Settings, names: Iterable[str] | None = None) -> list[Path]:
    """Return the packs of :func:`choose_packs` that exist now; none is an error."""
    wanted = tuple(names or settings.packs)
    known = pack_paths(settings)
    if not wanted:
        try:
            return list(enabled_packs(settings, known).values())
        except PackError as error:
            log.warning("%s", error)
            return list(known.values())
    named = [known.get(name) or Path(name) for name in wanted]
    return [path for path in named if path.suffix == PACK_SUFFIX]


def waits(path: Path, digest: str, settings: Settings) -> PackError | None:
    """Return an error that says so if a pack waits for the newest model, and another one searches the packs.

    Parameters
    ----------
    path : of the pack
    digest : ``Model.digest`` of the model that searches the packs
    settings : Settings
    """
    if settings.model_path is not None:
        return None
    newest = digest_of_model(model_choice.model_path(settings))
    if digest == newest or digest_of_pack(path) != newest:
        return None
    return PackError(
        f"{path}: made for the newest model", "it is searched when most of your music is indexed for that"
    )


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
    unusable: list[PackError] = []
    for path in choose_packs(settings, names).values():
        try:
            packs.append(open_for_model(path, model))
        except PackError as error:
            problem = waits(path, model.digest, settings) or error
            if selected:
                raise problem from error
            unusable.append(problem)
    reason = None if packs or not unusable else unusable.pop()  # one line for each pack
    for problem in unusable:
        log.warning("skipped: %s", problem)
    if reason is not None:
        raise reason
    return packs
