"""Queries that play too fast or too slow, and how well they are identified."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import av
import numpy as np
import soxr

from overheard.hear.resampler import to_float
from overheard.recognize.recognizer import Identification
from overheard_bench import corpus as corpora
from overheard_bench.catalogue import OpenCatalogue
from overheard_bench.corpus import SAMPLE_RATE, Corpus
from overheard_bench.protocol import Position, Query, draw_positions
from overheard_bench.render import CONDITIONS, MARGIN_SAMPLES, FloatArray, Renderer
from overheard_bench.score import MAX_FALSE_POSITIVES_PERCENT, percent, target, wilson

CONDITION, LENGTH_S = "mic10", 10
SPEED, TEMPO = "speed", "tempo"
CHANGES = (  # what changes, and by how many percent
    *((SPEED, percent) for percent in range(-8, 9)),
    *((TEMPO, percent) for percent in (-8, 8)),
)
DRAWN_S = 12  # room for the fastest query, from its first second on
OFFSET_TOLERANCE_S = 1.0
# In percent correctly identified, at both signs of each change. They were set before the first measurement.
TARGETS = {(SPEED, 3): 85.0, (SPEED, 8): 75.0, (TEMPO, 8): 85.0}

Change = tuple[str, int]


@dataclasses.dataclass(frozen=True)
class SpeedAnswer:
    """The judged answer to one query.

    Attributes
    ----------
    change : see :data:`CHANGES`
    known : whether the catalogue has the track
    outcome : "right", "wrong" or "none"; "wrong" or "none" if it does not have the track
    speed_error, position_error_s : of a right answer; None for others
    """

    change: Change
    known: bool
    outcome: str
    speed_error: float | None = None
    position_error_s: float | None = None


class ChangedRenderer(Renderer):
    """Renders music at another speed or tempo. Only the music depends on it, not the noise or the room."""

    change: Change = (SPEED, 0)

    def _music(self, track: str, start: int, preroll: int, n_samples: int, speed: float) -> FloatArray:
        kind, by = self.change
        factor = 1 + by / 100
        n_before = round((preroll + MARGIN_SAMPLES) * factor)
        n_after = round((n_samples + MARGIN_SAMPLES) * factor)
        music = to_float(self.corpus.load(track)[start - n_before : start + n_after])
        if by:
            music = soxr.resample(music, factor, 1.0) if kind == SPEED else at_tempo(music, factor)
        first = round(n_before / factor) - preroll
        changed = np.zeros(preroll + n_samples, np.float32)  # the filter's end may be a little early
        music = music[first : first + len(changed)]
        changed[: len(music)] = music
        return changed


def at_tempo(music: FloatArray, tempo: float) -> FloatArray:
    """Change the tempo and keep the pitch, with FFmpeg's filter `atempo` (WSOLA)."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(format="flt", sample_rate=SAMPLE_RATE, layout="mono")
    graph.link_nodes(source, graph.add("atempo", str(tempo)), graph.add("abuffersink")).configure()
    frame = av.AudioFrame.from_ndarray(music[None], format="flt", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    graph.push(frame)
    graph.push(None)
    parts: list[FloatArray] = []
    while True:
        try:
            parts.append(graph.pull().to_ndarray()[0])
        except (av.error.EOFError, av.error.BlockingIOError):
            return np.concatenate(parts)


def draw(corpus: Corpus, part: str, seed: int, n: int, n_out: int) -> list[Position]:
    """Return the positions, of the catalogue's tracks first; those of other tracks are fewer."""
    lists = corpora.load_part(part)
    return [
        *draw_positions(corpus, lists.known, part, True, seed, n, (DRAWN_S,)),
        *draw_positions(corpus, lists.left_out, part, False, seed, n_out, (DRAWN_S,)),
    ]


def ask_share(
    opened: OpenCatalogue, corpus: Corpus, part: str, seed: int, positions: Sequence[Position]
) -> Iterator[SpeedAnswer]:
    """Ask each position at each speed."""
    renderer = ChangedRenderer(corpus, corpora.load_part(part))
    for position in positions:
        for change in CHANGES:
            renderer.change = change
            query = render(renderer, seed, position)
            yield judge(opened, query, change, opened.recognizer.identify(query.waveform))


def render(renderer: ChangedRenderer, seed: int, position: Position) -> Query:
    """Render a position, with the same room, noise and microphone at each speed."""
    start = position.start + SAMPLE_RATE
    rng = corpora.seeded(seed, position.id, CONDITION)
    n = LENGTH_S * SAMPLE_RATE
    return Query(
        id=position.id,
        condition=CONDITION,
        length_s=LENGTH_S,
        track=position.source if position.in_catalogue else None,
        offset_s=start / SAMPLE_RATE,
        source=position.source,
        waveform=to_float(renderer.render(position.source, start, n, CONDITIONS[CONDITION], rng)),
    )


def judge(opened: OpenCatalogue, query: Query, change: Change, found: Identification) -> SpeedAnswer:
    """Judge the answer to a query; it is wrong if it contains another track."""
    answer = opened.judge(query, found)
    if answer.outcome != "right":
        return SpeedAnswer(change, answer.in_catalogue, "none" if answer.outcome == "none" else "wrong")
    play = min(found.plays, key=lambda play: abs(play.position_s(0.0) - query.offset_s))
    speed_error = abs(play.speed - (1 + change[1] / 100))
    return SpeedAnswer(change, True, "right", speed_error, abs(play.position_s(0.0) - query.offset_s))


def tables(answers: Sequence[SpeedAnswer]) -> dict[str, Any]:
    """Return the counts for each change of speed, and over all."""
    rows = [
        {"kind": kind, "percent": by} | detail([each for each in answers if each.change == (kind, by)])
        for kind, by in CHANGES
    ]
    unknown = [each for each in answers if not each.known]
    false_positives = sum(each.outcome == "wrong" for each in unknown)
    normal = [each for each in unknown if each.change == (SPEED, 0)]
    return {
        "rows": rows,
        "out_n": len(unknown),
        "false_positives": false_positives,
        "false_positive_percent": percent(false_positives, len(unknown)),
        "false_positive_interval": wilson(false_positives, len(unknown)),
        "out_normal": {"n": len(normal), "false_positives": sum(each.outcome == "wrong" for each in normal)},
    }


def targets(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compare a result with the targets; of both signs of a change, the worse one counts."""
    right = {(row["kind"], row["percent"]): row["right_percent"] for row in result["rows"]}
    found = [
        target(f"{kind} changed by {by}%, right %", "at least", limit, min(right[kind, by], right[kind, -by]))
        for (kind, by), limit in TARGETS.items()
    ]
    limit, measured = MAX_FALSE_POSITIVES_PERCENT, result["false_positive_percent"]
    return [*found, target("false positives, %", "at most", limit, measured)]


def detail(answers: Sequence[SpeedAnswer]) -> dict[str, Any]:
    """Count the outcomes of one change of speed."""
    known = [each for each in answers if each.known]
    unknown = [each for each in answers if not each.known]
    right = [each for each in known if each.outcome == "right"]
    placed = [each for each in right if (each.position_error_s or 0.0) <= OFFSET_TOLERANCE_S]
    return {
        "n": len(known),
        "right": len(right),
        "right_percent": percent(len(right), len(known)),
        "right_interval": wilson(len(right), len(known)),
        "wrong": sum(each.outcome == "wrong" for each in known),
        "right_position": len(placed),
        "speed_error_percent": middle([100 * (each.speed_error or 0.0) for each in right]),
        "position_error_s": middle([each.position_error_s or 0.0 for each in right]),
        "out_n": len(unknown),
        "false_positives": sum(each.outcome == "wrong" for each in unknown),
    }


def middle(values: Sequence[float]) -> float | None:
    """Return the median, or None if there are no values."""
    return round(statistics.median(values), 3) if values else None
