"""Where the time of a training step goes: augmentation in one process against the network on all cores."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from overheard.frontend import log_mel
from overheard.spec import SPEC
from overheard_train.recipes import Recipe
from overheard_train.train import make_network, make_pair_maker


def profile(recipe: Recipe, data_dir: Path, n_steps: int = 5) -> dict[str, float | str]:
    """Return milliseconds a pair of augmentation, of its log-mels, and segments a second of the network."""
    maker = make_pair_maker(recipe, data_dir)
    batch = maker.batch(np.random.default_rng(0), recipe.n_pairs)  # also brings the audio into memory
    before = time.process_time()
    maker.batch(np.random.default_rng(1), recipe.n_pairs)
    augment_s = time.process_time() - before
    pair = np.stack(maker.waveforms(np.random.default_rng(2), 0))
    before = time.process_time()
    for _ in range(recipe.n_pairs):
        log_mel(pair, SPEC.frontend)
    mel_s = time.process_time() - before
    _, step = make_network(recipe)
    step(batch)
    before, cpu = time.monotonic(), time.process_time()
    for _ in range(n_steps):
        step(batch)
    network_s, network_cpu_s = time.monotonic() - before, time.process_time() - cpu
    return {
        "recipe": recipe.name,
        "augmentation_cpu_ms_per_pair": 1e3 * augment_s / recipe.n_pairs,
        "of_which_log_mel_ms": 1e3 * mel_s / recipe.n_pairs,
        "network_segments_per_s": n_steps * len(batch) / network_s,
        "network_cpu_ms_per_pair": 1e3 * network_cpu_s / n_steps / recipe.n_pairs,
    }
