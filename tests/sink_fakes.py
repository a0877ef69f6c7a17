"""What tests of sinks share: plays, a clock that does not wait, and an HTTP server that can misbehave."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sized
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from overheard import settings as settings_module
from overheard.events import Event, Play, PlayEnded, PlayStarted, PlayUpdated, Track
from overheard.settings import Settings
from overheard.sinks.courier import Courier

NOON = 1_790_000_000.0  # Unix time at which the clock of the source is 0


def track(number: int = 0, duration_s: float = 200.0, artist: str = "Ann") -> Track:
    path = f"/home/me/Music/{number}.flac"
    return Track(f"{number:012x}", f"Song {number}", artist, "Album", path, "music", duration_s)


def play(number: int = 0, start_s: float = 0.0, length_s: float = 180.0, offset_s: float = 0.0) -> Play:
    return Play(track(number), start_s, start_s + length_s, offset_s, 5.0, 0.93)


def plays(count: int) -> Iterator[Event]:
    """Yield the events of plays that follow one another."""
    for number in range(count):
        start_s = 200.0 * number
        yield PlayStarted(play(number, start_s, 10.0))
        yield PlayUpdated(play(number, start_s, 100.0))
        yield PlayEnded(play(number, start_s, 180.0))


def settings(data_dir: Path, **chosen: Any) -> Settings:
    """Return settings; names of the form `mqtt_host` are those of sinks."""
    values = {f"sinks.{name.replace('_', '.', 1)}": value for name, value in chosen.items()}
    return settings_module.load(env={}, overrides={"data_dir": data_dir, **values})[0]


class Clock:
    """A clock that shows what it was set to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def run_courier(courier: Courier, clock: Clock, until_s: float, waiting: Callable[[], int]) -> None:
    """Let a courier work until nothing waits, or until the clock shows a time."""
    while waiting() and clock.now_s < until_s:
        clock.now_s += max(courier.step(), 1e-3)


def through_an_outage(
    handle: Callable[[Event, float], None], courier: Courier, clock: Clock, queue: Sized, count: int = 1000
) -> None:
    """Send plays of three minutes; the receiver should be away from the second 50,000 to 53,600."""
    for event in plays(count):
        handle(event, NOON)
        if isinstance(event, PlayEnded):
            clock.now_s = max(clock.now_s, event.play.end_s)
            run_courier(courier, clock, clock.now_s + 15, queue.__len__)
    run_courier(courier, clock, clock.now_s + 4000, queue.__len__)
    assert len(queue) == 0


def away(clock: Clock) -> bool:
    """Return whether the receiver is away."""
    return 50_000 <= clock.now_s < 53_600


def wait_for(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def make_certificate(certificate: Path, key: Path) -> None:
    """Make a certificate of localhost that signs itself."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*command, *names, *files], check=True, capture_output=True, timeout=60)


@dataclasses.dataclass
class Reply:
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    raw: bytes | None = None  # instead of an answer in HTTP
    hold_s: float = 0.0  # before the answer
    drip: bool = False  # one byte now and then


@dataclasses.dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """An HTTP server on this computer; `reply` decides what it answers."""

    def __init__(self, reply: Callable[[Request], Reply] = lambda _request: Reply()) -> None:
        self.requests: list[Request] = []
        self.reply = reply
        self.stopping = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(self.command, self.path, dict(self.headers), body)
                outer.requests.append(request)
                reply = outer.reply(request)
                outer.stopping.wait(reply.hold_s)
                with contextlib.suppress(OSError):
                    self.answer(reply)

            do_GET = do_POST

            def answer(self, reply: Reply) -> None:
                if reply.drip:
                    while not outer.stopping.wait(0.05):
                        self.wfile.write(b"x")
                        self.wfile.flush()
                if reply.raw is not None:
                    self.wfile.write(reply.raw)
                    return
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def serving(reply: Callable[[Request], Reply] = lambda _request: Reply()) -> Iterator[Server]:
    server = Server(reply)
    try:
        yield server
    finally:
        server.close()
