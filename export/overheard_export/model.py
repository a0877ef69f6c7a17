"""A trained checkpoint to an int8 TFLite model with its quantizer and manifest, through a parity gate."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from overheard.errors import ModelError, OverheardError
from overheard.fingerprint import model as device
from overheard.fingerprint.cohort import Cohort
from overheard.fingerprint.frontend import FloatArray, normalize_segments
from overheard.fingerprint.hubness import PACKED_CELLS, hubness, pack_cells
from overheard.fingerprint.quality import QualityEstimator
from overheard.fingerprint.quantizer import Quantizer
from overheard.fingerprint.runtime import Network
from overheard.fingerprint.spec import FingerprintSpec
from overheard.settings import MODELS_DIR
from overheard_export.codebooks import train_quantizer
from overheard_export.conversion import convert
from overheard_export.int8 import Int8Encoder, mean_cosine
from overheard_export.quality import quality_pairs, train_quality
from overheard_export.whitening import whiten

if TYPE_CHECKING:
    import keras

    from overheard_train.data import Data
    from overheard_train.recipes import Recipe

log = logging.getLogger(__name__)

MIN_COSINE = 0.99
MAX_TOP1_LOSS = 0.005
QUANTIZER_SPEEDS = (1.0, 0.91, 1.1)
QUANTIZER_HOURS = 40.0  # of more music, codebooks are fitted to some tracks
MAX_CELLS = PACKED_CELLS // 2  # a place tells hubness beside the cell
N_QUALITY_PAIRS = 16_384
N_WHITENED = {"n_music": 8192, "n_noise": 0, "n_speech": 0}
N_COHORT = {"n_music": 8192, "n_noise": 1024, "n_speech": 1024}


@dataclasses.dataclass(frozen=True)
class Parity:
    """How the int8 network compares with the float one."""

    mean_cosine: float
    top1_float: float
    top1_int8: float

    @property
    def passed(self) -> bool:
        """Whether the model may be shipped."""
        return self.mean_cosine >= MIN_COSINE and self.top1_float - self.top1_int8 <= MAX_TOP1_LOSS


def top1(embeddings: FloatArray) -> float:
    """Return how often a degraded segment (second half) is nearest to its clean one (first half)."""
    clean, degraded = np.split(embeddings, 2)
    return float(np.mean(np.argmax(degraded @ clean.T, axis=1) == np.arange(len(clean))))


def measure_parity(encoder: keras.Model, tflite: bytes, segments: FloatArray) -> Parity:
    """Compare float and int8 on pairs of ``valid``, ``(2 * n, n_frames, n_mels)``."""
    exact = encoder.predict(segments[..., None], batch_size=256, verbose=0)
    quantized = Int8Encoder(tflite)(segments)
    return Parity(mean_cosine(exact, quantized), top1(exact), top1(quantized))


def make_cohort(tflite: bytes, quantizer: Quantizer, spec: FingerprintSpec, data: Data) -> Cohort:
    """Return impostors from the training lists, their music at another speed so that it is no track's."""
    embeddings = Int8Encoder(tflite)(impostors(spec, data, N_COHORT))
    cells, codes = quantizer.encode(embeddings)
    references = quantizer.decode(cells, codes)
    hubs = hubness(embeddings, references, among_them=True)
    return Cohort(pack_cells(cells, hubs, len(quantizer.cells)), codes)


def impostors(spec: FingerprintSpec, data: Data, numbers: dict[str, int]) -> FloatArray:
    """Return normalized segments ``(n, n_frames, n_mels)`` of the training lists that are no track's."""
    from overheard_train.pairs.degradation import Variation
    from overheard_train.pairs.degraded import make

    maker = make(spec, data, "train", seed=3, variation=Variation(resample=1.0, overlay=0.0))
    return maker.impostors(np.random.default_rng(13), **numbers)


