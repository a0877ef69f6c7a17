"""Ask the same queries of catalogues of different sizes; their sound is embedded once."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overheard.catalogue.pack import Pack, open_pack
from overheard.catalogue.search import (
    N_CANDIDATES,
    N_COHORT_NEAREST,
    Candidates,
    Catalogue,
    IntArray,
    SegmentIndex,
)
from overheard.events import Track
from overheard.fingerprint.embedder import Embedder, Queries, fingerprint
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.hubness import cells_of, penalties_of
from overheard.fingerprint.model import Model
from overheard.hear.resampler import to_float
from overheard.recognize.recognizer import Recognizer
from overheard.recognize.windows import LISTEN_SEARCH_SHARE
from overheard_bench import catalogue, score
from overheard_bench import corpus as corpora
from overheard_bench.corpus import Corpus
from overheard_bench.distractors import is_drawn
from overheard_bench.exhaustive import ExhaustiveCatalogue
from overheard_bench.protocol import Query

SCORED_AT_ONCE, ASKED_AT_ONCE = 4096, 512  # segments and queries; their products fit into a cache


class RememberingEmbedder(Embedder):
    """An embedder that runs the network once for the same segments, however often they are asked for."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._remembered: dict[bytes, Queries] = {}

    def query(self, segments: FloatArray) -> Queries:
        """Return queries for recorded log-mel segments, ``(n, n_frames, n_mels)`` float32 in dB."""
        key = hashlib.sha256(segments.tobytes()).digest()
        if key not in self._remembered:
            self._remembered[key] = super().query(segments)
        return self._remembered[key]


class WrappedIndex:
    """A :class:`overheard.catalogue.search.SegmentIndex` that searches a catalogue in its own way.

    This one searches a share of what a large catalogue usually visits.

    Attributes
    ----------
    asked : list of (n, dim) float32, the queries so far
    """

    def __init__(self, whole: Catalogue, share: float = 1.0) -> None:
        self._whole, self._share, self.first_segment = whole, share, whole.first_segment
        self.asked: list[FloatArray] = []

    def vectors(self, segments: IntArray) -> FloatArray:
        """Return the catalogue's vectors of segments."""
        return self._whole.vectors(segments)

    def similarities(self, queries: FloatArray, segments: IntArray) -> FloatArray:
        """Return the catalogue's similarities of queries and segments."""
        return self._whole.similarities(queries, segments)

    def track(self, number: int) -> Track:
        """Return a track by its number."""
        return self._whole.track(number)

    def candidates(
        self, queries: FloatArray, without: Collection[int] = (), share: float = 1.0
    ) -> Candidates:
        """Return what the catalogue proposes for queries."""
        self.asked.append(queries)
        return self._whole.candidates(queries, without, min(share, self._share))


class ExhaustiveCodes(WrappedIndex):
    """An index that compares known queries with every code.

    Parameters
    ----------
    whole : the catalogue
    model : its model
    queries : (n, dim) float32, all queries that will be searched
    """

    def __init__(self, whole: Catalogue, model: Model, queries: FloatArray) -> None:
        super().__init__(whole)
        self._rows = {query.tobytes(): row for row, query in enumerate(queries)}
        self._segments, self._similarities = nearest(whole, queries)
        n_cells, cohort = len(model.quantizer.cells), model.cohort
        vectors = model.quantizer.scoring_vectors(cells_of(cohort.packed_cells, n_cells), cohort.codes)
        against = queries @ vectors.T - penalties_of(cohort.packed_cells, n_cells)
        self._cohort: FloatArray = -np.sort(-against, axis=1)[:, :N_COHORT_NEAREST]

    def candidates(
        self, queries: FloatArray, without: Collection[int] = (), share: float = 1.0
    ) -> Candidates:
        """Return the nearest segments of each query. Raises KeyError for a query that was not announced."""
        rows = [self._rows[query.tobytes()] for query in queries]
        return Candidates(self._segments[rows], self._similarities[rows], self._cohort[rows])


