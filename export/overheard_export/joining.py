"""Export a network that joins the space of another model, so that both read and write the same packs.

The gate measures on `valid` how close the network's embeddings are to those of the model that defined the
space, the teacher, and whether each finds what the other indexed.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from overheard.errors import ModelError
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import Model, load_model
from overheard.settings import MODELS_DIR
from overheard_export.int8 import Int8Encoder, mean_cosine, top1
from overheard_export.model_files import network_facts, training_facts, write_joining
from overheard_export.quality import N_QUALITY_PAIRS, quality_pairs, train_quality

if TYPE_CHECKING:
    from overheard_train.checkpoints import Progress
    from overheard_train.data import Data
    from overheard_train.recipes import Recipe

log = logging.getLogger(__name__)

# A code of 10 bytes has a cosine of 0.89 to its embedding, and packs with such codes are worth making.
MIN_MEAN_COSINE = 0.89
MAX_LOST = 0.08  # top-1 of single segments below the teacher's own, in either direction
MIN_MARGIN = 0.85  # of the teacher's; with 0.76, 0.90 of segments were nearest, but 7 points fewer recognized
N_BACKGROUND = 4  # most similar segments of the cohort, as the score compares
SCORINGS = ("scoring", "compact_scoring")


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How well two networks work in one space; the shares are of degraded segments nearest to their own.

    Attributes
    ----------
    mean_cosine : between both networks' embeddings of clean segments
    teacher : share if the teacher embeds both sides
    asking : share if the network embeds the degraded side, and the teacher the clean one
    indexing : share if the network embeds the clean side, and the teacher the degraded one
    margin : how much more similar a degraded segment is to its own clean one, embedded by the teacher, than
        to the cohort; relative to the same of the teacher's degraded segments
    """

    mean_cosine: float
    teacher: float
    asking: float
    indexing: float
    margin: float

    @property
    def passed(self) -> bool:
        """Whether the network may join the space."""
        finds = all(self.teacher - share <= MAX_LOST for share in (self.asking, self.indexing))
        return self.mean_cosine >= MIN_MEAN_COSINE and self.margin >= MIN_MARGIN and finds

    def require(self, teacher: str) -> None:
        """Raise ModelError if the network may not join the space of the model of this name."""
        if not self.passed:
            raise ModelError(
                f"the network does not fit into the space of {teacher}: {self}",
                "train longer, or write it with --no-gate to compare",
            )

    def __str__(self) -> str:
        """Return the figures for a message."""
        return (
            f"cosine {self.mean_cosine:.3f} (at least {MIN_MEAN_COSINE}), top-1 {self.asking:.3f} asking and "
            f"{self.indexing:.3f} indexing (at least {self.teacher - MAX_LOST:.3f}; the teacher alone has "
            f"{self.teacher:.3f}), margin {self.margin:.3f} of the teacher's (at least {MIN_MARGIN})"
        )


def measure_agreement(teacher: bytes, network: bytes, pairs: FloatArray, cohort: FloatArray) -> Agreement:
    """Compare two int8 networks.

    Parameters
    ----------
    pairs : (2 * n, n_frames, n_mels), all clean, then all degraded
    cohort : (m, dim) embeddings by the teacher of what is in no catalogue
    """
    (clean, degraded), (own_clean, own_degraded) = (
        np.split(Int8Encoder(tflite)(pairs), 2) for tflite in (teacher, network)
    )
    return Agreement(
        mean_cosine(clean, own_clean),
        top1(clean, degraded),
        top1(clean, own_degraded),
        top1(own_clean, degraded),
        _margin(own_degraded, clean, cohort) / _margin(degraded, clean, cohort),
    )


def _margin(queries: FloatArray, own: FloatArray, cohort: FloatArray) -> float:
    """Return by how much queries are on average more similar to their own segments than to the cohort."""
    background = np.sort(queries @ cohort.T, axis=1)[:, -N_BACKGROUND:].mean()
    return float(np.mean(np.sum(queries * own, axis=1)) - background)


def open_teacher(recipe: Recipe, output: Path) -> Model:
    """Return the model whose space the recipe's network joins; its files must be beside the output.

    Raises
    ------
    ModelError
        If the model is missing or of another spec, the output would replace it, or its files are not beside
        the output.
    """
    if output.stem == recipe.space:
        remedy = f"use --output {output.with_name(recipe.name)}.json"
        raise ModelError(f"{output} would replace the model that the network of {recipe.name} joins", remedy)
    teacher = load_model(MODELS_DIR / f"{recipe.space}.json")
    if teacher.spec != recipe.spec:
        raise ModelError(f"{recipe.space} and {recipe.name} have different segments")
    beside = output.with_name(f"{recipe.space}.json")
    if not beside.exists() or load_model(beside).space != teacher.space:
        remedy = f"write it beside {teacher.path}, or copy the files of {recipe.space} to {output.parent}"
        raise ModelError(f"{output} would not be beside the files of its space {recipe.space}", remedy)
    return teacher


def join(
    output: Path,
    recipe: Recipe,
    progress: Progress,
    data: Data,
    tflite: bytes,
    parity: dict[str, float],
    pairs: FloatArray,
    gate: bool,
) -> Agreement:
    """Write a network into the space of its teacher, whose score it keeps until it is calibrated.

    Parameters
    ----------
    parity : facts about the int8 conversion, for the manifest
    pairs : of `valid`, see :func:`measure_agreement`
    gate : whether to refuse a network that differs too much from the teacher

    Raises
    ------
    ModelError
        The gate refuses the network.
    """
    teacher = open_teacher(recipe, output)
    agreement = measure_agreement(teacher.tflite, tflite, pairs, teacher.references)
    log.info("agreement with %s: %s", teacher.name, agreement)
    if gate:
        agreement.require(teacher.name)
    embed, embed_clean = Int8Encoder(tflite), Int8Encoder(teacher.tflite)
    quality = train_quality(*quality_pairs(embed, recipe.spec, data, N_QUALITY_PAIRS, embed_clean))
    metrics = {"parity": parity, "agreement": dataclasses.asdict(agreement)}
    manifest = {
        "network": network_facts(tflite),
        "training": training_facts(recipe, progress),
        "metrics": {**metrics, "quality_explained": quality.explained},
        **{name: teacher.manifest[name] for name in SCORINGS if name in teacher.manifest},
    }
    write_joining(output, teacher, tflite, quality.estimator, manifest)
    return agreement
