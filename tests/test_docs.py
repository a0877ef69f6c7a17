"""Test the pages of the documentation: commands, links and pictures exist, and privacy promises hold."""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from overheard import cli
from overheard.cli import build_parser

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
OTHERS = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md"]
PAGES = [README, *OTHERS, *DOCS]
RAW_URL = "https://raw.githubusercontent.com/overheard/overheard/main/"
SHELL_BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!!)\[[^]]*\]\(([^)\s]+)\)")
IMAGE = re.compile(r"!\[[^]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
NETWORK_MODULES = {
    "aiohttp", "asyncio", "ftplib", "http", "httpx", "jeepney", "paho", "pylast", "requests", "smtplib",
    "socket", "ssl", "starlette", "urllib", "uvicorn",
}  # fmt: skip
NETWORK_FOLDERS = ("updates", "sinks/network", "web")

# These open sockets of this computer only; jeepney can open no others.
LOCAL_SOCKETS = {
    *("service/notify.py", "live/client.py", "live/connection.py", "live/server.py", "live/socket_file.py"),
    "commands/web.py",  # asks for the name of this computer
}
LOCAL_BUS = "sinks/desktop"

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the commands in a page's shell blocks; pipes and redirections separate commands."""
    for block in SHELL_BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.wordchars += "$@%,:+"
            words: list[str] = []
            for word in lexer:
                if set(word) <= set("();<>|&"):
                    yield words
                    words = []
                else:
                    words.append(word)
            yield words


def parse(words: list[str]) -> None:
    """Fail if a command of this project does not exist or does not accept these arguments."""
    name, *arguments = words
    program = name.removeprefix(".venv/bin/")
    if name == "sudo":
        parse(arguments)
    elif program == "overheard":
        build_parser().parse_args(arguments)
    elif program == "overheard-train":
        importlib.import_module("overheard_train.cli").build_parser().parse_args(arguments)
    elif program == "overheard-export":
        module, _ = importlib.import_module("overheard_export.cli").COMMANDS[arguments[0]]
        importlib.import_module(module).parser().parse_args(arguments[1:])
    elif "script/" in name:
        assert (ROOT / name).stat().st_mode & 0o100, name
    elif name.endswith("python") and arguments[0] != "-m":
        assert (ROOT / arguments[0]).is_file(), arguments[0]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text))
    return {heading.replace(" ", "-") for heading in plain}


