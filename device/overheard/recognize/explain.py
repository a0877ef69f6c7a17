"""Explain a recognition: the best match, its evidence, the second-best track, and why it is not accepted."""

from __future__ import annotations

import dataclasses

import numpy as np
import soxr

from overheard.catalogue.search import Candidates
from overheard.events import Match, Track
from overheard.fingerprint.embedder import Queries, query_waveform
from overheard.fingerprint.frontend import FloatArray
from overheard.hear.gate import LevelGate
from overheard.recognize.matching.alignments import Window
from overheard.recognize.matching.scoring import Evidence
from overheard.recognize.recognizer import Recognizer
from overheard.recognize.speed.speed_plan import SPEEDS
from overheard.recognize.speed_search import SPEED_PENALTY
from overheard.recognize.window_match import if_music
from overheard.recognize.windows import STEP_FRAMES, WINDOW_S, Windows
from overheard.text import speed_change

MAX_S = 600.0  # of a recording that is explained
HOP_S = 2.0  # between windows
FINE_STEP_FRAMES = 4  # of a short recording, so that some segment is near each one of the track
SHORT_S = 5.0
NOISY = 0.75  # expected similarity; below it, the recording is noisy
LITTLE_MARGIN = 0.05
MOSTLY_EFFECTIVE = 0.5  # share of the segments; below it, the sound hardly changes
# Compared when nothing else is recognized. The network recognizes 1.5% to either side of each.
OTHER_SPEEDS = (*SPEEDS, 1.1, 0.9, 1.13, 0.87)


@dataclasses.dataclass(frozen=True)
class Aligned:
    """A segment of the best track in its alignment with the recording, and its similarity."""

    at_s: float  # in the recording
    position_s: float  # in the track
    similarity: float


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Why the best window of a recording is recognized, or why it is not.

    Attributes
    ----------
    duration_s, loudest_db : of the recording
    match, evidence : of the best window; None if no track has an alignment with it
    window_s : start and end of this window
    segments : of the best track, along its alignment through the recording
    rival, rival_similarity : the best other recording in the window
    speed : of the music, as a multiple of the track's own; times are those of the recording
    reasons : why it is not recognized, in words; empty if it is
    """

    duration_s: float
    loudest_db: float
    match: Match | None = None
    evidence: Evidence | None = None
    window_s: tuple[float, float] = (0.0, 0.0)
    segments: tuple[Aligned, ...] = ()
    rival: Track | None = None
    rival_similarity: float = 0.0
    speed: float = 1.0
    reasons: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether the best window is recognized."""
        return self.match is not None and self.match.accepted and not self.reasons

    def on_the_recordings_clock(self) -> Explanation:
        """Return the explanation with times of the recording before it was slowed down."""
        speed = self.speed
        segments = (dataclasses.replace(one, at_s=one.at_s / speed) for one in self.segments)
        start_s, end_s = self.window_s
        return dataclasses.replace(self, window_s=(start_s / speed, end_s / speed), segments=tuple(segments))


@dataclasses.dataclass(frozen=True)
class _Window:
    queries: Queries
    candidates: Candidates
    step: int
    span_s: tuple[float, float]
    match: Match
    is_no_music: bool  # according to the second opinion, which reduced the score


def explain(recognizer: Recognizer, waveform: FloatArray) -> Explanation:
    """Explain the best window of a recording.

    Parameters
    ----------
    recognizer : model and catalogue
    waveform : (n,) float32 in [-1, 1] at the spec's sample rate; at most `MAX_S` of it are used
    """
    rate = recognizer.spec.frontend.sample_rate
    waveform = waveform[: round(MAX_S * rate)]
    gate = LevelGate(recognizer.gate_settings)
    opened = gate.process(waveform)
    known = Explanation(len(waveform) / rate, gate.loudest_db)
    if not opened:
        level = f"{gate.loudest_db:.0f} dBFS" if np.isfinite(gate.loudest_db) else "digital silence"
        limit = recognizer.gate_settings.open_db
        return dataclasses.replace(
            known, reasons=(f"level: {level} is below gate.open_db ({limit:g}); play it louder",)
        )
    found = _explained(recognizer, known, waveform)
    if found.accepted or found.match is None:
        return found
    return _at_speed(recognizer, waveform, found) or _at_other_speed(recognizer, waveform, found) or found


def _at_speed(recognizer: Recognizer, waveform: FloatArray, known: Explanation) -> Explanation | None:
    """Return the explanation at the speed at which the best window is recognized; None if there is none."""
    rate = recognizer.spec.frontend.sample_rate
    start, end = (round(second * rate) for second in known.window_s)
    plays = recognizer.identify(waveform[start:end]).plays
    if not plays or plays[0].speed == 1.0:
        return None
    speed = plays[0].speed
    found = _explained(recognizer, Explanation(known.duration_s, known.loudest_db), _slowed(waveform, speed))
    return dataclasses.replace(found, speed=speed).on_the_recordings_clock()


def _at_other_speed(recognizer: Recognizer, waveform: FloatArray, known: Explanation) -> Explanation | None:
    """Return the explanation at a speed at which the best window matches, but is not recognized, or None."""
    rate = recognizer.spec.frontend.sample_rate
    start, end = (round(second * rate) for second in known.window_s)
    blank = Explanation(known.duration_s, known.loudest_db)
    for speed in OTHER_SPEEDS:
        match = _explained(recognizer, blank, _slowed(waveform[start:end], speed)).match
        is_tried = speed in SPEEDS  # by `identify` and `listen`, with a higher threshold
        needed = 0.0 if is_tried else SPEED_PENALTY
        if match is None or match.score < match.threshold + needed:
            continue
        found = _explained(recognizer, blank, _slowed(waveform, speed))
        reason = f"speed: about {speed_change(speed)}; "
        if is_tried:
            reason += f"at another speed, the score must be {match.threshold + SPEED_PENALTY:.1f}"
        else:
            reason += "music that plays more than 8% too fast or too slow is not recognized"
        found = dataclasses.replace(found, speed=speed, reasons=(reason, *found.reasons))
        return found.on_the_recordings_clock()
    return None


