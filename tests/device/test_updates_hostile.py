"""Web servers that are slow, broken or hostile: each ends with one line, and the packs stay as they were."""

from __future__ import annotations

import os
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import repositories
from overheard.errors import UpdateError
from overheard.settings import Settings
from overheard.updates.update import PARTS_FOLDER
from repositories import (
    IMPATIENT,
    Handler,
    Publisher,
    Server,
    entries,
    pack_of,
    serving,
    titles,
    trust,
    update,
)

N_OLD, N_NEW = 40, 80


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    found = Publisher(tmp_path)
    found.publish(pack_of(tmp_path / "music.pack", entries(range(N_OLD))))
    return found


@pytest.fixture
def server(publisher: Publisher) -> Iterator[Server]:
    with serving(publisher.out) as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, server: Server, publisher: Publisher) -> Settings:
    """A user who has the old version, while the repository has a new one."""
    found = Settings(data_dir=tmp_path / "data")
    trust(found, server.url)
    update(found)
    publisher.publish(pack_of(tmp_path / "music.pack", entries(range(N_OLD, N_NEW))))
    return found


def drip(handler: Handler, content: bytes) -> None:
    """Send a byte from time to time, until the test ends."""
    for byte in content * 1000:
        handler.wfile.write(bytes([byte]))
        if handler.server.stop.wait(0.02):
            return


def silence(handler: Handler, path: str, content: bytes) -> bool:
    handler.server.stop.wait(10)
    return True


def slow_headers(handler: Handler, path: str, content: bytes) -> bool:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    drip(handler, b"X-Name: value\r\n")
    return True


def slow_body(handler: Handler, path: str, content: bytes) -> bool:
    handler.begin(200, len(content))
    drip(handler, content)
    return True


def slow_chunks(handler: Handler, path: str, content: bytes) -> bool:
    handler.begin(200, None, Transfer_Encoding="chunked")
    drip(handler, b"1")
    return True


def endless(handler: Handler, path: str, content: bytes) -> bool:
    handler.begin(200, None)
    for _ in range(1000):
        handler.send(content[:1] * (1 << 20))
    return True


def endless_chunks(handler: Handler, path: str, content: bytes) -> bool:
    handler.begin(200, None, Transfer_Encoding="chunked")
    for _ in range(1000):
        handler.send(b"100000\r\n" + b" " * (1 << 20) + b"\r\n")
    return True


def longer(handler: Handler, path: str, content: bytes) -> bool:
    handler.begin(200, len(content) + (1 << 40))
    handler.send(content)
    return True


def shorter(handler: Handler, path: str, content: bytes) -> bool:
    handler.begin(200, len(content) // 2)
    handler.send(content)
    return True


def cut(handler: Handler, path: str, content: bytes) -> bool:
    handler.begin(200, len(content))
    handler.send(content[: len(content) // 2])
    return True


def compressed(handler: Handler, path: str, content: bytes) -> bool:
    handler.begin(200, len(content), Content_Encoding="gzip")
    handler.send(content)
    return True


def flipped(handler: Handler, path: str, content: bytes) -> bool:
    handler.begin(200, len(content))
    handler.send(content[:-1] + bytes([content[-1] ^ 1]))
    return True


def nothing(handler: Handler, path: str, content: bytes) -> bool:
    return True


def noise(handler: Handler, path: str, content: bytes) -> bool:
    handler.wfile.write(b"\x1b[2J\x00" * 1000)
    return True


def many_headers(handler: Handler, path: str, content: bytes) -> bool:
    handler.wfile.write(
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 60000) for n in range(200))
    )
    return True


def failing(handler: Handler, path: str, content: bytes) -> bool:
    handler.send_error(503, "\x1b[2Jbusy")
    return True


def gone(handler: Handler, path: str, content: bytes) -> bool:
    handler.send_error(404)
    return True


def to(location: str) -> repositories.Answer:
    def redirect(handler: Handler, path: str, content: bytes) -> bool:
        handler.begin(302, 0, Location=location)
        return True

    return redirect


OTHER_PLACES = ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://127.0.0.2/x", "//127.0.0.2/x", "http://["]
REDIRECTS = [to(place) for place in (*OTHER_PLACES, "https://me:secret@127.0.0.1/", "\x1b[2J", "", "loop")]
ANSWERS = [
    *(
        silence,
        slow_headers,
        slow_body,
        slow_chunks,
        endless,
        endless_chunks,
        longer,
        shorter,
        cut,
        compressed,
    ),
    *(flipped, nothing, noise, many_headers, failing, gone, *REDIRECTS),
]


def refused(settings: Settings) -> str:
    """Update in vain, check that nothing has changed, and return the message."""
    before = titles(settings)
    try:
        outcome = update(settings, limits=IMPATIENT)["music"]
    except UpdateError as error:
        message = str(error)
    else:
        assert outcome.kind == "failed"
        message = outcome.detail
    assert message.isprintable()
    assert titles(settings) == before
    assert set(os.listdir(settings.packs_dir)) <= {"music.pack", PARTS_FOLDER}
    assert set(os.listdir(settings.data_dir)) == {"packs", "subscriptions.json", "subscriptions.json.lock"}
    return message


@pytest.mark.parametrize("kind", ["latest", "files"])
@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.__qualname__.split(".")[0])
def test_a_hostile_answer_is_one_line_and_changes_nothing(
    settings: Settings, server: Server, kind: str, answer: repositories.Answer
) -> None:
    server.answer = lambda handler, path, content: kind in path and answer(handler, path, content)
    server.n_bytes = 0
    refused(settings)
    assert server.n_bytes < 20e6  # of an endless answer, only what fits into the buffers of the network
    server.answer = None
    assert update(settings)["music"].kind == "updated"
    assert len(titles(settings)) == N_NEW - N_OLD


