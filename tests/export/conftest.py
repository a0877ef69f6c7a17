"""What tests of the export share: a small network, and quick fits of what is exported with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from small_models import make_encoder, segments

from overheard_export import codebooks, model


@pytest.fixture(scope="session", autouse=True)
def few_rounds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codebooks, "ROUNDS", 2)
        patch.setattr(codebooks, "REFINED", 1)
        patch.setattr(codebooks, "STEPS", 10)
        patch.setattr(model, "N_PARITY_PAIRS", 100)
        patch.setattr(model, "N_REPRESENTATIVE_PAIRS", 64)
        yield


@pytest.fixture(scope="session")
def encoder() -> Any:
    return make_encoder(1)


@pytest.fixture(scope="session")
def tflite(encoder: Any) -> bytes:
    from overheard_export.conversion import convert

    return convert(encoder, segments(64, 2))
