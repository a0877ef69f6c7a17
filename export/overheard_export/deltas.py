"""Choose the files with which a repository offers a pack: a layer of what is new, or a whole base."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from overheard.catalogue.layer import Layer, open_layer
from overheard.catalogue.layers import MAX_LAYERS
from overheard.catalogue.pack import Pack
from overheard.catalogue.pack_format import UnusablePack
from overheard.catalogue.pack_write import Contents, write_file
from overheard.catalogue.track_list import TrackEntry, metadata_of
from overheard.errors import UpdateError
from overheard.updates.documents import PackEntry, PackFile
from overheard.updates.update_plan import plan
from overheard_export.repository import Repository

WORTH_IT = 0.5  # of the size of the pack; a larger delta is no delta
MAX_OLD_FILES = 200


def add_pack(repository: Repository, pack: Pack, name: str, old: PackEntry | None) -> PackEntry:
    """Copy what is new of a pack into a repository, and return its entry for the index.

    Parameters
    ----------
    repository : Repository
    pack : the pack on disk
    name : its name in the repository
    old : its entry so far

    Raises
    ------
    UpdateError
        If the repository has a newer version of the pack.
    """
    if old is None:
        return _as_it_is(repository, pack, name)
    published = _published(repository, old)
    entries, removed = difference(published, pack)
    if not entries and not removed:
        same = (pack.layers[0].lineage, pack.layers[-1].last) == (old.lineage, old.last)
        return _merged(repository, pack, old) if same else _with_base(repository, old, pack)
    if pack.layers[0].lineage == old.lineage:
        if pack.layers[-1].last <= old.last:
            raise UpdateError(
                f"{pack.path} is older than the version in the repository, or was changed from an older one",
                f"publish the newest version, or take the pack out first: --remove {name}",
            )
        if (entry := _continued(repository, pack, old)) is not None:
            return entry
    width = pack.code_bytes + 2
    if sum(len(entry.packed_cells) for entry in entries) * width > WORTH_IT * pack.bytes:
        return _as_it_is(repository, pack, name)
    serials = old.last + 1, old.last + 1
    if pack.layers[0].lineage == old.lineage:
        serials = old.last + 1, pack.layers[-1].last
    contents = Contents.of_entries(entries, pack.code_bytes, removed, pack.networks)
    layer = _write(repository, pack, contents, old.lineage, serials)
    entry = dataclasses.replace(old, last=serials[1], tracks=pack.n_tracks, files=(*old.files, layer))
    return _with_base(repository, entry, pack)


def _continued(repository: Repository, pack: Pack, old: PackEntry) -> PackEntry | None:
    """Return the entry with the new layers of a pack; None if they do not continue the old ones cheaply."""
    entry = _merged(repository, pack, old)
    needed = plan(entry, _newest_chain(old))
    return entry if needed is not None and needed.bytes <= WORTH_IT * pack.bytes else None


def _merged(repository: Repository, pack: Pack, old: PackEntry) -> PackEntry:
    """Return the entry with the files of a pack of its lineage besides its own."""
    entry = _as_it_is(repository, pack, old.name)
    return trimmed(dataclasses.replace(entry, files=tuple(dict.fromkeys((*old.files, *entry.files)))))


def difference(published: Pack, pack: Pack) -> tuple[list[TrackEntry], list[str]]:
    """Return the tracks that are new or have other metadata, and the ids of those that are gone."""
    before = {track.id: metadata_of(track) for track in published.tracks}
    changed, kept = [], set()
    for number, track in enumerate(pack.tracks):
        kept.add(track.id)
        if before.get(track.id) != metadata_of(track):
            changed.append(pack.entry(number))
    return changed, sorted(before.keys() - kept)


def trimmed(entry: PackEntry) -> PackEntry:
    """Return the entry with the files that a new client needs, and old layers up to as many bytes."""
    fresh = plan(entry, ())
    if fresh is None:
        raise RuntimeError("the files of a pack do not lead to its newest version")
    kept, n_bytes = set(fresh.new), 0
    older = [file for file in entry.files if not file.base and file not in kept]
    for file in sorted(older, key=lambda file: -file.last)[:MAX_OLD_FILES]:
        n_bytes += file.size
        if n_bytes <= fresh.bytes:
            kept.add(file)
    return dataclasses.replace(entry, files=tuple(file for file in entry.files if file in kept))


def _as_it_is(repository: Repository, pack: Pack, name: str) -> PackEntry:
    files = []
    for number, layer in enumerate(pack.layers):
        sha256 = repository.add_file(layer.path)
        files.append(PackFile(number == 0, layer.first, layer.last, layer.bytes, sha256))
    base, last = pack.layers[0], pack.layers[-1].last
    return PackEntry(name, pack.digest, base.lineage, last, pack.n_tracks, tuple(files))


def _with_base(repository: Repository, entry: PackEntry, pack: Pack) -> PackEntry:
    """Return the entry, with a new base of its lineage if new clients download much more than the pack."""
    fresh = plan(entry, ())
    if fresh is None:
        raise RuntimeError("the files of a pack do not lead to its newest version")
    if len(fresh.new) > 1 + MAX_LAYERS or fresh.bytes > (1 + WORTH_IT) * pack.bytes:
        contents = Contents.of_layers(pack.layers, pack.hidden, pack.code_bytes)
        base = _write(repository, pack, contents, entry.lineage, (0, entry.last))
        entry = dataclasses.replace(entry, files=(*entry.files, base))
    return trimmed(entry)


def _write(
    repository: Repository, pack: Pack, contents: Contents, lineage: str, serials: tuple[int, int]
) -> PackFile:
    """Write a base, if `serials` begin with 0, or a layer into the repository."""
    facts = {"name": pack.name, "spec": pack.manifest.get("spec"), "fingerprint_digest": pack.digest}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new.pack"
        write_file(path, facts, contents, lineage, serials)
        return PackFile(serials[0] == 0, *serials, path.stat().st_size, repository.add_file(path))


def _published(repository: Repository, entry: PackEntry) -> Pack:
    """Open a pack as a new client gets it. Raises UpdateError if a file is missing or damaged."""
    layers: list[Layer] = []
    for file in _newest_chain(entry):
        path = repository.file(file.sha256)
        try:
            layers.append(open_layer(path))
        except UnusablePack as error:
            raise UpdateError(
                f"{path} is damaged: {error}", f"publish the pack from its beginning: --remove {entry.name}"
            ) from error
    return Pack(layers[0].path, layers)


def _newest_chain(entry: PackEntry) -> tuple[PackFile, ...]:
    fresh = plan(entry, ())
    if fresh is None:
        raise UpdateError(
            f"the files of {entry.name} in the repository are incomplete", f"--remove {entry.name}"
        )
    return fresh.new