def write_model(
    path: Path,
    spec: FingerprintSpec,
    tflite: bytes,
    quantizer: Quantizer,
    cohort: Cohort,
    quality: QualityEstimator,
    manifest: dict[str, Any],
) -> None:
    """Write the model's files and, last, ``NAME.json``: all beside, then all renamed."""
    parts = (tflite, quantizer.to_bytes(), cohort.to_bytes(), quality.to_bytes())
    manifest = {
        "manifest_version": device.MANIFEST_VERSION,
        "name": path.stem,
        "digest": device.digest_of(spec, *parts[:3]),
        "quality_digest": device.quality_digest(parts[3]),
        "spec": spec.to_dict(),
        "spec_digest": spec.digest(),
        "code_bytes": list(quantizer.widths),
        "n_cells": len(quantizer.cells),
        **manifest,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(manifest, indent=1) + "\n"
    contents = {**dict(zip(device.PARTS, parts, strict=True)), ".json": text.encode()}
    targets = {path.with_suffix(f"{suffix}.partial"): path.with_suffix(suffix) for suffix in contents}
    try:
        for partial, content in zip(targets, contents.values(), strict=True):
            with open(partial, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for partial, target in targets.items():
            os.replace(partial, target)
    finally:
        for partial in targets:
            partial.unlink(missing_ok=True)


def network_facts(tflite: bytes) -> dict[str, Any]:
    """Return scales, zero points and size for the manifest."""
    network = Network(tflite)
    return {
        "bytes": len(tflite),
        "input": {"scale": float(network.input_scale), "zero_point": int(network.input_zero_point)},
        "output": {"scale": float(network.output_scale), "zero_point": int(network.output_zero_point)},
    }


def quantizer_embeddings(tflite: bytes, spec: FingerprintSpec, data: Data) -> list[FloatArray]:
    """Return int8 embeddings of each training track, at several speeds lest codebooks know them by heart."""
    from overheard_train.evaluate import embed_tracks

    encode = Int8Encoder(tflite)
    music = data.clips(["music"], "train")

    def embed(segments: FloatArray) -> FloatArray:
        return encode(normalize_segments(segments, spec))

    found: list[FloatArray] = []
    for speed in QUANTIZER_SPEEDS:
        embeddings, tracks = embed_tracks(embed, spec, music, spec.hop_frames, speed, QUANTIZER_HOURS)
        found += np.split(embeddings, np.flatnonzero(np.diff(tracks)) + 1)
    return found


def parity_pairs(recipe: Recipe, data: Data) -> FloatArray:
    """Return pairs of ``valid``, ``(2 * n, n_frames, n_mels)``: all clean, then all degraded.

    A network trained on other pairs, such as moments alike, is still judged by degraded ones, as all are.
    """
    from overheard_train.pairs import make_pairs
    from overheard_train.registry import Part

    pairs = recipe.pairs if recipe.pairs.name == "degraded" else Part("degraded")
    maker = make_pairs(dataclasses.replace(recipe, views=2, pairs=pairs), data, "valid", seed=2)
    batches = [maker.batch(np.random.default_rng([12, i]), 100)[0] for i in range(10)]
    halves = [[batch[:100] for batch in batches], [batch[100:] for batch in batches]]
    return np.concatenate([*halves[0], *halves[1]])


def export_checkpoint(
    checkpoint: Path,
    names: Sequence[str],
    output: Path,
    n_cells: int | None = None,
    code_bytes: Sequence[int] | None = None,
    gate: bool = True,
) -> Parity:
    """Convert a checkpoint, fit its quantizer on training tracks, write both where parity holds.

    Parameters
    ----------
    names : of the data, see :mod:`overheard_train.data`
    n_cells, code_bytes : of the quantizer, the bytes of each stage; the recipe's where None
    gate : whether an int8 network that strays from the float one is refused

    Raises
    ------
    OverheardError
        The checkpoint or the data are missing or damaged, or the int8 network strays from the float one;
        nothing is written.
    """
    from overheard_train.checkout import commit
    from overheard_train.data import open_data
    from overheard_train.evaluate import load_encoder
    from overheard_train.output_files import check_writable
    from overheard_train.pairs import make_pairs

    encoder, recipe, progress = load_encoder(checkpoint)
    spec = recipe.spec
    n_cells = recipe.n_cells if n_cells is None else n_cells
    code_bytes = code_bytes or recipe.code_bytes
    if not all(1 <= n <= spec.dim for n in code_bytes) or not 1 <= n_cells <= MAX_CELLS:
        raise ModelError(f"--code-bytes must be 1 to {spec.dim} a stage, and --cells 1 to {MAX_CELLS}")
    if output.suffix != ".json":
        raise ModelError(f"{output} must end in .json: the model's other files lie beside it")
    targets = [output, *(output.with_suffix(suffix) for suffix in device.PARTS)]
    check_writable(targets, "name another with --output")
    data = open_data(names)
    compared = parity_pairs(recipe, data)  # first: lists that lack are better missed now than in half an hour
    if recipe.whitening:
        encoder = whiten(encoder, impostors(spec, data, N_WHITENED), recipe.whitening)
    representative, _ = make_pairs(recipe, data, "train", seed=1).batch(np.random.default_rng(11), 256)
    tflite = convert(encoder, representative)
    parity = measure_parity(encoder, tflite, compared)
    log.info("parity: cosine %.4f, top-1 %.3f float, %.3f int8", *dataclasses.astuple(parity))
    if gate and not parity.passed:
        raise ModelError(
            f"refusing to write: cosine {parity.mean_cosine:.4f} (at least {MIN_COSINE}), "
            f"top-1 {parity.top1_float:.3f} -> {parity.top1_int8:.3f}: train on or calibrate on more segments"
        )
    quantizer = train_quantizer(quantizer_embeddings(tflite, spec, data), n_cells, code_bytes)
    quality = train_quality(*quality_pairs(Int8Encoder(tflite), spec, data, N_QUALITY_PAIRS))
    log.info("quality: %.2f of the cosines' variance explained", quality.explained)
    manifest = {
        "network": network_facts(tflite),
        "training": {**dataclasses.asdict(progress), "recipe_values": recipe.to_dict(), "commit": commit()},
        "metrics": {"parity": dataclasses.asdict(parity), "quality_explained": quality.explained},
    }
    cohort = make_cohort(tflite, quantizer, spec, data)
    write_model(output, spec, tflite, quantizer, cohort, quality.estimator, manifest)
    return parity


def main(argv: list[str] | None = None) -> int:
    """Run ``overheard-export model``."""
    args = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        parity = export_checkpoint(
            args.checkpoint, args.data, args.output, args.cells, args.code_bytes, not args.no_gate
        )
    except (OverheardError, OSError) as error:
        print(f"overheard-export: {error}", file=sys.stderr)
        return 2
    print(f"{args.output}: cosine to float {parity.mean_cosine:.4f}, top-1 {parity.top1_int8:.3f}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``overheard-export model``."""
    from overheard_train.data import add_data_argument

    found = argparse.ArgumentParser(prog="overheard-export model", description=__doc__)
    found.add_argument("checkpoint", type=Path, help="what overheard-train fit wrote (.npz)")
    add_data_argument(found)
    found.add_argument("--output", type=Path, default=MODELS_DIR / f"{device.DEFAULT_MODEL}.json")
    found.add_argument("--cells", type=int, help="coarse cells (default: the recipe's)")
    found.add_argument(
        "--code-bytes",
        type=int,
        nargs="+",
        help="bytes of each stage of an embedding's code; the first alone are a compact code "
        "(default: the recipe's)",
    )
    found.add_argument(
        "--no-gate", action="store_true", help="write it whatever int8 loses, to compare and not to ship"
    )
    return found
