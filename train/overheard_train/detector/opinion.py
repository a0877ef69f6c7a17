"""Train the second opinion: a table that tells music from other sound by the embeddings of a model."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from overheard.files import atomic_write
from overheard.fingerprint.embedder import Embedder
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import Model, load_model
from overheard.recognize.opinion_table import MANIFEST_VERSION, N_HEARD, OpinionTable, table_digest
from overheard_train.checkout import commit
from overheard_train.data import open_data
from overheard_train.detector.examples import KINDS, SCENE_S, UNLABELLED, Mix, make
from overheard_train.output_files import check_writable

if TYPE_CHECKING:
    from overheard_train.data import Data

log = logging.getLogger(__name__)

VERSION = 2  # of the examples: raise it when the same seed makes other ones
STEP_FRAMES = 24  # between the segments of a scene
FRAMES_PER_LABEL = 32
HIDDEN, DROPOUT, EPOCHS, BATCH = 16, 0.2, 12, 256
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 3e-2
CERTAIN = {"music": 2.0, "no_music": -2.0}  # log-odds
ROOMS, N_HELD_OUT = (120, 90), 400
REPORT_INTERVAL = 200


@dataclasses.dataclass(frozen=True)
class Embedded:
    """Embeddings ``(n, segments, dim)`` float32 of scenes, and the labels ``(n, segments)`` of their ends."""

    embeddings: FloatArray
    labels: npt.NDArray[np.uint8]

    def of_music(self) -> tuple[FloatArray, npt.NDArray[np.float32]]:
        """Return all labelled segments ``(m, dim)``, and whether they are music, ``(m,)``."""
        labelled = self.labels != UNLABELLED
        is_music = self.labels[labelled] == KINDS.index("music")
        return self.embeddings[labelled], is_music.astype(np.float32)


def train_opinion(names: Sequence[str], model_path: Path | None, output: Path, n: int, seed: int) -> Any:
    """Make examples, fit the table of a model's space, and write it; return what the file says of it.

    Parameters
    ----------
    names : of the data; only the split train is used
    model_path : manifest of the model; the shipped one if None
    output : file to write
    n : number of scenes to fit; :data:`N_HELD_OUT` more are of held-out recordings
    """
    check_writable([output], "give another path with --output")
    data, model = open_data(names), load_model(model_path)
    fitted, held_out = (
        embedded(data, model, is_held_out, n_scenes, seed)
        for is_held_out, n_scenes in ((False, n), (True, min(n, N_HELD_OUT)))
    )
    table = fit(fitted, held_out, seed)
    facts = {
        "training": {
            "model": model.name,
            "scenes": n,
            "seed": seed,
            "commit": commit(),
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "held_out": shares(table, held_out),
    }
    write_opinion(output, table, model, facts)
    return facts


def embedded(data: Data, model: Model, held_out: bool, n: int, seed: int) -> Embedded:
    """Return scenes as embeddings from the cache, or make them."""
    stamps = [(data.name(r), r.path.stat().st_size) for r in data.recordings if r.split == "train"]
    about = [VERSION, model.network_digest, dataclasses.astuple(Mix()), held_out, n, seed, stamps]
    digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
    path = data.cache_path(f"opinion-{digest}.npz")
    if path.is_file():
        with np.load(path) as stored:
            return Embedded(stored["embeddings"].astype(np.float32), stored["labels"])
    made = make_embedded(data, model, held_out, n, seed)
    with atomic_write(path) as file:
        np.savez(file, embeddings=made.embeddings.astype(np.float16), labels=made.labels)
    return made


def make_embedded(data: Data, model: Model, held_out: bool, n: int, seed: int) -> Embedded:
    """Make random scenes and embed them; the seed, the recordings and the model determine them."""
    maker = make(data, held_out, seed, None if held_out else ROOMS)
    embedder, rng = Embedder(model), np.random.default_rng([seed, int(held_out)])
    embeddings, labels = [], []
    for number in range(n):
        frames, seconds = maker.scene(rng)
        starts = np.arange(0, len(frames) - model.spec.n_frames + 1, STEP_FRAMES)
        embeddings.append(embedder.embed(frames[starts[:, None] + np.arange(model.spec.n_frames)]))
        ends = (starts + model.spec.n_frames - 1) // FRAMES_PER_LABEL
        labels.append(seconds[np.minimum(ends, SCENE_S - 1)])
        if (number + 1) % REPORT_INTERVAL == 0:
            log.info("%d of %d scenes", number + 1, n)
    return Embedded(np.stack(embeddings), np.stack(labels))


def fit(examples: Embedded, held_out: Embedded, seed: int) -> OpinionTable:
    """Fit the network to single segments, and to held-out scenes how much more several of them say."""
    import keras

    keras.utils.set_random_seed(seed)
    segments, is_music = examples.of_music()
    inputs = keras.Input((segments.shape[1],))
    x = keras.layers.Dense(HIDDEN, activation="relu")(keras.layers.Dropout(DROPOUT)(inputs))
    network = keras.Model(inputs, keras.layers.Dense(1)(x))
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, EPOCHS * len(segments) // BATCH + 1)
    network.compile(
        keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY),
        keras.losses.BinaryCrossentropy(from_logits=True),
    )
    network.fit(segments, is_music[:, None], batch_size=BATCH, epochs=EPOCHS, verbose=0)
    hidden, hidden_bias, output, bias = (np.asarray(each, np.float32) for each in network.get_weights())
    table = OpinionTable(
        hidden, hidden_bias, output[:, 0], float(bias[0]), np.ones(N_HEARD, np.float32), **CERTAIN
    )
    gains = np.array([gain_of(*runs(table, held_out, n)) for n in range(1, N_HEARD + 1)], np.float32)
    return dataclasses.replace(table, gains=gains)


def runs(table: OpinionTable, scenes: Embedded, n: int) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return the mean log-odds of the last `n` segments of each scene, and whether they are music."""
    labels = scenes.labels[:, -n:]
    same = np.all(labels == labels[:, :1], axis=1) & (labels[:, 0] != UNLABELLED)
    chosen = scenes.embeddings[same][:, -n:]
    odds = table.log_odds(chosen.reshape(-1, chosen.shape[2])).reshape(len(chosen), n)
    return odds.mean(axis=1), labels[same][:, 0] == KINDS.index("music")