def nearest(whole: Catalogue, queries: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the nearest segments of each query among all, ``(n, N_CANDIDATES)``, and their similarities."""
    segments = np.full((len(queries), N_CANDIDATES), -1, dtype=np.int64)
    best = np.full((len(queries), N_CANDIDATES), -np.inf, dtype=np.float32)
    for first in range(0, int(whole.first_segment[-1]), SCORED_AT_ONCE):
        chunk = np.arange(first, min(first + SCORED_AT_ONCE, int(whole.first_segment[-1])))
        for start in range(0, len(queries), ASKED_AT_ONCE):
            some = slice(start, start + ASKED_AT_ONCE)
            _keep(best[some], segments[some], whole.similarities(queries[some], chunk), chunk)
    return segments, np.where(segments < 0, np.float32(0), best)


def _keep(best: FloatArray, segments: IntArray, scores: FloatArray, chunk: IntArray) -> None:
    """Replace the nearest segments so far, ``(n, N_CANDIDATES)``, by those of a chunk that are nearer."""
    for row in np.flatnonzero(scores.max(axis=1) > best[:, -1]).tolist():
        better = np.flatnonzero(scores[row] > best[row, -1])
        values = np.concatenate([best[row], scores[row, better]])
        order = np.argsort(-values, kind="stable")[:N_CANDIDATES]
        best[row] = values[order]
        segments[row] = np.concatenate([segments[row], chunk[better]])[order]


class Questions:
    """Queries, and what judges the answers of any pack that holds the benchmark's catalogue.

    Parameters
    ----------
    corpus, model : Corpus, Model
    base : the benchmark's catalogue
    queries : known and unknown ones
    """

    def __init__(self, corpus: Corpus, model: Model, base: Pack, queries: Sequence[Query]) -> None:
        self._corpus, self._model, self._base, self._queries = corpus, model, base, queries
        self._embedder = RememberingEmbedder(model)
        self._embeddings: dict[str, FloatArray] = {}
        self._find = catalogue.corpus_path_finder(corpus)
        self._duplicates, self._copies = corpora.near_duplicates(), catalogue.aliases(base, self._find)

    def ask(self, pack_path: Path, search: str = "own") -> dict[str, Any]:
        """Ask all queries of a pack and count the outcomes.

        Parameters
        ----------
        search : the pack's "own", as deep as clips need it, or as deep as "listen" does; or exhaustive search
            of "codes" or "floats", at the tracks' own speed only
        """
        return _tables(self._judged(pack_path, search))

    def recall(self, pack_path: Path) -> dict[str, Any]:
        """Ask all queries of a pack; return how many were recognized, and how many best matches are right."""
        found = score.detail(self._judged(pack_path, "own"))
        return {
            "queries": found["n"],
            "right_percent": found["right_percent"],
            "right_interval": found["right_interval"],
            "best_is_right_percent": score.percent(found["best_is_right"], found["n"]),
        }

    def _judged(self, pack_path: Path, search: str) -> list[score.Answer]:
        """Return the judged answers of a pack; search as in :meth:`ask`."""
        pack = open_pack(pack_path, self._model.digest)
        whole = Catalogue([pack], self._model.quantizer, self._model.cohort)
        index: SegmentIndex
        if search == "codes":
            index = ExhaustiveCodes(whole, self._model, self._searched())
        elif search == "floats":
            index = self._floats(pack)
        else:
            index = WrappedIndex(whole, LISTEN_SEARCH_SHARE if search == "listen" else 1.0)
        return self._answers(pack, index)

    def _searched(self) -> FloatArray:
        """Return the embeddings that a search gets, ``(n, dim)``; they are the same with each pack."""
        whole = Catalogue([self._base], self._model.quantizer, self._model.cohort)
        index = WrappedIndex(whole)
        self._answers(self._base, index)
        return np.concatenate(index.asked)

    def _floats(self, pack: Pack) -> ExhaustiveCatalogue:
        """Return the float embeddings of a pack's tracks; drawn ones have only those of their codes."""
        n_cells, embeddings = len(self._model.quantizer.cells), []
        for number, track in enumerate(pack.tracks):
            if is_drawn(track.path):
                entry = pack.entry(number)
                cells = cells_of(entry.packed_cells, n_cells)
                embeddings.append(self._model.quantizer.decode_track(cells, entry.codes))
            else:
                embeddings.append(self._embedded(self._find(track)))
        tracks = [track.to_track(pack.name) for track in pack.tracks]
        return ExhaustiveCatalogue(tracks, embeddings, self._model.references)

    def _embedded(self, path: str) -> FloatArray:
        """Return the float embeddings of a track of the corpus; computed once."""
        if path not in self._embeddings:
            waveform = to_float(self._corpus.load(path))
            self._embeddings[path] = fingerprint(Embedder(self._model), waveform)
        return self._embeddings[path]

    def _answers(self, pack: Pack, index: SegmentIndex) -> list[score.Answer]:
        """Return the judged answers to all queries."""
        recognizer = Recognizer(self._model, [pack], index=index)
        recognizer.embedder = self._embedder
        recognizer.search([pack], index)
        return [
            score.judge(
                query, recognizer.identify(query.waveform), self._find, self._duplicates, self._copies
            )
            for query in self._queries
        ]


def _tables(answers: Sequence[score.Answer]) -> dict[str, Any]:
    tables = score.tables(answers)
    fields = (
        "right_percent",
        "right_interval",
        "wrong_percent",
        "false_positive_percent",
        "false_positive_interval",
    )
    pools = {"all": tables["overall"], **tables["by_length"]}
    return {
        "queries": tables["overall"]["n"],
        "unknown_queries": tables["overall"]["out_n"],
        "at_one_percent": tables["at_one_percent"]["right_percent"],
        "by_length": {name: {field: pool[field] for field in fields} for name, pool in pools.items()},
    }
