"""What the user names to a list of recordings: corpora with a manifest, FMA, MUSAN, any folder of audio."""

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
from overheard_train.data.groups import folder_group, named_group, split_groups

log = logging.getLogger(__name__)

KINDS = ("music", "noise", "speech", "ir_room", "ir_room_synth", "ir_mic")
SPLITS = ("train", "valid")
MANIFEST = "manifest.csv"
MUSAN_PARTS = ("music", "noise", "speech")


@dataclasses.dataclass(frozen=True)
class Recording:
    """One file.

    Attributes
    ----------
    kind : of :data:`KINDS`
    split : ``train`` or ``valid``
    group : what it must not be parted from: an artist, an album, a room, a source recording, a speaker
    root : the folder that was named
    """

    kind: str
    split: str
    path: Path
    group: str
    root: Path


@dataclasses.dataclass(frozen=True)
class Source:
    """What one name stands for.

    Attributes
    ----------
    layout : ``manifest``, ``fma``, ``musan`` or ``folder``
    kind : the only kind that is taken from it; None for all that it has
    """

    layout: str
    root: Path
    kind: str | None = None

    @property
    def tag(self) -> str:
        """What tells it from other sources, wherever the program was started."""
        return f"{self.layout} {self.kind or ''} {os.path.realpath(self.root)}"

    def recordings(self) -> list[Recording]:
        """List its files.

        Raises
        ------
        AudioError
            It cannot be read, or holds nothing of the kind.
        """
        list_files = {"manifest": _manifest, "fma": _fma, "musan": _musan, "folder": _folder}[self.layout]
        found = [r for r in list_files(self) if self.kind in (None, r.kind)]
        if not found:
            raise AudioError(f"{self.root} holds no {self.kind or 'audio'}: name another folder with --data")
        return found


def parse(name: str) -> Source:
    """Tell what a name stands for: ``FOLDER``, ``KIND=FOLDER`` or ``musan=FOLDER``.

    A folder with ``manifest.csv`` is a corpus, one with FMA's tables is FMA, one with the parts ``music``,
    ``noise`` and ``speech`` is MUSAN, any other is music.

    Raises
    ------
    AudioError
        There is no such folder or kind.
    """
    label, equals, place = name.partition("=")
    if not equals or os.path.isdir(os.path.expanduser(name)):
        label, place = "", name
    elif label not in (*KINDS, "musan"):
        raise AudioError(f"{name}: {label} is no kind of data; there are {', '.join(KINDS)} and musan")
    root = Path(os.path.expanduser(place))
    if not place or not root.is_dir():
        raise AudioError(f"there is no folder {root if place else name}: name one that there is with --data")
    kind = label if label in KINDS else None
    if label == "musan":
        if not any((root / part).is_dir() for part in MUSAN_PARTS):
            folders = ", ".join(MUSAN_PARTS)
            raise AudioError(f"{root} is not MUSAN, with the folders {folders}: name its root")
        return Source("musan", root)
    if (root / MANIFEST).is_file():
        return Source("manifest", root, kind)
    if fma.is_fma(root) if kind is None else kind == "music" and fma.find_tables(root):
        return Source("fma", root, kind)
    if kind is None and all((root / part).is_dir() for part in MUSAN_PARTS):
        return Source("musan", root)
    return Source("folder", root, kind or "music")


def find_recordings(sources: Sequence[Source]) -> list[Recording]:
    """List the files of several sources; what two of them hold is the first one's."""
    found: list[Recording] = []
    taken: set[tuple[str, str]] = set()
    for source in sources:
        new = source.recordings()
        if len(sources) > 1:
            keys = [(recording.kind, os.path.realpath(recording.path)) for recording in new]
            new = [recording for recording, key in zip(new, keys, strict=True) if key not in taken]
            taken.update(keys)
        found += new
    return found


def _manifest_rows(root: Path) -> list[dict[str, str]]:
    path = root / MANIFEST
    if not root.is_dir():
        raise AudioError(f"there is no corpus in {root}: name its folder with --data")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise AudioError(f"{root} has no manifest.csv: name the corpus with --data") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AudioError(f"{path} is unreadable ({error}): mend it or take a new copy") from error
    needed = ("kind", "split", "path")
    if rows and not set(needed) <= set(rows[0]):
        raise AudioError(f"{path} needs the columns kind, split and path")
    if not rows:
        raise AudioError(f"{path} lists nothing: complete it or take a new copy")
    if not all(row[name] and "\0" not in row[name] for row in rows for name in needed):
        raise AudioError(f"{path} has rows without a kind, a split or a path: complete them")
    return rows


def _manifest(source: Source) -> Iterator[Recording]:
    """List what a manifest lists; its column ``group``, where it has one, says what belongs together."""
    left_out = 0
    for row in _manifest_rows(source.root):
        if row["kind"] not in KINDS or row["split"] not in SPLITS:
            left_out += 1
            continue
        path = source.root / row["path"]
        group = row.get("group") and f"{source.root}: {row['group']}"
        group = group or named_group(row["kind"], path.stem) or str(path)
        yield Recording(row["kind"], row["split"], path, group, source.root)
    if left_out:
        log.warning("%s: %d rows of another kind or split are left out", source.root / MANIFEST, left_out)


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
    """List a folder of one kind; `known` are groups by the file's stem. A hash of the group is the split."""
    paths = find_audio([root])
    if kind.startswith("ir_"):  # as the Aachen responses are handed out
        paths += sorted(path for path in root.rglob("*.mat") if not path.name.startswith("."))
    top = Path(os.path.abspath(root))
    global_names = [known.get(path.stem) or named_group(kind, path.stem) for path in paths]
    names = [
        name or folder_group(kind, Path(os.path.abspath(path)).relative_to(top))
        for path, name in zip(paths, global_names, strict=True)
    ]
    splits = split_groups(names)
    if len(paths) > 1 and len(splits) == 1:
        log.warning(
            "%s: its %d files seem to belong together (%s), so that all are train; "
            "a manifest.csv can say otherwise",
            *(root, len(paths), names[0]),
        )
    for path, name, is_global in zip(paths, names, global_names, strict=True):
        yield Recording(kind, splits[name], path, name if is_global else f"{root}: {name}", root)
