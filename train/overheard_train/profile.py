"""Measure where the time of a training step goes: augmentation in one process, network on all cores."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from overheard_train.data import open_data
from overheard_train.pairs import make_pairs
from overheard_train.recipes import Recipe


def profile(recipe: Recipe, names: Sequence[str], n_steps: int = 5) -> dict[str, float | str]:
    """Measure some steps of a recipe.

    Parameters
    ----------
    names : of the training data
    n_steps : steps of the network to average over

    Returns
    -------
    Processor milliseconds per pair of augmentation and of the network, and segments per second of the
    network.
    """
    maker = make_pairs(recipe, open_data(names))
    maker.batch(np.random.default_rng(0), recipe.n_pairs)  # reads the memory-mapped audio once
    before_s = time.process_time()
    segments, labels = maker.batch(np.random.default_rng(1), recipe.n_pairs)
    augmentation_s = time.process_time() - before_s
    import keras

    from overheard_train.pair_model import make_model

    model = make_model(recipe)
    model.train_on_batch(segments, labels)
    before_s, cpu_before_s = time.monotonic(), time.process_time()
    for _ in range(n_steps):
        model.train_on_batch(segments, labels)
    network_s, network_cpu_s = time.monotonic() - before_s, time.process_time() - cpu_before_s
    return {
        "recipe": recipe.name,
        "precision": keras.config.dtype_policy().name,
        "parameters": int(model.encoder.count_params()),
        "augmentation_cpu_ms_per_pair": 1e3 * augmentation_s / recipe.n_pairs,
        "network_segments_per_s": n_steps * len(segments) / network_s,
        "network_cpu_ms_per_pair": 1e3 * network_cpu_s / n_steps / recipe.n_pairs,
    }
