"""List the recordings of a source: a corpus with a manifest, FMA, MUSAN, or any folder of audio."""

from __future__ import annotations

import csv
import dataclasses
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from overheard.errors import AudioError
from overheard.index.scan import find_audio
from overheard_train.data import fma
from overheard_train.data.groups import collection_group, folder_group, split_groups

log = logging.getLogger(__name__)

KINDS = ("music", "noise", "speech", "ir_room", "ir_room_synth", "ir_mic")
SPLITS = ("train", "valid")
# Kinds that training reads together, and that therefore share a cache.
TOGETHER = (("music",), ("noise",), ("speech",), ("ir_room", "ir_room_synth"), ("ir_mic",))
MANIFEST = "manifest.csv"
MUSAN_PARTS = ("music", "noise", "speech")


@dataclasses.dataclass(frozen=True)
class Recording:
    """A file of training or validation data.

    Attributes
    ----------
    kind : of :data:`KINDS`
    split : ``train`` or ``valid``
    group : artist, album, room, source recording or speaker; all files of a group should be in one split
    root : folder of the source
    """

    kind: str
    split: str
    path: Path
    group: str
    root: Path


@dataclasses.dataclass(frozen=True)
class Source:
    """A folder of recordings and its layout.

    Attributes
    ----------
    layout : ``manifest``, ``fma``, ``musan`` or ``folder``
    kind : the only kind to use; None uses all kinds
    """

    layout: str
    root: Path
    kind: str | None = None

    @property
    def tag(self) -> str:
        """A text that identifies the source, independent of the current folder."""
        return f"{self.layout} {self.kind or ''} {os.path.realpath(self.root)}"

    def recordings(self) -> list[Recording]:
        """List the files.

        Raises
        ------
        AudioError
            The folder cannot be read, or holds no files of the kind.
        """
        list_files = {"manifest": _manifest, "fma": _fma, "musan": _musan, "folder": _folder}[self.layout]
        recordings = [r for r in list_files(self) if self.kind in (None, r.kind)]
        if not recordings:
            raise AudioError(
                f"{self.root} holds no {self.kind or 'audio'}", "give another folder with --data"
            )
        return recordings


def parse(name: str) -> Source:
    """Parse the name of a source: ``FOLDER``, ``KIND=FOLDER`` or ``musan=FOLDER``.

    A folder with ``manifest.csv`` is a corpus, one with FMA's tables is FMA, one with the folders ``music``,
    ``noise`` and ``speech`` is MUSAN. Any other folder is music.

    Raises
    ------
    AudioError
        There is no such folder or kind.
    """
    label, equals, folder = name.partition("=")
    if not equals or Path(name).expanduser().is_dir():
        label, folder = "", name
    elif label not in (*KINDS, "musan"):
        raise AudioError(f"{name}: {label} is not a kind of data", f"use {', '.join(KINDS)} or musan")
    root = Path(folder).expanduser()
    if not folder or not root.is_dir():
        raise AudioError(f"there is no folder {root if folder else name}", "give an existing one with --data")
    kind = label if label in KINDS else None
    if label == "musan":
        if not any((root / part).is_dir() for part in MUSAN_PARTS):
            folders = ", ".join(MUSAN_PARTS)
            raise AudioError(f"{root} is not MUSAN: it has none of the folders {folders}", "give its root")
        return Source("musan", root)
    if (root / MANIFEST).is_file():
        return Source("manifest", root, kind)
    if fma.is_fma(root) if kind is None else kind == "music" and fma.find_tables(root):
        return Source("fma", root, kind)
    if kind is None and all((root / part).is_dir() for part in MUSAN_PARTS):
        return Source("musan", root)
    return Source("folder", root, kind or "music")


def find_recordings(sources: Sequence[Source]) -> list[Recording]:
    """List the files of several sources; a file that is in two of them belongs to the first."""
    recordings: list[Recording] = []
    known: set[tuple[str, str]] = set()
    for source in sources:
        new = source.recordings()
        if len(sources) > 1:
            keys = [(recording.kind, os.path.realpath(recording.path)) for recording in new]
            new = [recording for recording, key in zip(new, keys, strict=True) if key not in known]
            known.update(keys)
        recordings += new
    return recordings


def _manifest_rows(root: Path) -> list[dict[str, str]]:
    path = root / MANIFEST
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise AudioError(f"{path} does not exist", "give the folder of a corpus with --data") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AudioError(f"{path} is unreadable ({error})", "correct it, or copy it again") from error
    needed = ("kind", "split", "path")
    if rows and not set(needed) <= set(rows[0]):
        raise AudioError(f"{path} lacks the columns kind, split and path")
    if not rows:
        raise AudioError(f"{path} lists no files", "complete it, or copy it again")
    if not all(row[name] and "\0" not in row[name] for row in rows for name in needed):
        raise AudioError(f"{path} has rows without a kind, a split or a path", "complete them")
    return rows


def _manifest(source: Source) -> Iterator[Recording]:
    """List the files of a manifest; an optional column ``group`` names their groups."""
    n_ignored = 0
    for row in _manifest_rows(source.root):
        if row["kind"] not in KINDS or row["split"] not in SPLITS:
            n_ignored += 1
            continue
        path = source.root / row["path"]
        group = row.get("group") and f"{source.root}: {row['group']}"
        group = group or collection_group(row["kind"], path.stem) or str(path)
        yield Recording(row["kind"], row["split"], path, group, source.root)
    if n_ignored:
        log.warning("%s: %d rows of another kind or split are ignored", source.root / MANIFEST, n_ignored)


def _fma(source: Source) -> Iterator[Recording]:
    for track in fma.list_tracks(source.root):
        split = "train" if track.split == "training" else "valid"
        yield Recording("music", split, track.path, f"FMA artist {track.artist}", source.root)


def _musan(source: Source) -> Iterator[Recording]:
    artists = _musan_artists(source.root / "music")
    for part in MUSAN_PARTS:
        if (source.root / part).is_dir():
            yield from _split(part, source.root / part, artists)


def _musan_artists(root: Path) -> dict[str, str]:
    """Return the artist of each file of MUSAN's music: lines of ``ID GENRES VOCALS ARTIST``."""
    artists: dict[str, str] = {}
    for path in sorted(root.glob("*/ANNOTATIONS")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.split(maxsplit=3)
            if len(words) == 4:
                artists[words[0]] = f"MUSAN artist {words[3]}"
    return artists


def _folder(source: Source) -> Iterator[Recording]:
    return _split(source.kind or "music", source.root, {})


def _split(kind: str, root: Path, known: dict[str, str]) -> Iterator[Recording]:
    """List a folder of one kind, and split it by a hash of each file's group.

    Parameters
    ----------
    known : groups by stem, if a collection lists them
    """
    top = Path(os.path.normpath(root.absolute()))
    paths = find_audio([top])
    if kind.startswith("ir_"):  # the format of the Aachen responses
        paths += sorted(path for path in top.rglob("*.mat") if not path.name.startswith("."))
    global_names = [known.get(path.stem) or collection_group(kind, path.stem) for path in paths]
    names = [
        name or folder_group(kind, path.relative_to(top))
        for path, name in zip(paths, global_names, strict=True)
    ]
    splits = split_groups(names)
    if len(paths) > 1 and len(splits) == 1:
        log.warning(
            "%s: all %d files are in one group (%s) and therefore in the split train; "
            "add a %s with the column split to divide them",
            *(root, len(paths), names[0], MANIFEST),
        )
    for path, name, is_global in zip(paths, names, global_names, strict=True):
        yield Recording(kind, splits[name], path, name if is_global else f"{root}: {name}", root)
