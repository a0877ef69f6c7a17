"""Simulate an evening in a cafe, where a loudspeaker plays excerpts of music, and judge the recognized plays.

The simulation is also the ground truth: it knows when each piece played.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from overheard.demo import room
from overheard.demo.synth import Piece, synthesize
from overheard.events import Play

Rng = np.random.Generator
Wave = NDArray[np.float32]

SAMPLE_RATE = 8000  # Hz, that of the front-end
N_PIECES = 12  # one of them is not indexed
N_KNOWN_PLAYS = 10  # one missed play still passes; the evening takes about seven minutes
NOISE_DBFS = -38.0  # well above gate.open_db, and music 15 dB above it does not clip
TOLERANCE_S = 2.0  # a play may miss a performance by this much and still belong to it


@dataclasses.dataclass(frozen=True)
class Performance:
    """One excerpt that the loudspeaker played: the ground truth."""

    piece: Piece
    path: Path | None  # the indexed file; None if the piece is not in the catalogue
    start_s: float
    end_s: float
    offset_s: float  # position in the piece at start_s
    snr_db: float


@dataclasses.dataclass(frozen=True)
class Evening:
    """The recording of the microphone, and the ground truth."""

    waveform: Wave  # (n,) float32 mono 8 kHz
    performances: tuple[Performance, ...]

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.waveform) / SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One performance, and the plays that were recognized during it."""

    performance: Performance
    plays: tuple[Play, ...]

    @property
    def correct(self) -> tuple[Play, ...]:
        """The plays of the piece that was performed."""
        path = self.performance.path
        return tuple(play for play in self.plays if path is not None and Path(play.track.path) == path)

    @property
    def wrong(self) -> tuple[Play, ...]:
        """The plays of other pieces."""
        return tuple(play for play in self.plays if play not in self.correct)

    @property
    def verdict(self) -> str:
        """One of "wrong", "recognized", "missed" and, for a piece outside the catalogue, "unknown"."""
        if self.wrong:
            return "wrong"
        if self.correct:
            return "recognized"
        return "unknown" if self.performance.path is None else "missed"


@dataclasses.dataclass(frozen=True)
class Result:
    """The outcome of each performance, in order, and the plays recognized while no music played."""

    outcomes: tuple[Outcome, ...]
    spurious: tuple[Play, ...]

    def count(self, verdict: str) -> int:
        """Return how many performances have this verdict."""
        return sum(outcome.verdict == verdict for outcome in self.outcomes)

    @property
    def n_wrong(self) -> int:
        """The number of false positives: plays of a piece that did not play at that time."""
        return sum(len(outcome.wrong) for outcome in self.outcomes) + len(self.spurious)

    @property
    def passed(self) -> bool:
        """Whether at least 90% of the indexed pieces are recognized, without a false positive."""
        n_known = sum(outcome.performance.path is not None for outcome in self.outcomes)
        return self.n_wrong == 0 and self.count("recognized") >= 0.9 * n_known


def compose_collection(seed: int) -> list[Piece]:
    """Synthesize the pieces of the demonstration, 90-150 s each, with distinct titles and artists."""
    rng = np.random.default_rng([seed, 1])
    pieces: list[Piece] = []
    names: set[str] = set()
    while len(pieces) < N_PIECES:
        piece = synthesize(int(rng.integers(2**31)), float(rng.uniform(90.0, 150.0)), SAMPLE_RATE)
        if piece.title not in names and piece.artist not in names:
            pieces.append(piece)
            names |= {piece.title, piece.artist}
    return pieces


