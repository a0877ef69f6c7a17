"""Train the music detector from recordings to the files that the device loads."""

from __future__ import annotations

import dataclasses
import datetime
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from overheard.errors import OverheardError
from overheard_train.checkout import commit
from overheard_train.data import open_data
from overheard_train.detector.convert import MAX_BYTES, convert, outputs_of, write_detector
from overheard_train.detector.examples import KINDS
from overheard_train.detector.network import Fitted, fit, rows_of
from overheard_train.detector.store import stored_examples
from overheard_train.detector.streams import make_streams
from overheard_train.detector.threshold import Choice, choose
from overheard_train.output_files import check_writable

log = logging.getLogger(__name__)

EXAMPLES, HELD_OUT_EXAMPLES, EPOCHS = 6_000, 400, 25


@dataclasses.dataclass(frozen=True)
class Options:
    """How to train.

    Attributes
    ----------
    examples, epochs : size of the training; each example is a scene of 8 s
    seed : determines examples, weights and batches
    workers : processes that make examples
    streams : share of the usual number of held-out streams on which the smoothing is chosen
    """

    examples: int = EXAMPLES
    epochs: int = EPOCHS
    seed: int = 0
    workers: int = 2
    streams: float = 1.0


def train(names: Sequence[str], output: Path, options: Options) -> Choice:
    """Make examples, fit the network, convert it, choose its smoothing, and write it.

    The examples take most of the time. They stay in the cache, also those of an interrupted run.

    Parameters
    ----------
    names : of the data, see :mod:`overheard_train.data`; only the split train is used
    output : the manifest, ``NAME.json``

    Raises
    ------
    OverheardError
        The data are missing, or the network is too large or too often wrong.
    """
    check_writable([output, output.with_suffix(".tflite")], "give another path with --output")
    data = open_data(names)
    n_held_out = min(HELD_OUT_EXAMPLES, options.examples)
    held_out = rows_of(stored_examples(data, n_held_out, True, options.seed, options.workers))
    examples = stored_examples(data, options.examples, False, options.seed, options.workers)
    fitted = fit(examples, options.epochs, options.seed)
    tflite = convert(fitted, rows_of(examples)[0])
    if len(tflite) >= MAX_BYTES:
        raise OverheardError(f"the network has {len(tflite)} bytes, and at most {MAX_BYTES} are allowed")
    log.info("choosing the smoothing on held-out recordings")
    streams = make_streams(data, options.streams)
    choice = choose([(one.kind, outputs_of(tflite, fitted, one.features)) for one in streams])
    facts = facts_of(options, fitted, tflite, held_out, choice)
    write_detector(output, tflite, fitted, choice.smoothing, facts)
    return choice


def facts_of(
    options: Options,
    fitted: Fitted,
    tflite: bytes,
    held_out: tuple[npt.NDArray[np.floating], npt.NDArray[np.uint8]],
    choice: Choice,
) -> dict[str, Any]:
    """Return what the manifest says about the training."""
    float_outputs, outputs = fitted.outputs(held_out[0]), outputs_of(tflite, fitted, held_out[0])
    return {
        "training": {
            **dataclasses.asdict(options),
            "loss": round(fitted.loss, 4),
            "commit": commit(),
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "held_out": {
            "float": separation(float_outputs, held_out[1]),
            "int8": separation(outputs, held_out[1]),
            **{key: value for key, value in dataclasses.asdict(choice).items() if key != "smoothing"},
        },
    }


def separation(outputs: npt.NDArray[np.floating], labels: npt.NDArray[np.uint8]) -> dict[str, float]:
    """Return how often music scores higher than the rest, and the share of music above 99% of the rest."""
    is_music = labels == KINDS.index("music")
    others, music = np.sort(outputs[~is_music]), outputs[is_music]
    higher = np.searchsorted(others, music).mean() / max(1, len(others))
    above = np.mean(music > others[int(0.99 * len(others))]) if len(others) else 0.0
    return {"area_under_curve": round(float(higher), 4), "recall_at_1_percent": round(float(above), 4)}
