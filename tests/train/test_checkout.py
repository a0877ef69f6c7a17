"""Default paths: in the checkout, or in the current folder if installed; never in site-packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from overheard.files import link_files
from overheard_train import checkout

ROOT = Path(__file__).parents[2]


def test_in_a_checkout_the_defaults_are_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVERHEARD_CORPUS", raising=False)
    assert checkout.CHECKOUT == ROOT
    assert (checkout.default_checkpoints() / "overheard.npz").is_file()
    assert checkout.default_near_duplicates().is_file()
    assert checkout.default_corpus() == ROOT / "corpus"


PATHS = """
from overheard_train import checkout as c
print(c.CHECKOUT, c.default_checkpoints(), c.default_near_duplicates(), c.default_corpus(), c.commit())
"""


def test_an_installed_package_uses_the_current_folder(tmp_path: Path) -> None:
    for root in ("device/overheard", "train/overheard_train"):
        ignored = shutil.ignore_patterns("models", "packs", "__pycache__")
        shutil.copytree(ROOT / root, tmp_path / "site-packages" / Path(root).name, ignore=ignored)
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site-packages")}
    environment.pop("OVERHEARD_CORPUS", None)
    command = [sys.executable, "-c", PATHS]
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["None", "checkpoints", "near_duplicates.json", "corpus", "unknown"]


def test_the_environment_sets_the_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERHEARD_CORPUS", "/elsewhere")
    assert checkout.default_corpus() == Path("/elsewhere")


def test_a_folder_of_links_holds_exactly_the_listed_files(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).write_text(name)
    folder = tmp_path / "links"
    link_files(folder, {"a": tmp_path / "one", "b/c": tmp_path / "two"})
    link_files(folder, {"b/c": tmp_path / "two", "d": tmp_path / "three", "e": tmp_path / "one"})
    link_files(folder, {"b/c": tmp_path / "two", "d": tmp_path / "three", "e": tmp_path / "three"})
    links = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert links == {"b/c": "two", "d": "three", "e": "three"}