def make_evening(seed: int, known: Sequence[tuple[Piece, Path]], unknown: Sequence[Piece]) -> Evening:
    """Simulate excerpts of ten known and all unknown pieces, in random order, 20-40 s each, 5-12 s apart.

    Parameters
    ----------
    seed : int
        Determines order, excerpts, room and noise.
    known : sequence of (Piece, Path)
        Pieces in the catalogue, each with the file that was indexed.
    unknown : sequence of Piece
        Pieces that are not in the catalogue.
    """
    rng = np.random.default_rng([seed, 2])
    chosen = [known[i] for i in rng.permutation(len(known))[:N_KNOWN_PLAYS]]
    programme: list[tuple[Piece, Path | None]] = [*chosen]
    for piece in unknown:
        programme.insert(int(rng.integers(1, len(programme))), (piece, None))
    performances = _schedule(rng, programme)
    n = int((performances[-1].end_s + rng.uniform(8.0, 10.0)) * SAMPLE_RATE)
    noise = room.cafe(rng, n, SAMPLE_RATE) * np.float32(10 ** (NOISE_DBFS / 20))
    mix = noise * _swell(rng, n)
    quiet = mix.copy()
    response = room.room_response(rng, SAMPLE_RATE, rng.uniform(0.3, 0.6), rng.uniform(0.0, 8.0))
    speaker_seed = int(rng.integers(2**31))
    for performance in performances:
        start = int(performance.start_s * SAMPLE_RATE)
        heard = _through_room(performance, response, speaker_seed)[: n - start]
        during = slice(start, int(performance.end_s * SAMPLE_RATE))
        level = _rms(quiet[during]) / _rms(heard[: during.stop - during.start])
        mix[start : start + len(heard)] += heard * np.float32(level * 10 ** (performance.snr_db / 20))
    return Evening(room.microphone(rng, mix, SAMPLE_RATE), tuple(performances))


def _schedule(rng: Rng, programme: Sequence[tuple[Piece, Path | None]]) -> list[Performance]:
    performances = []
    start_s = rng.uniform(5.0, 8.0)
    for piece, path in programme:
        length_s = rng.uniform(20.0, 40.0)
        offset_s = rng.uniform(0.0, len(piece.waveform) / SAMPLE_RATE - length_s - 3.0)
        end_s = start_s + length_s
        performances.append(Performance(piece, path, start_s, end_s, offset_s, rng.uniform(8.0, 15.0)))
        start_s = end_s + rng.uniform(5.0, 12.0)
    return performances


def _swell(rng: Rng, n: int) -> Wave:
    """Return a slowly varying gain of up to plus or minus 2 dB, (n,) float32."""
    knots = np.arange(0, n + 10 * SAMPLE_RATE, 10 * SAMPLE_RATE)
    return np.asarray(10 ** (np.interp(np.arange(n), knots, rng.uniform(-2, 2, len(knots))) / 20), np.float32)


def _through_room(performance: Performance, response: Wave, speaker_seed: int) -> Wave:
    """Return the performance as it reaches the microphone, (n,) float32, with reverberation after its end."""
    begin = int(performance.offset_s * SAMPLE_RATE)
    length = int((performance.end_s - performance.start_s) * SAMPLE_RATE)
    dry = performance.piece.waveform[begin : begin + length].copy()
    fade = SAMPLE_RATE // 4
    dry[:fade] *= np.linspace(0, 1, fade, dtype=np.float32)
    dry[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    played = room.loudspeaker(np.random.default_rng(speaker_seed), dry, SAMPLE_RATE)
    return np.asarray(signal.oaconvolve(played, response), np.float32)


def _rms(waveform: Wave) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) + 1e-9


def judge(performances: Sequence[Performance], plays: Sequence[Play]) -> Result:
    """Assign each play to the performance that it overlaps longest, and compare the two."""
    assigned: list[list[Play]] = [[] for _ in performances]
    spurious = []
    for play in plays:
        overlaps_s = [min(p.end_s, play.end_s) - max(p.start_s, play.start_s) for p in performances]
        best = int(np.argmax(overlaps_s)) if overlaps_s else -1
        if best >= 0 and overlaps_s[best] > -TOLERANCE_S:
            assigned[best].append(play)
        else:
            spurious.append(play)
    outcomes = (Outcome(p, tuple(during)) for p, during in zip(performances, assigned, strict=True))
    return Result(tuple(outcomes), tuple(spurious))
