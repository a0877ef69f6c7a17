"""Ask the same queries of catalogues of different sizes; their sound is embedded once."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overheard.catalogue.pack import Pack, open_pack
from overheard.catalogue.search import N_CANDIDATES, N_IMPOSTORS, Candidates, Catalogue, IntArray
from overheard.events import Track
from overheard.fingerprint.embedder import Embedder, Queries, fingerprint
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.hubness import cells_of, penalties_of
from overheard.fingerprint.model import Model
from overheard.hear.resampler import to_float
from overheard.recognize.pipeline import Recognizer
from overheard.recognize.windows import MAX_SEARCHED, evenly_spread
from overheard_bench import catalogue, score
from overheard_bench import corpus as corpora
from overheard_bench.corpus import Corpus
from overheard_bench.distractors import is_drawn
from overheard_bench.exhaustive import ExhaustiveCatalogue
from overheard_bench.protocol import Query

SCORED_AT_ONCE = 4096  # segments, against all queries; bounds the memory


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

    @property
    def n_remembered(self) -> int:
        """Number of clips so far."""
        return len(self._remembered)

    def searched(self) -> FloatArray:
        """Return the embeddings that a search gets from the clips so far, (n, dim) float32."""
        clips = [queries.embeddings for queries in self._remembered.values()]
        return np.concatenate([clip[evenly_spread(len(clip), MAX_SEARCHED)] for clip in clips])


class ExhaustiveCodes:
    """A :class:`overheard.catalogue.search.SegmentIndex` that compares known queries with every code.

    Parameters
    ----------
    whole : the catalogue
    model : its model
    queries : (n, dim) float32, all queries that will be searched
    """

    def __init__(self, whole: Catalogue, model: Model, queries: FloatArray) -> None:
        self._whole, self.first_segment = whole, whole.first_segment
        self._rows = {query.tobytes(): row for row, query in enumerate(queries)}
        self._segments, self._similarities = nearest(whole, queries)
        n_cells, cohort = len(model.quantizer.cells), model.cohort
        vectors = model.quantizer.scoring_vectors(cells_of(cohort.packed_cells, n_cells), cohort.codes)
        against = queries @ vectors.T - penalties_of(cohort.packed_cells, n_cells)
        self._impostors: FloatArray = -np.sort(-against, axis=1)[:, :N_IMPOSTORS]

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
        """Return the nearest segments of each query. Raises KeyError for a query that was not announced."""
        rows = [self._rows[query.tobytes()] for query in queries]
        return Candidates(self._segments[rows], self._similarities[rows], self._impostors[rows])


def nearest(whole: Catalogue, queries: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the nearest segments of each query among all, ``(n, N_CANDIDATES)``, and their similarities."""
    segments = np.full((len(queries), N_CANDIDATES), -1, dtype=np.int64)
    best = np.full((len(queries), N_CANDIDATES), -np.inf, dtype=np.float32)
    for first in range(0, int(whole.first_segment[-1]), SCORED_AT_ONCE):
        chunk = np.arange(first, min(first + SCORED_AT_ONCE, int(whole.first_segment[-1])))
        scores = whole.similarities(queries, chunk)
        for row in np.flatnonzero(scores.max(axis=1) > best[:, -1]).tolist():
            better = np.flatnonzero(scores[row] > best[row, -1])
            values = np.concatenate([best[row], scores[row, better]])
            order = np.argsort(-values, kind="stable")[:N_CANDIDATES]
            best[row] = values[order]
            segments[row] = np.concatenate([segments[row], chunk[better]])[order]
    return segments, np.where(segments < 0, np.float32(0), best)


class Questions:
    """Queries, and what judges the answers of any pack that holds the benchmark's catalogue.

    Parameters
    ----------
    corpus, model : Corpus, Model
    base : the benchmark's catalogue
    queries : known and unknown ones
    """

    def __init__(self, corpus: Corpus, model: Model, base: Pack, queries: Sequence[Query]) -> None:
        self._corpus, self._model, self._queries = corpus, model, queries
        self._embedder = RememberingEmbedder(model)
        self._embeddings: dict[str, FloatArray] = {}
        self._find = catalogue.corpus_path_finder(corpus)
        self._duplicates, self._copies = corpora.near_duplicates(), catalogue.aliases(base, self._find)

    def ask(self, pack_path: Path, search: str = "own") -> dict[str, Any]:
        """Ask all queries of a pack and count the outcomes.

        Parameters
        ----------
        search : "own", or exhaustive search of "codes" or "floats"
        """
        pack = open_pack(pack_path, self._model.digest)
        recognizer = Recognizer(self._model, [pack])
        recognizer.embedder = self._embedder
        recognizer.search([pack])
        if search == "codes":
            if not self._embedder.n_remembered:
                self.answers(recognizer)  # embeds the queries
            whole = Catalogue([pack], self._model.quantizer, self._model.cohort)
            recognizer.search([pack], ExhaustiveCodes(whole, self._model, self._embedder.searched()))
        elif search == "floats":
            recognizer.search([pack], self._floats(pack))
        return _tables(self.answers(recognizer))

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

    def answers(self, recognizer: Recognizer) -> list[score.Answer]:
        """Return the judged answers to all queries."""
        return [
            score.judge(
                query, recognizer.identify(query.waveform), self._find, self._duplicates, self._copies
            )
            for query in self._queries
        ]


def _tables(answers: Sequence[score.Answer]) -> dict[str, Any]:
    tables = score.tables(answers)
    fields = ("right_percent", "right_interval", "wrong_percent", "out_named_percent", "out_named_interval")
    pools = {"all": tables["overall"], **tables["by_length"]}
    return {
        "queries": tables["overall"]["n"],
        "unknown_queries": tables["overall"]["out_n"],
        "at_one_percent": tables["at_one_percent"]["right_percent"],
        "mic10_10s_percent": next(
            (c["right_percent"] for c in tables["cells"] if (c["condition"], c["length_s"]) == ("mic10", 10)),
            None,
        ),
        "by_length": {name: {field: pool[field] for field in fields} for name, pool in pools.items()},
    }
