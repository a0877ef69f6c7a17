"""Play tracks, talk, noise and synthetic sounds to the music detector, and count what it takes for music."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from overheard.events import MusicUnknown
from overheard.fingerprint.frontend import log_mel
from overheard.fingerprint.model import Model
from overheard.fingerprint.spec import SPEC
from overheard.hear.detector import MusicDetector
from overheard.hear.resampler import to_float
from overheard.hear.texture import COLUMNS, LEAD_FRAMES, POOLED_FRAMES
from overheard.recognize.recognizer import Recognizer
from overheard_bench import corpus as corpora
from overheard_bench.corpus import PARTS, SAMPLE_RATE, Corpus, Part, seeded
from overheard_bench.detector_sounds import SOUNDS
from overheard_bench.render import (
    CONDITIONS,
    FAR,
    NEAR,
    Condition,
    FloatArray,
    Renderer,
    active_power,
    loop,
    near_silence,
    unit_power,
)

SEED = 4
PLAYED_AS = ("clean", "mic5", "mic0", "mic-5")
PLACES = {"direct": Condition(), "near": Condition(None, NEAR, True), "far": Condition(None, FAR, True)}
WITHOUT_MUSIC = ("talk", "babble", "noise")
TALKERS = 5  # of babble
LEVEL = np.float32(0.1)  # RMS of talk and noise: -20 dBFS
CLIPS, CLIP_S = 36, 10.0  # of each synthetic sound
WITHIN_S = 3.0
AUDIBLE_DB = 25.0  # a second of music is audible if it is at most so far below the track's level
BEGINNING_S = 20.0  # of each track is played to the listener with the second opinion
BLOCK = SAMPLE_RATE // 4
NO_MUSIC = ("silence", "no music")  # states of a listener
HOP_FRAMES = COLUMNS * POOLED_FRAMES  # between two decisions
MEASURED_S = 600  # seconds of sound on which processor time is measured


@dataclasses.dataclass(frozen=True)
class DetectorAnswer:
    """What the detector made of one sound, second by second.

    `kind` is the condition of a track, or the name of a sound without music; `place` is empty for tracks.
    `audible_s` is when a track first becomes audible. With the second opinion, `unknown` is how often the
    listener reported unknown music.
    """

    kind: str
    place: str
    seconds: float
    music_s: float
    wake_ups: int
    delay_s: float | None
    audible_s: float = 0.0
    with_opinion: bool = False
    unknown: int = 0


class WholeTracks(Renderer):
    """Render tracks from their first sample on: there is silence before it."""

    def _music(self, track: str, start: int, preroll: int, n_samples: int, speed: float) -> FloatArray:
        music = to_float(self.corpus.load(track)[start : start + n_samples])
        return np.concatenate([np.zeros(preroll, np.float32), music])


def whole_valid() -> Part:
    """Return both parts of the split `valid` as one: nothing was chosen on either."""
    parts = [corpora.load_part(name) for name in PARTS]
    fields = [field.name for field in dataclasses.fields(Part)]
    return Part(**{name: tuple(path for part in parts for path in getattr(part, name)) for name in fields})


def play_track(detector: MusicDetector, renderer: Renderer, track: str) -> Iterator[DetectorAnswer]:
    """Play a track from beginning to end in each condition."""
    music = renderer.corpus.load(track)
    audible_s = first_audible_s(to_float(music))
    for condition in PLAYED_AS:
        rng = seeded(SEED, "detector", track, condition)
        waveform = renderer.render(track, 0, len(music), CONDITIONS[condition], rng)
        yield hear(detector, to_float(waveform), condition, "", audible_s)


def first_audible_s(music: FloatArray) -> float:
    """Return when the first audible second of a track begins."""
    least = active_power(music) * 10 ** (-AUDIBLE_DB / 10)
    for begin in range(0, max(1, len(music) - SAMPLE_RATE), SAMPLE_RATE // 10):
        second = music[begin : begin + SAMPLE_RATE]
        if np.mean(second**2) >= least and not near_silence(second):
            return begin / SAMPLE_RATE
    return 0.0


def hear(
    detector: MusicDetector, waveform: FloatArray, kind: str, place: str, audible_s: float = 0.0
) -> DetectorAnswer:
    """Give a sound to the detector, which has heard nothing before."""
    detector.reset()
    frames = log_mel(waveform)
    ends = range(HOP_FRAMES - LEAD_FRAMES, len(frames) + 1, HOP_FRAMES)
    decisions = [detector.process(frames[max(0, end - HOP_FRAMES) : end]) for end in ends]
    times = [((end - 1) * SPEC.frontend.hop_length + SPEC.frontend.n_fft) / SAMPLE_RATE for end in ends]
    wake_ups = sum(now and not before for before, now in zip([False, *decisions], decisions, strict=False))
    delay_s = next((t for t, music in zip(times, decisions, strict=True) if music), None)
    seconds = len(waveform) / SAMPLE_RATE
    return DetectorAnswer(kind, place, seconds, float(sum(decisions)), wake_ups, delay_s, audible_s)


class WithOpinion:
    """The music detector with the second opinion, in a listener that knows no track.

    Parameters
    ----------
    model : whose embeddings the second opinion judges
    """

    def __init__(self, model: Model) -> None:
        self._recognizer = Recognizer(model, [])

    def play(self, renderer: Renderer, track: str) -> Iterator[DetectorAnswer]:
        """Play the first :data:`BEGINNING_S` of a track in each condition."""
        whole = renderer.corpus.load(track)
        audible_s = first_audible_s(to_float(whole))
        music = whole[: int(BEGINNING_S * SAMPLE_RATE)]
        for condition in PLAYED_AS:
            rng = seeded(SEED, "detector", track, condition)
            waveform = to_float(renderer.render(track, 0, len(music), CONDITIONS[condition], rng))
            yield self.hear(waveform, condition, "", audible_s)

    def hear(self, waveform: FloatArray, kind: str, place: str, audible_s: float = 0.0) -> DetectorAnswer:
        """Give a sound to a new listener."""
        listener, decisions, blocks = self._recognizer.listener(), list[bool](), list[float]()
        unknown = 0
        for begin in range(0, len(waveform), BLOCK):
            block = waveform[begin : begin + BLOCK]
            events = listener.process(block)
            unknown += sum(isinstance(event, MusicUnknown) for event in events)
            decisions.append(listener.status().state not in NO_MUSIC)
            blocks.append(len(block) / SAMPLE_RATE)
        ends = np.cumsum(blocks)
        music = np.array(decisions)
        wake_ups = int(np.sum(music & ~np.concatenate([[False], music[:-1]])))
        delay_s = float(ends[np.argmax(music)]) if music.any() else None
        music_s = float(np.sum(np.array(blocks)[music]))
        seconds = float(ends[-1])
        return DetectorAnswer(kind, place, seconds, music_s, wake_ups, delay_s, audible_s, True, unknown)


def without_music(renderer: Renderer, kind: str, place: str) -> FloatArray:
    """Return all talk or noise of the part, or babble of as much talk, as it sounds in a place."""
    part, corpus = renderer.part, renderer.corpus
    paths = part.noise if kind == "noise" else part.speech
    rng = seeded(SEED, "without music", kind, place)
    sounds = [to_float(corpus.load(paths[i])) for i in rng.permutation(len(paths))]
    joined: FloatArray = np.concatenate([unit_power(sound) for sound in sounds])
    if kind == "babble":
        joined = unit_power(np.sum([loop(joined, len(joined), rng) for _ in range(TALKERS)], axis=0))
    return placed(renderer, np.clip(joined * LEVEL, -1, 1), place, rng)


def placed(renderer: Renderer, sound: FloatArray, place: str, rng: np.random.Generator) -> FloatArray:
    """Return a sound through the room and the microphone of a place; ``direct`` changes nothing."""
    return to_float(Sounds(renderer, sound).render("", 0, len(sound), PLACES[place], rng))


class Sounds(Renderer):
    """Render a given sound instead of a track."""

    def __init__(self, renderer: Renderer, sound: FloatArray) -> None:
        super().__init__(renderer.corpus, renderer.part)
        self._sound = sound

    def _music(self, track: str, start: int, preroll: int, n_samples: int, speed: float) -> FloatArray:
        return np.concatenate([np.zeros(preroll, np.float32), self._sound])


def synthetic(renderer: Renderer, name: str, clip: int) -> tuple[FloatArray, str]:
    """Return a clip of a synthetic sound, and the place in which it sounds."""
    rng = seeded(SEED, "synthetic", name, clip)
    place = list(PLACES)[clip % len(PLACES)]
    sound = unit_power(SOUNDS[name](rng, int(CLIP_S * SAMPLE_RATE))) * LEVEL
    return placed(renderer, sound, place, rng), place


def summary_of_tracks(heard: Sequence[DetectorAnswer]) -> dict[str, Any]:
    """Return how many tracks were detected in time, after what delay, and for how much of their duration."""
    found = [one for one in heard if one.delay_s is not None]
    in_time = [one for one in found if (one.delay_s or 0) <= WITHIN_S]
    after_audible = [one for one in found if (one.delay_s or 0) <= one.audible_s + WITHIN_S]
    delays = sorted(one.delay_s or 0.0 for one in found)
    seconds = sum(one.seconds for one in heard)
    return {
        "tracks": len(heard),
        "in_time_percent": round(100 * len(in_time) / len(heard), 1),
        "after_audible_percent": round(100 * len(after_audible) / len(heard), 1),
        "delay_s_median": round(statistics.median(delays), 2) if delays else None,
        "delay_s_p90": round(float(np.quantile(delays, 0.9)), 2) if delays else None,
        "music_percent": round(100 * sum(one.music_s for one in heard) / seconds, 1),
        "interruptions_per_hour": round(sum(max(0, one.wake_ups - 1) for one in heard) * 3600 / seconds, 1),
    }


def summary_without_music(heard: Sequence[DetectorAnswer]) -> dict[str, Any]:
    """Return the false wake-ups and how much of the time counts as music."""
    seconds = sum(one.seconds for one in heard)
    return {
        "hours": round(seconds / 3600, 2),
        "wake_ups": sum(one.wake_ups for one in heard),
        "wake_ups_per_hour": round(sum(one.wake_ups for one in heard) * 3600 / seconds, 2),
        "music_percent": round(100 * sum(one.music_s for one in heard) / seconds, 2),
        "unknown_music": sum(one.unknown for one in heard),
        "sounds_with_music_percent": round(100 * np.mean([one.wake_ups > 0 for one in heard]), 1),
    }


def cost(corpus: Corpus, track: str, repeats: int) -> dict[str, float]:
    """Return the processor time per second of audio, and its ratio to the front-end's, in the same run.

    The fastest of several repeats counts, as other work on the machine can only add to it.
    """
    waveform = to_float(np.resize(corpus.load(track), MEASURED_S * SAMPLE_RATE))
    detector, times = MusicDetector(), []
    for _ in range(repeats):
        began = time.process_time()
        frames = log_mel(waveform)
        middle = time.process_time()
        for second in range(0, len(frames), HOP_FRAMES):
            detector.process(frames[second : second + HOP_FRAMES])
        times.append((middle - began, time.process_time() - middle))
    frontend, detected = (1000 * min(each) / MEASURED_S for each in zip(*times, strict=True))
    return {
        "ms_per_s": round(detected, 4),
        "frontend_ms_per_s": round(frontend, 4),
        "ratio": round(detected / frontend, 3),
    }