def _slowed(waveform: FloatArray, speed: float) -> FloatArray:
    return np.asarray(soxr.resample(waveform, 1.0, speed), np.float32)


def _best_window(recognizer: Recognizer, waveform: FloatArray) -> tuple[_Window | None, Queries, int]:
    """Return the window with the best score, all query segments, and the frames between them."""
    spec = recognizer.spec
    n_min = spec.segment_samples
    waveform = np.pad(waveform, (0, max(0, n_min - len(waveform))))
    duration_s = len(waveform) / spec.frontend.sample_rate
    step = FINE_STEP_FRAMES if duration_s <= WINDOW_S else STEP_FRAMES
    queries = query_waveform(recognizer.embedder, waveform, step)
    candidates = recognizer.index.candidates(queries.embeddings)
    step_s = step / spec.frontend.frames_per_s
    n, n_all = max(1, int((WINDOW_S - spec.segment_s) / step_s) + 1), len(queries.expected)
    n = min(n, n_all)
    best: _Window | None = None
    for first in range(0, n_all - n + 1, max(1, round(HOP_S / step_s))):
        rows = slice(first, first + n)
        span_s = first * step_s, (first + n - 1) * step_s + spec.segment_s
        some, found = queries.rows(rows), candidates.rows(rows)
        match = recognizer.matcher.match(Window.regular(some, found, np.arange(n), step), *span_s)
        if match is None or (best is not None and match.score <= best.match.score):
            continue
        single = Windows.of_recording(duration_s).single  # as `Recognizer.identify` does
        judged = if_music(match, some.embeddings, recognizer.engine) if single else match
        best = _Window(some, found, step, span_s, judged, judged.score < match.score)
    return best, queries, step


def _explained(recognizer: Recognizer, known: Explanation, waveform: FloatArray) -> Explanation:
    """Explain the best window of a waveform."""
    window, queries, step = _best_window(recognizer, waveform)
    if window is None:
        reason = "no track of the catalogue matches at any position"
        return dataclasses.replace(known, reasons=_too_short(known) or (reason,))
    n = len(window.queries.expected)
    weigh = recognizer.matcher.weigh
    evidence = weigh(Window.regular(window.queries, window.candidates, np.arange(n), window.step))
    if evidence is None:
        return known
    others = recognizer.index.candidates(window.queries.embeddings, (evidence.track,))
    rival = weigh(Window.regular(window.queries, others, np.arange(n), window.step))
    start = round(window.span_s[0] * recognizer.spec.frontend.frames_per_s)
    found = dataclasses.replace(
        known,
        match=window.match,
        evidence=evidence,
        window_s=window.span_s,
        segments=_aligned(recognizer, queries, step, evidence.track, evidence.offset_frames - start),
        rival=None if rival is None else recognizer.index.track(rival.track),
        rival_similarity=0.0 if rival is None else rival.similarity,
    )
    if found.accepted:
        return found
    return dataclasses.replace(found, reasons=_reasons(found, evidence, window.is_no_music))


def _aligned(
    recognizer: Recognizer, queries: Queries, step: int, track: int, offset: int
) -> tuple[Aligned, ...]:
    """Return the similarity of each segment of a track to the recording at its aligned position."""
    index, spec = recognizer.index, recognizer.spec
    first, end = (int(bound) for bound in index.first_segment[track : track + 2])
    starts = np.arange(end - first) * spec.hop_frames - offset  # in the recording, in frames
    rows = np.rint(starts / step).astype(np.int64)
    nearest = np.clip(rows, 0, len(queries.expected) - 1)
    inside = np.flatnonzero(rows == nearest)
    if not len(inside):  # of a short recording: take the segment that overlaps it most
        inside = np.argmin(abs(starts - nearest * step), keepdims=True)
        rows = nearest
    table = index.similarities(queries.embeddings[rows[inside]], inside + first)
    similarities = np.diagonal(table)
    rate = spec.frontend.frames_per_s
    return tuple(
        Aligned(max(0.0, float(starts[i]) / rate), float(i * spec.hop_frames) / rate, float(similarity))
        for i, similarity in zip(inside.tolist(), similarities, strict=True)
    )


def _too_short(found: Explanation) -> tuple[str, ...]:
    """Return the reason that the recording is too short, if it is."""
    is_short = found.duration_s < SHORT_S
    return (f"length: {found.duration_s:.1f} s are too short; record 10 s",) if is_short else ()


def _reasons(found: Explanation, evidence: Evidence, is_no_music: bool) -> tuple[str, ...]:
    """Return the reasons why the match is not accepted, in words."""
    words = [*_too_short(found)]
    if is_no_music:
        words.append("music: it sounds like a tone, noise or talk")
    if evidence.expected_similarity < NOISY:
        words.append(
            "noise: even a correct track has a similarity of only about "
            f"{evidence.expected_similarity:.2f} here"
        )
    if evidence.effective_share < MOSTLY_EFFECTIVE:
        words.append(
            "variation: its seconds are nearly identical, as in a tone or in noise, so they are weak evidence"
        )
    if not words and evidence.similarity - evidence.background < 2 * LITTLE_MARGIN:
        words.append(
            "it is probably not in the catalogue: the best match is hardly more similar than other tracks"
        )
    if not words and evidence.margin < LITTLE_MARGIN:
        words.append("margin: another track is nearly as similar")
    return tuple(words) or ("similarity: too low for the length of the recording; record more of it",)
