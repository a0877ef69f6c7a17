"""One peer in one setting: the catalogue and the queries as files, its answers judged as ours are.

The queries of both parts are asked at once; the threshold is then chosen on those of the calibration part
that are not in the catalogue, and everything that is counted comes from the report part.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import wave
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overheard_bench import corpus as corpora
from overheard_bench import score
from overheard_bench.corpus import SAMPLE_RATE, Corpus
from overheard_bench.peers.base import LEAST_SCORE, Answers, Candidate, Peer, PeerError, Setting
from overheard_bench.protocol import Query


@dataclasses.dataclass(frozen=True)
class Clip:
    """A query without its samples, and the file that holds them."""

    query: Query
    path: Path


@dataclasses.dataclass(frozen=True)
class Shelf:
    """The catalogue as files: corpus path by stem, exact copies left out, and what they are copies of."""

    tracks: Mapping[str, str]
    files: tuple[Path, ...]
    aliases: Mapping[str, str]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Task:
    """What every peer is given."""

    shelf: Shelf
    calibration: Sequence[Clip]
    report: Sequence[Clip]


@dataclasses.dataclass(frozen=True)
class Play:
    """What `score.judge` reads of a play. `offset_s` is the place in the track at `start_s` of the query."""

    track: str
    offset_s: float
    start_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class Best:
    """What `score.judge` reads of the best candidate."""

    track: str
    score: float
    threshold: float


@dataclasses.dataclass(frozen=True)
class Found:
    """What `score.judge` reads of an identification."""

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


def write_shelf(corpus: Corpus, paths: Iterable[str], folder: Path) -> Shelf:
    """Write the catalogue's tracks as WAV files; of exact copies the first, as the indexer does."""
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
    return Shelf(tracks, files, aliases, n_samples / SAMPLE_RATE)


def write_clips(queries: Iterable[Query], folder: Path, prefix: str) -> list[Clip]:
    """Write the queries as WAV files."""
    folder.mkdir(exist_ok=True)
    clips = []
    for number, query in enumerate(queries):
        samples = np.round(query.waveform * 32768)
        path = write_wav(folder / f"{prefix}{number:06d}.wav", samples)
        clips.append(Clip(dataclasses.replace(query, waveform=np.zeros(0, np.float32)), path))
    return clips


def run(peer: Peer, setting: Setting, task: Task, folder: Path) -> dict[str, Any]:
    """Index and ask; return the tables of the report part. Raises PeerError."""
    folder.mkdir()
    stored = peer.store(setting, task.shelf.files, folder)
    answers = peer.query(setting, [clip.path for clip in (*task.calibration, *task.report)], folder)
    check_tracks(peer, answers, task.shelf)
    scores = [score_of(answers[clip.path.stem]) for clip in task.calibration if clip.query.track is None]
    threshold = choose_threshold(scores)
    return {
        "name": setting.name,
        "version": peer.version(),
        "options": list(setting.options),
        "threshold": threshold,
        "threshold_chosen_on": {
            "part": "calibration",
            "out_n": len(scores),
            "out_named": sum(s >= threshold for s in scores),
        },
        "database": {"bytes": stored, "bytes_per_min": round(stored / (task.shelf.seconds / 60), 1)},
        **score.tables(list(judged(task.report, answers, task.shelf, threshold))),
    }


def check_tracks(peer: Peer, answers: Answers, shelf: Shelf) -> None:
    """Refuse answers that name a file which was not stored."""
    named = {found.track for found in answers.values() if found is not None}
    if unknown := sorted(named - set(shelf.tracks)):
        raise PeerError(f"{peer.name} named a file that was not stored: {unknown[0]!r}")


def score_of(found: Candidate | None) -> float:
    """Return a candidate's score, that of none being lower than any."""
    return -math.inf if found is None else found.score


def choose_threshold(scores: Iterable[float]) -> int:
    """Return the least score at which at most 1% of queries that are not in the catalogue are named.

    Every peer counts matching hashes, so scores are whole, and 1 lets pass all that it reports: it has a
    minimum of its own.
    """
    ranked = sorted(scores, reverse=True)
    allowed = int(len(ranked) * score.MAX_FALSE_POSITIVES_PERCENT / 100)
    first_too_many = ranked[allowed] if allowed < len(ranked) else -math.inf
    return LEAST_SCORE if first_too_many < LEAST_SCORE else math.floor(first_too_many) + 1


def judged(clips: Iterable[Clip], answers: Answers, shelf: Shelf, threshold: float) -> Iterator[score.Answer]:
    """Judge the best candidate of each query, by the rules that ours are judged by."""
    twins = corpora.near_duplicates()
    for clip in clips:
        found = identification(answers[clip.path.stem], shelf, threshold)
        yield score.judge(clip.query, found, str, twins, shelf.aliases)  # type: ignore[arg-type]


def identification(candidate: Candidate | None, shelf: Shelf, threshold: float) -> Found:
    """Put a candidate into the form that is judged; it is named if it reaches the threshold."""
    if candidate is None:
        return Found("unknown", (), None)
    track = shelf.tracks[candidate.track]
    best = Best(track, candidate.score, threshold)
    if candidate.score < threshold:
        return Found("unknown", (), best)
    return Found("recognized", (Play(track, candidate.offset_s),), best)
