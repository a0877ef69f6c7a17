from __future__ import annotations

import argparse
import dataclasses
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO, ClassVar

import pytest

from overheard import cli
from overheard.catalogue.selection import choose_packs, pack_paths
from overheard.commands import config, identify
from overheard.errors import AudioError, PackError
from overheard.events import Match, Play, Track
from overheard.hear import decode as audio
from overheard.settings import GateSettings, Settings
from overheard.text import clean, clock, length, one_line, plural, short_clock, size

TRACK = Track("0123456789ab", "Title", "Artist", "Album", "/music/a.flac", "music", 200.0)
PLAY = Play(TRACK, 12.0, 45.4, 62.26, 7.25, 0.934)
MATCH = Match(TRACK, 12.0, 22.0, 62.26, 7.25, 5.0, 0.934, 3.0)


@dataclasses.dataclass
class FakeIdentification:
    verdict: str
    plays: tuple[Play, ...] = ()
    best: Match | None = None
    duration_s: float = 60.0
    loudest_db: float = -20.04


class FakeRecognizer:
    """Identifies a file by its name."""

    answers: ClassVar = {
        "known": FakeIdentification("recognized", (PLAY,), MATCH),
        "unknown": FakeIdentification("unknown", (), MATCH),
        "silence": FakeIdentification("silence", loudest_db=-math.inf),
        "quiet": FakeIdentification("silence", loudest_db=-71.3),
    }
    gate_settings = GateSettings()

    def identify_blocks(self, blocks: Iterator[str]) -> FakeIdentification:
        return self.answers["".join(blocks)]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Replace the model, packs and decoder; return the packs of each call."""
    calls: list[list[str]] = []

    def open_recognizer(settings: Settings, packs: list[str]) -> FakeRecognizer:
        calls.append(packs)
        return FakeRecognizer()

    def decode(file: Path | BinaryIO) -> Iterator[str]:
        if not isinstance(file, Path):
            yield file.read().decode()
        elif file.name == "broken":
            raise AudioError(f"{file}: not audio\n, really")
        else:
            yield file.name

    monkeypatch.setattr("overheard.recognize.open.open_recognizer", open_recognizer)
    monkeypatch.setattr(audio, "decode", decode)
    return calls


def objects(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_identify_json_has_the_documented_keys(opened: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["identify", "--json", "known"]) == 0
    (printed,) = objects(capsys)
    track = {"id": "0123456789ab", "title": "Title", "artist": "Artist", "album": "Album"}
    track |= {"path": "/music/a.flac", "pack": "music"}
    assert printed == {
        "file": "known",
        "duration_s": 60.0,
        "verdict": "recognized",
        "plays": [
            {
                "start_s": 12.0,
                "end_s": 45.4,
                "offset_s": 62.26,
                "score": 7.25,
                "confidence": 0.934,
                "speed": 1.0,
                "track": track,
                "alternatives": [],
            }
        ],
        "best": {"score": 7.25, "offset_s": 62.26, "track": track, "alternatives": []},
        "loudest_db": -20.0,
    }


def test_identify_keeps_the_order_of_files_and_loads_the_model_once(
    opened: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["identify", "silence", "broken", "known", "unknown", "--json"]) == 2
    lines = objects(capsys)
    assert [line["file"] for line in lines] == ["silence", "broken", "known", "unknown"]
    assert [line.get("verdict") for line in lines] == ["silence", None, "recognized", "unknown"]
    assert set(lines[1]) == {"file", "error"}
    assert lines[0]["best"] is None
    assert lines[3]["best"] is not None
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ("known", 0),
        ("known known", 0),
        ("unknown", 1),
        ("known silence", 1),
        ("broken", 2),
        ("unknown broken", 2),
    ],
)
def test_identify_exit_codes(opened: object, files: str, code: int) -> None:
    assert cli.main(["identify", *files.split()]) == code


def test_identify_text(opened: object, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["identify", "known"])
    assert capsys.readouterr().out == "0:00:12-0:00:45  Artist - Title  (at 1:02)  93%\n"
    cli.main(["identify", "unknown", "broken", "silence"])
    out, err = capsys.readouterr()
    assert out == (
        "unknown:\n  not recognized  (closest: Artist - Title, score 7.25, too low to be certain)\n"
        "broken:\n  cannot be read\n"
        f"silence:\n  silence  (digital silence, and gate.open_db is {GateSettings().open_db:.0f} dBFS)\n"
    )
    assert err == "overheard: broken: not audio , really\n"
    cli.main(["identify", "quiet"])
    assert "silence  (at most -71 dBFS, and gate.open_db is" in capsys.readouterr().out


def test_identify_reads_standard_input(
    opened: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"known")))
    assert cli.main(["identify", "-", "--json"]) == 0
    assert objects(capsys)[0]["file"] == "-"


def test_a_standard_input_that_never_ends_is_an_error(
    opened: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identify, "MAX_STDIN_BYTES", 1_000_000)
    with open("/dev/zero", "rb") as endless:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=endless))
        assert cli.main(["identify", "-"]) == 2
    assert "longer than 1.0 MB; save it to a file" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_copy_of_standard_input_is_gone_when_the_process_is_killed(
    tmp_path: Path, number: signal.Signals
) -> None:
    code = "from overheard.commands.identify import opened\nwith opened('-'): pass"
    env = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, env=env)
    assert process.stdin is not None
    process.stdin.write(bytes(3_000_000))  # larger than a pipe, so the process has read and copied most of it
    process.send_signal(number)
    process.wait(120)
    process.stdin.close()
    assert list(tmp_path.iterdir()) == []


def test_identify_without_a_file_is_an_error(opened: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["identify"])
    assert caught.value.code == 2
    assert "FILE" in capsys.readouterr().err


@pytest.fixture
def own_packs(tmp_path: Path) -> Settings:
    (tmp_path / "packs").mkdir()
    for name in ("music", "live"):
        (tmp_path / "packs" / f"{name}.pack").touch()
    return Settings(data_dir=tmp_path)


def test_files_after_the_pack_option_are_files(own_packs: Settings, tmp_path: Path) -> None:
    audio_file, pack_file = str(tmp_path / "a.wav"), str(tmp_path / "x.pack")
    Path(audio_file).touch()
    Path(pack_file).touch()
    split = identify.split_packs
    assert split([], ["music", audio_file, "-"], own_packs) == ([audio_file, "-"], ["music"])
    assert split(["b"], ["music", "live", pack_file], own_packs) == (["b"], ["music", "live", pack_file])
    assert split(["b"], ["typo"], own_packs) == (["b"], ["typo"])


def test_packs_are_chosen_by_name_or_path(own_packs: Settings, tmp_path: Path) -> None:
    elsewhere = tmp_path / "x.pack"
    elsewhere.touch()
    assert {"music", "live"} <= set(pack_paths(own_packs))
    assert set(choose_packs(own_packs)) == {"music", "live"}  # not the starter pack
    assert choose_packs(own_packs, ["live"]) == {"live": tmp_path / "packs" / "live.pack"}
    assert choose_packs(own_packs, [str(elsewhere)]) == {"x": elsewhere}
    assert set(choose_packs(dataclasses.replace(own_packs, packs=("music",)))) == {"music"}
    with pytest.raises(PackError, match=r"no pack named jazz; .*live"):
        choose_packs(own_packs, ["music", "jazz"])


def run(monkeypatch: pytest.MonkeyPatch, action: Callable[[], int]) -> int:
    monkeypatch.setattr(config, "run", lambda args, settings: action())
    return cli.main(["config"])


def raising(error: BaseException) -> Callable[[], int]:
    def action() -> int:
        raise error

    return action


def test_an_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, raising(PackError("bad\npack \x1b[31m"))) == 2
    assert capsys.readouterr().err == "overheard: bad pack \\x1b[31m\n"


def test_an_interruption_prints_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "overheard: interrupted\n"


def test_usage_errors_exit_with_2_and_refer_to_the_help(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for arguments in ([], ["nonsense"], ["config", "--nonsense"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 2
        usage, error = capsys.readouterr().err.strip().rsplit("\n", 1)
        assert usage.startswith("usage: overheard")
        assert error.startswith("overheard: ")
        assert error.endswith("; see `overheard --help`")
    with pytest.raises(SystemExit):
        cli.main(["index"])
    assert capsys.readouterr().err.endswith("FOLDER; see `overheard index --help`\n")
    assert cli.main(["--config", str(tmp_path / "none"), "config"]) == 2
    assert capsys.readouterr().err.endswith("none: no such configuration file\n")


def test_a_closed_pipe_is_not_an_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "overheard", "config", "--defaults"]
    path = os.pathsep.join(map(str, sys.path))
    env = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=env, text=True, check=False)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 141


def test_config_shows_origins(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[index]\njobs = 2\n")
    assert cli.main(["--config", str(path), "--data-dir", str(tmp_path), "config", "--json"]) == 0
    (printed,) = objects(capsys)
    settings = printed["settings"]
    assert isinstance(settings, dict)
    assert settings["index.jobs"] == {"value": 2, "origin": f"file {path}"}
    assert settings["data_dir"] == {"value": str(tmp_path), "origin": "flag"}
    assert settings["listen.input"] == {"value": "default", "origin": "default"}
    cli.main(["--config", str(path), "config", "--path"])
    assert capsys.readouterr().out == f"{path}\n"


def test_every_command_has_help() -> None:
    parser = cli.build_parser()
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    assert tuple(commands.choices) == cli.COMMANDS
    for command in commands.choices.values():
        assert command.description
        assert command.format_help()


def test_the_help_lists_every_command_with_a_summary_and_shows_an_example() -> None:
    text = cli.build_parser().format_help()
    for name in cli.COMMANDS:
        assert re.search(rf"^    {name} +\w+ \w+", text, re.MULTILINE), name
    assert "overheard index ~/Music" in text
    assert max(map(len, text.splitlines())) <= 90


def test_text_helpers() -> None:
    assert [clock(s) for s in (-1, 0.9, 61, 3599.99, 36000)] == [
        "0:00:00",
        "0:00:00",
        "0:01:01",
        "0:59:59",
        "10:00:00",
    ]
    assert [short_clock(s) for s in (0, 62.9, 3600)] == ["0:00", "1:02", "1:00:00"]
    assert [size(n) for n in (0, 999, 1234, 999_999, 5e6, 7.7e10)] == [
        "0 B",
        "999 B",
        "1.2 kB",
        "1.0 MB",
        "5.0 MB",
        "77.0 GB",
    ]
    assert [length(s) for s in (0, 90, 3600, 9000)] == [
        "0.0 minutes",
        "1.5 minutes",
        "1.0 hours",
        "2.5 hours",
    ]
    assert [plural(n, "play") for n in (0, 1, 1200)] == ["0 plays", "1 play", "1,200 plays"]
    assert clean(" a\n\tb\x07 \udcff ü ") == "a b ? ü"
    assert one_line(" a\n\tb\x07 \udcff ü ") == "a b\\x07 \\udcff ü"
