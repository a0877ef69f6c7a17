"""ListenBrainz and Last.fm: servers that are slow, broken, busy or hostile, and a real Maloja."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import itertools
import json
import os
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from overheard.errors import SettingsError
from overheard.events import PlayEnded, PlayStarted
from overheard.sinks.context import Context
from overheard.sinks.courier import Courier, Rejected, RetryLater
from overheard.sinks.disk_queue import DiskQueue
from overheard.sinks.network import listenbrainz
from overheard.sinks.network.http import Endpoint
from overheard.sinks.outbox import queue_path
from overheard.sinks.scrobbler import Scrobbler
from sink_fakes import (
    NOON,
    Clock,
    Reply,
    Request,
    Server,
    away,
    free_port,
    make_certificate,
    play,
    plays,
    serving,
    settings,
    through_an_outage,
    track,
    wait_for,
)

ROOT = Path(__file__).parents[2]
LISTENED: dict[str, Any] = {
    "listened_at": 1_790_000_000, "artist": "Ann", "title": "Song", "album": "Album", "duration_s": 200.5,
    "recording_id": "0383dadf-2a4e-4d10-a46a-e9e041da8eb3",
}  # fmt: skip
NOW = {**LISTENED, "listened_at": None, "recording_id": ""}


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk; test_sink_queue.py does."""
    monkeypatch.setattr("overheard.sinks.disk_queue._SYNCHRONOUS", "OFF")


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERHEARD_LISTENBRAINZ_TOKEN", "sesame")


@pytest.fixture(autouse=True)
def no_secret_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level("DEBUG")
    yield
    assert "sesame" not in caplog.text


def client(folder: Path, url: str, timeout_s: float = 1.0) -> listenbrainz.ListenBrainz:
    made = listenbrainz.ListenBrainz(settings(folder, listenbrainz_url=url))
    made._endpoint = Endpoint.of("url", url, timeout_s)
    return made


def test_what_is_sent(tmp_path: Path) -> None:
    with serving() as server:
        made = client(tmp_path, f"{server.url}/apis/")
        made.deliver(LISTENED)
        made.deliver(NOW)
    single, now = server.requests
    assert (single.method, single.path) == ("POST", "/apis/1/submit-listens")
    assert single.headers["Authorization"] == "Token sesame"
    assert single.headers["User-Agent"].startswith("overheard/")
    extra = single.json["payload"][0]["track_metadata"].pop("additional_info")
    assert single.json["payload"][0]["listened_at"] == 1_790_000_000
    assert extra.pop("submission_client_version")
    assert extra == {
        "media_player": "overheard",
        "submission_client": "overheard",
        "duration_ms": 200500,
        "recording_mbid": "0383dadf-2a4e-4d10-a46a-e9e041da8eb3",
    }
    assert now.json["listen_type"] == "playing_now"
    (listen,) = now.json["payload"]
    assert "recording_mbid" not in listen["track_metadata"]["additional_info"]
    assert "listened_at" not in listen


@pytest.mark.parametrize(
    ("reply", "after_s"),
    [
        (Reply(429, headers={"X-RateLimit-Reset-In": "17"}), 17.0),
        (Reply(429, headers={"Retry-After": "3"}), 3.0),
        (Reply(503, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), None),
        (Reply(429, headers={"X-RateLimit-Reset-In": "-1"}), None),
        (Reply(429, headers={"X-RateLimit-Reset-In": "nan"}), None),
        (Reply(500), None),
        (Reply(502, b"<html>"), None),
        (Reply(401), None),
        (Reply(404), None),
        (Reply(raw=b"SSH-2.0-OpenSSH_9.2\r\n"), None),
        (Reply(raw=b""), None),
        (Reply(raw=b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000), None),
        (Reply(hold_s=30), None),
        (Reply(drip=True), None),
        (Reply(301, headers={"Location": "http://elsewhere.example/"}), None),
        (Reply(307, headers={"Location": "http://elsewhere.example/\x1b[2J"}), None),
    ],
)
def test_what_is_tried_again(tmp_path: Path, reply: Reply, after_s: float | None) -> None:
    with serving(lambda _request: reply) as server, pytest.raises(RetryLater) as caught:
        client(tmp_path, server.url).deliver(LISTENED)
    assert caught.value.after_s == after_s
    assert "\x1b" not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_is_refused(tmp_path: Path, status: int) -> None:
    with (
        serving(lambda _request: Reply(status, b"no\x1bsuch artist")) as server,
        pytest.raises(Rejected) as caught,
    ):
        client(tmp_path, server.url).deliver(LISTENED)
    assert "\\x1bsuch artist" in str(caught.value)


