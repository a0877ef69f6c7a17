"""Convert a trained checkpoint to an int8 model with its quantizer, cohort, quality estimator and manifest.

The parity gate refuses an int8 network that differs too much from the float one.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from overheard.errors import ModelError
from overheard.fingerprint import model as device
from overheard.fingerprint.cohort import Cohort
from overheard.fingerprint.frontend import FloatArray, normalize_segments
from overheard.fingerprint.hubness import PACKED_CELLS, hubness, pack_cells
from overheard.fingerprint.quantizer import Quantizer
from overheard.fingerprint.spec import FingerprintSpec
from overheard.settings import MODELS_DIR
from overheard_export.codebooks import train_quantizer
from overheard_export.conversion import convert
from overheard_export.int8 import Int8Encoder
from overheard_export.joining import join, open_teacher
from overheard_export.model_files import network_facts, training_facts, write_model
from overheard_export.parity import Parity, measure_parity
from overheard_export.quality import N_QUALITY_PAIRS, quality_pairs, train_quality
from overheard_export.whitening import whiten

if TYPE_CHECKING:
    import keras

    from overheard_train.checkpoints import Progress
    from overheard_train.data import Data
    from overheard_train.recipes import Recipe

log = logging.getLogger(__name__)

QUANTIZER_SPEEDS = (1.0, 0.91, 1.1)
QUANTIZER_HOURS = 40.0  # of a larger collection, a sample of the tracks is used
MAX_CELLS = PACKED_CELLS // 2  # 16 bits hold a cell's number and at least one bit of hubness
N_PARITY_PAIRS = 1000  # a multiple of 100
N_REPRESENTATIVE_PAIRS = 256  # segments that set the ranges of the activations
N_WHITENED = {"n_music": 8192, "n_noise": 0, "n_speech": 0}
N_COHORT = {"n_music": 8192, "n_noise": 1024, "n_speech": 1024}


def make_cohort(tflite: bytes, quantizer: Quantizer, spec: FingerprintSpec, data: Data) -> Cohort:
    """Return the cohort: encoded segments from the training lists, see :func:`cohort_segments`."""
    embeddings = Int8Encoder(tflite)(cohort_segments(spec, data, N_COHORT))
    cells, codes = quantizer.encode(embeddings)
    references = quantizer.decode(cells, codes)
    hubs = hubness(embeddings, references, among_them=True)
    return Cohort(pack_cells(cells, hubs, len(quantizer.cells)), codes)


def cohort_segments(spec: FingerprintSpec, data: Data, numbers: dict[str, int]) -> FloatArray:
    """Return normalized segments ``(n, n_frames, n_mels)`` that belong to no track.

    They come from the training lists. Music is resampled to another speed, so that it matches no catalogue.

    Parameters
    ----------
    numbers : of segments of music, noise and speech
    """
    from overheard_train.pairs.degradation import Variation
    from overheard_train.pairs.degraded import make

    maker = make(spec, data, "train", seed=3, variation=Variation(resample=1.0, overlay=0.0))
    return maker.cohort_segments(np.random.default_rng(13), **numbers)


def quantizer_embeddings(tflite: bytes, spec: FingerprintSpec, data: Data) -> list[FloatArray]:
    """Return the int8 embeddings of each training track at several speeds, which prevents overfitting."""
    from overheard_train.evaluate import embed_tracks

    encode = Int8Encoder(tflite)
    music = data.clips(["music"], "train")

    def embed(segments: FloatArray) -> FloatArray:
        return encode(normalize_segments(segments, spec))

    tracks: list[FloatArray] = []
    for speed in QUANTIZER_SPEEDS:
        embeddings, numbers = embed_tracks(embed, spec, music, spec.hop_frames, speed, QUANTIZER_HOURS)
        tracks += np.split(embeddings, np.flatnonzero(np.diff(numbers)) + 1)
    return tracks


def parity_pairs(recipe: Recipe, data: Data) -> FloatArray:
    """Return pairs of ``valid``, ``(2 * n, n_frames, n_mels)``: all clean, then all degraded.

    All networks are compared on degraded pairs, whichever pairs they were trained on.
    """
    from overheard_train.pairs import make_pairs

    maker = make_pairs(dataclasses.replace(_degraded(recipe), views=2), data, "valid", seed=2)
    batches = [maker.batch(np.random.default_rng([12, i]), 100)[0] for i in range(N_PARITY_PAIRS // 100)]
    halves = [[batch[:100] for batch in batches], [batch[100:] for batch in batches]]
    return np.concatenate([*halves[0], *halves[1]])


def _degraded(recipe: Recipe) -> Recipe:
    """Return the recipe with degraded pairs, which need no other model."""
    from overheard_train.registry import Part

    return recipe if recipe.pairs.name == "degraded" else dataclasses.replace(recipe, pairs=Part("degraded"))


def export_checkpoint(
    checkpoint: Path,
    names: Sequence[str],
    output: Path | None = None,
    n_cells: int | None = None,
    code_bytes: Sequence[int] | None = None,
    gate: bool = True,
) -> tuple[Path, Parity]:
    """Convert a checkpoint, fit the other parts of the model to training tracks, and write all of them.

    A network whose recipe names a space joins it, see :mod:`overheard_export.joining`. Raises OverheardError
    if the checkpoint or the data are missing or damaged, or a gate refuses the network.

    Parameters
    ----------
    names : of the data, see :mod:`overheard_train.data`
    output : manifest to write; None means :func:`default_output`
    n_cells, code_bytes : see :func:`quantizer_sizes`
    gate : whether to refuse an int8 network that differs too much from the float one, or from its teacher

    Returns
    -------
    The manifest that was written, and the parity of the int8 network.
    """
    from overheard_train.data import open_data
    from overheard_train.evaluate import load_encoder

    encoder, recipe, progress = load_encoder(checkpoint)
    sizes = quantizer_sizes(recipe, n_cells, code_bytes)
    output = checked_output(output or default_output(recipe.name), recipe)
    data = open_data(names)
    pairs = parity_pairs(recipe, data)  # first, so that missing lists are reported before the long work
    tflite, parity = convert_encoder(encoder, recipe, data, pairs)
    if gate:
        parity.require()
    if recipe.space:
        join(output, recipe, progress, data, tflite, dataclasses.asdict(parity), pairs, gate)
    else:
        fit_and_write(output, recipe, progress, data, tflite, parity, *sizes)
    return output, parity


def quantizer_sizes(
    recipe: Recipe, n_cells: int | None, code_bytes: Sequence[int] | None
) -> tuple[int, Sequence[int]]:
    """Return the number of cells and the bytes of each stage of a code; the recipe's for None.

    Raises ModelError if a quantizer cannot have these sizes, or the recipe's network joins a space.
    """
    if recipe.space and (n_cells is not None or code_bytes):
        raise ModelError(f"{recipe.space} fixes the cells and codes", "omit --cells and --code-bytes")
    n_cells = recipe.n_cells if n_cells is None else n_cells
    code_bytes = code_bytes or recipe.code_bytes
    if not all(1 <= n <= recipe.spec.dim for n in code_bytes) or not 1 <= n_cells <= MAX_CELLS:
        limits = f"from 1 to {recipe.spec.dim} for each stage, and --cells from 1 to {MAX_CELLS}"
        raise ModelError(f"--code-bytes must be {limits}")
    return n_cells, code_bytes


def checked_output(output: Path, recipe: Recipe) -> Path:
    """Return the output; raise OverheardError if it cannot be written, or its space is not beside it."""
    from overheard_train.output_files import check_writable

    if output.suffix != ".json":
        raise ModelError(f"{output} does not end in .json", "use --output FILE.json")
    targets = [output, *(output.with_suffix(suffix) for suffix in device.PARTS)]
    check_writable(targets, "use another --output")
    if recipe.space:
        open_teacher(recipe, output)
    return output


def convert_encoder(
    encoder: keras.Model, recipe: Recipe, data: Data, pairs: FloatArray
) -> tuple[bytes, Parity]:
    """Whiten and convert an encoder; return the int8 network and its parity on `pairs`."""
    from overheard_train.pairs import make_pairs

    if recipe.whitening:
        encoder = whiten(encoder, cohort_segments(recipe.spec, data, N_WHITENED), recipe.whitening)
    maker = make_pairs(_degraded(recipe) if recipe.space else recipe, data, "train", seed=1)
    representative, _ = maker.batch(np.random.default_rng(11), N_REPRESENTATIVE_PAIRS)
    tflite = convert(encoder, representative)
    parity = measure_parity(encoder, tflite, pairs)
    log.info("parity: cosine %.4f, top-1 %.3f float, %.3f int8", *dataclasses.astuple(parity))
    return tflite, parity


def fit_and_write(
    output: Path,
    recipe: Recipe,
    progress: Progress,
    data: Data,
    tflite: bytes,
    parity: Parity,
    n_cells: int,
    code_bytes: Sequence[int],
) -> None:
    """Fit the quantizer, the cohort and the quality estimator of a network, and write the model."""
    spec = recipe.spec
    quantizer = train_quantizer(quantizer_embeddings(tflite, spec, data), n_cells, code_bytes)
    quality = train_quality(*quality_pairs(Int8Encoder(tflite), spec, data, N_QUALITY_PAIRS))
    log.info("quality: %.2f of the cosines' variance explained", quality.explained)
    manifest = {
        "network": network_facts(tflite),
        "training": training_facts(recipe, progress),
        "metrics": {"parity": dataclasses.asdict(parity), "quality_explained": quality.explained},
    }
    cohort = make_cohort(tflite, quantizer, spec, data)
    write_model(output, spec, tflite, quantizer, cohort, quality.estimator, manifest)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``overheard-export model``."""
    args = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    output, parity = export_checkpoint(
        args.checkpoint, args.data, args.output, args.cells, args.code_bytes, not args.no_gate
    )
    print(f"{output}: cosine to float {parity.mean_cosine:.4f}, top-1 {parity.top1_int8:.3f}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``overheard-export model``."""
    from overheard_train.data import add_data_argument

    built = argparse.ArgumentParser(
        prog="overheard-export model",
        description="Convert a trained checkpoint to the int8 model that the device runs.",
    )
    built.add_argument("checkpoint", type=Path, help="output of overheard-train fit (.npz)")
    add_data_argument(built)
    built.add_argument(
        "--output",
        type=Path,
        metavar="FILE.json",
        help="manifest to write, with the model's other files beside it (default: "
        f"{str(default_output('RECIPE')).replace('%', '%%')})",
    )
    built.add_argument("--cells", type=int, help="coarse cells (default: the recipe's)")
    built.add_argument(
        "--code-bytes",
        type=int,
        nargs="+",
        help="bytes of each stage of a code; a compact code has the first stage only (default: the recipe's)",
    )
    built.add_argument(
        "--no-gate",
        action="store_true",
        help="write a model that differs too much from the float network or from its space; do not ship it",
    )
    return built


def default_output(recipe: str) -> Path:
    """Return the manifest of a recipe: beside the shipped models in a checkout, or in the current folder."""
    from overheard_train.checkout import CHECKOUT

    name = f"{recipe}.json"
    return Path(name) if CHECKOUT is None else MODELS_DIR / name
