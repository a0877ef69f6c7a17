"""Write packs of many tracks, real and drawn, in bounded memory, and keep them in the cache."""

from __future__ import annotations

import hashlib
import itertools
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from overheard.catalogue.pack import Pack, PackTrack, TrackEntry, open_pack, write_pack
from overheard.catalogue.pack_write import Contents, write_file
from overheard.catalogue.track_list import metadata_of
from overheard.fingerprint.model import Model
from overheard_bench import catalogue, scenes
from overheard_bench import corpus as corpora
from overheard_bench.corpus import Corpus
from overheard_bench.distractors import DRAWN_S, VERSION, Donors, drawn_entry

CHUNK_BYTES = 1 << 20


def starter_catalogue(corpus: Corpus, model: Model, cache: Path) -> Pack:
    """Return the benchmark's catalogue: the starter pack, which has the same corpus, without left-out tracks.

    Raises
    ------
    RuntimeError
        If the starter pack was made with another model, or from another corpus.
    """
    starter = scenes.starter_pack()
    if starter is None:
        raise RuntimeError("the checkout has no starter pack; use --pack FILE")
    pack = open_pack(starter, model.digest)
    find, out = catalogue.corpus_path_finder(corpus), set(corpora.left_out_of_index())
    kept = [track.id for track in pack.tracks if find(track) not in out]
    path = cache / "scale" / f"catalogue-{_digest(*kept)}.pack"
    if not path.is_file():
        entries = [entry for entry in pack.entries() if find(entry) not in out]
        write_pack(path, "catalogue", model.digest, model.spec, entries)
    return open_pack(path, model.digest)


def scale_pack(base: Pack, corpus: Corpus, model: Model, n_drawn: int, seed: int, cache: Path) -> Path:
    """Return a pack of the base's tracks and `n_drawn` drawn ones; an earlier run may have written it.

    Parameters
    ----------
    base : the benchmark's catalogue
    n_drawn : tracks to draw, from those of the base that no query comes from
    """
    if n_drawn == 0:
        return base.path
    donors = Donors.of_pack(base, model.quantizer, donor_numbers(base, corpus))
    entries = hashlib.sha256("".join(track.id for track in base.tracks).encode()).hexdigest()
    name = f"scale-{n_drawn}-{_digest(VERSION, model.digest, seed, entries)}"
    path = cache / f"{name}.pack"
    if not path.is_file():
        write_entries(path, model, itertools.chain(base.entries(), drawn(donors, model, n_drawn, seed)))
    return path


def _digest(*values: object) -> str:
    return hashlib.sha256(" ".join(map(str, values)).encode()).hexdigest()[:12]


def donor_numbers(base: Pack, corpus: Corpus) -> list[int]:
    """Return the tracks that no query comes from: those of the corpus's `train` lists."""
    train = {item.path for item in corpus.of("music", "train")}
    corpus_path = catalogue.corpus_path_finder(corpus)
    return [number for number, track in enumerate(base.tracks) if corpus_path(track) in train]


def drawn(donors: Donors, model: Model, n: int, seed: int, first: int = 0) -> Iterator[TrackEntry]:
    """Yield `n` drawn tracks, beginning with number `first`."""
    n_segments = int((DRAWN_S - model.spec.segment_s) / model.spec.hop_s) + 1
    for number in range(first, first + n):
        yield drawn_entry(donors, seed, number, n_segments)


def write_entries(path: Path, model: Model, entries: Iterable[TrackEntry]) -> None:
    """Write a pack of any number of tracks; only their metadata is in memory at once."""
    listed: list[PackTrack] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent) as cells, tempfile.TemporaryFile(dir=path.parent) as codes:
        for entry in entries:
            cells.write(np.ascontiguousarray(entry.packed_cells, "<u2").tobytes())
            codes.write(np.ascontiguousarray(entry.codes).tobytes())
            n_segments = len(entry.packed_cells)
            listed.append(PackTrack(id=entry.id, n_segments=n_segments, **metadata_of(entry)))
        contents = Contents(
            model.quantizer.code_bytes,
            np.array([track.n_segments for track in listed], dtype=np.int64),
            sum(track.duration_s for track in listed),
            lambda: listed,
            lambda: _chunks(cells),
            lambda: _chunks(codes),
        )
        facts = {"name": path.stem, "spec": model.spec.to_dict(), "fingerprint_digest": model.digest}
        write_file(path, facts, contents)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