def gain_of(odds: FloatArray, is_music: npt.NDArray[np.bool_]) -> float:
    """Return the factor of the log-odds that makes the decisions most likely; 1 without any."""
    if not len(odds):
        return 1.0
    factors = np.geomspace(0.3, 6, 60)
    signs = np.where(is_music, 1.0, -1.0)
    losses = [np.mean(np.logaddexp(0, -signs * factor * odds)) for factor in factors]
    return float(factors[int(np.argmin(losses))])


def shares(table: OpinionTable, scenes: Embedded) -> dict[str, Any]:
    """Return how much of music and of all else is certain, by number of segments."""
    found = {}
    for n in (1, 2, 4, N_HEARD):
        odds, is_music = runs(table, scenes, n)
        if is_music.all() or not is_music.any():
            continue
        odds = odds * table.gains[n - 1]
        found[f"{n} segments"] = {
            "music_as_music": round(float(np.mean(odds[is_music] >= table.music)), 4),
            "music_as_no_music": round(float(np.mean(odds[is_music] <= table.no_music)), 4),
            "other_as_music": round(float(np.mean(odds[~is_music] >= table.music)), 4),
            "other_as_no_music": round(float(np.mean(odds[~is_music] <= table.no_music)), 4),
        }
    return found


def write_opinion(path: Path, table: OpinionTable, model: Model, facts: dict[str, Any]) -> None:
    """Write a table for the space of a model."""
    fields = {
        "manifest_version": MANIFEST_VERSION,
        "space": {"name": model.space.name, "digest": model.space.digest},
        "digest": table_digest(table.to_dict()),
        **facts,
        "table": table.to_dict(),
    }
    with atomic_write(path) as file:
        file.write((json.dumps(fields) + "\n").encode())
