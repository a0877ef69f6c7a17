"""Assemble a day of sound from scenes, and judge what a listener reports of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np

from overheard.events import Track
from overheard.hear.resampler import to_float
from overheard_bench.corpus import SAMPLE_RATE, Part, seeded
from overheard_bench.detector import LEVEL, TALKERS, WholeTracks, placed
from overheard_bench.render import (
    CONDITIONS,
    FloatArray,
    Renderer,
    loop,
    unit_power,
)

SEED = 6
MIN_TRACK_S = 20.0
SILENCE_DB, LEVELS_DB = -75.0, (-40.0, -18.0)  # of a quiet room; of all other scenes
LATE_S = 20.0  # a correct play that starts later is late
EDGE_S = 2.0  # a play may begin so much before its track, as windows overlap
SHARES = {  # of the time
    "known mic5": 0.14,
    "known mic-5": 0.12,
    "known under talk": 0.05,
    "unknown": 0.19,
    "film": 0.08,
    "talk": 0.14,
    "babble": 0.07,
    "noise": 0.08,
    "silence": 0.13,
}
MUSIC_UNDER_TALK_DB, MUSIC_IN_FILM_DB = 0.0, -8.0  # music against talk


@dataclasses.dataclass(frozen=True)
class Scene:
    """One scene of the day: its kind, its number, its length, and the track that plays in it."""

    kind: str
    number: int
    seconds: float
    track: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether the catalogue contains the track."""
        return self.kind.startswith("known")


def plan(part: Part, seconds_of: Callable[[str], float], hours: float, seed: int) -> list[Scene]:
    """Return the scenes of a day in random order; each kind has its share of the time.

    Parameters
    ----------
    seconds_of : returns the length of a track
    """
    scenes: list[Scene] = []
    for kind, share in SHARES.items():
        rng = seeded(seed, "day", kind)
        tracks = [path for path in _tracks(part, kind) if seconds_of(path) >= MIN_TRACK_S]
        order: list[str] = []
        total = 0.0
        while total < share * hours * 3600:
            if tracks and not order:
                order = [tracks[i] for i in rng.permutation(len(tracks))]
            track = order.pop() if tracks else None
            seconds = seconds_of(track) if track else float(rng.integers(30, 240))
            scenes.append(Scene(kind, len(scenes), seconds, track))
            total += seconds
    return [scenes[i] for i in seeded(seed, "day", "order").permutation(len(scenes))]


def _tracks(part: Part, kind: str) -> Sequence[str]:
    if kind.startswith("known"):
        return part.known
    return part.left_out if kind in ("unknown", "film") else ()


def render(renderer: WholeTracks, scene: Scene, seed: int) -> FloatArray:
    """Return the sound of a scene, ``(n,)`` float32, at a random level."""
    rng = seeded(seed, "scene", scene.kind, scene.number)
    n = int(scene.seconds * SAMPLE_RATE)
    level_db = SILENCE_DB if scene.kind == "silence" else rng.uniform(*LEVELS_DB)
    sound = _sound(renderer, scene, n, rng)
    made: FloatArray = (
        sound / np.float32(np.sqrt(np.mean(sound**2)) + 1e-9) * np.float32(10 ** (level_db / 20))
    )
    return np.clip(made, -1, 1)


def _sound(renderer: WholeTracks, scene: Scene, n: int, rng: np.random.Generator) -> FloatArray:
    if scene.kind == "silence":
        return rng.standard_normal(n, dtype=np.float32)
    if scene.track is None:
        place = ("direct", "near", "far")[int(rng.integers(3))]
        return placed(renderer, voices(renderer, scene.kind, n, rng), place, rng)
    if scene.kind in ("film", "known under talk"):
        ratio_db = MUSIC_IN_FILM_DB if scene.kind == "film" else MUSIC_UNDER_TALK_DB
        music = unit_power(to_float(renderer.corpus.load(scene.track)[:n])) * np.float32(
            10 ** (ratio_db / 20)
        )
        return placed(renderer, (music + voices(renderer, "talk", n, rng)) * LEVEL, "near", rng)
    name = scene.kind.removeprefix("known ") if scene.is_known else str(rng.choice(["mic5", "mic-5"]))
    return to_float(renderer.render(scene.track, 0, n, CONDITIONS[name], rng))


def voices(renderer: Renderer, kind: str, n: int, rng: np.random.Generator) -> FloatArray:
    """Return talk, babble or noise from random recordings, ``(n,)``, of unit power."""
    if kind == "babble":
        return unit_power(np.sum([voices(renderer, "talk", n, rng) for _ in range(TALKERS)], axis=0))
    paths = renderer.part.noise if kind == "noise" else renderer.part.speech
    parts: list[FloatArray] = []
    while sum(map(len, parts)) < n:
        sound = to_float(renderer.corpus.load(str(rng.choice(paths))))
        if kind == "noise" and len(sound) < 20 * SAMPLE_RATE:
            sound = loop(sound, int(rng.uniform(5, 30) * SAMPLE_RATE), rng)
        pause = np.zeros(int(rng.uniform(0, 1.0) * SAMPLE_RATE), np.float32)
        parts += [unit_power(sound), pause] if kind == "talk" else [unit_power(sound)]
    joined: FloatArray = np.concatenate(parts)[:n]
    return joined