def test_a_large_answer_is_not_read_to_its_end(tmp_path: Path) -> None:
    with serving(
        lambda _request: Reply(body=b"x" * (1 << 20), headers={"X-RateLimit-Remaining": "5"})
    ) as server:
        assert client(tmp_path, server.url, 5).deliver(LISTENED) == 0.0


def test_the_rate_limit_is_kept_before_it_is_hit(tmp_path: Path) -> None:
    limit = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-In": "9"}
    with serving(lambda _request: Reply(headers=limit)) as server:
        assert client(tmp_path, server.url).deliver(LISTENED) == 9.0


def test_nobody_listens_at_the_address(tmp_path: Path) -> None:
    with pytest.raises(RetryLater, match="Connection refused"):
        client(tmp_path, f"http://127.0.0.1:{free_port()}").deliver(LISTENED)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://x/",
        "http://",
        "http://a:b@c/",
        "http://x:0/",
        "http://x/ y",
        "http://[",
        "http://x/\n",
    ],
)
def test_urls_that_are_not_valid(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError):
        client(tmp_path, url)


def scrobbler(folder: Path, **values: Any) -> Scrobbler:
    """Return a scrobbler whose queue nobody delivers."""
    made = Scrobbler("listenbrainz", folder, lambda _body: 0.0, True, **values)
    made.outbox._stopping.set()
    made.outbox._wake.set()
    made.outbox._thread.join()
    return made


@pytest.mark.slow
def test_a_thousand_plays_through_an_outage_of_an_hour(tmp_path: Path) -> None:
    """With an HTTP server, and a clock that does not wait: each is delivered once, at most one a second."""
    clock, arrived = Clock(), list[tuple[int, float]]()

    def reply(request: Request) -> Reply:
        if away(clock):
            return Reply((503, 429, 500)[int(clock.now_s) % 3], headers={"X-RateLimit-Reset-In": "60"})
        if request.json["listen_type"] == "single":
            arrived.append((request.json["payload"][0]["listened_at"], clock.now_s))
        return Reply()

    with serving(reply) as server:
        sink = scrobbler(tmp_path)
        queue, deliver = sink.outbox.queue, client(tmp_path, server.url, 20).deliver
        through_an_outage(sink.handle, Courier("x", queue, deliver, 1.0, clock), clock, queue)
    assert [at for at, _ in arrived] == [int(NOON + 200 * number) for number in range(1000)]
    times = [at for _, at in arrived]
    assert all(after - before >= 1.0 for before, after in itertools.pairwise(times))


def test_a_restart_counts_no_song_twice(tmp_path: Path) -> None:
    first = scrobbler(tmp_path)
    first.handle(PlayStarted(play(1, 0, 120)), NOON)  # it is killed now
    second = scrobbler(tmp_path)
    second.handle(PlayStarted(play(1, 0, 75, 125)), NOON + 125)
    assert len(second.outbox.queue) == 1


def test_tracks_without_an_artist_are_not_sent(tmp_path: Path) -> None:
    sink = scrobbler(tmp_path)
    sink.handle(PlayEnded(dataclasses.replace(play(1), track=track(1, artist=""))), NOON)
    assert len(sink.outbox.queue) == 0


