"""Files of the tests are imported by their name alone, because the folders of the tests are no packages."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]


def importable_names(folder: Path) -> list[str]:
    """Return what `import` finds in a folder: its modules and packages."""
    packages = [path.parent.name for path in folder.glob("*/__init__.py")]
    return packages + [path.stem for path in folder.glob("*.py")]


def clashes(root: Path) -> set[str]:
    """Return the names that a file of the tests shares with another one or with a module of the project."""
    names = [path.stem for path in (root / "tests").rglob("*.py") if path.name != "conftest.py"]
    for source in ("device", "export", "train", "benchmarks"):
        names += importable_names(root / source)
    return {name for name in names if names.count(name) > 1}


def test_no_two_files_have_the_same_name() -> None:
    """Pytest refuses to collect the second test file of a name; of two helpers, one replaces the other."""
    assert clashes(ROOT) == set()


def test_clashes_of_tests_helpers_and_modules_are_found(tmp_path: Path) -> None:
    for name in (
        "tests/device/test_plots.py",
        "tests/train/test_plots.py",
        "tests/conftest.py",
        "tests/train/conftest.py",
        "tests/small_models.py",
        "tests/export/small_models.py",
        "tests/tables.py",
        "benchmarks/tables.py",
        "tests/device/overheard.py",
        "device/overheard/__init__.py",
        "device/overheard/plots.py",
        "train/overheard_train/plots.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert clashes(tmp_path) == {"test_plots", "small_models", "tables", "overheard"}