@dataclasses.dataclass
class HeardPlay:
    """A play that the listener reported; `reported_s` is when, on the day's clock."""

    track: Track
    start_s: float
    end_s: float
    reported_s: float
    score: float = 0.0
    confidence: float = 0.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A scene, when it was, and what the listener made of it.

    `correct_s` is how long its track was shown, `delay_s` when for the first time; `music_s` is for how long
    the detector heard music, and `unknown` how many events of unknown music belong to the scene.
    """

    scene: Scene
    start_s: float
    correct_plays: int
    correct_s: float
    delay_s: float | None
    unknown: int
    music_s: float
    cpu_s: float

    @property
    def is_late(self) -> bool:
        """Whether the first correct play began late."""
        return self.delay_s is not None and self.delay_s > LATE_S


def judge(
    begins: Sequence[tuple[Scene, float, float, float]],
    plays: Sequence[HeardPlay],
    unknown: Sequence[tuple[float, float]],
    right: Callable[[str], Collection[str]],
    corpus_path: Callable[[Track], str],
) -> tuple[list[Outcome], list[tuple[HeardPlay, str]]]:
    """Assign each play to a scene that contains its track; return the outcomes, and the other plays.

    Parameters
    ----------
    begins : each scene, when it began, for how long the detector heard music, and its processor time
    unknown : from when to when music was unknown; it belongs to the scene with most of it, because the first
        window of music reaches back into the scene before
    right : returns the tracks that are correct for a track
    """
    wrong: list[tuple[HeardPlay, str]] = []
    found: dict[int, list[HeardPlay]] = {}
    for play in plays:
        index = _scene_of(play, begins, right, corpus_path)
        if index is None:
            middle = min(play.start_s + EDGE_S, play.end_s)
            wrong.append((play, _kind_at(middle, begins)))
        else:
            found.setdefault(index, []).append(play)
    outcomes = []
    unknown_in = [_mostly_in(begins, *span) for span in unknown]
    for index, (scene, start_s, music_s, cpu_s) in enumerate(begins):
        own = found.get(index, [])
        end_s = start_s + scene.seconds
        shown = _union_s([(max(p.start_s, start_s), min(p.end_s, end_s)) for p in own])
        delay_s = min((p.reported_s - start_s for p in own), default=None)
        n_unknown = unknown_in.count(index)
        outcomes.append(Outcome(scene, start_s, len(own), shown, delay_s, n_unknown, music_s, cpu_s))
    return outcomes, wrong


def _scene_of(
    play: HeardPlay,
    begins: Sequence[tuple[Scene, float, float, float]],
    right: Callable[[str], Collection[str]],
    corpus_path: Callable[[Track], str],
) -> int | None:
    """Return the scene with the play's track that it overlaps for longest; None if there is none."""
    best, longest_s = None, 0.0
    for index, (scene, start_s, *_) in enumerate(begins):
        overlap_s = min(play.end_s, start_s + scene.seconds) - max(play.start_s, start_s)
        is_known = scene.is_known and scene.track is not None
        if is_known and overlap_s > longest_s and corpus_path(play.track) in right(scene.track or ""):
            best, longest_s = index, overlap_s
    return best


def _mostly_in(begins: Sequence[tuple[Scene, float, float, float]], start_s: float, end_s: float) -> int:
    """Return the index of the scene that overlaps a span for longest."""
    overlaps_s = [
        min(end_s, begin_s + scene.seconds) - max(start_s, begin_s) for scene, begin_s, *_ in begins
    ]
    return int(np.argmax(overlaps_s))


def _kind_at(moment_s: float, begins: Sequence[tuple[Scene, float, float, float]]) -> str:
    kinds = [scene.kind for scene, start_s, *_ in begins if start_s <= moment_s]
    return kinds[-1] if kinds else begins[0][0].kind


def _union_s(spans: Sequence[tuple[float, float]]) -> float:
    total, reached = 0.0, -np.inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return float(total)


def summary(outcomes: Sequence[Outcome], wrong: Sequence[tuple[HeardPlay, str]]) -> dict[str, dict[str, Any]]:
    """Return by kind of scene: how much was correct, missed, late, split and false, and what it cost."""
    table = {}
    for kind in SHARES:
        ones = [one for one in outcomes if one.scene.kind == kind]
        if not ones:
            continue
        seconds = sum(one.scene.seconds for one in ones)
        row: dict[str, Any] = {
            "scenes": len(ones),
            "hours": round(seconds / 3600, 3),
            "false_plays": sum(place == kind for _, place in wrong),
            "unknown_events": sum(one.unknown for one in ones),
            "music_percent": round(100 * sum(one.music_s for one in ones) / seconds, 1),
            "cpu_s_per_hour": round(sum(one.cpu_s for one in ones) * 3600 / seconds, 1),
        }
        if ones[0].scene.is_known:
            row["correct"] = sum(one.correct_plays > 0 for one in ones)
            row["correct_percent_of_time"] = round(100 * sum(one.correct_s for one in ones) / seconds, 1)
            row["missed"] = sum(one.correct_plays == 0 for one in ones)
            row["late"] = sum(one.is_late for one in ones)
            row["split"] = sum(one.correct_plays > 1 for one in ones)
            delays = [one.delay_s for one in ones if one.delay_s is not None]
            row["delay_s_median"] = round(float(np.median(delays)), 1) if delays else None
        table[kind] = row
    return table


def blocks(sound: FloatArray, length: int) -> Iterator[FloatArray]:
    """Yield a sound in blocks."""
    for begin in range(0, len(sound), length):
        yield sound[begin : begin + length]