def test_the_sink_sends_in_its_own_thread_and_takes_the_id_from_the_tags(tmp_path: Path) -> None:
    context = Context(recording_id=lambda found: f"id of {found.title}")
    with serving() as server:
        sink = listenbrainz.open_sink(settings(tmp_path, listenbrainz_url=server.url), context)
        sink.handle(PlayStarted(play(3, 0, 120)), NOON)
        wait_for(lambda: len(server.requests) == 2)
        sink.close()
    kinds = {request.json["listen_type"]: request.json for request in server.requests}
    assert set(kinds) == {"playing_now", "single"}
    extra = kinds["single"]["payload"][0]["track_metadata"]["additional_info"]
    assert extra["recording_mbid"] == "id of Song 3"
    assert len(DiskQueue(queue_path(tmp_path, "listenbrainz"))) == 0


# Last.fm


@pytest.fixture
def lastfm(monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("pylast")
    from overheard.sinks.network import lastfm

    monkeypatch.setenv("OVERHEARD_LASTFM_SECRET", "sesame")
    monkeypatch.setenv("OVERHEARD_LASTFM_SESSION", "sesame2")
    return lastfm


@contextlib.contextmanager
def lastfm_server(reply: Reply, lastfm: Any, folder: Path, certificate: tuple[Path, Path]) -> Iterator[Any]:
    """Yield a client of a server with TLS, which pylast always uses, and that server."""
    import pylast

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = Server(lambda _request: reply)
    plain = server._server.socket
    server._server.socket = context.wrap_socket(plain, server_side=True)
    made = lastfm.Lastfm(settings(folder, lastfm_api_key="key"))
    made._network.ws_server = (f"localhost:{server.port}", "/2.0/")
    before, pylast.SSL_CONTEXT = pylast.SSL_CONTEXT, ssl.create_default_context(cafile=str(certificate[0]))
    try:
        yield made, server
    finally:
        pylast.SSL_CONTEXT = before
        server.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    names = folder / "cert.pem", folder / "key.pem"
    make_certificate(*names)
    return names


def test_what_lastfm_gets(tmp_path: Path, lastfm: Any, certificate: tuple[Path, Path]) -> None:
    with lastfm_server(Reply(body=b'<lfm status="ok"/>'), lastfm, tmp_path, certificate) as (made, server):
        made.deliver(LISTENED)
        made.deliver(NOW)
    scrobble, now = (parse_qs(request.body.decode()) for request in server.requests)
    assert scrobble["method"] == ["track.scrobble"]
    assert scrobble["timestamp[0]"] == ["1790000000"]
    assert scrobble["track[0]"] == ["Song"]
    assert now["method"] == ["track.updateNowPlaying"]
    assert "sesame" not in server.requests[0].body.decode().replace("sesame2", "")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(body=b'<lfm status="failed"><error code="29">Rate limit</error></lfm>'), RetryLater),
        (Reply(body=b'<lfm status="failed"><error code="9">Invalid session</error></lfm>'), RetryLater),
        (Reply(body=b'<lfm status="failed"><error code="11">Offline</error></lfm>'), RetryLater),
        (Reply(body=b'<lfm status="failed"><error code="6">Parameters</error></lfm>'), Rejected),
        (Reply(body='<lfm status="failed"><error code="²">No number</error></lfm>'.encode()), Rejected),
        (Reply(503), RetryLater),
        (Reply(body=b"<html></html>"), RetryLater),
        (Reply(body=b"not xml"), RetryLater),
        (Reply(raw=b""), RetryLater),
        (Reply(body=b"<lfm>" + b" " * 10**7), RetryLater),
        (Reply(body=gzip.compress(b" " * 10**6), headers={"Content-Encoding": "gzip"}), RetryLater),
    ],
)
def test_what_lastfm_answers(
    tmp_path: Path, lastfm: Any, certificate: tuple[Path, Path], reply: Reply, expected: type[Exception]
) -> None:
    with lastfm_server(reply, lastfm, tmp_path, certificate) as (made, _), pytest.raises(expected):
        made.deliver(LISTENED)


