"""Write new packs from existing ones: a pack to share, or several packs in one. Nothing is held in memory."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from overheard.catalogue.layer_files import layer_files
from overheard.catalogue.pack import Pack
from overheard.catalogue.pack_write import Contents, delete_files, write_file
from overheard.catalogue.track_list import PackTrack, TrackEntry
from overheard.errors import PackError

Row = TrackEntry | PackTrack
_KEPT_PARTS = 3  # of a path: artist, album and file
_MIN_BASE_PARTS = 2  # a base such as / or /home would leave the user's name in the paths


def export_pack(pack: Pack, target: Path, base: str | None = None) -> None:
    """Write one file to share, without absolute paths, sizes, modification times and copies of files.

    Parameters
    ----------
    pack : Pack
    target : the new file
    base : folder that paths become relative to; the common folder of all tracks if None

    Raises
    ------
    PackError
        If the file cannot be written, or the layers of the pack have codes of different lengths.
    """
    shared = relative_to(common_folder(track.path for track in pack.tracks) if base is None else base)

    def share(track: Row) -> Row:
        return dataclasses.replace(track, path=shared(track.path), size=0, mtime_ns=0, also=())

    contents = Contents.of_layers(pack.layers, pack.hidden, _common_width([pack]))
    tracks = contents.tracks
    _write(target, pack, dataclasses.replace(contents, tracks=lambda: map(share, tracks())), private=False)


def merge_packs(packs: Sequence[Pack], target: Path) -> None:
    """Write the tracks of several packs into one; a track that several contain is written once.

    The file replaces a pack that exists, with its layers.

    Raises
    ------
    PackError
        If the file cannot be written, or the packs are of different models or have different code lengths.
    """
    digests = {pack.digest for pack in packs}
    if len(digests) > 1:
        raise PackError(
            f"{', '.join(pack.name for pack in packs)}: made for different models", "index their music again"
        )
    layers = [layer for pack in packs for layer in pack.layers]
    hidden = [mask.copy() for pack in packs for mask in pack.hidden]
    seen = np.zeros(0, "S12")
    for layer, mask in zip(layers, hidden, strict=True):
        mask |= np.isin(layer.ids, seen)
        seen = np.concatenate([seen, layer.ids[~mask]])
    contents = Contents.of_layers(layers, hidden, _common_width(packs))
    tracks, also = contents.tracks, _other_files(packs)

    def merge(track: Row) -> Row:
        return dataclasses.replace(track, also=also[track.id]) if track.id in also else track

    _write(target, packs[0], dataclasses.replace(contents, tracks=lambda: map(merge, tracks())))
    delete_files(layer_files(target))


def common_folder(paths: Iterable[str]) -> str:
    """Return the deepest folder that contains all files; empty if there is none."""
    shared: Sequence[str] | None = None
    for path in paths:
        parts = PurePosixPath(path).parent.parts
        if shared is None:
            shared = parts
        same = [one == other for one, other in zip(shared, parts, strict=False)]
        shared = shared[: (*same, False).index(False)]
    return str(PurePosixPath(*shared)) if shared else ""


def relative_to(base: str) -> Callable[[str], str]:
    """Return a function that makes paths relative to a folder.

    Of a path outside it only the last three parts stay, and also if the folder is so high that paths would
    show where the user keeps files.
    """
    folder = PurePosixPath(os.path.normpath(base)) if base else None
    if folder is not None and len(folder.parts) <= _MIN_BASE_PARTS and folder.is_absolute():
        folder = None

    def shared(path: str) -> str:
        whole = PurePosixPath(path)
        if folder is not None and whole.is_relative_to(folder):
            return str(whole.relative_to(folder))
        parts = whole.parts[1:] if whole.is_absolute() else whole.parts
        return str(PurePosixPath(*parts[-_KEPT_PARTS:]))

    return shared


def _other_files(packs: Sequence[Pack]) -> dict[str, tuple[tuple[str, int, int], ...]]:
    """Return all files but the first of each track that several packs contain, by its id."""
    first: dict[str, PackTrack] = {}
    also: dict[str, tuple[tuple[str, int, int], ...]] = {}
    for pack in packs:
        for track in pack.tracks:
            if track.id not in first:
                first[track.id] = track
                continue
            known = also.get(track.id, first[track.id].also)
            paths = {first[track.id].path, *(path for path, _, _ in known)}
            more = ((track.path, track.size, track.mtime_ns), *track.also)
            also[track.id] = (*known, *(file for file in more if file[0] not in paths))
    return also


def _common_width(packs: Sequence[Pack]) -> int:
    """Return the bytes per code. Raises PackError if they differ."""
    widths = {layer.code_bytes for pack in packs for layer in pack.layers if layer.n_segments}
    if len(widths) > 1:
        names = ", ".join(pack.name for pack in packs)
        raise PackError(
            f"{names}: a compact pack and a full one cannot be in one file", "index the music again"
        )
    return widths.pop() if widths else packs[0].code_bytes


def _write(target: Path, pack: Pack, contents: Contents, private: bool = True) -> None:
    facts = {"name": target.stem, "spec": pack.manifest.get("spec"), "fingerprint_digest": pack.digest}
    write_file(target, facts, contents, private=private)
