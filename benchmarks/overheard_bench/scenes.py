"""What sounds while a benchmark listens: silence, talk, music of the catalogue, music that is not in it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from overheard_bench import corpus as corpora
from overheard_bench.corpus import SAMPLE_RATE, Corpus

if TYPE_CHECKING:
    from overheard.fingerprint.model import Model

SCENES = ("silence", "talk", "catalogue music", "unknown music")
SILENCE_DBFS = -75.0  # a quiet microphone's hiss
LEVEL_DBFS = -20.0
UNKNOWN_SEED, KNOWN_SEED = 9000, 100  # of synthesized pieces
PIECE_S = 60.0


@dataclasses.dataclass(frozen=True)
class Setup:
    """A data folder for `overheard`, and how to make sound that its catalogue knows."""

    data_dir: Path
    corpus: Corpus | None
    catalogue: str  # what it holds, for the result
    known_is_synthesized: bool


def prepare(data_dir: Path, corpus_root: Path, pack: Path | None, model: Model, quick: bool) -> Setup:
    """Prepare a data folder: with a given pack, else the starter pack, else synthesized pieces."""
    corpus = Corpus(corpus_root) if (corpus_root / "manifest.csv").is_file() else None
    packs = data_dir / "packs"
    packs.mkdir(parents=True, exist_ok=True)
    starter = starter_pack()
    if pack is not None:
        (packs / "bench.pack").symlink_to(pack.resolve())
        return Setup(data_dir, corpus, pack.name, known_is_synthesized=corpus is None)
    if starter is not None and corpus is not None and not quick:
        return Setup(data_dir, corpus, starter.name, known_is_synthesized=False)
    index_pieces(data_dir / "pieces", packs / "bench.pack", model, n=4 if quick else 50)
    name = "synthesized pieces" + (f" and {starter.name}" if starter else "")
    return Setup(data_dir, corpus, name, known_is_synthesized=True)


def index_pieces(folder: Path, pack: Path, model: Model, n: int) -> None:
    """Index synthesized pieces through the real indexer."""
    from overheard.demo.synth import write_wav
    from overheard.index.run import index
    from overheard.index.worker import ModelFingerprinter

    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        write_wav(folder / f"piece-{i}.wav", _piece(KNOWN_SEED + i), SAMPLE_RATE)
    index([folder], pack, functools.partial(ModelFingerprinter, model.path), jobs=0)


def sound(setup: Setup, scene: str, seconds: float) -> np.ndarray | None:
    """Return (n,) float32 mono 8 kHz of a scene, or None where there is nothing to make it from."""
    rng = np.random.default_rng(1)
    if scene == "silence":
        hiss = rng.standard_normal(int(seconds * SAMPLE_RATE))
        return (hiss * 10 ** (SILENCE_DBFS / 20)).astype(np.float32)
    if scene == "talk":
        return None if setup.corpus is None else _corpus_sound(setup.corpus, "speech", seconds, rng)
    if scene == "unknown music":
        return _pieces(UNKNOWN_SEED, seconds)
    if setup.known_is_synthesized or setup.corpus is None:
        return _pieces(KNOWN_SEED, seconds)
    return _corpus_sound(setup.corpus, "music", seconds, rng)


def _corpus_sound(corpus: Corpus, kind: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
    out = set(corpora.left_out_of_index())
    paths = [item.path for item in corpus.of(kind, "valid") if item.path not in out]
    order = [paths[i] for i in rng.permutation(len(paths))]
    return _join([corpus.load(path).astype(np.float32) / 32768 for path in order], seconds)


def _pieces(seed: int, seconds: float) -> np.ndarray:
    n = max(1, min(4, int(np.ceil(seconds / PIECE_S))))
    return _join([_piece(seed + i) for i in range(n)], seconds)


def _piece(seed: int) -> np.ndarray:
    from overheard.demo.synth import synthesize

    return synthesize(seed, PIECE_S).waveform


def _join(parts: Sequence[np.ndarray], seconds: float) -> np.ndarray:
    """Lay the parts end to end, each at the same level, and begin again where they do not suffice."""
    level = 10 ** (LEVEL_DBFS / 20)
    joined: list[np.ndarray] = []
    wanted, had = int(seconds * SAMPLE_RATE), 0
    while had < wanted:
        part = parts[len(joined) % len(parts)]
        joined.append(part * np.float32(level / max(float(np.sqrt(np.mean(part**2))), 1e-9)))
        had += len(part)
    return np.clip(np.concatenate(joined)[:wanted], -1, 1).astype(np.float32)


def starter_pack() -> Path | None:
    import overheard

    path = Path(overheard.__file__).parent / "packs" / "starter.pack"
    return path if path.is_file() else None
