"""The arrows of the design: train -> overheard <- export, and nothing the other way."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join(str(ROOT / folder) for folder in ("device", "export", "train"))
HEAVY = ("tensorflow", "keras", "overheard_train", "overheard_export")

OPTIONAL = {"jeepney", "paho", "pylast", "starlette", "uvicorn", "watchdog"}  # of extras

IMPORT_ALL = """
import importlib, importlib.abc, pkgutil, sys

forbidden = {forbidden!r}

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in forbidden:
            raise AssertionError("imports " + name)

sys.meta_path.insert(0, Refuse())
for name in {modules!r}:
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(package, "__path__", []), name + "."):
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in {optional!r}:
                raise
        print(found.name)
assert not forbidden & {{name.partition(".")[0] for name in sys.modules}}
"""


def run(code: str) -> str:
    env = os.environ | {"PYTHONPATH": PATH}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def imported_packages(path: Path) -> frozenset[str]:
    """Return the top-level names that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return frozenset(names)


@pytest.mark.slow
def test_importing_the_device_brings_nothing_of_training() -> None:
    modules = run(IMPORT_ALL.format(modules=["overheard"], forbidden=set(HEAVY), optional=OPTIONAL)).split()
    assert {"overheard.cli", "overheard.settings", "overheard.commands.identify"} <= set(modules)


def test_the_device_never_imports_training_not_even_later() -> None:
    for path in sorted((ROOT / "device").rglob("*.py")):
        assert not imported_packages(path) & set(HEAVY), path


def test_training_does_not_know_the_export() -> None:
    for path in sorted((ROOT / "train").rglob("*.py")):
        assert "overheard_export" not in imported_packages(path), path


def test_indexing_with_the_export_needs_no_training() -> None:
    modules = ["overheard_export.catalogue", "overheard_export.cli"]
    forbidden = {"tensorflow", "keras", "overheard_train"}
    run(IMPORT_ALL.format(modules=modules, forbidden=forbidden, optional=OPTIONAL))


@pytest.mark.parametrize("module", ["tflite_runtime", "ai_edge_litert"])
def test_only_one_module_knows_the_runtimes(module: str) -> None:
    users = [path.name for path in (ROOT / "device").rglob("*.py") if module in imported_packages(path)]
    assert set(users) <= {"runtime.py"}


def test_the_command_line_parses_without_heavy_imports() -> None:
    heavy = {
        "numpy",
        "scipy",
        "av",
        "soxr",
        "sounddevice",
        "annoy",
        "rich",
        "ai_edge_litert",
        "tflite_runtime",
    }
    run(f"""
import sys
import wave
from overheard.cli import build_parser
build_parser().format_help()
assert not {heavy!r} & set(sys.modules), {heavy!r} & set(sys.modules)
assert "importlib.metadata" not in sys.modules  # a tenth of the start of a short command
""")


def test_the_web_page_and_listening_load_only_what_they_use() -> None:
    """Both run for weeks on small computers: NumPy, SciPy and ffmpeg's libraries take 60 MB in each."""
    pytest.importorskip("uvicorn", reason="the extra web is not installed")
    heavy = {"numpy", "scipy", "av", "soxr", "annoy"}
    run(f"""
import sys
import overheard.commands.web, overheard.web.serve
from overheard.web.app import create_app
assert not {heavy!r} & set(sys.modules), {heavy!r} & set(sys.modules)
import overheard.catalogue.selection
assert "scipy" not in sys.modules
from overheard.commands import listen, outputs
import overheard.hear.microphone, overheard.recognize.open
outputs.sink_context()
assert "av" not in sys.modules
""")


@pytest.mark.skipif(np.__version__.startswith("1."), reason="NumPy 1 has no Fourier transform of float32")
def test_identifying_does_not_wait_for_scipy(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 3000, 5 * 16000).astype("<i2")
    with wave.open(str(tmp_path / "noise.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(noise.tobytes())
    run(f"""
import sys
import wave
from overheard.cli import main
assert main(["--data-dir", {str(tmp_path)!r}, "identify", {str(tmp_path / "noise.wav")!r}]) in (0, 1)
assert "ai_edge_litert" in sys.modules or "tflite_runtime" in sys.modules
assert "scipy" not in sys.modules
""")
