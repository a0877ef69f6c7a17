from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from overheard import cli
from overheard.catalogue.selection import choose_packs, pack_paths
from overheard.commands import config, identify
from overheard.errors import AudioError, PackError
from overheard.events import Match, Play, Track
from overheard.hear import decode as audio
from overheard.settings import Settings
from overheard.text import clock, one_line, short_clock, size

TRACK = Track("0123456789ab", "Title", "Artist", "Album", "/music/a.flac", "music", 200.0)
PLAY = Play(TRACK, 12.0, 45.4, 62.26, 7.25, 0.934)
MATCH = Match(TRACK, 12.0, 22.0, 62.26, 7.25, 5.0, 0.934, 3.0)


@dataclasses.dataclass
class Found:
    verdict: str
    plays: tuple[Play, ...] = ()
    best: Match | None = None
    duration_s: float = 60.0


class FakeRecognizer:
    """Answers with what the file is named."""

    answers = {
        "known": Found("recognized", (PLAY,), MATCH),
        "unknown": Found("unknown", (), MATCH),
        "silence": Found("silence"),
    }

    def identify(self, waveform: str) -> Found:
        return self.answers[waveform]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Replace model, packs and decoder; lists what each opening of them asked for."""
    calls: list[list[str]] = []

    def open_recognizer(settings: Settings, packs: list[str]) -> FakeRecognizer:
        calls.append(packs)
        return FakeRecognizer()

    def load(path: Path) -> str:
        if path.name == "broken":
            raise AudioError(f"{path}: not audio\n, really")
        return path.read_text() if path.name.startswith("overheard-") else path.name

    monkeypatch.setattr("overheard.recognize.open.open_recognizer", open_recognizer)
    monkeypatch.setattr(audio, "load", load)
    return calls


def objects(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_identify_json_has_the_promised_keys(opened: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["identify", "--json", "known"]) == 0
    (found,) = objects(capsys)
    track = {"id": "0123456789ab", "title": "Title", "artist": "Artist", "album": "Album"}
    track |= {"path": "/music/a.flac", "pack": "music"}
    assert found == {
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
                "track": track,
            }
        ],
        "best": {"score": 7.25, "offset_s": 62.26, "track": track},
    }


def test_identify_keeps_order_and_loads_once(
    opened: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["identify", "silence", "broken", "known", "unknown", "--json"]) == 2
    found = objects(capsys)
    assert [line["file"] for line in found] == ["silence", "broken", "known", "unknown"]
    assert [line.get("verdict") for line in found] == ["silence", None, "recognized", "unknown"]
    assert set(found[1]) == {"file", "error"}
    assert found[0]["best"] is None
    assert found[3]["best"] is not None
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
        "unknown:\n  not recognized  (nearest: Artist - Title, score 7.25, too weak to be sure)\n"
        "broken:\n  not readable\nsilence:\n  silence\n"
    )
    assert err == "overheard: broken: not audio , really\n"


def test_identify_reads_standard_input(
    opened: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"known")))
    assert cli.main(["identify", "-", "--json"]) == 0
    assert objects(capsys)[0]["file"] == "-"


def test_identify_wants_a_file(opened: object, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_pack_option_does_not_swallow_files(own_packs: Settings, tmp_path: Path) -> None:
    audio_file, foreign = str(tmp_path / "a.wav"), str(tmp_path / "x.pack")
    Path(audio_file).touch()
    Path(foreign).touch()
    split = identify.split_packs
    assert split([], ["music", audio_file, "-"], own_packs) == ([audio_file, "-"], ["music"])
    assert split(["b"], ["music", "live", foreign], own_packs) == (["b"], ["music", "live", foreign])
    assert split(["b"], ["typo"], own_packs) == (["b"], ["typo"])


def test_packs_are_chosen_by_name_or_path(own_packs: Settings, tmp_path: Path) -> None:
    elsewhere = tmp_path / "x.pack"
    elsewhere.touch()
    assert {"music", "live"} <= set(pack_paths(own_packs))
    assert set(choose_packs(own_packs)) == set(pack_paths(own_packs))
    assert choose_packs(own_packs, ["live"]) == {"live": tmp_path / "packs" / "live.pack"}
    assert choose_packs(own_packs, [str(elsewhere)]) == {"x": elsewhere}
    assert set(choose_packs(dataclasses.replace(own_packs, packs=("music",)))) == {"music"}
    with pytest.raises(PackError, match="no pack named jazz; .*live"):
        choose_packs(own_packs, ["music", "jazz"])


def run(monkeypatch: pytest.MonkeyPatch, action: Callable[[], int]) -> int:
    monkeypatch.setattr(config, "run", lambda args, settings: action())
    return cli.main(["config"])


def raising(error: BaseException) -> Callable[[], int]:
    def action() -> int:
        raise error

    return action


def test_errors_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, raising(PackError("bad\npack \x1b[31m"))) == 2
    assert capsys.readouterr().err == "overheard: bad pack \\x1b[31m\n"


def test_interruption_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "overheard: interrupted\n"


def test_mistakes_in_the_call_exit_with_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments in ([], ["nonsense"], ["config", "--nonsense"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 2
    assert cli.main(["--config", str(tmp_path / "none"), "config"]) == 2
    assert capsys.readouterr().err.endswith("none: no such configuration file\n")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "overheard", "config", "--defaults"]
    path = os.pathsep.join(map(str, sys.path))
    env = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=env, text=True, check=False)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 141


def test_config_tells_origins(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[index]\njobs = 2\n")
    assert cli.main(["--config", str(path), "--data-dir", str(tmp_path), "config", "--json"]) == 0
    (found,) = objects(capsys)
    settings = found["settings"]
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
        assert command.format_help()


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
    assert one_line(" a\n\tb\x07 \udcff ü ") == "a b\\x07 \\udcff ü"
