"""A simulated evening: pieces from random places, over a loudspeaker, in a cafe; and the truth about it."""

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

SAMPLE_RATE = 8000
N_PIECES = 12  # one of them stays out of the catalogue
N_KNOWN_PLAYS = 10
NOISE_DBFS = -38.0
TOLERANCE_S = 2.0  # a play that reaches this little into another is not about it


@dataclasses.dataclass(frozen=True)
class Performance:
    """What the loudspeaker played at one time: the truth."""

    piece: Piece
    path: Path | None  # the indexed file; None for the piece that is not in the catalogue
    start_s: float
    end_s: float
    offset_s: float  # position in the piece at start_s
    snr_db: float


@dataclasses.dataclass(frozen=True)
class Evening:
    """What the microphone recorded, and the truth about it."""

    waveform: Wave  # (n,) float32 mono 8 kHz
    performances: tuple[Performance, ...]

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.waveform) / SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was named during one performance."""

    performance: Performance
    named: tuple[Play, ...]

    @property
    def right(self) -> tuple[Play, ...]:
        """The plays that name the piece that sounded."""
        path = self.performance.path
        return tuple(play for play in self.named if path is not None and Path(play.track.path) == path)

    @property
    def wrong(self) -> tuple[Play, ...]:
        """The plays that name another piece."""
        right = self.right
        return tuple(play for play in self.named if play not in right)

    @property
    def word(self) -> str:
        """One of "wrong", "right", "missed" or, for the piece that is in no catalogue, "unnamed"."""
        if self.wrong:
            return "wrong"
        if self.right:
            return "right"
        return "unnamed" if self.performance.path is None else "missed"


@dataclasses.dataclass(frozen=True)
class Score:
    """The evening's verdicts, in order, and plays named while nothing sounded."""

    verdicts: tuple[Verdict, ...]
    astray: tuple[Play, ...]

    def count(self, word: str) -> int:
        """Return how many performances got this verdict."""
        return sum(verdict.word == word for verdict in self.verdicts)

    @property
    def wrong(self) -> int:
        """How many plays in the history name something that did not sound then."""
        return sum(len(verdict.wrong) for verdict in self.verdicts) + len(self.astray)

    @property
    def passed(self) -> bool:
        """At least nine in ten known performances right, and nothing wrong."""
        known = sum(verdict.performance.path is not None for verdict in self.verdicts)
        return self.wrong == 0 and self.count("right") >= 0.9 * known


def compose_collection(seed: int) -> list[Piece]:
    """Return the demonstration's pieces, 90-150 s each, no two of one name."""
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
    """Play ten of the known pieces and all unknown ones, in random order, 20-40 s each, 5-12 s apart.

    Parameters
    ----------
    seed
        Decides order, places, room and noise.
    known
        Pieces in the catalogue with the files that were indexed.
    unknown
        Pieces that the catalogue does not hold.
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
    at = rng.uniform(5.0, 8.0)
    for piece, path in programme:
        length_s = rng.uniform(20.0, 40.0)
        offset_s = rng.uniform(0.0, len(piece.waveform) / SAMPLE_RATE - length_s - 3.0)
        performances.append(Performance(piece, path, at, at + length_s, offset_s, rng.uniform(8.0, 15.0)))
        at += length_s + rng.uniform(5.0, 12.0)
    return performances


def _swell(rng: Rng, n: int) -> Wave:
    """Return a slow rise and fall of about 2 dB either way, (n,)."""
    knots = np.arange(0, n + 10 * SAMPLE_RATE, 10 * SAMPLE_RATE)
    return np.asarray(10 ** (np.interp(np.arange(n), knots, rng.uniform(-2, 2, len(knots))) / 20), np.float32)


def _through_room(performance: Performance, response: Wave, speaker_seed: int) -> Wave:
    """Return the performance as it reaches the microphone, with the room's tail after its end."""
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


def score(performances: Sequence[Performance], plays: Sequence[Play]) -> Score:
    """Judge each play by the performance that it overlaps longest."""
    named: list[list[Play]] = [[] for _ in performances]
    astray = []
    for play in plays:
        overlaps = [min(p.end_s, play.end_s) - max(p.start_s, play.start_s) for p in performances]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if best >= 0 and overlaps[best] > -TOLERANCE_S:
            named[best].append(play)
        else:
            astray.append(play)
    verdicts = tuple(Verdict(p, tuple(found)) for p, found in zip(performances, named, strict=True))
    return Score(verdicts, tuple(astray))
