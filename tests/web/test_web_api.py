"""The JSON API of `overheard web`: a real server, history, packs and live socket."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from overheard.catalogue.pack import write_pack
from overheard.event_json import iso_utc
from overheard.events import PlayEnded, PlayStarted, Track
from overheard.fingerprint.spec import SPEC
from overheard.history.writer import read_plays
from overheard.live.server import LiveServer
from overheard.web.api import OPERATIONS, openapi
from overheard.web.schemas import EVIDENCE_POINT
from overheard.web.values import InvalidValue, check
from web_fakes import PLAY, STATUS, TIMEOUT_S, TRACK, WebServer, png, web_server, write_history, write_mp3

OTHER = Track("b" * 12, "Größe", "Zoë & Élan", "Früh", "", "music", 100.0)
DAY_S = 86400.0
BASE = 1_790_000_000.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with web_server(tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture
def web(shared: WebServer) -> WebServer:
    """The server with an empty history."""
    for suffix in ("", "-wal", "-shm"):
        (shared.data_dir / f"history.sqlite{suffix}").unlink(missing_ok=True)
    return shared


class Pauses:
    reason, until = "", None

    def __init__(self) -> None:
        self.calls: list[object] = []

    def pause(self, for_s: float | None) -> None:
        self.calls.append(for_s)

    def resume(self) -> None:
        self.calls.append("resume")


@pytest.fixture
def live(web: WebServer) -> Iterator[LiveServer]:
    server = LiveServer(web.data_dir / "live.sock", pause=Pauses())
    yield server
    server.close()


def wait_for_status(web: WebServer, running: bool) -> dict:
    deadline = time.monotonic() + TIMEOUT_S
    while (answer := web.get("/api/v1/status").json)["running"] is not running:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return answer


def ids(web: WebServer, query: str = "") -> list[int]:
    return [play["id"] for play in web.get(f"/api/v1/plays{query}").json["plays"]]


def test_the_status_says_when_nothing_listens_and_comes_back_by_itself(web: WebServer) -> None:
    assert wait_for_status(web, False)["status"] is None
    for _ in range(2):  # a second `listen` after the first
        server = LiveServer(web.data_dir / "live.sock")
        server.publish_status(STATUS, 1_000_000.0)
        wait_for_status(web, True)
        deadline = time.monotonic() + TIMEOUT_S
        while (status := web.get("/api/v1/status").json["status"]) is None:
            assert time.monotonic() < deadline
        assert status["state"] == "playing"
        assert status["playing"]["track"]["title"] == "Alpha"
        server.close()
        wait_for_status(web, False)


def test_events_arrive_in_the_stream(web: WebServer, live: LiveServer) -> None:
    stream = web.stream()
    while not stream.next("live")["running"]:
        pass
    live.publish_status(STATUS)
    live.handle(PlayStarted(PLAY), 1_000_000.0)
    live.handle(PlayEnded(PLAY), 1_000_000.0)
    assert stream.next("status")["playing"]["speed"] == 1.02
    assert stream.next("play_started")["play"]["track"]["id"] == TRACK.id
    assert stream.next("play_ended")["started_at"] == "1970-01-12T13:46:50.000Z"
    stream.close()


def test_the_picture_is_made_only_while_a_stream_wants_it(web: WebServer, live: LiveServer) -> None:
    wait_for_status(web, True)
    stream = web.stream("/api/v1/events?mel=true")
    deadline = time.monotonic() + TIMEOUT_S
    while not live.wants_mel:
        assert time.monotonic() < deadline
    live.publish_mel([[-10, -20]])
    assert stream.next("mel")["columns"] == [[-10, -20]]
    stream.close()
    while live.wants_mel:
        assert time.monotonic() < deadline


def test_pause_and_resume_reach_listen(web: WebServer, live: LiveServer) -> None:
    assert web.ask("POST", "/api/v1/pause", {"for_s": 60}).json == {"done": True}
    assert web.ask("POST", "/api/v1/pause", {}).status == 200
    assert web.ask("POST", "/api/v1/resume", {}).status == 200
    assert isinstance(live._pause, Pauses)
    assert live._pause.calls == [60, None, "resume"]


def test_pause_without_listen_is_an_error_that_says_what_helps(web: WebServer) -> None:
    answer = web.ask("POST", "/api/v1/pause", {})
    assert (answer.status, answer.problem) == (409, "no `overheard listen` is running")


def test_an_empty_history_is_an_empty_list(web: WebServer) -> None:
    assert web.get("/api/v1/plays").json == {"plays": [], "next": None}
    assert web.get("/api/v1/unknown").json == {"unknown": []}
    assert web.get("/api/v1/plays/1").status == 404


def test_the_history_comes_in_pages_the_latest_first(web: WebServer) -> None:
    write_history(web.data_dir, [(TRACK, BASE + 100.0 * (number // 2)) for number in range(7)][::2])
    write_history(web.data_dir, [(OTHER, BASE + 100.0 * number) for number in range(3)])
    everything = ids(web)
    pages, query = [], "?limit=2"
    while True:
        answer = web.get(f"/api/v1/plays{query}").json
        pages += [play["id"] for play in answer["plays"]]
        if answer["next"] is None:
            break
        query = f"?limit=2&before={answer['next']}"
    assert pages == everything
    assert len(everything) == 7
    starts = [play["started_at"] for play in web.get("/api/v1/plays").json["plays"]]
    assert starts == sorted(starts, reverse=True)


@pytest.mark.parametrize(
    ("words", "titles"),
    [
        ("GRÖSSE", ["Größe"]),
        ("größe", ["Größe"]),
        ("zoë élan", ["Größe"]),
        ("%25", []),
        ("alp FIRST", ["Alpha"]),
        ("a_n", []),
    ],
)
def test_search_finds_words_in_any_case_and_nothing_else(
    web: WebServer, words: str, titles: list[str]
) -> None:
    write_history(web.data_dir, [(TRACK, BASE), (OTHER, BASE + 100)])

    found = web.get(f"/api/v1/plays?q={quote(words, safe='%')}").json["plays"]
    assert [play["track"]["title"] for play in found] == titles


def test_plays_are_counted(web: WebServer) -> None:
    now = time.time()
    other = dataclasses.replace(TRACK, id="b" * 12, title="Beta")
    write_history(web.data_dir, [(TRACK, now - 300), (other, now - 200), (TRACK, now - 100)], [(1, now - 50)])
    top = web.get("/api/v1/top").json["top"]
    assert [(one["artist"], one["title"], one["plays"], one["heard_s"]) for one in top] == [
        ("Ann", "Alpha", 2, 120.0),
        ("Ann", "Beta", 1, 60.0),
    ]
    (artist,) = web.get("/api/v1/top?by=artists&limit=1").json["top"]
    assert (artist["artist"], artist["title"], artist["plays"]) == ("Ann", "", 3)
    since = iso_utc(now - 130)
    assert [one["title"] for one in web.get(f"/api/v1/top?since={since}").json["top"]] == ["Alpha"]
    (until,) = web.get(f"/api/v1/top?by=artists&until={since}").json["top"]
    assert (artist["track_id"], until["track_id"]) == (TRACK.id, other.id)  # of the last play, for its cover
    assert web.get("/api/v1/top?by=rooms").status == 400


def test_plays_of_a_day_include_one_that_began_before_it(web: WebServer) -> None:
    write_history(web.data_dir, [(TRACK, BASE), (OTHER, BASE + 1000)])

    since, until = iso_utc(BASE + 30), iso_utc(BASE + 1000)
    (play,) = web.get(f"/api/v1/plays?since={since}&until={until}").json["plays"]
    assert play["track"]["title"] == "Alpha"
    assert len(ids(web, f"?until={since[:16]}Z")) <= 1


def test_favourites_and_wrong_plays_are_marked_and_shown(web: WebServer) -> None:
    write_history(web.data_dir, [(TRACK, BASE), (OTHER, BASE + 100)])
    second, first = ids(web)
    assert web.ask("PATCH", f"/api/v1/plays/{first}", {"favourite": True}).json["favourite"] is True
    assert web.ask("PATCH", f"/api/v1/plays/{second}", {"wrong": True}).json["wrong"] is True
    assert ids(web) == [first]
    assert ids(web, "?show=favourites") == [first]
    assert ids(web, "?show=wrong") == [second]
    assert web.ask("PATCH", f"/api/v1/plays/{second}", {"wrong": False}).json["wrong"] is False
    assert ids(web) == [second, first]
    assert web.ask("PATCH", "/api/v1/plays/99", {"wrong": True}).status == 404
    assert web.get(f"/api/v1/plays/{first}/explanation").json == {"looks": []}


def test_unknown_music_gets_its_name_in_all_its_plays(web: WebServer) -> None:
    write_history(web.data_dir, [(TRACK, BASE)], [(7, BASE + 100), (7, BASE + 200), (8, BASE + 300)])
    assert len(ids(web)) == 1
    assert len(ids(web, "?show=unknown")) == 3
    assert len(ids(web, "?show=everything")) == 4
    listed = web.get("/api/v1/unknown").json["unknown"]
    assert [(row["id"], row["times"]) for row in listed] == [(8, 1), (7, 2)]
    assert web.ask("PATCH", "/api/v1/unknown/7", {"title": " Song\n", "artist": "Ann"}).json == {
        "plays": 2,
        "recognized": False,
    }
    named = [play for play in web.get("/api/v1/plays").json["plays"] if play["unknown_id"] == 7]
    assert {(play["track"]["title"], play["label"]) for play in named} == {("Song", "Ann - Song")}
    assert len(ids(web, "?show=unknown")) == 1
    assert web.ask("PATCH", "/api/v1/unknown/99", {"title": "x"}).status == 404
    assert web.ask("PATCH", "/api/v1/unknown/7", {"title": " \n "}).status == 409


def test_a_deleted_play_is_gone_from_the_file(web: WebServer) -> None:
    secret = dataclasses.replace(TRACK, title="Verysecrettitle")
    write_history(web.data_dir, [(secret, BASE), (OTHER, BASE + 100)])
    (number,) = ids(web, "?q=verysecret")
    assert web.ask("DELETE", f"/api/v1/plays/{number}").json == {"done": True}
    assert web.ask("DELETE", f"/api/v1/plays/{number}").status == 404
    rows, _ = read_plays(web.data_dir / "history.sqlite")
    assert [row.title for row in rows] == ["Größe"]
    for file in web.data_dir.glob("history.sqlite*"):
        assert b"Verysecrettitle" not in file.read_bytes()


def test_a_damaged_history_is_an_error_and_the_server_goes_on(web: WebServer) -> None:
    (web.data_dir / "history.sqlite").write_bytes(b"not a database" * 1000)
    answer = web.get("/api/v1/plays")
    assert answer.status == 503
    assert "damaged" in answer.problem
    (web.data_dir / "history.sqlite").unlink()
    assert web.get("/api/v1/plays").status == 200


@pytest.mark.parametrize("kind", ["newer", "locked"])
def test_a_history_that_cannot_be_used_is_an_error_that_says_what_helps(web: WebServer, kind: str) -> None:
    write_history(web.data_dir, [(TRACK, BASE)])
    path = web.data_dir / "history.sqlite"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        if kind == "newer":
            db.execute("PRAGMA user_version = 99")
        else:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("BEGIN EXCLUSIVE")
        for method, address, body in (
            ("GET", "/api/v1/plays", None),
            ("GET", "/api/v1/top", None),
            ("PATCH", "/api/v1/plays/1", {"wrong": True}),
            ("DELETE", "/api/v1/plays/1", None),
        ):
            answer = web.ask(method, address, body)
            if answer.status == 200:  # readers of a write-ahead log need not wait for a lock
                assert (kind, method) == ("locked", "GET")
                continue
            assert answer.status == 503
            remedy = "update overheard" if kind == "newer" else "close the program that has it open"
            assert remedy in answer.json["error"]["remedy"]
        assert web.get("/").status == 200
        db.execute("PRAGMA user_version = 3" if kind == "newer" else "ROLLBACK")
    assert ids(web) == [1]
    assert web.ask("PATCH", "/api/v1/plays/1", {"wrong": True}).status == 200


def test_settings_that_become_invalid_while_the_page_runs_are_an_error_until_they_are_valid(
    web: WebServer,
) -> None:
    file = web.data_dir / "config.toml"
    for text in ("[gate\n", "[gate]\nclose_db = 'loud'\n", "\0"):
        file.write_text(text)
        for method, address in (("GET", "settings"), ("PATCH", "settings/gate.open_db")):
            answer = web.ask(method, f"/api/v1/{address}", {"value": -50} if method == "PATCH" else None)
            assert answer.status == 409
            assert str(file) in answer.problem or "gate.close_db must be a number" in answer.problem
        assert file.read_text() == text
        assert web.get("/api/v1/plays").status == 200
    file.write_text("[gate]\nopen_db = -51\n")
    settings = {one["name"]: one["value"] for one in web.get("/api/v1/settings").json["settings"]}
    assert settings["gate.open_db"] == -51
    file.write_text("")


def test_the_explanation_of_a_play_has_the_fields_of_the_description(web: WebServer) -> None:
    write_history(web.data_dir, [(TRACK, BASE)])
    with contextlib.closing(sqlite3.connect(web.data_dir / "history.sqlite")) as db, db:
        db.execute("UPDATE plays SET evidence = ?", ('{"looks": [[4.0, 31.0, 5.5, 4.0, 0.8, 0.0, 1]]}',))
    (look,) = web.get(f"/api/v1/plays/{ids(web)[0]}/explanation").json["looks"]
    assert look.keys() == EVIDENCE_POINT["properties"].keys()
    assert look["check"] is True


def test_a_history_of_10000_plays_comes_in_pages_of_bounded_size(web: WebServer) -> None:
    write_history(web.data_dir, [(TRACK, BASE)])
    evidence = f'{{"looks": {[[1.0] * 7] * 24}}}'
    with contextlib.closing(sqlite3.connect(web.data_dir / "history.sqlite")) as db, db:
        db.execute("UPDATE plays SET evidence = ?", (evidence,))
        names = "track_id, title, artist, album, pack, path, offset_s, score, confidence, source, evidence"
        db.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) "  # noqa: S608
            f"INSERT INTO plays ({names}, started_at, ended_at) SELECT {names}, "
            "strftime('%Y-%m-%dT%H:%M:%f', started_at, '-' || i || ' minutes') || 'Z', "
            "strftime('%Y-%m-%dT%H:%M:%f', ended_at, '-' || i || ' minutes') || 'Z' FROM plays, n"
        )
    assert len(ids(web)) == 50
    seen: list[int] = []
    following = ""
    while following is not None:
        answer = web.get(f"/api/v1/plays?limit=500{following and f'&before={following}'}")
        assert len(answer.body) < 500 * 1000
        seen += [play["id"] for play in answer.json["plays"]]
        following = answer.json["next"]
    assert len(seen) == len(set(seen)) == 10_000
    assert ids(web, "?q=nothing+like+it") == []
    (top,) = web.get("/api/v1/top").json["top"]
    assert (top["plays"], top["heard_s"]) == (10_000, 600_000.0)


def test_packs_are_listed_and_switched(web: WebServer) -> None:
    (starter,) = web.get("/api/v1/packs").json["packs"]
    assert (starter["name"], starter["enabled"], starter["usable"]) == ("starter", True, True)
    assert web.ask("PATCH", "/api/v1/packs/starter", {"enabled": False}).json == {"done": True}
    assert web.get("/api/v1/packs").json["packs"][0]["enabled"] is False
    assert web.ask("PATCH", "/api/v1/packs/starter", {"enabled": True}).status == 200
    assert web.ask("PATCH", "/api/v1/packs/nothing", {"enabled": True}).status == 404
    (web.data_dir / "packs" / "bad.pack").write_bytes(b"x")
    bad = next(pack for pack in web.get("/api/v1/packs").json["packs"] if pack["name"] == "bad")
    assert bad["usable"] is False
    assert bad["problem"]


def test_a_pack_that_the_model_in_use_cannot_search_says_so(web: WebServer) -> None:
    write_pack(web.data_dir / "packs" / "other.pack", "other", "feed" * 4, SPEC, [])
    other = next(pack for pack in web.get("/api/v1/packs").json["packs"] if pack["name"] == "other")
    assert other["usable"] is False
    assert "made for another model" in other["problem"]


def test_settings_are_shown_with_their_origin(web: WebServer) -> None:
    answer = web.get("/api/v1/settings").json
    settings = {one["name"]: one for one in answer["settings"]}
    assert settings["data_dir"]["origin"] == "flag"
    assert settings["gate.open_db"]["low"] == -120
    assert answer["file"] == str(web.data_dir / "config.toml")


def test_a_setting_is_changed_in_the_file_and_the_rest_of_it_stays(web: WebServer) -> None:
    file = web.data_dir / "config.toml"
    file.write_text('# mine\n[gate]\nopen_db = -60  # loud room\n\n[listen]\ninput = "monitor"\n')
    assert web.ask("PATCH", "/api/v1/settings/gate.open_db", {"value": -50}).json["value"] == -50
    changed = web.ask("PATCH", "/api/v1/settings/listen.quiet_hours", {"value": "23:00-07:00"}).json
    assert changed["origin"] == f"file {file}"
    text = '# mine\n[gate]\nopen_db = -50\n\n[listen]\nquiet_hours = "23:00-07:00"\ninput = "monitor"\n'
    assert file.read_text() == text
    assert web.ask("PATCH", "/api/v1/settings/gate.open_db", {"value": None}).json["origin"] == "default"
    for name, value in (("gate.open_db", -90), ("listen.quiet_hours", "late"), ("listen.history", 1)):
        before = file.read_text()
        assert web.ask("PATCH", f"/api/v1/settings/{name}", {"value": value}).status == 409
        assert file.read_text() == before
    file.write_text("")


@pytest.mark.parametrize(
    "name", ["data_dir", "listen.input", "web.host", "sinks.command.command", "model", "nothing", "web.names"]
)
def test_settings_that_name_files_programs_or_addresses_cannot_be_changed(web: WebServer, name: str) -> None:
    assert web.ask("PATCH", f"/api/v1/settings/{name}", {"value": "x"}).status == 404
    assert (web.data_dir / "config.toml").read_text() == ""


def test_settings_that_may_be_secret_are_not_shown(web: WebServer) -> None:
    file = web.data_dir / "config.toml"
    file.write_text(
        '[sinks.webhook]\nurl = "https://example.org/hushhush"\n[sinks.lastfm]\napi_key = "hushhush"\n'
    )
    assert b"hushhush" not in web.get("/api/v1/settings").body
    file.write_text("")


def test_a_cover_is_a_small_jpeg_of_the_picture_in_the_tags(web: WebServer, tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    write_mp3(path, png(1200, 900))
    write_history(web.data_dir, [(dataclasses.replace(TRACK, id="covered", path=str(path)), BASE)])
    large, small = web.get("/api/v1/covers/covered"), web.get("/api/v1/covers/covered?small=true")
    assert large.headers["content-type"] == "image/jpeg"
    assert large.body.startswith(b"\xff\xd8\xff")
    assert jpeg_size(large.body) == (800, 600)
    assert jpeg_size(small.body) == (160, 120)
    again = web.get("/api/v1/covers/covered", If_None_Match=large.headers["etag"])
    assert (again.status, again.body) == (304, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and glibc's malloc")
def test_large_covers_leave_no_memory(web: WebServer, tmp_path: Path) -> None:
    sizes_kb = []
    for number, pixels in enumerate((50, 3000, 1500)):
        path = tmp_path / f"{number}.mp3"
        write_mp3(path, png(pixels, pixels))
        write_history(web.data_dir, [(dataclasses.replace(TRACK, id=f"large{number}", path=str(path)), BASE)])
        assert web.get(f"/api/v1/covers/large{number}").status == 200
        status = Path(f"/proc/{web.process.pid}/status").read_text()
        sizes_kb.append(int(status.partition("VmRSS:")[2].split()[0]))
    assert max(sizes_kb) - sizes_kb[0] < 20_000, "the first one has loaded ffmpeg's libraries"


def test_a_cover_appears_when_the_disk_of_the_file_is_connected(web: WebServer) -> None:
    music = web.data_dir / "later.mp3"
    later = dataclasses.replace(TRACK, id="1a" * 6, path=str(music))
    write_history(web.data_dir, [(later, BASE)])
    assert web.get(f"/api/v1/covers/{later.id}").status == 404
    write_mp3(music, png())
    assert web.get(f"/api/v1/covers/{later.id}").status == 200


@pytest.mark.parametrize(
    "picture",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        png()[:200],
        b"\xff\xd8\xff" + bytes(2000),
        b"RIFF\0\0\0\0WEBP",
    ],
)
def test_what_is_no_picture_is_no_cover(web: WebServer, tmp_path: Path, picture: bytes) -> None:
    path = tmp_path / "a.mp3"
    write_mp3(path, picture)
    number = f"no-{len(picture)}"
    write_history(web.data_dir, [(dataclasses.replace(TRACK, id=number, path=str(path)), BASE)])
    assert web.get(f"/api/v1/covers/{number}").status == 404


@pytest.mark.parametrize("path", ["/etc/passwd", "relative.mp3", "/dev/zero", ""])
def test_a_path_that_is_no_music_is_no_cover(web: WebServer, path: str) -> None:
    number = f"path{len(path)}"
    write_history(web.data_dir, [(dataclasses.replace(TRACK, id=number, path=path), BASE)])
    assert web.get(f"/api/v1/covers/{number}").status == 404


def jpeg_size(data: bytes) -> tuple[int, int]:
    found = re.search(rb"\xff\xc0..\x08(..)(..)", data, re.DOTALL)
    assert found
    return int.from_bytes(found[2], "big"), int.from_bytes(found[1], "big")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/v1/plays?limit=0", None, 400),
        ("GET", "/api/v1/plays?limit=1e3", None, 400),
        ("GET", "/api/v1/plays?limit=1&limit=2", None, 400),
        ("GET", "/api/v1/plays?colour=red", None, 400),
        ("GET", "/api/v1/plays?before=x", None, 400),
        ("GET", "/api/v1/plays?since=yesterday", None, 400),
        ("GET", "/api/v1/plays?since=2026-11-28T21:14:03Z%0A", None, 400),
        ("GET", "/api/v1/plays?since=2026-11-28T21:14:0%D9%A3Z", None, 400),
        ("GET", "/api/v1/plays?before=2026-11-28T21:14:03Z~1%0A", None, 400),
        ("GET", "/api/v1/covers/a%0A", None, 400),
        ("GET", "/api/v1/plays?q=%00", None, 400),
        ("GET", "/api/v1/plays/99999999999999999999", None, 400),
        ("GET", "/api/v1/plays/-1", None, 400),
        ("GET", "/api/v1/nothing", None, 404),
        ("PUT", "/api/v1/plays/1", {}, 405),
        ("POST", "/api/v1/pause", {"for_s": -1}, 400),
        ("POST", "/api/v1/pause", {"for_s": "long"}, 400),
        ("POST", "/api/v1/pause", {"for_s": 10**400}, 400),
        ("POST", "/api/v1/pause", {"for_s": 2**70}, 400),
        ("POST", "/api/v1/pause", {"loud": True}, 400),
        ("POST", "/api/v1/pause", [], 400),
        ("POST", "/api/v1/pause", b"{", 400),
        ("POST", "/api/v1/pause", b"[" * 4000, 400),
        ("POST", "/api/v1/pause", b'{"for_s": NaN}', 400),
        ("PATCH", "/api/v1/plays/1", {}, 400),
        ("PATCH", "/api/v1/unknown/9999999999999999999", {"title": "x"}, 400),
        ("PATCH", "/api/v1/settings/gate.open_db", {"value": 10**400}, 400),
        ("PATCH", "/api/v1/unknown/1", {"title": "x" * 301}, 400),
    ],
)
def test_invalid_requests_get_an_error_of_one_form(
    web: WebServer, method: str, path: str, body: object, status: int
) -> None:
    answer = web.ask(method, path, body)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert set(answer.json["error"]) == {"problem", "remedy"}
    assert answer.problem


def test_the_openapi_document_has_every_operation(web: WebServer) -> None:
    document = web.get("/api/v1/openapi.json").json
    assert document == openapi()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {("GET", "/api/v1/events"), *((one.method, one.path) for one in OPERATIONS)}
    names = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(set(names)) == len(names)
    for operation in OPERATIONS:
        assert set(operation.path_values) == set(re.findall(r"\{(\w+)\}", operation.path))


def test_a_value_is_checked_in_depth() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
    assert check(schema, {"a": 1}, "body") == {"a": 1}
    values: tuple[object, ...] = ({"a": True}, {"a": 1.0}, {"b": 1}, [], None)
    for value in values:
        with pytest.raises(InvalidValue):
            check(schema, value, "body")


def test_each_room_has_a_status(web: WebServer) -> None:
    server = LiveServer(web.data_dir / "live.sock", rooms=("kitchen", "bath"))
    stream = web.stream()
    try:
        while stream.next("live")["rooms"] != ["kitchen", "bath"]:
            pass
        server.publish_status(dataclasses.replace(STATUS, room="bath", playing=None, state="silence"))
        server.publish_status(dataclasses.replace(STATUS, room="kitchen"))
        assert [stream.next("status")["room"] for _ in range(2)] == ["bath", "kitchen"]
        answer = web.get("/api/v1/status").json
        assert [status["room"] for status in answer["rooms"]] == ["bath", "kitchen"]
        assert answer["status"]["room"] == "kitchen", "the one in which something plays"
        server.handle(PlayStarted(PLAY, room="kitchen"), 1_000_000.0)
        assert stream.next("play_started")["room"] == "kitchen"
        late = web.stream()
        assert {late.next("status")["room"] for _ in range(2)} == {"bath", "kitchen"}
        late.close()
    finally:
        stream.close()
        server.close()
    wait_for_status(web, False)
    assert web.get("/api/v1/status").json["rooms"] == []


def test_settings_that_the_page_may_not_write_are_not_editable(tmp_path: Path) -> None:
    """As for the service of the Debian package, whose configuration belongs to root."""
    setup = "import os; os.access = lambda path, mode: False"
    with web_server(tmp_path / "data", setup=setup) as server:
        answer = server.get("/api/v1/settings").json
    assert answer["writable"] is False
    assert not any(setting["editable"] for setting in answer["settings"])
