"""The live socket: what clients receive, who may connect, and clients that misbehave."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from overheard.commands import status as status_command
from overheard.errors import OverheardError
from overheard.events import Play, PlayEnded, PlayStarted, Status, Track
from overheard.live.address import socket_path
from overheard.live.client import LiveClient, LiveError, NotRunning
from overheard.live.connection import MAX_REQUESTS_PER_S
from overheard.live.picture import BANDS, COLUMNS_PER_S, MelPicture
from overheard.live.picture_listener import PictureListener
from overheard.live.protocol import MAX_REQUEST_BYTES, status_json
from overheard.live.server import MAX_CLIENTS, LiveServer
from overheard.live.socket_file import SocketFile, SocketTaken
from overheard.settings import Settings

TRACK = Track("a" * 12, "Alpha", "Ann", "", "/a.flac", "music", 200.0)
PLAY = Play(TRACK, 10.0, 30.0, 62.0, 5.0, 0.93, speed=1.02)
STATUS = Status("playing", -31.5, -60.0, True, 0.98, PLAY, {"network": 1.25}, 60.0, 0.0, 4.0)
TIMEOUT_S = 20.0


class Pauses:
    """Records what clients ask for."""

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.reason, self.until = "", None

    def pause(self, for_s: float | None) -> None:
        self.calls.append(for_s)

    def resume(self) -> None:
        self.calls.append("resume")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "live.sock"


@pytest.fixture
def server(path: Path) -> Iterator[LiveServer]:
    server = LiveServer(path, "1.2.3", Pauses())
    yield server
    server.close()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def raw(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(TIMEOUT_S)
    client.connect(str(path))
    return client


def read_all(client: socket.socket) -> list[dict]:
    """Return the messages until the server closes the connection."""
    data = b""
    try:
        while chunk := client.recv(65536):
            data += chunk
    except ConnectionError:
        pass
    return [json.loads(line) for line in data.splitlines()]


def test_a_client_receives_events_in_the_form_of_listen_json(server: LiveServer, path: Path) -> None:
    with LiveClient(path) as client:
        assert client.first("hello", TIMEOUT_S) == {
            **{"event": "hello", "protocol": 1, "version": "1.2.3"},
            "rooms": [],
        }
        server.handle(PlayStarted(PLAY), 1_000_000.0)
        server.handle(PlayEnded(PLAY), 1_000_000.0)
        messages = client.messages(TIMEOUT_S)
        started, ended = next(messages), next(messages)
    assert started["event"] == "play_started"
    assert ended["event"] == "play_ended"
    assert started["play"]["track"]["title"] == "Alpha"
    assert started["started_at"] == "1970-01-12T13:46:50.000Z"


def test_a_client_receives_the_last_status_at_once(server: LiveServer, path: Path) -> None:
    server.publish_status(STATUS, 1_000_000.0)
    with LiveClient(path) as client:
        status = client.first("status", TIMEOUT_S)
    assert status is not None
    assert status["state"] == "playing"
    assert status["playing"]["duration_s"] == 200
    assert status["playing"]["started_at"] == "1970-01-12T13:46:50.000Z"


@pytest.mark.parametrize(("now_s", "heard_s"), [(25.0, 20.0), (30.0, 20.0), (40.0, 30.0), (1e9, 320.0)])
def test_the_position_goes_on_between_two_looks(now_s: float, heard_s: float) -> None:
    """The play started at 10 s and was confirmed at 30 s; a file may be read faster than the clock."""
    status = status_json(STATUS, 1_000_000.0, 1_000_000.0 + now_s)
    assert status["playing"]["position_s"] == pytest.approx(62 + heard_s * 1.02)


def test_digital_silence_and_numpy_numbers_are_valid_json(server: LiveServer, path: Path) -> None:
    quiet = Status("silence", -np.inf, np.float32(-90), np.bool_(False), np.float32(0), None, {}, 1, 0, None)  # type: ignore[arg-type]
    server.publish_status(quiet)
    with LiveClient(path) as client:
        status = client.first("status", TIMEOUT_S)
    assert status is not None
    assert (status["level_db"], status["floor_db"], status["gate_open"]) == (-120, -90, False)


def test_only_clients_that_ask_get_the_picture(server: LiveServer, path: Path) -> None:
    with LiveClient(path) as watching, LiveClient(path) as other:
        assert not server.wants_mel
        watching.request({"do": "watch", "mel": True})
        assert server.wants_mel
        other.request({"do": "watch", "mel": False})
        server.publish_mel([[-10, -20]])
        server.handle(PlayStarted(PLAY), 0.0)
        mel = watching.first("mel", TIMEOUT_S)
        assert mel == {"event": "mel", "room": "", "columns_per_s": COLUMNS_PER_S, "columns": [[-10, -20]]}
        assert next(other.messages(TIMEOUT_S))["event"] == "play_started"
    wait_for(lambda: not server.wants_mel)


def test_clients_pause_and_resume(server: LiveServer, path: Path) -> None:
    with LiveClient(path) as client:
        client.request({"do": "pause", "for_s": 60})
        client.request({"do": "pause", "for_s": None})
        client.request({"do": "resume"})
    assert isinstance(server._pause, Pauses)
    assert server._pause.calls == [60, None, "resume"]


def test_a_server_without_pause_says_so(path: Path) -> None:
    server = LiveServer(path)
    with LiveClient(path) as client, pytest.raises(LiveError, match="cannot be paused"):
        client.request({"do": "pause"})
    server.close()


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"[1]",
        b"{}",
        b'{"do": "dance"}',
        b'{"do": "pause", "for_s": -1}',
        b'{"do": "pause", "for_s": true}',
        b'{"do": "pause", "for_s": 1e99}',
        b'{"do": "pause", "for_s": NaN}',
        b'{"do": "pause", "loud": 1}',
        b'{"do": "watch"}',
        b"\xff\xfe",
        b"[" * 900,
    ],
)
def test_a_malformed_request_gets_one_error_and_the_connection_ends(
    server: LiveServer, path: Path, line: bytes
) -> None:
    client = raw(path)
    client.sendall(line + b"\n" + b'{"do": "resume"}\n')
    replies = [message for message in read_all(client) if message["event"] == "reply"]
    assert [reply["ok"] for reply in replies] == [False]
    assert replies[0]["error"]
    assert isinstance(server._pause, Pauses)
    assert server._pause.calls == []


def test_a_request_without_an_end_is_bounded(server: LiveServer, path: Path) -> None:
    client = raw(path)
    client.sendall(b"x" * (MAX_REQUEST_BYTES + 1))
    assert "bytes" in read_all(client)[-1]["error"]
    assert server.dropped == 1


def test_a_flood_of_requests_is_bounded(server: LiveServer, path: Path) -> None:
    client = raw(path)
    client.sendall(b'{"do": "resume"}\n' * 150)
    replies = [message for message in read_all(client) if message["event"] == "reply"]
    assert [reply["ok"] for reply in replies] == [True] * MAX_REQUESTS_PER_S + [False]


def test_a_client_that_does_not_read_is_dropped_and_the_others_go_on(server: LiveServer, path: Path) -> None:
    stuck = raw(path)
    with LiveClient(path) as reader:
        seen: list[dict] = []

        def read() -> None:
            for message in reader.messages(TIMEOUT_S):
                seen.append(message)
                if message["event"] == "play_ended":
                    return

        thread = threading.Thread(target=read)
        thread.start()
        while not server.dropped:
            server.publish_status(STATUS)
            time.sleep(0.0005)
        server.handle(PlayEnded(PLAY), 0.0)
        thread.join(TIMEOUT_S)
    assert seen[-1]["event"] == "play_ended"
    assert server.dropped == 1
    stuck.close()


def test_there_are_at_most_so_many_clients(server: LiveServer, path: Path) -> None:
    clients = [LiveClient(path) for _ in range(MAX_CLIENTS)]
    wait_for(lambda: len(server._clients) == MAX_CLIENTS)
    assert "at most" in read_all(raw(path))[-1]["error"]
    for client in clients:
        client.close()
    wait_for(lambda: not server._clients)
    with LiveClient(path) as client:
        assert client.first("hello", TIMEOUT_S)


def test_only_the_owner_may_connect(server: LiveServer, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_socket_that_a_crash_left_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with pytest.raises(NotRunning):
        LiveClient(path)
    server = LiveServer(path)
    with LiveClient(path) as client:
        assert client.first("hello", TIMEOUT_S)
    server.close()
    assert not path.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "root"])
def test_what_is_no_socket_is_never_deleted(tmp_path: Path, kind: str) -> None:
    path = Path("/") if kind == "root" else tmp_path / "precious"
    (tmp_path / "other").write_text("text")
    if kind == "file":
        path.write_text("text")
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "other")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OverheardError, match="is not a socket"):
        SocketFile(path)
    assert sorted(tmp_path.iterdir()) == before
    assert kind in ("root", "folder") or path.read_text() == "text"


def test_a_live_socket_is_not_taken_over(server: LiveServer, path: Path) -> None:
    with pytest.raises(SocketTaken):
        LiveServer(path)
    with LiveClient(path) as client:
        assert client.first("hello", TIMEOUT_S)


def test_a_path_that_is_too_long_is_an_error_that_says_what_helps(tmp_path: Path) -> None:
    with pytest.raises(OverheardError, match="XDG_RUNTIME_DIR"):
        LiveServer(tmp_path / ("x" * 120) / "live.sock")
    with pytest.raises(LiveError):
        LiveClient(tmp_path / ("x" * 120) / "live.sock")


def test_the_socket_is_in_the_runtime_folder_or_the_data_folder() -> None:
    settings = Settings(data_dir=Path("/data"))
    assert socket_path(settings, {"XDG_RUNTIME_DIR": "/run/user/1"}) == Path(
        "/run/user/1/overheard/live.sock"
    )
    assert socket_path(settings, {}) == Path("/data/live.sock")
    assert socket_path(settings, {"XDG_RUNTIME_DIR": "relative"}) == Path("/data/live.sock")


def test_the_picture_has_four_columns_a_second_at_any_block_size() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 8000 * 5).astype(np.float32)
    whole = MelPicture().process(noise)
    small = MelPicture()
    pieces = [
        column for start in range(0, len(noise), 700) for column in small.process(noise[start : start + 700])
    ]
    assert len(whole) == 5 * COLUMNS_PER_S - 1  # the last frames are incomplete
    assert {len(column) for column in whole} == {BANDS}
    assert pieces == whole
    assert all(-60 < level < 0 for column in whole for level in column)


def test_a_tone_is_in_one_band_of_the_picture() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 8000).astype(np.float32)
    column = MelPicture().process(tone)[2]
    loud = [band for band, level in enumerate(column) if level > max(column) - 20]
    assert len(loud) <= 4


class FakeListener:
    def process(self, block: np.ndarray) -> list:
        return [PlayStarted(PLAY)]

    def gap(self, n_samples: int) -> list:
        return []

    def finish(self) -> list:
        return [PlayEnded(PLAY)]

    def status(self) -> Status:
        return STATUS


def test_a_listener_makes_pictures_only_while_they_are_wanted(server: LiveServer, path: Path) -> None:
    listener = PictureListener(FakeListener(), server)
    block = np.full(8000, 0.1, np.float32)
    assert listener.process(block) == [PlayStarted(PLAY)]
    assert listener._picture is None
    with LiveClient(path) as client:
        client.request({"do": "watch", "mel": True})
        listener.process(block)
        assert client.first("mel", TIMEOUT_S)
    wait_for(lambda: not server.wants_mel)
    listener.process(block)
    assert listener._picture is None
    assert (listener.gap(1), listener.finish(), listener.status()) == ([], [PlayEnded(PLAY)], STATUS)


def test_a_paused_status_says_until_when(server: LiveServer, path: Path) -> None:
    assert isinstance(server._pause, Pauses)
    server._pause.reason, server._pause.until = "user", 1_000_000.0  # type: ignore[assignment]
    server.publish_status(STATUS)
    with LiveClient(path) as client:
        status = client.first("status", TIMEOUT_S)
    assert status is not None
    assert status["pause"] == {"reason": "user", "until": "1970-01-12T13:46:40.000Z"}


def run_status(tmp_path: Path, *options: str) -> int:
    import argparse

    parser = argparse.ArgumentParser()
    status_command.add_parser(parser.add_subparsers())
    return status_command.run(parser.parse_args(["status", *options]), Settings(data_dir=tmp_path))


def test_status_says_in_one_line_that_nothing_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert run_status(tmp_path) == 1
    assert capsys.readouterr().out == "no `overheard listen` is running; start it, with the same --data-dir\n"
    assert run_status(tmp_path, "--json") == 1
    assert json.loads(capsys.readouterr().out) == {"running": False}


def test_status_shows_what_plays_and_what_it_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    server = LiveServer(socket_path(Settings(data_dir=tmp_path)))
    server.publish_status(STATUS)
    assert run_status(tmp_path) == 0
    text = capsys.readouterr().out
    for part in ("Ann - Alpha", "at 1:22 of 3:20", "confidence 93%", "speed +2.0%", "2.1% of a processor"):
        assert part in text
    assert run_status(tmp_path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["running"] is True
    server.close()


def test_a_server_that_sends_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(status_command, "_TIMEOUT_S", 0.1)
    server = LiveServer(socket_path(Settings(data_dir=tmp_path)))
    with pytest.raises(OverheardError, match="does not answer"):
        run_status(tmp_path)
    server.close()


@pytest.mark.parametrize(
    "sent",
    [
        {"event": "hello", "protocol": 99},
        {"event": "status", "state": "playing"},  # of a version with fewer fields
    ],
)
def test_status_of_another_version_is_an_error_that_says_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: dict
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(socket_path(Settings(data_dir=tmp_path))))
        other.listen()

        def answer() -> None:
            with other.accept()[0] as connection:
                connection.sendall(json.dumps(sent).encode() + b"\n")
                connection.recv(1)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(OverheardError, match="another version; restart it"):
            run_status(tmp_path)
        thread.join(10)


def test_closing_twice_and_publishing_afterwards_harm_nothing(path: Path) -> None:
    server = LiveServer(path)
    descriptors = len(os.listdir("/proc/self/fd"))
    server.close()
    server.close()
    server.handle(PlayStarted(PLAY), 0.0)
    server.publish_status(STATUS)
    assert len(os.listdir("/proc/self/fd")) < descriptors
