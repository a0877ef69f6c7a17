"""README and docs/: their figures come from results; their commands, links and promises are real."""

from __future__ import annotations

import ast
import copy
import importlib
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from overheard.cli import build_parser

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
SHELL_BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")

sys.path.insert(0, str(ROOT / "benchmarks"))
readme = pytest.importorskip("readme")


def commands(page: Path) -> list[list[str]]:
    """Return the commands of a page's shell blocks, without what they are piped or redirected into."""
    found = []
    for text in SHELL_BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in text.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
            lexer.wordchars += "$@%,:+"
            words: list[str] = []
            for word in [*lexer, ";"]:
                if set(word) <= set("();<>|&"):
                    found += [words] if words else []
                    words = []
                else:
                    words.append(word)
    return found


def parse(words: list[str]) -> None:
    """Fail where a command of this project does not exist or does not take these arguments."""
    name, *arguments = words
    if name == "sudo":
        parse(arguments)
    elif name in ("overheard", ".venv/bin/overheard"):
        build_parser().parse_args(arguments)
    elif name.removeprefix(".venv/bin/") == "overheard-train":
        importlib.import_module("overheard_train.cli").build_parser().parse_args(arguments)
    elif name.removeprefix(".venv/bin/") == "overheard-export":
        module, _ = importlib.import_module("overheard_export.cli").COMMANDS[arguments[0]]
        importlib.import_module(module).parser().parse_args(arguments[1:])
    elif "script/" in name:
        assert (ROOT / name).stat().st_mode & 0o100, name
    elif name.endswith("python") and arguments[0] != "-m":
        assert (ROOT / arguments[0]).is_file(), arguments[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    for words in commands(page):
        try:
            parse(words)
        except (SystemExit, KeyError, OSError) as error:
            pytest.fail(f"{page.name}: {shlex.join(words)}: {error!r}")


def test_the_readme_shows_the_main_commands() -> None:
    shown = {tuple(words[:2]) for words in commands(README)}
    assert {("overheard", name) for name in ("index", "identify", "listen", "history", "doctor")} <= shown


def test_a_wrong_command_would_be_found() -> None:
    for words in (["overheard", "sing"], ["overheard", "index", "--loud", "x"], ["./script/dance"]):
        with pytest.raises((SystemExit, OSError)):
            parse(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


def test_figures_are_those_of_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert readme.main(["--check"]) == 0, capsys.readouterr()


ORIGIN = {
    "environment": {
        "date": "2026-11-23T10:00:00Z", "commit": "abc", "processor": "P", "machine": "m", "cores": 2,
        "python": "3.11",
    },
    "model": {
        "digest": "0123",
        "manifest": {"name": "overheard", "scoring": {"threshold": 4.0}, "network": {"bytes": 3900000}},
    },
    "bars": [
        {"bar": "clean, right %", "kind": "at least", "limit": 98.0, "measured": 97.5, "met": False},
        {"bar": "bytes per minute", "kind": "at most", "limit": 1800.0, "measured": 1650, "met": True},
    ],
}  # fmt: skip
POOL = {
    "n": 200, "right_percent": 87.5, "right_interval": [82, 91.4], "wrong_percent": 1.0, "out_n": 50,
    "out_named": 1, "out_named_percent": 2.0, "out_named_interval": [0.4, 10.5],
}  # fmt: skip
ACCURACY = ORIGIN | {
    "cells": [{"condition": "clean", "length_s": 2} | POOL],
    "by_condition": {"clean": POOL},
    "by_length": {"2": POOL},
    "overall": POOL,
    "catalogue": {"tracks": 500, "hours": 15.2, "bytes": 1500000, "bytes_per_min": 1650.4},
    "at_one_percent": {"right_percent": 88.2},
    "exhaustive": {"at_one_percent": {"right_percent": 89.0}},
}
COMPACT = ACCURACY | {"catalogue": ACCURACY["catalogue"] | {"bytes_per_min": 735.0}}
TINY = ACCURACY | {
    "model": {"digest": "89ab", "manifest": {"name": "overheard-tiny", "network": {"bytes": 298256}}},
}
RESULTS = {
    "accuracy": ACCURACY,
    "accuracy-compact": COMPACT,
    "tiny/accuracy": TINY,
    "listening": ORIGIN | {
        "known": {
            "mic5": {
                "right_percent": 98.24, "wrong_percent": 0.0, "tracks": 9, "tracks_named": 8,
                "named_after_s_median": 4.25, "named_after_s_p90": None,
            }
        },
        "unknown": {"mic5": {"named_plays": 2, "hours": 1.6}},
        "without_music": {"talk": {"named_plays": 0, "hours": 0.4}},
    },
    "latency": ORIGIN | {
        "runtimes": {
            "ai-edge-litert": {
                "version": "1",
                "catalogue music": {"stages": {"model": {"p50_ms": 1.234, "p95_ms": 2.0, "mean_ms": 1.3}}},
            }
        },
        "listen": {
            "catalogue music": {
                "cpu_ms_per_s": 5.0, "share_of_one_core_percent": 0.5, "cpu_s_per_hour": 18.0,
                "resident_mb": 150.2, "peak_resident_mb": None,
            }
        },
        "index": [{"format": "flac", "x_real_time": 210.4}],
    },
    "power": ORIGIN | {
        "scenes": {
            "silence": {"cpu_s_per_hour": 6.0, "share_of_one_core_percent": 0.17, "energy": "unavailable"},
            "talk": None,
        },
        "meters": {"battery": "unavailable: none"},
    },
}  # fmt: skip


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(readme, "MODELS", tmp_path)
    blocks = "\n".join(f"<!-- results:{name} -->\nold\n<!-- /results -->\n" for name in readme.RENDERERS)
    path = tmp_path / "README.md"
    path.write_text(f"# before\n{blocks}after\n")
    return path


def run(page: Path, *arguments: str) -> int:
    return readme.main(["--readme", str(page), "--results", str(page.parent / "results"), *arguments])


def store(page: Path, results: dict) -> None:
    for name, result in results.items():
        path = page.parent / "results" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result))


