"""Input that once gave a traceback, blocked, or ended in silence: each gives one line and exit code 2."""

from __future__ import annotations

import csv
import io
import logging
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from overheard import cli, settings
from overheard.catalogue.selection import shipped_packs_dir
from overheard.commands import devices, packs_show
from overheard.commands.config import toml_value
from overheard.commands.index import check_shipped
from overheard.errors import PackError, SettingsError
from overheard.events import Play, PlayEnded, PlayStarted, Track
from overheard.hear.devices import InputDevice
from overheard.history.writer import HistorySink
from overheard.settings import Settings, load
from overheard.text import LogFormatter, spreadsheet_cell

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LONG = "x" * 5000


def shell(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in which `overheard` is this checkout."""
    whole = f'overheard() {{ "{sys.executable}" -m overheard "$@"; }}\n{script}'
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        ["bash", "-c", whole],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": paths, **env},
        check=False,
    )


def one_line_error(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run a command that fails; return its message."""
    try:
        code = cli.main(argv)
    except SystemExit as error:
        code = int(error.code or 0)
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    lines = [line for line in err.splitlines() if not line.startswith(("usage:", " "))]
    assert len(lines) == 1, err
    assert lines[0].startswith("overheard: ")
    assert len(lines[0]) < 1000
    return lines[0]


@pytest.mark.parametrize(
    "toml",
    [
        "a=" + "[" * 50_000,
        "a=" + "[" * 100_000,
        "a=" + "{a=" * 10_000,
        "[index]\njobs=" + "9" * 5000,
        "[index]\njobs=0x" + "f" * 5000,
        "[gate]\nopen_db=-0x0\nhang_s=" + "9" * 400,
        ".".join("a" * 30_000) + "=1",
        ".".join("a" * 300) + "=1",
        "packs=" + "[" * 200 + "]" * 200,
        f'"{LONG}"=1',
        f'[index]\njobs="{LONG}"',
        'data_dir="a\\u0000b"',
        'data_dir="~a\\u0000b"',
        'packs=["a\\u0000b"]',
        'data_dir="~nosuchuser/x"',
        "a\0=1",
    ],
    ids=range(16),
)
def test_a_strange_configuration_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], toml: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(toml)
    one_line_error(capsys, "--config", str(path), "config")


@pytest.mark.parametrize("kind", ["fifo", "folder", "long", "loop"])
def test_a_configuration_that_is_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    path = tmp_path / "config.toml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path = tmp_path / LONG
    assert "cannot be read" in one_line_error(capsys, "--config", str(path), "config")


def test_the_empty_device_is_an_empty_configuration() -> None:
    assert load(Path(os.devnull), {})[0] == load(None, {})[0]


@pytest.mark.parametrize("name", ["OVERHEARD_CONFIG", "OVERHEARD_DATA_DIR"])
def test_an_unknown_user(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "~nosuchuser/x")
    assert "home folder" in one_line_error(capsys, "packs")