def test_a_long_answer_of_lastfm_is_not_read_to_its_end(
    tmp_path: Path, lastfm: Any, certificate: tuple[Path, Path]
) -> None:
    reply = Reply(raw=b"HTTP/1.1 200 OK\r\n\r\n" + b"<" * 10**7)
    served = lastfm_server(reply, lastfm, tmp_path, certificate)
    with served as (made, _), pytest.raises(RetryLater, match="does not end"):
        made.deliver(LISTENED)


@pytest.mark.slow
def test_lastfm_gets_each_play_through_an_outage_of_an_hour(
    tmp_path: Path, lastfm: Any, certificate: tuple[Path, Path]
) -> None:
    clock, arrived = Clock(), list[str]()
    with lastfm_server(Reply(), lastfm, tmp_path, certificate) as (made, server):

        def reply(request: Request) -> Reply:
            if away(clock):
                return Reply(503)
            arrived.extend(parse_qs(request.body.decode()).get("track[0]", []))
            return Reply(body=b'<lfm status="ok"/>')

        server.reply = reply
        sink = scrobbler(tmp_path)
        queue = sink.outbox.queue
        through_an_outage(sink.handle, Courier("x", queue, made.deliver, 1.0, clock), clock, queue, 1000)
    assert arrived == [f"Song {number}" for number in range(1000)]


# Maloja


def maloja_python() -> Path | None:
    chosen = os.environ.get("OVERHEARD_TEST_MALOJA")
    python = Path(chosen) if chosen else ROOT / ".venv-maloja" / "bin" / "python"
    return python if python.exists() else None


def ask(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - on this computer
        return json.load(answer)


@contextlib.contextmanager
def maloja(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    python = maloja_python()
    env = {
        **os.environ,
        "MALOJA_DATA_DIRECTORY": str(folder),
        "MALOJA_SKIP_SETUP": "yes",
        "MALOJA_HOST": "127.0.0.1",
        "MALOJA_PORT": str(port),
        "MALOJA_FORCE_PASSWORD": "test",
    }
    command = [str(python), "-m", "maloja", "run"]
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(command, env=env, cwd=folder, stdin=nothing, stdout=nothing, stderr=nothing)
    try:

        def answers() -> bool:
            assert process.poll() is None, "Maloja has ended"
            with contextlib.suppress(OSError):
                return bool(ask(f"http://127.0.0.1:{port}/apis/mlj_1/serverinfo"))
            return False

        wait_for(answers, 60)
        yield process
    finally:
        process.kill()
        process.wait(20)


@pytest.mark.slow
@pytest.mark.skipif(maloja_python() is None, reason="Maloja is not installed; script/test installs it")
def test_a_real_maloja_that_goes_away_gets_each_song_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, data = free_port(), tmp_path / "maloja"
    data.mkdir()
    monkeypatch.setattr("overheard.sinks.scrobbler.INTERVAL_S", 0.05)
    monkeypatch.setattr("overheard.sinks.courier._LAST_RETRY_S", 1.0)
    url = f"http://127.0.0.1:{port}"
    now = time.time() - 10_000
    with maloja(data, port):
        key = (data / "apikeys.yml").read_text().split(":")[1].strip()
        monkeypatch.setenv("OVERHEARD_LISTENBRAINZ_TOKEN", key)
        chosen = settings(tmp_path, listenbrainz_url=f"{url}/apis/listenbrainz")
        assert "playing now" in listenbrainz.test(chosen, Context())
        sink = listenbrainz.open_sink(chosen, Context())
        for event in plays(5):
            sink.handle(event, now)
        wait_for(lambda: len(sink.outbox.queue) == 0)
    for event in list(plays(20))[15:]:  # Maloja is away
        sink.handle(event, now)
    sink.close()
    assert len(DiskQueue(queue_path(tmp_path, "listenbrainz"))) == 15
    with maloja(data, port):
        again = listenbrainz.open_sink(chosen, Context())
        wait_for(lambda: len(again.outbox.queue) == 0)
        again.close()
        listed = ask(f"{url}/apis/mlj_1/scrobbles?max=100")["list"]
    found = sorted((scrobble["time"], scrobble["track"]["title"]) for scrobble in listed)
    assert found == [(int(now + 200 * number), f"Song {number}") for number in range(20)]
