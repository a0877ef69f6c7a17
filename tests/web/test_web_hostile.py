"""Hostile and slow clients: each is bounded, and the others are served."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from overheard.live.server import LiveServer
from web_fakes import STATUS, TIMEOUT_S, TRACK, WebServer, web_server, write_history

SHORT = """
import overheard.web.connection as c, overheard.web.hub as h
c._REQUEST_S, c._STUCK_S = 0.5, 0.5
"""


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """A server whose deadlines are short."""
    with web_server(tmp_path_factory.mktemp("data"), setup=SHORT) as server:
        yield server


def answer_to(web: WebServer, request: bytes) -> bytes:
    """Send bytes; return everything until the server closes the connection."""
    client = web.raw()
    data = b""
    with contextlib.suppress(OSError):
        client.sendall(request)
    with contextlib.suppress(ConnectionError):
        while chunk := client.recv(65536):
            data += chunk
    client.close()
    return data


def host(web: WebServer) -> bytes:
    return f"Host: 127.0.0.1:{web.port}\r\n".encode()


def memory_kb(web: WebServer) -> int:
    text = Path(f"/proc/{web.process.pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1])


@pytest.fixture(autouse=True)
def still_works(web: WebServer) -> Iterator[None]:
    before = memory_kb(web)
    yield
    assert web.get("/api/v1").status == 200
    assert memory_kb(web) < before + 60_000


def test_a_flood_of_headers_ends(web: WebServer) -> None:
    flood = (
        b"GET / HTTP/1.1\r\n" + host(web) + b"".join(b"X-%d: %s\r\n" % (i, b"x" * 1000) for i in range(5000))
    )
    assert answer_to(web, flood)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 431", b"")


def test_one_endless_header_ends(web: WebServer) -> None:
    assert answer_to(web, b"GET / HTTP/1.1\r\nX: " + b"x" * 10_000_000)[:12] in (
        b"HTTP/1.1 400",
        b"HTTP/1.1 431",
        b"",
    )


def test_an_endless_address_ends(web: WebServer) -> None:
    assert answer_to(web, b"GET /" + b"a" * 1_000_000)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 431", b"")


@pytest.mark.parametrize("path", ["/api/v1/pause", "/login", "/api/v1", "/nothing"])
def test_a_huge_body_is_not_read(web: WebServer, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\n".encode() + host(web) + b"Content-Type: application/json\r\n"
    answer = answer_to(web, head + b"Content-Length: 1000000000\r\n\r\n" + b"x" * 5_000_000)
    assert answer[:10] in (b"HTTP/1.1 4", b"")


def test_a_huge_chunked_body_is_not_read(web: WebServer) -> None:
    head = b"POST /api/v1/pause HTTP/1.1\r\n" + host(web) + b"Content-Type: application/json\r\n"
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    assert answer_to(web, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 50)[:12] in (
        b"HTTP/1.1 413",
        b"",
    )


def test_a_body_within_the_limit_is_read(web: WebServer) -> None:
    assert web.ask("POST", "/api/v1/pause", b" " * 4000 + b"{}").status == 409
    assert web.ask("POST", "/api/v1/pause", b" " * 5000 + b"{}").status == 413


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/....//app.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/..\\app.py",
        "/static/index.html%00.js",
        "/../../../../etc/passwd",
        "//etc/passwd",
        "/api/v1/covers/..%2f..%2fetc%2fpasswd",
        "/api/v1/packs/..%2f..%2fx",
    ],
)
def test_no_path_leads_out_of_the_page(web: WebServer, path: str) -> None:
    answer = answer_to(web, f"GET {path} HTTP/1.1\r\nConnection: close\r\n".encode() + host(web) + b"\r\n")
    assert answer[:12] in (b"HTTP/1.1 404", b"HTTP/1.1 400", b"HTTP/1.1 405")
    assert b"root:" not in answer
    assert b"import" not in answer


@pytest.mark.parametrize(
    "request_text",
    [
        b"",
        b"\0" * 1000,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /api/v1/pause HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\rc\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(web: WebServer, request_text: bytes) -> None:
    client = web.raw()
    client.sendall(request_text)
    client.shutdown(socket.SHUT_WR)
    data = b""
    with contextlib.suppress(ConnectionError):
        while chunk := client.recv(65536):
            data += chunk
    client.close()
    assert data[:10] in (b"", b"HTTP/1.1 4")


def test_websockets_are_not_spoken(web: WebServer) -> None:
    upgrade = (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    client = web.raw()
    client.sendall(b"GET /nothing HTTP/1.1\r\n" + host(web) + upgrade)
    assert client.recv(100).startswith(b"HTTP/1.1 404")
    client.close()


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: local",
        b"GET /api/v1 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\ntoken=",
    ],
    ids=["nothing", "half the headers", "half the second request", "half the body"],
)
def test_a_client_that_sends_slowly_is_disconnected(web: WebServer, start: bytes) -> None:
    """Slow loris: a byte now and then does not extend the deadline."""
    client = web.raw()
    client.sendall(start)
    client.settimeout(0.1)
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        assert time.monotonic() < deadline
        try:
            if not client.recv(65536):
                break
        except TimeoutError:
            with contextlib.suppress(OSError):
                client.sendall(b"a" if start else b"")
        except ConnectionError:
            break
    client.close()


def test_many_idle_connections_do_not_lock_others_out(web: WebServer) -> None:
    clients = [web.raw() for _ in range(600)]
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            if web.get("/api/v1").status == 200:
                break
        except OSError:
            pass
        assert time.monotonic() < deadline
    for client in clients:
        client.close()


def test_a_stream_that_is_not_read_is_ended_and_the_others_go_on(web: WebServer) -> None:
    live = LiveServer(web.data_dir / "live.sock")
    stuck = web.raw()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.sendall(b"GET /api/v1/events?mel=true HTTP/1.1\r\n" + host(web) + b"\r\n")
    reader = web.stream()
    while not reader.next("live")["running"]:
        pass
    deadline = time.monotonic() + 2 * TIMEOUT_S
    while (web.get("/api/v1/status").json)["streams"] > 1:
        assert time.monotonic() < deadline
        for _ in range(20):
            live.publish_mel([[-10] * 20_000])
            time.sleep(0.01)
        live.publish_status(STATUS)
        assert reader.next("status")["state"] == "playing"
    reader.close()
    stuck.close()
    live.close()


def test_there_are_at_most_so_many_streams(tmp_path: Path) -> None:
    with web_server(tmp_path, setup="import overheard.web.hub as h; h.MAX_STREAMS = 3") as server:
        streams = [server.stream() for _ in range(3)]
        for stream in streams:
            stream.next("live")
        assert server.get("/api/v1/events").status == 503
        streams[0].close()
        deadline = time.monotonic() + TIMEOUT_S
        while server.get("/api/v1/status").json["streams"] == 3:
            assert time.monotonic() < deadline
        again = server.stream()
        again.next("live")
        for stream in (again, *streams[1:]):
            stream.close()


def test_200_streams_get_everything_from_one_reader(tmp_path: Path) -> None:
    live = LiveServer(tmp_path / "live.sock")
    with web_server(tmp_path) as server:
        streams = [server.stream() for _ in range(200)]
        for stream in streams:
            while not stream.next("live")["running"]:
                pass
        assert server.get("/api/v1/status").json["streams"] == 200
        assert len(live._clients) == 1
        for number in range(5):
            live.publish_status(STATUS)
            for stream in streams:
                assert stream.next("status")["playing"]["track"]["title"] == "Alpha", number
        for stream in streams:
            stream.close()
        deadline = time.monotonic() + TIMEOUT_S
        while server.get("/api/v1/status").json["streams"]:
            assert time.monotonic() < deadline
    live.close()


def test_descriptors_do_not_leak(web: WebServer) -> None:
    folder = Path(f"/proc/{web.process.pid}/fd")
    write_history(web.data_dir, [(TRACK, 1_790_000_000.0)])
    web.get("/api/v1/plays")
    before = len(os.listdir(folder))
    for _ in range(20):
        for path in ("/api/v1/plays", "/api/v1/packs", "/api/v1/covers/aaaaaaaaaaaa", "/"):
            web.get(path)
        web.stream().close()
    deadline = time.monotonic() + TIMEOUT_S
    while len(os.listdir(folder)) > before + 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
