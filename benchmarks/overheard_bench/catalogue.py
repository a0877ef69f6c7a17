"""The catalogue that queries are asked of: the corpus less the left-out tracks, by the real indexer."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from overheard_bench import corpus as corpora
from overheard_bench.corpus import Corpus

if TYPE_CHECKING:
    from overheard.catalogue.pack import Pack
    from overheard.catalogue.search import SegmentIndex
    from overheard.fingerprint.model import Model
    from overheard.recognize.pipeline import Recognizer


def catalogue_paths(corpus: Corpus, only: Collection[str] | None = None) -> list[str]:
    """Return the music that the catalogue holds, by path; `only` narrows it."""
    out = set(corpora.left_out_of_index())
    music = [item.path for item in corpus.of("music") if item.path not in out]
    return music if only is None else [path for path in music if path in only]


def link_folder(corpus: Corpus, paths: Iterable[str], folder: Path) -> None:
    """Make a folder that holds links to exactly these files, so that the indexer sees nothing else."""
    wanted = {folder / path: corpus.root / path for path in paths}
    for link in [p for p in folder.rglob("*") if p.is_symlink() and p not in wanted]:
        link.unlink()
    for link, target in wanted.items():
        if not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target.resolve())


def build_pack(
    corpus: Corpus,
    model: Model,
    paths: Collection[str],
    cache: Path,
    jobs: int | None,
    compact: bool = False,
) -> Pack:
    """Index the tracks with this model, or open the pack that an earlier run made of the same."""
    from overheard.catalogue.pack import open_pack
    from overheard.index.run import index
    from overheard.index.worker import ModelFingerprinter

    key = hashlib.sha256("\n".join([model.digest, corpus.digest, *sorted(paths)]).encode()).hexdigest()[:12]
    name = f"catalogue-{key}{'-compact' if compact else ''}"
    folder, pack = cache / name, cache / f"{name}.pack"
    link_folder(corpus, paths, folder)
    make = functools.partial(ModelFingerprinter, model.path, compact)
    report = index([folder], pack, make, jobs=(os.cpu_count() or 1) if jobs is None else jobs)
    if report.failed:
        path, reason = report.failed[0]
        raise RuntimeError(f"{len(report.failed)} tracks could not be indexed, the first {path} ({reason})")
    return open_pack(pack, model.digest)


def path_finder(paths: Collection[str]) -> Callable[[Any], str]:
    """Return what tells a track's path in the corpus from its path in the pack, wherever that lies."""
    known = set(paths)
    found: dict[str, str] = {}

    def find(track: Any) -> str:  # a Track or a PackTrack
        if track.path not in found:
            parts = Path(track.path).parts
            tails = ["/".join(parts[i:]) for i in range(len(parts))]
            found[track.path] = next((tail for tail in tails if tail in known), track.path)
        return found[track.path]

    return find


def corpus_path_finder(corpus: Corpus) -> Callable[[Any], str]:
    """Return :func:`path_finder` of all of a corpus's music."""
    return path_finder([item.path for item in corpus.of("music")])


class _File(NamedTuple):
    """A file that stands in for a track."""

    path: str


def aliases(pack: Pack, find: Callable[[Any], str]) -> dict[str, str]:
    """Return, for files that the indexer found to be copies of another, that other one; corpus paths."""
    return {find(_File(also[0])): find(track) for track in pack.tracks for also in track.also}


class Asked(NamedTuple):
    """A catalogue that queries are asked of, and what tells which track an answer means."""

    recognizer: Recognizer
    pack: Pack
    find: Callable[[Any], str]  # of `corpus_path_finder`
    twins: Mapping[str, Collection[str]]  # of `near_duplicates`
    aliases: Mapping[str, str]


def open_asked(
    corpus: Corpus,
    model_path: Path,
    pack_path: Path,
    index_of: Callable[[Model, Pack], SegmentIndex] | None = None,
) -> Asked:
    """Open a model and a pack of a corpus in the process that asks.

    `index_of` makes what is searched in place of the pack's codes.
    """
    from overheard.catalogue.pack import open_pack
    from overheard.fingerprint.model import load_model
    from overheard.recognize.pipeline import Recognizer

    model = load_model(model_path)
    pack = open_pack(pack_path, model.digest)
    if index_of is None:
        recognizer = Recognizer(model, [pack])
    else:
        recognizer = Recognizer(model, [], index=index_of(model, pack))
    find = corpus_path_finder(corpus)
    return Asked(recognizer, pack, find, corpora.near_duplicates(), aliases(pack, find))


def check_holds(pack: Pack, corpus: Corpus, paths: Collection[str]) -> None:
    """Refuse a pack that lacks a track of the catalogue or holds one that was to be left out."""
    find = corpus_path_finder(corpus)
    held = {find(track) for track in pack.tracks} | set(aliases(pack, find))
    missing, extra = set(paths) - held, held - set(paths)
    if missing or extra:
        example = sorted(missing or extra)[0]
        raise RuntimeError(
            f"{pack.name} is not the protocol's catalogue: {len(missing)} tracks are missing from it and "
            f"{len(extra)} are too many, for example {example}"
        )


def describe(pack: Pack) -> dict[str, object]:
    """Return tracks, hours, bytes of the whole pack file, bytes per minute of music."""
    seconds = sum(track.duration_s for track in pack.tracks)
    return {
        "tracks": len(pack.tracks),
        "hours": round(seconds / 3600, 3),
        "bytes": pack.bytes,
        "bytes_per_min": round(pack.bytes / (seconds / 60), 1),
        "segments": int(pack.first_segment[-1]),
    }
