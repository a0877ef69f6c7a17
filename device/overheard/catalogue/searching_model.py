"""Choose the model that searches the packs: an earlier one until the music has been fingerprinted again.

After an update that brings a model with other fingerprints, `overheard index` makes packs for the new one.
That can take a night. Until it is done, the packs of the user are searched with the model that made them, as
long as that still ships with overheard.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from overheard.catalogue.names import is_labelled
from overheard.catalogue.pack_model import digest_of_model, digest_of_pack, tracks_by_digest
from overheard.catalogue.selection import present_packs, shipped_packs_dir
from overheard.fingerprint import model_choice
from overheard.fingerprint.model import Model, load_model
from overheard.settings import MODELS_DIR, Settings
from overheard.text import one_line

log = logging.getLogger(__name__)


def open_model(settings: Settings, names: Sequence[str] | None = None) -> Model:
    """Load the model of :func:`model_path`; if it is an earlier one, log what to do.

    Raises
    ------
    ModelError
        If a file is missing, damaged, or of a version that this overheard does not support.
    """
    chosen = model_choice.model_path(settings)
    earlier = _earlier(settings, names, chosen)
    if earlier is None:
        model_choice.warn_of_removal(chosen)
        return load_model(chosen)
    made_for, packs = digest_of_model(earlier), _own(present_packs(settings, names))
    name = next(pack.stem for pack in packs if digest_of_pack(pack) == made_for)
    log.warning("the pack %s needs the earlier model %s; %s", one_line(name), earlier.stem, remedy(name))
    return load_model(earlier)


def model_path(settings: Settings, names: Sequence[str] | None = None) -> Path:
    """Return the manifest of the model to search with.

    It is the model of the settings. If that is chosen automatically, and most tracks in the user's packs were
    fingerprinted for another model that ships with overheard, it is the other one.

    Parameters
    ----------
    settings : Settings
    names : names or paths of packs; None for the enabled ones

    Raises
    ------
    ModelError
        If the manifest of a shipped model is missing or invalid.
    """
    chosen = model_choice.model_path(settings)
    return _earlier(settings, names, chosen) or chosen


def remedy(name: str) -> str:
    """Return what to do about a pack of an earlier model, which is searched now."""
    if is_labelled(name):
        return (
            "it holds fingerprints of music that you named, without files, so it cannot be made again. When "
            "your other packs are made for the newest model, it is kept, but not searched"
        )
    return (
        f"to use the newest model, index its music again: overheard index FOLDER --pack {one_line(name)}. "
        "Until then, this pack is searched"
    )


def _earlier(settings: Settings, names: Sequence[str] | None, chosen: Path) -> Path | None:
    """Return the manifest of the model that made more of the tracks than the chosen one; None if none did."""
    if settings.model_path is not None:
        return None
    tracks = tracks_by_digest(_own(present_packs(settings, names)))
    made_for = digest_of_model(chosen)
    if not tracks.keys() - {made_for}:  # as nearly always: the other models need not be read
        return None
    others = {digest_of_model(path): path for path in sorted(MODELS_DIR.glob("*.json"))}
    best = max(others, key=lambda digest: tracks[digest])
    return others[best] if tracks[best] > tracks[made_for] else None


def _own(packs: Iterable[Path]) -> list[Path]:
    """Return the packs of the user that can be made again, without those that ship with overheard.

    Music that the user named has no files to index again. If it counted, a user with no other pack would stay
    with the earlier model for ever.
    """
    return [path for path in packs if path.parent != shipped_packs_dir() and not is_labelled(path.stem)]