def test_blocks_without_results_say_so(page: Path) -> None:
    assert run(page, "--check") == 1
    assert run(page) == 0
    assert page.read_text().count("Not measured yet.") == 5
    assert page.read_text().startswith("# before\n")
    assert page.read_text().endswith("after\n")
    assert run(page, "--check") == 0


def test_blocks_are_made_from_results(page: Path) -> None:
    store(page, RESULTS)
    assert run(page) == 0
    text = page.read_text()
    for wanted in (
        "87.5 (82-91)", "1 were named (2.0%", "500 tracks, 15.2 hours, 1,500,000 bytes, 1,650 bytes a minute",
        "names 89.0% rightly, the pack 88.2%",
        "Aims met: 1 of 2. Not met:\n\n- clean, right %: at least 98, is 97.5\n",
        "| model (ai-edge-litert) | 1.23 | 2.00 |", "| flac | 210 |", "| 150 | unknown |",
        "| mic5 | 98.2 | 0.0 | 8 of 9 | 4.2 | never | 2 in 1.6 h |", "| talk | 0 in 0.4 h |",
        "| silence | 6.0 | 0.17 | unavailable |", "| talk | not measured |",
        "with model 0123, on P (m, 2 cores)",
        "| `overheard`, `--compact` | 87.5 | 87.5 (82-91) | 2.0 | 735 | 3.9 MB | 2026-11-23, abc |",
        "| `overheard-tiny` | 87.5 | 87.5 (82-91) | 2.0 | 1,650 | 0.3 MB | 2026-11-23, abc |",
    ):  # fmt: skip
        assert wanted in text
    assert "![" not in text
    assert run(page, "--check") == 0


@pytest.mark.parametrize(
    ("digest", "threshold", "said"), [("0123", 4.0, 0), ("0123", 5.0, 3), ("4567", 4.0, 6)]
)
def test_figures_of_another_model_are_marked(page: Path, digest: str, threshold: float, said: int) -> None:
    store(page, RESULTS)
    shipped = {"digest": digest, "scoring": {"threshold": threshold}}
    (readme.MODELS / "overheard.json").write_text(json.dumps(shipped))
    assert run(page) == 0
    assert page.read_text().count("Another model ships now") == said


def test_a_changed_result_is_noticed(page: Path) -> None:
    store(page, RESULTS)
    assert run(page) == 0
    changed = copy.deepcopy(RESULTS)
    changed["accuracy"]["overall"]["right_percent"] = 88.0
    store(page, changed)
    assert run(page, "--check") == 1
    (page.parent / "results" / "accuracy.png").touch()
    assert run(page) == 0
    assert "](benchmarks/results/accuracy.png)" in page.read_text()


@pytest.mark.parametrize("bad", [{"quick": True}, {"protocol": {"quick": True}}, [], {"by_length": {}}])
def test_what_is_no_result_is_refused(page: Path, bad: object, capsys: pytest.CaptureFixture[str]) -> None:
    store(page, {"accuracy": bad})
    before = page.read_text()
    assert run(page) == 2
    assert page.read_text() == before
    assert "accuracy" in capsys.readouterr().err


def test_a_lost_marker_is_refused(page: Path) -> None:
    page.write_text(page.read_text().replace("<!-- results:power -->", ""))
    assert run(page) == 2


def test_nothing_in_the_device_package_can_reach_a_network() -> None:
    """docs/privacy.md promises it."""
    forbidden = {
        "socket",
        "ssl",
        "urllib",
        "http",
        "ftplib",
        "smtplib",
        "asyncio",
        "requests",
        "aiohttp",
        "httpx",
    }
    for path in sorted((ROOT / "device").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & forbidden, path
