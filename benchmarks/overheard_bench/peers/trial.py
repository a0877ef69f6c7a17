"""Measure one peer in one setting: write tracks and queries as files, run the peer, judge its answers.

The queries of both parts go to the peer in one run. The unknown queries of the calibration part then decide
the threshold. All counts come from the report part, judged by the rules for overheard's own answers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import wave
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from overheard.hear.resampler import to_int16
from overheard_bench import corpus as corpora
from overheard_bench import score
from overheard_bench.corpus import SAMPLE_RATE, Corpus
from overheard_bench.environment import environment
from overheard_bench.peers.base import MIN_SCORE, Answers, Candidate, Peer, PeerError, Setting
from overheard_bench.protocol import Query


@dataclasses.dataclass(frozen=True)
class QueryFile:
    """A query without its samples, and the file that contains them."""

    query: Query
    path: Path


@dataclasses.dataclass(frozen=True)
class TrackFiles:
    """The catalogue as files, without exact copies of a recording."""

    tracks: Mapping[str, str]  # path in the corpus, by stem of the file
    files: tuple[Path, ...]
    aliases: Mapping[str, str]  # path in the corpus of an exact copy, to that of the recording in `tracks`
    duration_s: float


@dataclasses.dataclass(frozen=True)
class Task:
    """The input of every peer: the tracks to index, and the queries of both parts."""

    catalogue: TrackFiles
    calibration: Sequence[QueryFile]
    report: Sequence[QueryFile]


@dataclasses.dataclass(frozen=True)
class Play:
    """The part of a play that `score.judge` reads. `offset_s` is the position in the track at `start_s`."""

    track: str
    offset_s: float
    start_s: float = 0.0
    confidence: float | None = None  # peers have none


@dataclasses.dataclass(frozen=True)
class Best:
    """The part of the best match that `score.judge` reads."""

    track: str
    score: float
    threshold: float
    confidence: float | None = None


@dataclasses.dataclass(frozen=True)
class Identified:
    """The part of an identification that `score.judge` reads."""

    verdict: str
    plays: tuple[Play, ...]
    best: Best | None


def write_wav(path: Path, samples: np.ndarray) -> Path:
    """Write (n,) int16 mono 8 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def write_tracks(corpus: Corpus, paths: Iterable[str], folder: Path) -> TrackFiles:
    """Write the catalogue's tracks as WAV files; only the first of exact copies, as the indexer does."""
    folder.mkdir()
    first: dict[bytes, str] = {}
    tracks: dict[str, str] = {}
    aliases: dict[str, str] = {}
    n_samples = 0
    for path in paths:
        samples = corpus.load(path)
        original = first.setdefault(hashlib.sha256(samples.tobytes()).digest(), path)
        if original != path:
            aliases[path] = original
            continue
        stem = f"t{len(tracks):05d}"
        write_wav(folder / f"{stem}.wav", samples)
        tracks[stem] = path
        n_samples += len(samples)
    files = tuple(folder / f"{stem}.wav" for stem in tracks)
    return TrackFiles(tracks, files, aliases, n_samples / SAMPLE_RATE)


def write_queries(queries: Iterable[Query], folder: Path, prefix: str) -> list[QueryFile]:
    """Write the queries as WAV files."""
    folder.mkdir(exist_ok=True)
    files = []
    for number, query in enumerate(queries):
        path = write_wav(folder / f"{prefix}{number:06d}.wav", to_int16(query.waveform))
        files.append(QueryFile(dataclasses.replace(query, waveform=np.zeros(0, np.float32)), path))
    return files


def run(peer: Peer, setting: Setting, task: Task, folder: Path) -> dict[str, Any]:
    """Index the tracks and look up the queries; return the tables of the report part. Raises PeerError."""
    folder.mkdir()
    n_bytes = peer.store(setting, task.catalogue.files, folder)
    answers = peer.query(setting, [file.path for file in (*task.calibration, *task.report)], folder)
    check_tracks(peer, answers, task.catalogue)
    scores = [score_of(answers[file.path.stem]) for file in task.calibration if file.query.track is None]
    threshold = choose_threshold(scores)
    return {
        "name": setting.name,
        "version": peer.version(),
        "options": list(setting.options),
        "features": dataclasses.asdict(peer.features),
        "threshold": threshold,
        "threshold_chosen_on": {
            "part": "calibration",
            "out_n": len(scores),
            "false_positives": sum(s >= threshold for s in scores),
        },
        "database": {
            "bytes": n_bytes,
            "bytes_per_min": round(n_bytes / (task.catalogue.duration_s / 60), 1),
        },
        "environment": environment(),
        **score.tables(list(judged(task.report, answers, task.catalogue, threshold))),
    }


def check_tracks(peer: Peer, answers: Answers, catalogue: TrackFiles) -> None:
    """Raise PeerError if an answer is a file that is not in the catalogue."""
    answered = {candidate.track for candidate in answers.values() if candidate is not None}
    if unknown := sorted(answered - set(catalogue.tracks)):
        raise PeerError(f"{peer.name} answered with a file that it did not index: {unknown[0]!r}")


def score_of(candidate: Candidate | None) -> float:
    """Return a candidate's score; minus infinity if there is no candidate."""
    return -math.inf if candidate is None else candidate.score


def choose_threshold(scores: Iterable[float]) -> int:
    """Return the lowest score at which at most 1% of the unknown queries are false positives.

    Scores are whole numbers. A threshold of 1 accepts every match that the peer reports.

    Parameters
    ----------
    scores : of queries that are not in the catalogue
    """
    ranked = sorted(scores, reverse=True)
    allowed = int(len(ranked) * score.MAX_FALSE_POSITIVES_PERCENT / 100)
    first_too_many = ranked[allowed] if allowed < len(ranked) else -math.inf
    return MIN_SCORE if first_too_many < MIN_SCORE else math.floor(first_too_many) + 1


def judged(
    files: Iterable[QueryFile], answers: Answers, catalogue: TrackFiles, threshold: float
) -> Iterator[score.Answer]:
    """Judge the best candidate of each query by the rules for overheard's own answers."""
    duplicates = corpora.near_duplicates()
    for file in files:
        answer = identified(answers[file.path.stem], catalogue, threshold)
        # A track is its path in the corpus here, and `Identified` has only the fields that `judge` reads.
        yield score.judge(file.query, cast(Any, answer), str, duplicates, catalogue.aliases)


def identified(candidate: Candidate | None, catalogue: TrackFiles, threshold: float) -> Identified:
    """Return a candidate as an identification: recognized if its score reaches the threshold."""
    if candidate is None:
        return Identified("unknown", (), None)
    track = catalogue.tracks[candidate.track]
    best = Best(track, candidate.score, threshold)
    if candidate.score < threshold:
        return Identified("unknown", (), best)
    return Identified("recognized", (Play(track, candidate.offset_s),), best)
