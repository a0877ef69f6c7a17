"""Write packs of many tracks, real and drawn, in bounded memory, and keep them in the cache."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from overheard.catalogue.pack import Pack, TrackEntry, creation_time, open_pack
from overheard.catalogue.pack_format import write_parts
from overheard.catalogue.track_list import pack_metadata
from overheard.files import atomic_write
from overheard.fingerprint.model import Model
from overheard_bench import corpus as corpora
from overheard_bench.catalogue import corpus_path_finder
from overheard_bench.corpus import Corpus
from overheard_bench.distractors import DRAWN_S, Donors, drawn_entry

VERSION = 1  # raise it when the same seed draws other tracks
CHUNK_BYTES = 1 << 20
NO_CELLS, NO_CODES = np.zeros(0, np.uint16), np.zeros((0, 0), np.uint8)


def scale_pack(
    base: Pack, corpus: Corpus, model: Model, n_drawn: int, seed: int, cache: Path, with_base: bool = True
) -> Path:
    """Return a pack of the base's tracks and drawn ones; an earlier run may have written it.

    Parameters
    ----------
    base : the benchmark's catalogue
    n_drawn : tracks to draw, from those of the base that no query comes from
    with_base : whether the pack has the base's tracks too
    """
    donors = Donors.of_pack(base, model.quantizer, donor_numbers(base, corpus))
    key = hashlib.sha256(f"{VERSION} {model.digest} {n_drawn} {seed}".encode())
    for values in (donors.packed_cells, donors.codes, donors.first_segment, base.packed_cells):
        key.update(np.ascontiguousarray(values).tobytes())
    path = cache / f"scale-{n_drawn}{'' if with_base else '-drawn'}-{key.hexdigest()[:12]}.pack"
    if not path.is_file():
        real = base.entries() if with_base else []
        write_entries(path, model, (*real,), drawn(donors, model, n_drawn, seed))
    return path


def donor_numbers(base: Pack, corpus: Corpus) -> list[int]:
    """Return the tracks that no query comes from: those of the corpus's `train` lists."""
    train = {item.path for item in corpus.of("music", "train")}
    corpus_path = corpus_path_finder(corpus)
    return [number for number, track in enumerate(base.tracks) if corpus_path(track) in train]


def drawn(donors: Donors, model: Model, n: int, seed: int, first: int = 0) -> Iterator[TrackEntry]:
    """Yield `n` drawn tracks, beginning with number `first`."""
    n_segments = int((DRAWN_S - model.spec.segment_s) / model.spec.hop_s) + 1
    for number in range(first, first + n):
        yield drawn_entry(donors, seed, number, n_segments, DRAWN_S)


def write_entries(
    path: Path, model: Model, real: tuple[TrackEntry, ...], others: Iterator[TrackEntry]
) -> None:
    """Write a pack of any number of tracks. Only the metadata is in memory at once."""
    listed: list[TrackEntry] = []
    counts: list[int] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent) as cells, tempfile.TemporaryFile(dir=path.parent) as codes:
        for entries in (real, others):
            for entry in entries:
                cells.write(np.ascontiguousarray(entry.packed_cells, "<u2").tobytes())
                codes.write(np.ascontiguousarray(entry.codes).tobytes())
                counts.append(len(entry.packed_cells))
                listed.append(_without_fingerprint(entry))
        facts: dict[str, Any] = {"name": path.stem, "created": creation_time(), "spec": model.spec.to_dict()}
        facts |= {
            "fingerprint_digest": model.digest,
            "code_bytes": model.quantizer.code_bytes,
            "n_tracks": len(listed),
            "n_segments": sum(counts),
            "duration_s": round(sum(entry.duration_s for entry in listed), 3),
        }
        parts = {
            "cells": _chunks(cast(BinaryIO, cells)),
            "codes": _chunks(cast(BinaryIO, codes)),
            "segments": [np.array(counts, "<u4").tobytes()],
            "tracks": [pack_metadata(listed)],
        }
        with atomic_write(path) as file:
            write_parts(cast(BinaryIO, file), facts, parts)


def _without_fingerprint(entry: TrackEntry) -> TrackEntry:
    """Return the entry without its fingerprint; it keeps its id, which is computed once."""
    identifier = entry.id
    kept = dataclasses.replace(entry, packed_cells=NO_CELLS, codes=NO_CODES)
    kept.__dict__["id"] = identifier
    return kept


def _chunks(file: BinaryIO) -> list[bytes]:
    """Return the contents of a file as pieces of a memory map, which the system can page out."""
    file.flush()
    if not file.tell():
        return []
    whole = memoryview(np.memmap(file, np.uint8, "r"))  # type: ignore[arg-type]
    return [cast(bytes, whole[i : i + CHUNK_BYTES]) for i in range(0, len(whole), CHUNK_BYTES)]
