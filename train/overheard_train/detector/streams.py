"""Make minutes of sound from held-out recordings, on which the detector's smoothing is chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from overheard.fingerprint.frontend import FloatArray, log_mel
from overheard.hear.resampler import to_float
from overheard_train.detector.examples import ExampleMaker, features_by_second, make
from overheard_train.detector.waves import RATE

if TYPE_CHECKING:
    from overheard_train.data import Data

STREAM_SAMPLES = 2**18  # 33 s
CONTEXT_SAMPLES = RATE  # reverberates into the stream
BEFORE_S = 10  # noise before music begins
ROOMS = (48, 24)
SNR_DB = {"music 5 dB": 5.0, "music 0 dB": 0.0, "music -5 dB": -5.0}
STREAMS = {"talk": 120, "babble": 60, "noise": 120, "mixture": 40, "synthetic": 120}  # of each kind
SEED = 5


@dataclasses.dataclass(frozen=True)
class Stream:
    """Features ``(n, N_FEATURES)`` float32 of the seconds of a sound; music begins at `BEFORE_S`."""

    kind: str
    features: FloatArray

    @property
    def is_music(self) -> bool:
        """Whether there is music from `BEFORE_S` on."""
        return self.kind.startswith("music")


def make_streams(data: Data, scale: float = 1.0) -> Iterator[Stream]:
    """Yield streams of everything but music, then the beginning of each held-out track at each ratio."""
    whole = make(data, True, SEED, ROOMS, STREAM_SAMPLES)
    short = make(data, True, SEED)
    rng = np.random.default_rng([SEED, 80])
    for kind, n in STREAMS.items():
        for _ in range(max(1, round(n * scale))):
            sound = _noises(short, rng) if kind == "noise" else whole.other(kind, rng)
            snr_db = rng.uniform(*whole.mix.other_snr_db)
            yield Stream(kind, _features(whole, sound, snr_db, rng))
    for track in range(max(1, round(len(whole.music) * scale))):
        for kind, ratio in SNR_DB.items():
            yield Stream(kind, _features(whole, _beginning(whole, track), ratio, rng))


def _noises(short: ExampleMaker, rng: np.random.Generator) -> FloatArray:
    """Return recordings of noise one after the other, as there are few that last half a minute."""
    n = -(-STREAM_SAMPLES // short.window)
    return np.concatenate([short.other("noise", rng) for _ in range(n)])[:STREAM_SAMPLES]


def _beginning(maker: ExampleMaker, track: int) -> FloatArray:
    sound = np.zeros(STREAM_SAMPLES, np.float32)
    begin = CONTEXT_SAMPLES + BEFORE_S * RATE
    music = to_float(maker.music.clip(track)[: STREAM_SAMPLES - begin])
    sound[begin : begin + len(music)] = music
    return sound


def _features(maker: ExampleMaker, sound: FloatArray, snr_db: float, rng: np.random.Generator) -> FloatArray:
    mel = log_mel(maker.record(sound, snr_db, STREAM_SAMPLES - CONTEXT_SAMPLES, rng))
    return features_by_second(mel)
