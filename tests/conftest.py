"""What all tests share: no test reads or writes the user's own folders."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(
        name, "1"
    )  # before numpy is there: threads on small matrices cost 50 times the work


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVERHEARD_DATA_DIR", str(folder / "data"))
        patch.setenv("OVERHEARD_CACHE_DIR", str(folder / "cache"))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        patch.delenv("OVERHEARD_CONFIG", raising=False)
        yield
