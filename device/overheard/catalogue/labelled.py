"""Put unknown music that the user named into the pack `labelled`, which is searched like any other.

Its fingerprints come from the microphone. There are no files to index again for a model of another space, so
the pack is never replaced: when the user names music with such a model, the earlier pack is kept as
``labelled-DIGEST``, with the first 8 digits of its digest. With its model, it becomes `labelled` again.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from pathlib import Path

from overheard.catalogue.derived import delete_derived
from overheard.catalogue.layer_files import layer_files, layers_folder
from overheard.catalogue.names import LABELLED
from overheard.catalogue.pack import PACK_SUFFIX, Pack, TrackEntry, open_pack, write_pack
from overheard.catalogue.pack_lock import pack_lock
from overheard.catalogue.pack_model import digest_of_pack, model_of
from overheard.errors import PackError
from overheard.events import Track
from overheard.files import create_folder
from overheard.fingerprint.model import Model

log = logging.getLogger(__name__)


def label(
    packs_dir: Path,
    model: Model,
    entry: TrackEntry | None,
    labelled_id: str | None,
    artist: str,
    title: str,
    networks: Iterable[str] = (),
) -> Track | None:
    """Give unknown music the user's name, in the catalogue; None if there is no fingerprint any more.

    Parameters
    ----------
    packs_dir : of the user's own packs; the piece is in the pack `labelled` from now on
    model : of the fingerprint
    entry : from `UnknownStore.entry`
    labelled_id : track of the pack to rename if there is no entry, because the piece has a name already
    networks : from `UnknownStore.networks`

    Raises
    ------
    PackError
        If the pack cannot be read or written.
    """
    path = packs_dir / f"{LABELLED}{PACK_SUFFIX}"
    if entry is None and (labelled_id is None or not path.exists()):
        return None
    create_folder(packs_dir)
    with pack_lock(path):
        if entry is not None:
            _select_space(path, model.digest)
        pack = open_pack(path) if path.exists() else None
        old = [] if pack is None else list(pack.entries())
        makers = networks if entry else ()
        entry = entry or next((one for one in old if one.id == labelled_id), None)
        if entry is None:
            return None
        new = dataclasses.replace(entry, title=title, artist=artist, extras={})
        _write(path, model, pack, [*(one for one in old if one.id != new.id), new], makers)
    return Track(new.id, title, artist, "", new.path, LABELLED, new.duration_s)


def _write(
    path: Path, model: Model, earlier: Pack | None, entries: list[TrackEntry], makers: Iterable[str]
) -> None:
    """Write the pack, of the space of the earlier one if there is one: a new name needs no model."""
    digest, spec = (model.digest, model.spec) if earlier is None else (earlier.digest, earlier.spec)
    networks = {*makers, *(earlier.networks if earlier is not None else ())}
    write_pack(path, LABELLED, digest, spec, entries, networks=networks)
    path.chmod(0o600)


def _select_space(path: Path, digest: str) -> None:
    """Move a pack of another space aside, and put the one of this space in its place, if there is one."""
    found = open_pack(path).digest if path.exists() else digest
    if found != digest:
        aside = _unused(_aside(path, found))
        _move(path, aside)
        log.warning(
            "the music that you named before is kept in the pack %s; only the model %s can search it",
            *(aside.stem, model_of(found)),
        )
    earlier = _aside(path, digest)
    if not path.exists() and digest_of_pack(earlier) == digest:
        with pack_lock(earlier):
            _move(earlier, path)


def _aside(path: Path, digest: str) -> Path:
    return path.with_name(f"{LABELLED}-{digest[:8]}{PACK_SUFFIX}")


def _unused(path: Path) -> Path:
    """Return the path, or one with a number if it exists."""
    found, number = path, 1
    while found.exists() or layers_folder(found).exists():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{PACK_SUFFIX}")
    return found


def _move(path: Path, target: Path) -> None:
    """Rename a pack and its layers; they come first, because a base without them is a smaller pack."""
    try:
        delete_derived([path, *layer_files(path)])
        if layers_folder(path).exists():
            layers_folder(path).rename(layers_folder(target))
        path.rename(target)
    except OSError as error:
        raise PackError(
            f"{path}: cannot be moved to {target.name} ({error.strerror or error})",
            "check the permissions of the folder",
        ) from error