def test_an_unknown_home(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as without HOME, for an unknown user
    for name in ("OVERHEARD_DATA_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    assert "HOME" in one_line_error(capsys, "packs")


@pytest.mark.parametrize(
    "argv",
    [
        ("history", "--limit", "1" + "0" * 23),
        ("history", "--limit", "9" * 5000),
        ("history", "--limit", "-1"),
        ("history", "--since", LONG),
        ("history", "--since", "9999-12-31T23:59:59.999999"),
        ("history", "--since", "0001-01-01"),
        ("history", "--since", "9" * 5000 + "d"),
        ("demo", "--seed", "9" * 5000),
        ("index", "--jobs", "1" + "0" * 20, "x"),
        ("index", "--pack", "x" * 300, "x"),
        ("index", "--pack", "\u00e9" * 150, "x"),
        ("packs", "remove", "x" * 300),
        ("identify", "--pack", "x" * 300 + ".pack", "--", "x"),
        ("identify", "--pack", "x", LONG),
        ("index", LONG),
        ("--data-dir", LONG, "packs"),
        ("--data-dir", LONG, "history"),
        ("--data-dir", "~nosuchuser", "packs"),
        (LONG,),
    ],
    ids=range(19),
)
def test_a_strange_argument_is_one_line(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    one_line_error(capsys, *argv)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "command", ["config >/dev/full", "--help >/dev/full", "config >&-", "--version >&-", "identify - <&-"]
)
def test_a_stream_that_does_not_work_is_reported(command: str, unbuffered: str) -> None:
    done = shell(f"overheard {command}", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("overheard: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_messages_that_nobody_can_read_change_nothing() -> None:
    assert shell("overheard config 2>&- | grep -c data_dir; exit ${PIPESTATUS[0]}").stdout == "1\n"
    assert shell("overheard history --limit x 2>/dev/full").returncode == 2
    assert shell("overheard packs remove nosuch >&- 2>&-").returncode == 2
    greeting = shell("overheard listen --input - --json --no-history 2>&- </dev/null")
    assert (greeting.returncode, greeting.stdout) == (0, "")


def test_a_reader_that_has_gone_is_no_error() -> None:
    done = shell("overheard --help | head -c 0; exit ${PIPESTATUS[0]}", PYTHONUNBUFFERED="1")
    assert (done.returncode, done.stderr) == (141, "")


def history(folder: Path, **columns: object) -> None:
    """Write a history of two plays, the first with other values."""
    path = folder / "history.sqlite"
    sink = HistorySink(path, "microphone")
    for start, title in enumerate(("first", "second")):
        track = Track("0123456789ab", title, "Artist", "Album", "/music/a.flac", "music", 200.0)
        play = Play(track, float(start), start + 9.0, 1.0, 7.0, 0.9)
        sink.handle(PlayStarted(play), 1.7e9)
        sink.handle(PlayEnded(play), 1.7e9)
    sink.close()
    with sqlite3.connect(path) as db:
        for name, value in columns.items():
            db.execute(f"UPDATE plays SET {name} = ? WHERE id = 1", (value,))  # noqa: S608


@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",)])
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("started_at", b"\xff"),
        ("started_at", "9999-12-31T23:59:59+00:00-x"),
        ("ended_at", "9999-99-99"),
        ("title", b"\x00"),
        ("artist", b"7"),
        ("confidence", "high"),
        ("score", float("inf")),
        ("offset_s", b""),
    ],
)
def test_a_damaged_row_is_skipped(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    form: tuple[str, ...],
    column: str,
    value: object,
) -> None:
    history(tmp_path, **{column: value})
    assert cli.main(["--data-dir", str(tmp_path), "history", *form]) == 0
    out = capsys.readouterr().out
    assert "second" in out
    assert "first" not in out
    (record,) = caplog.records
    assert "1 play with invalid values left out" in record.getMessage()


def test_csv_has_neither_formulas_nor_escape_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history(
        tmp_path, title='=HYPERLINK("http://x")', artist="\x1b[2J\x9b", album="\t@SUM(1)", source="\r\n-1"
    )
    assert cli.main(["--data-dir", str(tmp_path), "history", "--csv"]) == 0
    out = capsys.readouterr().out
    (row, other) = csv.DictReader(io.StringIO(out))
    assert row["title"] == '\'=HYPERLINK("http://x")'
    assert row["artist"] == r"\x1b[2J\x9b"
    assert (row["album"], row["source"]) == ("'@SUM(1)", "'-1")
    assert (other["title"], other["offset_s"]) == ("second", "1.0")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d", " =", "\t=", "\r="])
def test_every_start_of_a_formula_is_known(start: str) -> None:
    assert spreadsheet_cell(f"{start}1").startswith("'")


def test_log_messages_are_one_line_without_escape_codes() -> None:
    formatter = LogFormatter("overheard: %(message)s")
    record = logging.LogRecord("x", logging.WARNING, __file__, 1, "%s", ("a\x1b]0;b\x07\nc",), None)
    assert formatter.format(record) == r"overheard: a\x1b]0;b\x07 c"
    try:
        raise ValueError("\x1b[2J\nnext")
    except ValueError:
        record.exc_info = sys.exc_info()
    lines = formatter.format(record).split("\n")
    assert lines[-2:] == [r"ValueError: \x1b[2J", "next"]
    assert all(line.isprintable() for line in lines)


def test_warnings_of_the_command_line_have_no_escape_codes() -> None:
    script = (
        "import logging; from overheard import cli; cli._start_logging(False); "
        "logging.getLogger('overheard.x').warning('skipped: %s', 'digest \\x1b[31m')"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env)
    assert done.stderr == "overheard: skipped: digest \\x1b[31m\n"


def test_settings_and_devices_are_printed_without_escape_codes() -> None:
    text = "a\x7f\x9b\u202e\U000e0001\n"
    printed = toml_value(text)
    assert printed.isprintable()
    assert tomllib.loads(f"a = {printed}") == {"a": text}
    device = InputDevice("pulse:\x1b[2J", "\x1b", "\x1b", 1, 48000, False)
    assert all(line.isprintable() for line in devices.to_table([device]))
    assert packs_show._local("9999-12-31T23:59:59-12:00")


def test_a_pack_does_not_hide_a_shipped_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shipped, *_) = shipped_packs_dir().glob("*.pack")
    message = one_line_error(
        capsys, "--data-dir", str(tmp_path), "index", "--pack", shipped.stem, str(tmp_path)
    )
    assert "ships with overheard" in message
    check_shipped(tmp_path / "music.pack")
    assert capsys.readouterr().err == ""
    (tmp_path / shipped.name).touch()  # made by an earlier version
    check_shipped(tmp_path / shipped.name)
    assert capsys.readouterr().err.count("hides the pack") == 1
    with pytest.raises(PackError, match="choose another name"):
        check_shipped(tmp_path / "other" / shipped.name)


def test_a_model_of_an_unknown_user() -> None:
    with pytest.raises(SettingsError, match="home folder"):
        _ = Settings(model="~nosuchuser/m.json").model_path
    assert settings.Settings(model="~/m.json").model_path == Path.home() / "m.json"
