"""Make the sounds that a benchmark listens to: silence, talk, catalogue music and unknown music."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import overheard
from overheard.catalogue.pack import Pack, open_pack
from overheard.catalogue.pack_state import PackState, save_state
from overheard.demo.synth import synthesize, write_wav
from overheard.fingerprint.model import Model
from overheard.hear.resampler import to_float
from overheard.index.run import index
from overheard.index.worker import ModelFingerprinter
from overheard_bench import corpus as corpora
from overheard_bench.corpus import SAMPLE_RATE, Corpus
from overheard_bench.render import FloatArray

SCENES = ("silence", "talk", "catalogue music", "unknown music")
WITHOUT_MUSIC = ("babble", "noise")  # more scenes, for the schedule
TALKERS = 5  # of babble
SILENCE_DBFS = -75.0  # the noise of a quiet microphone
LEVEL_DBFS = -20.0  # RMS of talk and music, a usual recording level
UNKNOWN_SEED, KNOWN_SEED = 9000, 100  # of synthesized pieces
PIECE_S = 60.0


@dataclasses.dataclass(frozen=True)
class Setup:
    """A data folder for `overheard`, and the source of music that its catalogue contains."""

    data_dir: Path
    corpus: Corpus | None
    catalogue: str  # description for the result
    known_is_synthesized: bool


def prepare(data_dir: Path, corpus_root: Path, pack: Path | None, model: Model, quick: bool) -> Setup:
    """Prepare a data folder with the given pack, else with the starter pack, else with synthesized pieces."""
    corpus = Corpus(corpus_root) if (corpus_root / "manifest.csv").is_file() else None
    packs = data_dir / "packs"
    packs.mkdir(parents=True, exist_ok=True)
    starter = starter_pack()
    if starter is not None:  # searched with the other pack, as it is part of the catalogue
        save_state(packs, PackState(enabled=frozenset((starter.stem,))))
    if pack is not None:
        (packs / "bench.pack").symlink_to(pack.resolve())
        return Setup(data_dir, corpus, pack.name, known_is_synthesized=corpus is None)
    if starter is not None and corpus is not None and not quick:
        return Setup(data_dir, corpus, starter.name, known_is_synthesized=False)
    index_pieces(data_dir / "pieces", packs / "bench.pack", model, n=4 if quick else 50)
    name = "synthesized pieces" + (f" and {starter.name}" if starter else "")
    return Setup(data_dir, corpus, name, known_is_synthesized=True)


def index_pieces(folder: Path, pack: Path, model: Model, n: int) -> None:
    """Index synthesized pieces with the indexer that users run."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        write_wav(folder / f"piece-{i}.wav", _piece(KNOWN_SEED + i), SAMPLE_RATE)
    index([folder], pack, functools.partial(ModelFingerprinter, model.path), jobs=0)


def sound(setup: Setup, scene: str, seconds: float) -> FloatArray | None:
    """Return (n,) float32 mono 8 kHz of a scene, or None if that needs a corpus and there is none."""
    rng = np.random.default_rng(1)
    if scene == "silence":
        hiss = rng.standard_normal(int(seconds * SAMPLE_RATE))
        return (hiss * 10 ** (SILENCE_DBFS / 20)).astype(np.float32, copy=False)
    if scene == "talk":
        return None if setup.corpus is None else _corpus_sound(setup.corpus, "speech", seconds, rng)
    if scene in WITHOUT_MUSIC:
        return None if setup.corpus is None else _without_music(setup.corpus, scene, seconds, rng)
    if scene == "unknown music":
        return _pieces(UNKNOWN_SEED, seconds)
    if setup.known_is_synthesized or setup.corpus is None:
        return _pieces(KNOWN_SEED, seconds)
    return _corpus_sound(setup.corpus, "music", seconds, rng)


def _without_music(corpus: Corpus, scene: str, seconds: float, rng: np.random.Generator) -> FloatArray:
    if scene == "noise":
        return _corpus_sound(corpus, "noise", seconds, rng)
    voices = [_corpus_sound(corpus, "speech", seconds, rng) for _ in range(TALKERS)]
    return _join([np.sum(voices, axis=0, dtype=np.float32)], seconds)


def _corpus_sound(corpus: Corpus, kind: str, seconds: float, rng: np.random.Generator) -> FloatArray:
    out = set(corpora.left_out_of_index())
    paths = [item.path for item in corpus.of(kind, "valid") if item.path not in out]
    order = [paths[i] for i in rng.permutation(len(paths))]
    return _join([to_float(corpus.load(path)) for path in order], seconds)


def _pieces(seed: int, seconds: float) -> FloatArray:
    n = max(1, min(4, int(np.ceil(seconds / PIECE_S))))
    return _join([_piece(seed + i) for i in range(n)], seconds)


def _piece(seed: int) -> FloatArray:
    return synthesize(seed, PIECE_S).waveform


def _join(parts: Sequence[FloatArray], seconds: float) -> FloatArray:
    """Concatenate the parts at the same level, repeating them until they last long enough."""
    level = 10 ** (LEVEL_DBFS / 20)
    joined: list[FloatArray] = []
    n_samples, n_joined = int(seconds * SAMPLE_RATE), 0
    while n_joined < n_samples:
        part = parts[len(joined) % len(parts)]
        joined.append(part * np.float32(level / max(float(np.sqrt(np.mean(part**2))), 1e-9)))
        n_joined += len(part)
    return np.clip(np.concatenate(joined)[:n_samples], -1, 1).astype(np.float32)


def open_packs(setup: Setup, model: Model) -> list[Pack]:
    """Open the packs that `overheard listen` searches."""
    paths = sorted((setup.data_dir / "packs").glob("*.pack"))
    starter = starter_pack()
    return [open_pack(path, model.digest) for path in (*paths, *([starter] if starter else []))]


def starter_pack() -> Path | None:
    """Return the starter pack, or None if the checkout has none."""
    path = Path(overheard.__file__).parent / "packs" / "starter.pack"
    return path if path.is_file() else None
