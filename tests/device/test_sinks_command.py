"""`overheard sinks`, and what happens when a library is missing; the id of a recording in tags."""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from overheard.cli import main
from overheard.errors import OverheardError, SettingsError
from overheard.hear.recording_id import read_recording_id
from overheard.sinks import registry
from overheard.sinks.context import Context
from overheard.sinks.disk_queue import DiskQueue
from overheard.sinks.outbox import queue_path
from overheard.sinks.secrets import read_secret
from sink_fakes import NOON, free_port, plays, serving, settings

RECORDING = "0383dadf-2a4e-4d10-a46a-e9e041da8eb3"


@pytest.fixture
def overheard(tmp_path: Path) -> Any:
    def run(*arguments: str, config: str = "") -> int:
        file = tmp_path / "config.toml"
        file.write_text(config)
        return main(["--config", str(file), "--data-dir", str(tmp_path / "data"), *arguments])

    return run


def test_all_sinks_are_off(overheard: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert overheard("sinks", "--json") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["name"] for each in found] == [kind.name for kind in registry.KINDS]
    assert not any(each["enabled"] or each["waiting"] for each in found)
    network = [each["name"] for each in found if each["network"]]
    assert network == ["mqtt", "listenbrainz", "lastfm", "webhook"]


def test_what_waits_and_the_last_error_are_shown_but_no_secret(
    overheard: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    queue = DiskQueue(queue_path(tmp_path / "data", "webhook"))
    queue.put("a", {"event": "play_ended"}, {"last_error": "no\x1banswer", "last_error_at": NOON})
    config = '[sinks.webhook]\nenabled = true\nurl = "https://me.example/sesame?x=sesame"\n'
    assert overheard("sinks", config=config) == 0
    out = capsys.readouterr().out
    assert "me.example  1 waiting" in out
    assert "no\\x1banswer" in out
    assert "sesame" not in out
    assert overheard("sinks", "clear", "webhook", config=config) == 0
    assert capsys.readouterr().out == "webhook: 1 item deleted\n"
    assert len(queue) == 0
    assert overheard("sinks", "clear", "jsonl") == 0


def test_a_test_is_sent_or_says_what_is_wrong(overheard: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        config = f'[sinks.webhook]\nurl = "{server.url}/x"\n'
        assert overheard("sinks", "test", "webhook", config=config) == 0
        assert server.requests[0].json == {"id": "test", "event": "test"}
    assert capsys.readouterr().out == f"webhook: {server.url} accepted a test\n"
    for name, config in (
        ("webhook", f'[sinks.webhook]\nurl = "http://127.0.0.1:{free_port()}/"\n'),
        ("webhook", ""),
        ("listenbrainz", ""),
        ("lastfm", ""),
        ("command", ""),
        ("command", '[sinks.command]\ncommand = ["/no/such/program"]\n'),
        ("command", '[sinks.command]\ncommand = ["false"]\n'),
        ("jsonl", '[sinks.jsonl]\npath = "/proc/x/y"\n'),
        ("nothing", ""),
    ):
        assert overheard("sinks", "test", name, config=config) == 2, name
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("overheard: ")


def test_the_login_needs_its_settings(overheard: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert overheard("sinks", "login", "lastfm") == 2
    assert "sinks.lastfm.session_file is not set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("library", "package", "names"),
    [
        ("paho", "paho-mqtt", ["mqtt"]),
        ("pylast", "pylast", ["lastfm"]),
        ("jeepney", "jeepney", ["notify", "mpris"]),
    ],
)
def test_a_missing_library_is_one_line(
    monkeypatch: pytest.MonkeyPatch, library: str, package: str, names: list[str]
) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == library:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    for name in [
        name
        for name in sys.modules
        if name.startswith(("overheard.sinks.network", "overheard.sinks.desktop"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", refuse)
    for name in names:
        with pytest.raises(OverheardError) as caught:
            registry.kind(name).load()
        remedy = "in a clone of overheard: pip install '.[sinks]'"
        assert str(caught.value) == f"{name}: {package} is not installed; {remedy}"


def test_a_sink_that_cannot_be_opened_closes_the_others(tmp_path: Path) -> None:
    chosen = settings(tmp_path, jsonl_enabled=True, command_enabled=True)
    with pytest.raises(SettingsError, match=r"command\.command is empty"):
        registry.open_enabled(chosen, Context())
    again = registry.open_enabled(settings(tmp_path, jsonl_enabled=True), Context())
    for event in plays(1):
        again[0].handle(event, NOON)
    again[0].close()
    assert (tmp_path / "plays.jsonl").exists()


# Secrets


def test_where_secrets_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text("  from the file\n")
    file.chmod(0o600)
    monkeypatch.setenv("X_TOKEN", " from the environment ")
    assert read_secret("x", str(file), "X_TOKEN") == "from the file"
    assert read_secret("x", "", "X_TOKEN") == "from the environment"
    assert read_secret("x", "", "Y_TOKEN", required=False) == ""
    file.write_text("\ufefffrom an editor that starts files with a byte order mark")
    assert read_secret("x", str(file), "X_TOKEN").startswith("from an editor")
    with pytest.raises(SettingsError, match="x is not set"):
        read_secret("x", "", "Y_TOKEN")
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="every user can read"):
        read_secret("x", str(file), "X_TOKEN")
    for path in (tmp_path, tmp_path / "missing", Path("/dev/zero")):
        with pytest.raises(SettingsError):
            read_secret("x", str(path), "X_TOKEN")


@pytest.mark.parametrize("secret", ["a\nb", "a\r\nX-Header: b", "\u00e4", "a\0"])
def test_a_secret_cannot_add_a_header(tmp_path: Path, secret: str) -> None:
    file = tmp_path / "secret"
    file.write_text(secret)
    file.chmod(0o600)
    with pytest.raises(SettingsError, match="not allowed") as caught:
        read_secret("x", str(file), "X_TOKEN")
    assert secret not in str(caught.value)


# Tags


def write_audio(path: Path, tags: dict[str, str]) -> None:
    with av.open(str(path), "w") as container:
        container.metadata.update(tags)
        stream: Any = container.add_stream({".flac": "flac", ".mp3": "mp3"}[path.suffix], 44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4608), np.int16), "s16", "mono")
        frame.sample_rate = 44100
        for converted in av.AudioResampler(stream.format, "mono", 44100).resample(frame):
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("name", ["MUSICBRAINZ_TRACKID", "MusicBrainz Track Id"])
def test_the_id_of_a_recording_is_read_from_the_tags(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.flac"
    write_audio(path, {name: RECORDING.upper()})
    assert read_recording_id(path) == RECORDING


def test_the_id_of_a_recording_in_mp3(tmp_path: Path) -> None:
    path = tmp_path / "x.mp3"
    write_audio(path, {"title": "x"})
    assert read_recording_id(path) == ""
    body = b"http://musicbrainz.org\0" + RECORDING.encode()
    frame = b"UFID" + len(body).to_bytes(4, "big") + b"\0\0" + body
    path.write_bytes(b"ID3\x03\0\0" + bytes([0, 0, 0, len(frame)]) + frame + path.read_bytes())
    assert read_recording_id(path) == RECORDING


@pytest.mark.parametrize("value", ["", "no id", RECORDING + "x", "'; DROP TABLE"])
def test_what_is_no_id_is_not_used(tmp_path: Path, value: str) -> None:
    write_audio(tmp_path / "x.flac", {"MUSICBRAINZ_TRACKID": value})
    assert read_recording_id(tmp_path / "x.flac") == ""
    assert read_recording_id(tmp_path / "missing.flac") == ""
    (tmp_path / "text.flac").write_text("no audio")
    assert read_recording_id(tmp_path / "text.flac") == ""
