"""Build and open the benchmark's catalogue: the corpus without the left-out tracks."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from overheard.catalogue import layers
from overheard.catalogue.pack import Pack, open_pack, write_pack
from overheard.catalogue.search import SegmentIndex
from overheard.files import link_files
from overheard.fingerprint.model import Model, load_model
from overheard.index.run import index
from overheard.index.worker import ModelFingerprinter
from overheard.recognize.recognizer import Identification, Recognizer
from overheard_bench import corpus as corpora
from overheard_bench.corpus import Corpus
from overheard_bench.protocol import Query
from overheard_bench.score import Answer, judge


class HasPath(Protocol):
    """A track of a pack or of a match."""

    @property
    def path(self) -> str:
        """Path in the pack."""


def catalogue_paths(corpus: Corpus, only: Collection[str] | None = None) -> list[str]:
    """Return the paths of the catalogue's music; `only` restricts them."""
    out = set(corpora.left_out_of_index())
    music = [item.path for item in corpus.of("music") if item.path not in out]
    return music if only is None else [path for path in music if path in only]


def build_pack(
    corpus: Corpus,
    model: Model,
    paths: Collection[str],
    cache: Path,
    jobs: int | None,
    compact: bool = False,
) -> Pack:
    """Index the tracks with this model, or open the pack that an earlier run made of the same tracks."""
    network = [] if "space" not in model.manifest else [model.network_digest]
    facts = [model.digest, *network, corpus.digest, *sorted(paths)]
    key = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
    name = f"catalogue-{key}{'-compact' if compact else ''}"
    folder, pack = cache / name, cache / f"{name}.pack"
    link_files(folder, {path: corpus.root / path for path in paths})
    make = functools.partial(ModelFingerprinter, model.path, compact)
    report = index([folder], pack, make, jobs=(os.cpu_count() or 1) if jobs is None else jobs)
    if report.failed:
        path, reason = report.failed[0]
        raise RuntimeError(f"cannot index {len(report.failed)} tracks, for example {path}: {reason}")
    # Without hidden tracks, a track has the same number in the pack and in the catalogue.
    layers.compact(pack)
    return open_pack(pack, model.digest)


def without(pack: Pack, corpus: Corpus, model: Model, paths: Collection[str], target: Path) -> Pack:
    """Write a copy of a pack without these tracks of the corpus, and return it."""
    corpus_path = corpus_path_finder(corpus)
    kept = [entry for entry in pack.entries() if corpus_path(entry) not in paths]
    target.parent.mkdir(parents=True, exist_ok=True)
    write_pack(target, target.stem, model.digest, model.spec, kept)
    return open_pack(target, model.digest)


def path_finder(paths: Collection[str]) -> Callable[[HasPath], str]:
    """Return a function from a track (its `path` in a pack) to its path in the corpus."""
    known = set(paths)
    corpus_paths: dict[str, str] = {}

    def find(track: HasPath) -> str:
        if track.path not in corpus_paths:
            parts = Path(track.path).parts
            tails = ["/".join(parts[i:]) for i in range(len(parts))]
            corpus_paths[track.path] = next((tail for tail in tails if tail in known), track.path)
        return corpus_paths[track.path]

    return find


def corpus_path_finder(corpus: Corpus) -> Callable[[HasPath], str]:
    """Return :func:`path_finder` for all music of a corpus."""
    return path_finder([item.path for item in corpus.of("music")])


class _Copy(NamedTuple):
    """A file that the indexer stored as a copy of a track."""

    path: str


def aliases(pack: Pack, corpus_path: Callable[[HasPath], str]) -> dict[str, str]:
    """Return the kept track of each file that the indexer found to be an exact copy; corpus paths."""
    return {corpus_path(_Copy(also[0])): corpus_path(track) for track in pack.tracks for also in track.also}


class OpenCatalogue(NamedTuple):
    """A catalogue to search, and the functions that judge its answers."""

    recognizer: Recognizer
    pack: Pack
    corpus_path: Callable[[HasPath], str]  # from `corpus_path_finder`
    duplicates: Mapping[str, frozenset[str]]  # from `near_duplicates`
    aliases: Mapping[str, str]

    def judge(self, query: Query, identification: Identification) -> Answer:
        """Judge the answer to a query; see :func:`overheard_bench.score.judge`."""
        return judge(query, identification, self.corpus_path, self.duplicates, self.aliases)


def open_catalogue(
    corpus: Corpus,
    model_path: Path,
    pack_path: Path,
    index_of: Callable[[Model, Pack], SegmentIndex] | None = None,
) -> OpenCatalogue:
    """Open a model and a pack; `index_of` makes the index to search instead of the pack's codes."""
    model = load_model(model_path)
    pack = open_pack(pack_path, model.digest)
    if index_of is None:
        recognizer = Recognizer(model, [pack])
    else:
        recognizer = Recognizer(model, [], index=index_of(model, pack))
    corpus_path = corpus_path_finder(corpus)
    duplicates = corpora.near_duplicates()
    return OpenCatalogue(recognizer, pack, corpus_path, duplicates, aliases(pack, corpus_path))


def check_holds(pack: Pack, corpus: Corpus, paths: Collection[str]) -> None:
    """Raise RuntimeError if a pack lacks a track of the catalogue or contains a left-out track."""
    corpus_path = corpus_path_finder(corpus)
    contained = {corpus_path(track) for track in pack.tracks} | set(aliases(pack, corpus_path))
    missing, extra = set(paths) - contained, contained - set(paths)
    if missing or extra:
        example = sorted(missing or extra)[0]
        raise RuntimeError(
            f"{pack.name} is not the benchmark's catalogue: {len(missing)} tracks are missing and "
            f"{len(extra)} do not belong to it, for example {example}"
        )


def describe(pack: Pack) -> dict[str, object]:
    """Return the number of tracks, hours, bytes of the pack file, bytes per minute of music, and segments."""
    seconds = sum(track.duration_s for track in pack.tracks)
    return {
        "tracks": len(pack.tracks),
        "hours": round(seconds / 3600, 3),
        "bytes": pack.bytes,
        "bytes_per_min": round(pack.bytes / (seconds / 60), 1),
        "segments": pack.n_segments,
    }
