"""Run `overheard web` as users do, and talk to it over HTTP."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from overheard.events import MusicUnknown, Play, PlayEnded, PlayStarted, Status, Track
from overheard.history.writer import HistorySink
from overheard_bench.page import write_song

TIMEOUT_S = 60.0  # for a busy machine
DEVICE = Path(__file__).resolve().parents[1] / "device"
TRACK = Track("a" * 12, "Alpha", "Ann", "First", "/nothing/a.mp3", "music", 200.0)
PLAY = Play(TRACK, 10.0, 30.0, 62.0, 5.0, 0.93, speed=1.02)
STATUS = Status("playing", -31.5, -60.0, True, 0.98, PLAY, {"network": 1.25, "search": 0.5}, 60.0, 0.0, None)


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        return str(self.json["error"]["problem"])


@dataclasses.dataclass
class WebServer:
    """A running `overheard web`."""

    process: subprocess.Popen[str]
    data_dir: Path
    port: int
    token: str
    lines: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Send one request; a body that is not bytes becomes JSON."""
        sent = {"Content-Type": "application/json"} if body is not None else {}
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        with contextlib.closing(connection):
            connection.request(method, path, data, {**sent, **(headers or {})})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask(
            "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S)

    def stream(self, path: str = "/api/v1/events") -> EventStream:
        client = self.raw()
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode())
        return EventStream(client)


class EventStream:
    """An open event stream."""

    def __init__(self, client: socket.socket) -> None:
        self.socket = client
        self._file = client.makefile("rb")

    def next(self, name: str) -> Any:
        """Return the data of the next event of a kind."""
        while line := self._file.readline():
            if line == f"event: {name}\n".encode():
                return json.loads(self._file.readline().partition(b":")[2])
        raise EOFError

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@contextlib.contextmanager
def web_server(data_dir: Path, *options: str, setup: str = "", config: str = "") -> Iterator[WebServer]:
    """Run `overheard web` with options; `setup` is Python that runs before, such as shorter timeouts."""
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / "config.toml").write_text(config)
    arguments = ["--config", str(data_dir / "config.toml"), "--data-dir", str(data_dir), "web"]
    if "--socket" not in options:
        arguments += ["--port", "0"]
    program = (
        f"{setup}\nimport sys\nfrom overheard.cli import main\nsys.exit(main({[*arguments, *options]!r}))"
    )
    env = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    env["PYTHONPATH"] = os.pathsep.join([str(DEVICE), env.get("PYTHONPATH", "")])
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, env=env)
    lines: list[str] = []
    try:
        address = _address(process, lines)
        port = int(address[1]) if address else 0
        yield WebServer(process, data_dir, port, (address[2] or "") if address else "", lines)
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)
        assert process.stderr is not None
        process.stderr.close()


def _address(process: subprocess.Popen[str], lines: list[str]) -> re.Match[str] | None:
    """Return port and token from the line that the program prints; None for a Unix-domain socket."""
    assert process.stderr is not None
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        if not select.select([process.stderr], [], [], 1)[0]:
            continue
        line = process.stderr.readline()
        lines.append(line)
        found = re.search(r"http://[^/ ]*:(\d+)/(?:login#(\S+))?", line)
        if found or "serving the page on" in line:
            return found
        assert line, f"it ended: {lines}"
    raise AssertionError(f"it did not start: {lines}")


def write_history(
    data_dir: Path, plays: Sequence[tuple[Track, float]], unknown: Sequence[tuple[int, float]] = ()
) -> None:
    """Write plays of a minute each, and unknown music, which start at these Unix times."""
    sink = HistorySink(data_dir / "history.sqlite", "default")
    for track, start in plays:
        play = Play(track, 0.0, 60.0, 5.0, 5.0, 0.93)
        sink.handle(PlayStarted(play), start)
        sink.handle(PlayEnded(play), start)
    for unknown_id, start in unknown:
        sink.handle(MusicUnknown(0.0, 30.0, unknown_id, 1, start), start)
    sink.close()


def write_mp3(path: Path, picture: bytes) -> None:
    """Write a second of an MP3 whose tags have a picture."""
    waveform = np.random.default_rng(0).normal(0, 0.1, 22050).clip(-1, 1).astype(np.float32)
    write_song(path, waveform, 22050, picture)


def png(width: int = 300, height: int = 300) -> bytes:
    """Return a picture."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2] = (200, 30, 30)
    codec = av.CodecContext.create("png", "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.width, codec.height, codec.pix_fmt, codec.framerate = width, height, "rgb24", 1  # type: ignore[assignment]
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    return b"".join(bytes(packet) for packet in (*codec.encode(frame), *codec.encode(None)))
