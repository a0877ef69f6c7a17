"""The import rules of docs/design.md: arrows point down, and there is no cycle."""

from __future__ import annotations

import ast
import functools
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import pytest

ROOT = Path(__file__).parents[1]
DEVICE = ROOT / "device" / "overheard"
SOURCES = ("device", "export", "train", "benchmarks")

BASE = {"errors", "text", "events", "event_json", "settings", "files", "process", "version"}
# What each part of `overheard` may import besides itself and BASE; a dotted name allows that module alone.
MAY_IMPORT: dict[str, set[str]] = {
    "fingerprint": set(),
    "hear": {"fingerprint.spec", "fingerprint.runtime", "fingerprint.json_values"},
    "catalogue": {"fingerprint"},
    "updates": {"fingerprint", "catalogue"},
    "recognize": {"hear", "fingerprint", "catalogue"},
    "index": {"hear", "fingerprint", "catalogue"},
    "history": set(),
    "sinks": {"history"},
    "live": {"fingerprint"},
    "web": {"hear", "fingerprint", "catalogue", "history", "live", "recognize.unknown_store"},
    "daemon": {"hear", "sinks"},
    "service": {"sinks"},
    "backup": {"history"},
    "demo": {"hear", "fingerprint", "catalogue", "recognize", "index", "history", "daemon"},
    "commands": {
        *("hear", "fingerprint", "catalogue", "updates", "recognize", "index", "history", "sinks", "daemon"),
        *("demo", "live", "web", "service", "backup"),
    },
    "cli": {"commands"},
    "__main__": {"cli"},
}
# What a folder within a part may import of that part, besides itself.
WITHIN: dict[str, set[str]] = {
    "recognize.matching": set(),
    "recognize.speed": set(),
    "recognize.plays": {"recognize.speed"},
}
# Which of the project's other packages a source root may name, in imports and in what it runs as a program.
ABOVE = {
    "device": {"overheard_train", "overheard_export", "overheard_bench"},
    "train": {"overheard_export", "overheard_bench"},
    "export": {"overheard_bench"},
    "benchmarks": set(),
}
PROGRAMS = re.compile(r"overheard[-_](train|export|bench)\b|\bbenchmarks\b|\b\w+\.py\b")


def modules(root: str) -> dict[str, Path]:
    """Return the modules of a source root by dotted name."""
    found = {}
    for path in sorted((ROOT / root).rglob("*.py")):
        parts = path.relative_to(ROOT / root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


ALL = {name: path for root in SOURCES for name, path in modules(root).items()}


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Return the project's modules that a file imports, also inside functions and for types alone."""
    return frozenset(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            known = name if name in ALL else name.rpartition(".")[0]
            if known in ALL:
                yield known


def part_of(module: str) -> str:
    """Return the folder or root module of `overheard` that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", sorted(name for name in modules("device") if "." in name))
def test_a_module_imports_only_what_its_folder_may(module: str) -> None:
    part = part_of(module)
    for other in imports(ALL[module]):
        target = other.removeprefix("overheard.")
        if other == "overheard" or part_of(other) in {part, *BASE}:
            continue
        assert part not in BASE, f"{module} is a base module and imports {other}"
        assert MAY_IMPORT[part] & {part_of(other), target}, f"{module} imports {other}"


@pytest.mark.parametrize("folder", WITHIN)
def test_a_folder_within_a_part_imports_only_what_it_may(folder: str) -> None:
    part = part_of(f"overheard.{folder}")
    names = [name for name in modules("device") if name.startswith(f"overheard.{folder}.")]
    assert names
    for name in names:
        for other in imports(ALL[name]):
            target = other.removeprefix("overheard.")
            allowed = any(target == to or target.startswith(f"{to}.") for to in {folder, *WITHIN[folder]})
            assert part_of(other) != part or allowed, f"{name} imports {other}"


def test_no_modules_import_each_other() -> None:
    graph = {name: set(imports(path)) - {name} for name, path in ALL.items()}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("root", SOURCES)
def test_no_package_imports_one_above_it(root: str) -> None:
    for name, path in modules(root).items():
        packages = {other.partition(".")[0] for other in imports(path)}
        assert not packages & ABOVE[root], f"{name} imports {packages & ABOVE[root]}"


def test_the_benchmarks_library_imports_no_script() -> None:
    scripts = {name for name in modules("benchmarks") if not name.startswith("overheard_bench")}
    for name, path in modules("benchmarks").items():
        if name.startswith("overheard_bench"):
            assert not scripts & set(imports(path)), f"{name} imports a script"


@pytest.mark.parametrize("root", ["device", "train", "export"])
def test_no_package_runs_a_program_of_another(root: str) -> None:
    """A module that starts a subprocess may not name the project's other programs: a hidden import."""
    for name, path in modules(root).items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not any(
            isinstance(node, ast.Import) and node.names[0].name == "subprocess" for node in ast.walk(tree)
        ):
            continue
        documentation = {
            ast.get_docstring(node, clean=False) for node in ast.walk(tree) if _has_docstring(node)
        }
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and node.value not in documentation
            ):
                assert not PROGRAMS.search(node.value), f"{name} runs {node.value!r}"


def _has_docstring(node: ast.AST) -> TypeGuard[ast.Module | ast.ClassDef | ast.FunctionDef]:
    return isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in DEVICE.glob("*/__init__.py")))
def test_each_folder_says_what_goes_in_and_out_and_what_it_may_import(folder: str) -> None:
    text = ast.get_docstring(ast.parse((DEVICE / folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    for word in ("Input:", "Output:", "May import:"):
        assert word in text, f"{folder}/__init__.py lacks {word}"


@pytest.mark.parametrize("module", sorted(ALL))
def test_modules_and_functions_stay_short(module: str) -> None:
    text = ALL[module].read_text(encoding="utf-8")
    assert text.count("\n") <= 300, f"{module} has {text.count(chr(10))} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            assert length <= 40, f"{module}.{node.name} has {length} lines"


@pytest.mark.parametrize("script", ["test", "test-pi"])
def test_the_tests_that_a_script_lists_exist(script: str) -> None:
    lists = re.findall(
        r"^(?:tests=\(|for name in )([a-z_\s\\]+)", (ROOT / "script" / script).read_text(), re.M
    )
    names = [name for each in lists for name in each.removesuffix("do").replace("\\", " ").split()]
    assert len(names) > 10
    missing = {name for name in names if not (ROOT / "tests" / "device" / f"test_{name}.py").is_file()}
    assert missing == set()
