"""A test is skipped only for a package that the project does not always install."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
# Of requirements-train.txt and of the extras; the device environment of a 32-bit Pi has none of them.
OPTIONAL = {"distributed", "jeepney", "keras", "matplotlib", "paho", "pylast", "tensorboard", "tensorflow"}
OPTIONAL |= {"uvicorn"}


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_importorskip_is_for_optional_packages(path: Path) -> None:
    """For a module of this project, importorskip would turn an import error into a skipped test."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)) if "importorskip" in text else ():
        if isinstance(node, ast.Call) and "importorskip" in ast.dump(node.func):
            (name, *_) = node.args
            assert isinstance(name, ast.Constant)
            assert str(name.value).partition(".")[0] in OPTIONAL, f"importorskip({name.value!r}): import it"
