"""Set up every test run: private folders, the corpus, one BLAS thread, and SIGINT that interrupts."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before NumPy is imported: BLAS threads make operations on small matrices many times slower.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Tests that need the corpus find it in a folder beside a checkout or above it; without one, they are skipped.
for folder in Path(__file__).resolve().parents[2:]:
    if (folder / "shared" / "corpus" / "manifest.csv").is_file():
        os.environ.setdefault("OVERHEARD_CORPUS", str(folder / "shared" / "corpus"))
        break

# A shell starts background jobs with SIGINT ignored, and child processes inherit that. Tests that interrupt
# themselves or a child need Python's own handler.
IN_MAIN_THREAD = threading.current_thread() is threading.main_thread()
if IN_MAIN_THREAD and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """End with the quick tests of the device: a slow file would run alone at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path.parent.name == "device" and item.path not in slow)


def pytest_collection_finish() -> None:
    """Exclude all imported modules from garbage collection: with TensorFlow, each one takes 0.2 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give this run its own data, cache and configuration folders."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVERHEARD_DATA_DIR", str(folder / "data"))
        patch.setenv("OVERHEARD_CACHE_DIR", str(folder / "cache"))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        patch.setenv("OVERHEARD_MODEL", "overheard")  # results must not depend on the machine's speed
        patch.delenv("OVERHEARD_CONFIG", raising=False)
        yield
