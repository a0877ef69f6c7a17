"""What tests of the export share: codebooks that are fitted in a sixth of the time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from overheard_export import codebooks


@pytest.fixture(scope="session", autouse=True)
def few_rounds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codebooks, "ROUNDS", 2)
        patch.setattr(codebooks, "REFINED", 1)
        yield
