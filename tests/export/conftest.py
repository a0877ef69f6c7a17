"""What tests of the export share: codebooks that are fitted in a sixth of the time, and fewer pairs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from overheard_export import codebooks, model


@pytest.fixture(scope="session", autouse=True)
def few_rounds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codebooks, "ROUNDS", 2)
        patch.setattr(codebooks, "REFINED", 1)
        patch.setattr(model, "N_PARITY_PAIRS", 200)
        yield
