"""Streams of the network as an input, from real servers on this computer."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from audio_files import FORMATS, encode, music
from overheard.commands.privacy import sent
from overheard.commands.service import needs_network
from overheard.errors import AudioError
from overheard.hear.open import open_source
from overheard.hear.source import DeviceLost
from overheard.hear.stream import StreamSource
from overheard.settings import Settings, load


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self.server.answer(self)  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    answer: Callable[[http.server.BaseHTTPRequestHandler], None]


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def url(server: Server, path: str = "/radio?key=secret") -> str:
    return f"http://127.0.0.1:{server.server_port}{path}"


def station(content: bytes, stall: threading.Event | None = None):
    """Return a handler that sends audio without a length, as stations do, and then ends or stalls."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "audio/mpeg")
        request.end_headers()
        with contextlib.suppress(OSError):
            request.wfile.write(content)
            if stall is not None:
                request.wfile.flush()
                stall.wait(60)

    return answer


@pytest.fixture(scope="module")
def mp3(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    codec, rate, layout = FORMATS[".mp3"]
    path = tmp_path_factory.mktemp("radio") / "a.mp3"
    return encode(path, music(10.0, 1, rate, 2), rate, codec, layout).read_bytes()


def test_a_station_is_heard_and_lost_when_it_ends(server: Server, mp3: bytes):
    server.answer = station(mp3)
    source = open_source(f"stream:{url(server)}", Settings())
    assert (source.name, source.live) == ("stream:127.0.0.1", True)
    blocks: list[np.ndarray] = []

    def hear() -> None:
        for block in source.blocks():
            assert isinstance(block, np.ndarray)
            blocks.append(block)

    with pytest.raises(DeviceLost, match=r"^stream:127\.0\.0\.1( has ended|: Input/output error)$"):
        hear()
    assert sum(block.size for block in blocks) == pytest.approx(80_000, abs=2000)
    assert np.abs(np.concatenate(blocks)).max() > 1000
    with pytest.raises(DeviceLost):  # again, as the daemon does after a pause of seconds
        list(source.blocks())


def test_a_file_is_read_at_normal_speed_and_not_again_and_again(
    server: Server, mp3: bytes, monkeypatch: pytest.MonkeyPatch
):
    """Otherwise, it is loaded every second, and the times of its plays overlap."""
    monkeypatch.setattr("overheard.hear.stream._AHEAD_S", 7.0)
    server.answer = station(mp3)
    source, began_s = StreamSource(url(server)), time.monotonic()
    with pytest.raises(DeviceLost):
        list(source.blocks())
    assert time.monotonic() - began_s >= 2.5  # 10 s less 7, and what a coder leaves out


def test_a_station_that_stalls_is_lost(server: Server, mp3: bytes, monkeypatch: pytest.MonkeyPatch):
    stall = threading.Event()
    server.answer = station(mp3, stall)
    source = StreamSource(url(server))
    monkeypatch.setattr(source, "_audio", dataclasses.replace(source._audio, timeout_s=(5.0, 1.0)))
    with pytest.raises(DeviceLost, match=r"^stream:127\.0\.0\.1: "):
        list(source.blocks())
    stall.set()


def test_close_ends_a_station_that_stalls(server: Server, mp3: bytes):
    stall = threading.Event()
    server.answer = station(mp3, stall)
    source = StreamSource(url(server))
    n_samples = 0
    for block in source.blocks():
        n_samples += block.size
        if n_samples > 40_000:
            source.close()
    stall.set()
    assert n_samples > 40_000


@pytest.mark.parametrize("answer", ["not found", "text", "nothing"])
def test_an_address_without_audio_is_an_error_without_its_secrets(server: Server, answer: str):
    def refuse(request: http.server.BaseHTTPRequestHandler) -> None:
        if answer == "not found":
            request.send_error(404)
        elif answer == "text":
            station(b"<html>" * 1000)(request)

    server.answer = refuse
    with pytest.raises(AudioError) as found:
        list(StreamSource(url(server)).blocks())
    assert not isinstance(found.value, DeviceLost)
    assert "secret" not in str(found.value)
    assert "check the address" in str(found.value)


def test_a_playlist_cannot_open_local_files(server: Server, mp3: bytes, tmp_path: Path):
    (tmp_path / "private.mp3").write_bytes(mp3)
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n"
    playlist = f"{head}file://{tmp_path}/private.mp3\n#EXT-X-ENDLIST\n"
    server.answer = station(playlist.encode())
    with pytest.raises(AudioError):
        list(StreamSource(url(server, "/a.m3u8")).blocks())


@pytest.mark.parametrize(
    "spec", ["", "file:///etc/passwd", "radio.example/a", "http://", "http://[x/", "ftp://a/b"]
)
def test_other_addresses_are_refused(spec: str):
    with pytest.raises(AudioError, match="needs a URL with http"):
        open_source(f"stream:{spec}", Settings())


def test_the_service_has_a_network_and_privacy_says_so():
    settings, _ = load(env={}, overrides={"listen.input": "stream:https://user:pw@radio.example/a?b"})
    assert needs_network(settings)
    assert not needs_network(Settings())
    assert [row["to"] for row in sent(settings)] == ["stream:radio.example"]