def parsers() -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers of all commands of the three programs."""
    todo = [build_parser(), importlib.import_module("overheard_train.cli").build_parser()]
    for module, _ in importlib.import_module("overheard_export.cli").COMMANDS.values():
        todo.append(importlib.import_module(module).parser())
    while todo:
        yield (parser := todo.pop())
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                todo += action.choices.values()


def test_help_explains_every_command_and_every_option() -> None:
    unexplained = []
    for parser in parsers():
        unexplained += [] if parser.description else [parser.prog]
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                explained = {choice.dest for choice in action._choices_actions if choice.help}
                unexplained += [f"{parser.prog} {name}" for name in set(action.choices) - explained]
            elif not action.help:
                unexplained.append(f"{parser.prog} {action.dest}")
    assert unexplained == []


def test_the_exit_codes_of_each_command_are_in_the_table() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", text.partition("## Exit codes")[2], re.MULTILINE))
    assert {"0", "1", str(cli.FAILED), str(cli.INTERRUPTED), str(cli.NO_READER)} == set(rows)
    described = {each.prog: each.description or "" for each in parsers()}
    found = {
        name.removeprefix("overheard ")
        for name, about in described.items()
        if name.startswith("overheard ") and re.search(r"Exit code: .*\b1\b", about)
    }
    assert {"explain", "calibrate", "packs browse"} <= found
    assert [name for name in sorted(found) if f"`{name}`" not in rows["1"]] == []


@each_page
def test_commands_exist_and_accept_their_arguments(page: Path) -> None:
    for words in filter(None, commands(page)):
        try:
            parse(words)
        except (SystemExit, KeyError, OSError) as error:
            pytest.fail(f"{page.name}: {shlex.join(words)}: {error!r}")


@pytest.mark.parametrize("command", ["overheard sing", "overheard index --loud x", "./script/dance"])
def test_an_invalid_command_is_detected(command: str) -> None:
    with pytest.raises((SystemExit, OSError)):
        parse(command.split())


@each_page
def test_links_lead_to_pages_and_headings(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@each_page
def test_pictures_have_absolute_addresses_of_files_in_the_repository(page: Path) -> None:
    """PyPI shows the README without the repository beside it."""
    text = re.sub(r"<!-- results:.*?<!-- /results -->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for address in IMAGE.findall(text):
        assert address.startswith(RAW_URL)
        assert (ROOT / address.removeprefix(RAW_URL)).is_file(), address


@each_page
def test_pages_do_not_refer_to_anything_unpublished(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"\.\./shared|\bthe issue\b|\bbars?\b|\banew\b|\blest\b|[A-Z]+_SECTION", text)


@pytest.mark.parametrize("folder", ["device/overheard/models", "train/checkpoints", "benchmarks/results"])
def test_results_and_manifests_do_not_refer_to_anything_unpublished(folder: str) -> None:
    for path in sorted((ROOT / folder).rglob("*.json")):
        assert "shared/corpus" not in path.read_text(encoding="utf-8"), path


def test_the_readme_is_short_and_shows_the_main_commands() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150
    shown = {tuple(words[:2]) for words in commands(README)}
    assert {("overheard", name) for name in ("index", "identify", "listen", "history", "doctor")} <= shown


def test_the_index_lists_every_page() -> None:
    linked = set(LINK.findall((ROOT / "docs" / "README.md").read_text(encoding="utf-8")))
    assert {page.name for page in DOCS} - {"README.md"} <= linked


def imported(tree: ast.AST) -> set[str]:
    """Return the modules that a piece of code imports."""
    names = set()
    for node in ast.walk(tree):
        names |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
        names |= {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
    return names


def families(path: Path) -> set[str]:
    """Return the address families that a module uses, and functions that open sockets without one."""
    text = path.read_text(encoding="utf-8")
    return set(
        re.findall(
            r"\bAF_[A-Z]\w*|\b(?:create_connection|create_server|getaddrinfo|socketpair|fromfd)\b", text
        )
    )


def test_only_three_folders_can_open_network_connections() -> None:
    """docs/privacy.md promises it."""
    package = ROOT / "device" / "overheard"
    for path in sorted(package.rglob("*.py")):
        names = imported(ast.parse(path.read_text(encoding="utf-8")))
        # `urllib.parse` only splits addresses.
        used = {name.partition(".")[0] for name in names - {"urllib.parse"}} & NETWORK_MODULES
        folder = path.parent.relative_to(package).as_posix()
        if path.relative_to(package).as_posix() in LOCAL_SOCKETS:
            assert families(path) <= {"AF_UNIX", "socketpair"}, path
            assert used <= {"socket"}, path
        elif folder == LOCAL_BUS:
            assert used <= {"jeepney"}, path
        elif folder not in NETWORK_FOLDERS:
            assert not used, path


def test_only_their_commands_import_what_opens_network_connections() -> None:
    """docs/privacy.md promises it."""
    package = ROOT / "device" / "overheard"
    users: dict[str, set[str]] = {folder: set() for folder in NETWORK_FOLDERS}
    for path in sorted(package.rglob("*.py")):
        names = imported(ast.parse(path.read_text(encoding="utf-8")))
        for folder in NETWORK_FOLDERS:
            module = f"overheard.{folder.replace('/', '.')}"
            # `state` reads and writes the file of subscriptions, and knows no connections.
            others = {name for name in names if f"{name}.".startswith(f"{module}.")}
            if others - {"overheard.updates.state"} and not path.is_relative_to(package / folder):
                users[folder].add(path.relative_to(package).as_posix())
    assert users == {
        "updates": {"commands/updates.py"},
        "sinks/network": {"sinks/metrics.py"},
        "web": {"commands/web.py"},
    }


def test_listen_with_default_settings_imports_nothing_that_can_open_network_connections() -> None:
    code = """
import sys
from overheard.cli import build_parser
from overheard.commands import listen, outputs
from overheard.daemon import Pause
from overheard.settings import load
settings, _ = load(env={"OVERHEARD_DATA_DIR": sys.argv[1]})
args = build_parser().parse_args(["listen", "--no-history"])
sinks = listen.open_sinks(args, settings, "mic") + outputs.open_enabled_sinks(settings, Pause())
from overheard.recognize import listener, open
rooms = ("overheard.updates", "overheard.web", "overheard.sinks.network", "overheard.sinks.desktop")
libraries = ("ssl", "http.client", "asyncio", "jeepney", "paho", "pylast")
print([name for name in sys.modules if name.startswith(rooms) or name in libraries])
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "device")}
    command = [sys.executable, "-c", code, "/nonexistent"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_updates_run_only_when_their_commands_do() -> None:
    """docs/privacy.md promises it: no other function of the command line imports them."""
    path = ROOT / "device" / "overheard" / "commands" / "updates.py"
    users = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if any(name.startswith("overheard.updates") for name in imported(node)):
            users.add(node.name if isinstance(node, ast.FunctionDef) else ast.unparse(node).splitlines()[0])
    assert users == {"run_subscribe", "run_unsubscribe", "run_update", "if TYPE_CHECKING:"}


def test_each_fault_has_its_test() -> None:
    text = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    names = set(re.findall(r"`(test_\w+)`", text))
    assert len(names) > 50
    assert not {name for name in names if f"def {name}(" not in tests}