def test_the_reason_is_clear(settings: Settings, server: Server) -> None:
    def with_answer(pattern: str, answer: repositories.Answer) -> str:
        server.answer = lambda handler, path, content: (
            re.search(pattern, path) is not None and answer(handler, path, content)
        )
        return refused(settings)

    assert "takes too long to answer" in with_answer("latest", slow_headers)
    assert "arrives too slowly" in with_answer("files", slow_body)
    assert "is larger than 1024 bytes" in with_answer("latest", endless)
    assert "its SHA-256 is not that of the index" in with_answer("files", flipped)
    assert "is not signed with the key that you trust" in with_answer(r"index.2.json$", flipped)
    assert "redirects to file:///etc/passwd" in with_answer("latest", to("file:///etc/passwd"))
    assert "503 (Service Unavailable)" in with_answer("latest", failing)
    server.shutdown()
    server.server_close()
    assert "cannot be reached (Connection refused)" in refused(settings)


def test_redirects_on_the_same_server_are_followed(settings: Settings, server: Server) -> None:
    def moved(handler: Handler, path: str, content: bytes) -> bool:
        if not path.startswith("/packs/"):
            return False
        handler.begin(301, 0, Location=path.replace("/packs/", "/elsewhere/"))
        return True

    def answer(handler: Handler, path: str, content: bytes) -> bool:
        if moved(handler, path, content):
            return True
        content = (server.folder / path.removeprefix("/elsewhere/")).read_bytes()
        handler.begin(200, len(content))
        handler.send(content)
        return True

    server.answer = answer
    assert update(settings)["music"].kind == "updated"


def test_a_download_that_was_cut_continues(settings: Settings, server: Server) -> None:
    server.answer = lambda handler, path, content: "files" in path and cut(handler, path, content)
    assert "ended too early" in refused(settings)
    server.answer, server.requests = None, []
    assert update(settings)["music"].kind == "updated"
    ((_, asked),) = [request for request in server.requests if "files" in request[0]]
    assert asked is not None
    assert int(asked.removeprefix("bytes=").rstrip("-")) > 10_000


def test_a_short_failure_is_not_noticed(settings: Settings, server: Server) -> None:
    seen: set[str] = set()

    def answer(handler: Handler, path: str, content: bytes) -> bool:
        if path in seen:
            return False
        seen.add(path)
        return (cut if "files" in path else failing)(handler, path, content)

    server.answer = answer
    assert update(settings)["music"].kind == "updated"


@pytest.mark.parametrize("server_ranges", [True, False])
def test_wrong_bytes_of_an_earlier_download_are_replaced(
    settings: Settings, server: Server, server_ranges: bool
) -> None:
    server.answer = lambda handler, path, content: "files" in path and cut(handler, path, content)
    refused(settings)
    (part,) = (settings.packs_dir / PARTS_FOLDER).iterdir()
    part.write_bytes(b"x" * part.stat().st_size)

    def without_ranges(handler: Handler, path: str, content: bytes) -> bool:
        handler.begin(200, len(content))
        handler.send(content)
        return True

    server.answer = (
        None
        if server_ranges
        else lambda handler, path, content: "files" in path and without_ranges(handler, path, content)
    )
    assert update(settings)["music"].kind == "updated"
    assert len(titles(settings)) == N_NEW - N_OLD
    assert not part.exists()


def test_other_ranges_than_asked_for_are_refused(settings: Settings, server: Server) -> None:
    server.answer = lambda handler, path, content: "files" in path and cut(handler, path, content)
    refused(settings)

    def other_range(handler: Handler, path: str, content: bytes) -> bool:
        handler.begin(206, len(content), 0, len(content))
        handler.send(content)
        return True

    server.answer = lambda handler, path, content: "files" in path and other_range(handler, path, content)
    assert "another size" in refused(settings)


def test_parts_that_nobody_offers_any_more_are_deleted(
    settings: Settings, server: Server, publisher: Publisher, tmp_path: Path
) -> None:
    server.answer = lambda handler, path, content: "files" in path and cut(handler, path, content)
    refused(settings)
    server.answer = None
    publisher.publish(pack_of(tmp_path / "music.pack", entries(range(N_NEW, N_NEW + 3))))
    assert update(settings)["music"].kind == "updated"
    assert os.listdir(settings.packs_dir) == ["music.pack"]


def test_too_little_space_is_found_before_the_download(
    settings: Settings, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(settings.data_dir)._replace(free=1 << 25)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    server.requests = []
    assert "free disk space" in refused(settings)
    assert not any("files" in path for path, _ in server.requests)


@pytest.mark.parametrize("limit", [300, 20_000])
def test_a_full_disk_changes_nothing_and_leaves_no_part(settings: Settings, limit: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))  # a write beyond it is an error
    try:
        message = refused(settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot be written" in message
    assert not list(settings.packs_dir.glob("**/*.part"))
    assert update(settings)["music"].kind == "updated"


def large_file(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


@pytest.mark.parametrize("name", ["latest.json", "index.2.json", "index.2.json.sig"])
def test_a_folder_with_a_pipe_or_a_large_file_does_not_block(
    settings: Settings, publisher: Publisher, tmp_path: Path, name: str
) -> None:
    trust(settings, str(publisher.out))

    def replace(make: Callable[[Path], object]) -> None:
        (publisher.out / name).unlink()
        make(publisher.out / name)
        with pytest.raises(UpdateError) as caught:
            update(settings)
        assert str(caught.value).isprintable()

    replace(os.mkfifo)
    replace(large_file)
    replace(Path.mkdir)
