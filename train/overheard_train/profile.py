"""Where the time of a training step goes: augmentation in one process against the network on all cores."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from overheard_train.data import open_data
from overheard_train.pairs import make_pairs
from overheard_train.recipes import Recipe


def profile(recipe: Recipe, names: Sequence[str], n_steps: int = 5) -> dict[str, float | str]:
    """Return milliseconds a pair of augmentation, and segments a second of the network."""
    maker = make_pairs(recipe, open_data(names))
    maker.batch(np.random.default_rng(0), recipe.n_pairs)  # also brings the audio into memory
    before = time.process_time()
    segments, labels = maker.batch(np.random.default_rng(1), recipe.n_pairs)
    augment_s = time.process_time() - before
    import keras

    from overheard_train.trainer import make_model

    model = make_model(recipe)
    model.train_on_batch(segments, labels)
    before, cpu = time.monotonic(), time.process_time()
    for _ in range(n_steps):
        model.train_on_batch(segments, labels)
    network_s, network_cpu_s = time.monotonic() - before, time.process_time() - cpu
    return {
        "recipe": recipe.name,
        "precision": keras.config.dtype_policy().name,
        "parameters": int(model.encoder.count_params()),
        "augmentation_cpu_ms_per_pair": 1e3 * augment_s / recipe.n_pairs,
        "network_segments_per_s": n_steps * len(segments) / network_s,
        "network_cpu_ms_per_pair": 1e3 * network_cpu_s / n_steps / recipe.n_pairs,
    }
