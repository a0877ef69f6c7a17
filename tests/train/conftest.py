"""Fixtures of the training tests: a corpus, and batches made in the test process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from batches_here import BatchesHere

import train_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_corpus.write_corpus(tmp_path_factory.mktemp("training") / "corpus")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchesHere]:
    """Make batches in this process; restore its number format and signal handler afterwards."""
    import keras

    from overheard_train import fit

    batches, before = BatchesHere(), signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(fit, "Batches", batches)
    yield batches
    signal.signal(signal.SIGTERM, before)
    keras.mixed_precision.set_global_policy("float32")
