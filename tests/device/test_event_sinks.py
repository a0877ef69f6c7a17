"""Webhook, file of JSON lines, command and metrics: each event once, bounded, and without secrets."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import hmac
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from overheard.errors import OverheardError, SettingsError
from overheard.events import Alternative, MusicUnknown, PlayEnded, PlayStarted, PlayUpdated, Silence, Status
from overheard.sinks import command, jsonl_file, metrics
from overheard.sinks.context import Context
from overheard.sinks.courier import Courier, Rejected, RetryLater
from overheard.sinks.disk_queue import DiskQueue
from overheard.sinks.event_sink import EventSink
from overheard.sinks.messages import Messages
from overheard.sinks.network import metrics_server, webhook
from sink_fakes import (
    NOON,
    Clock,
    Reply,
    Request,
    away,
    free_port,
    play,
    plays,
    serving,
    settings,
    through_an_outage,
    track,
    wait_for,
)

MESSAGE: dict[str, Any] = {"id": "1", "event": "play_started"}


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk; test_sink_queue.py does."""
    monkeypatch.setattr("overheard.sinks.disk_queue._SYNCHRONOUS", "OFF")


def stopped(sink: EventSink) -> DiskQueue:
    """Stop the thread of a sink; return its queue."""
    sink.outbox._stopping.set()
    sink.outbox._wake.set()
    sink.outbox._thread.join()
    return sink.outbox.queue


# Messages


def test_a_play_has_one_key_and_its_events_are_told_apart() -> None:
    messages = Messages("x", ("play_started", "play_ended", "music_unknown"))
    made = [
        messages.make(event, NOON)
        for event in (
            PlayStarted(play(1, 0, 5)),
            PlayUpdated(play(1, 0, 50)),
            PlayUpdated(dataclasses.replace(play(1, 0, 60), alternatives=(Alternative(track(2), 0.0),))),
            PlayEnded(play(2, 0, 180)),  # it has settled on another track
            MusicUnknown(200, 220),
            Silence(230),
            PlayStarted(play(1, 240, 5)),
        )
    ]
    started, updated, doubtful, ended, unknown, silence, again = made
    assert (updated, doubtful, silence) == (None, None, None)
    assert started
    assert ended
    assert unknown
    assert again
    assert started[1]["id"] == ended[1]["id"] != again[1]["id"]
    assert len({started[0], ended[0], unknown[0], again[0]}) == 4


def test_a_play_that_goes_on_after_a_pause_starts_once_and_ends_again() -> None:
    messages = Messages("x", ("play_started", "play_ended"))
    made = [
        messages.make(event, started)
        for event, started in (
            (PlayStarted(play(1, 0, 5)), NOON),
            (PlayEnded(play(1, 0, 60)), NOON),
            (PlayStarted(play(1, 0, 100)), NOON),
            (PlayEnded(play(1, 0, 180)), NOON + 2.5),
        )
    ]
    keys = [found[0] for found in made if found]
    assert len(keys) == 4
    assert keys[0] == keys[2]
    assert keys[1] != keys[3]
    assert len({found[1]["id"] for found in made if found}) == 1


def test_paths_do_not_leave_this_computer() -> None:
    ambiguous = dataclasses.replace(play(1), alternatives=())
    made = Messages("x", ("play_ended",), leaves=True).make(PlayEnded(ambiguous), NOON)
    assert made is not None
    assert "/home/me" not in json.dumps(made[1])
    assert "Song 1" in json.dumps(made[1])


def test_an_unknown_event_is_an_error() -> None:
    with pytest.raises(SettingsError, match="unknown event 'play_stopped'; use play_started"):
        Messages("sinks.webhook.events", ("play_stopped",))


# Webhook


def test_a_webhook_gets_signed_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERHEARD_WEBHOOK_SECRET", "sesame")
    with serving() as server:
        chosen = settings(tmp_path, webhook_url=f"{server.url}/hook/?key=1")
        sink = webhook.open_sink(chosen, Context())
        for event in plays(2):
            sink.handle(event, NOON)
        wait_for(lambda: len(server.requests) == 4)
        sink.close()
    for request in server.requests:
        expected = hmac.new(b"sesame", request.body, hashlib.sha256).hexdigest()
        assert request.headers["X-Overheard-Signature"] == f"sha256={expected}"
        assert request.path == "/hook/?key=1"
    first = server.requests[0].json
    assert (first["event"], first["play"]["track"]["title"]) == ("play_started", "Song 0")
    assert first["started_at"] == "2026-09-21T14:13:20.000Z"
    assert len({request.headers["Idempotency-Key"] for request in server.requests}) == 4


def test_the_url_of_a_webhook_is_not_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    chosen = settings(tmp_path, webhook_url=f"http://127.0.0.1:{free_port()}/sesame")
    with pytest.raises(RetryLater) as caught:
        webhook.Webhook(chosen).deliver(MESSAGE)
    assert "sesame" not in str(caught.value) + caplog.text
    with pytest.raises(SettingsError, match="url is not set"):
        webhook.Webhook(settings(tmp_path))


@pytest.mark.slow
def test_a_webhook_gets_a_thousand_plays_through_an_outage_of_an_hour(tmp_path: Path) -> None:
    clock, arrived = Clock(), list[str]()

    def reply(request: Request) -> Reply:
        if away(clock):
            return Reply(502)
        arrived.append(request.headers["Idempotency-Key"])
        return Reply(204, b"")

    with serving(reply) as server:
        chosen = settings(tmp_path, webhook_url=server.url, webhook_events=("play_ended",))
        sink = webhook.open_sink(chosen, Context())
        queue = stopped(sink)
        courier = Courier("x", queue, webhook.Webhook(chosen).deliver, 0.0, clock)
        through_an_outage(sink.handle, courier, clock, queue)
    assert len(arrived) == len(set(arrived)) == 1000


# File of JSON lines


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_file_gets_each_event_once(tmp_path: Path) -> None:
    sink = jsonl_file.open_sink(settings(tmp_path), Context())
    for event in plays(20):
        sink.handle(event, NOON)
    wait_for(lambda: len(sink.outbox.queue) == 0)
    sink.close()
    found = lines(tmp_path / "plays.jsonl")
    assert [line["play"]["track"]["title"] for line in found] == [f"Song {number}" for number in range(20)]
    assert (tmp_path / "plays.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_line_that_was_written_before_a_kill_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    jsonl_file.JsonlFile(path).deliver(MESSAGE)
    after = jsonl_file.JsonlFile(path)
    after.deliver(MESSAGE)
    after.deliver({**MESSAGE, "id": "2"})
    assert [line["id"] for line in lines(path)] == ["1", "2"]


@pytest.mark.slow
def test_the_file_gets_a_thousand_plays_although_its_disk_is_away_for_an_hour(tmp_path: Path) -> None:
    clock, disk = Clock(), tmp_path / "disk"
    disk.mkdir()
    sink = jsonl_file.open_sink(settings(tmp_path, jsonl_path=str(disk / "x.jsonl")), Context())
    queue = stopped(sink)
    file = jsonl_file.JsonlFile(disk / "x.jsonl")

    def deliver(body: dict[str, Any]) -> float:
        if away(clock) and disk.is_dir():
            disk.rename(tmp_path / "elsewhere")
            disk.touch()
        elif not away(clock) and disk.is_file():
            disk.unlink()
            (tmp_path / "elsewhere").rename(disk)
        return file.deliver(body)

    through_an_outage(sink.handle, Courier("x", queue, deliver, 0.0, clock), clock, queue)
    titles = [line["play"]["track"]["title"] for line in lines(disk / "x.jsonl")]
    assert titles == [f"Song {number}" for number in range(1000)]


def test_half_a_line_is_ended_first(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"id": "0"}\n{"id":')
    jsonl_file.JsonlFile(path).deliver(MESSAGE)
    assert path.read_text().splitlines()[1:] == ['{"id":', json.dumps(MESSAGE)]


def test_the_file_may_be_renamed_or_deleted(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    file = jsonl_file.JsonlFile(path)
    file.deliver(MESSAGE)
    path.rename(tmp_path / "old")
    file.deliver({**MESSAGE, "id": "2"})
    path.unlink()
    file.deliver({**MESSAGE, "id": "3"})
    assert [line["id"] for line in lines(path)] == ["3"]


def test_large_files_are_renamed(tmp_path: Path) -> None:
    file = jsonl_file.JsonlFile(tmp_path / "x.jsonl", max_bytes=80, keep=2)
    for number in range(10):
        file.deliver({**MESSAGE, "id": str(number)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.jsonl", "x.jsonl.1", "x.jsonl.2"]
    found = [line["id"] for name in (".2", ".1", "") for line in lines(tmp_path / f"x.jsonl{name}")]
    assert found == list("3456789")


def test_what_is_no_file_is_tried_again(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "file" / "x"):
        with pytest.raises(RetryLater):
            jsonl_file.JsonlFile(path).deliver(MESSAGE)


def fill(file: jsonl_file.JsonlFile) -> None:
    for number in range(10_000):
        file.deliver({**MESSAGE, "id": f"{number:0500}"})


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_loses_and_repeats_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        file = jsonl_file.JsonlFile(disk / "x.jsonl")
        with pytest.raises(RetryLater, match="No space left"):
            fill(file)
        os.truncate(disk / "x.jsonl", 1000)
        file.deliver({**MESSAGE, "id": "last"})
        assert json.loads((disk / "x.jsonl").read_bytes().splitlines()[-1])["id"] == "last"
    finally:
        subprocess.run(["umount", disk], check=True)


# Command


def script(folder: Path, code: str) -> list[str]:
    (folder / "script.py").write_text(code)
    return [sys.executable, str(folder / "script.py")]


def test_a_command_gets_the_fields_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERHEARD_LISTENBRAINZ_TOKEN", "sesame")
    out = tmp_path / "out.json"
    words = script(tmp_path, f"import json, os; json.dump(dict(os.environ), open({str(out)!r}, 'w'))")
    sink = command.open_sink(settings(tmp_path, command_command=words), Context())
    evil = dataclasses.replace(play(1).track, title="$(touch /tmp/x); `id`\0\n\udc80", album="x" * 1_000_000)
    sink.handle(PlayStarted(dataclasses.replace(play(1), track=evil)), NOON)
    wait_for(lambda: len(sink.outbox.queue) == 0)
    sink.close()
    found = json.loads(out.read_text())
    assert found["OVERHEARD_EVENT"] == "play_started"
    assert found["OVERHEARD_TITLE"] == "$(touch /tmp/x); `id`\n\\udc80"
    assert len(found["OVERHEARD_ALBUM"]) == 4000
    assert found["OVERHEARD_STARTED_AT"] == "2026-09-21T14:13:20.000Z"
    assert "sesame" not in found.values()


@pytest.mark.slow
def test_a_command_runs_for_a_thousand_plays_although_it_cannot_for_an_hour(tmp_path: Path) -> None:
    clock, out, flag = Clock(), tmp_path / "out", tmp_path / "away"
    code = f'[ -e {flag} ] && exit 75; echo "$OVERHEARD_TITLE" >> {out}'
    words = ["/bin/sh", "-c", code]
    sink = command.open_sink(settings(tmp_path, command_command=words), Context())
    queue, program = stopped(sink), command.Command(words, 60)

    def deliver(body: dict[str, Any]) -> float:
        if away(clock):
            flag.touch()
        else:
            flag.unlink(missing_ok=True)
        return program.deliver(body)

    through_an_outage(sink.handle, Courier("x", queue, deliver, 0.0, clock), clock, queue)
    assert out.read_text().splitlines() == [f"Song {number}" for number in range(1000)]


def test_a_command_that_hangs_is_stopped_with_its_children(tmp_path: Path) -> None:
    words = script(
        tmp_path,
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(1000)",
    )
    with pytest.raises(Rejected, match=r"was stopped after 1\.5 s"):
        command.Command(words, 1.5).deliver(MESSAGE)
    child = Path("/proc") / (tmp_path / "pid").read_text() / "stat"

    def gone() -> bool:
        with contextlib.suppress(OSError):
            return child.read_text().rpartition(")")[2].split()[0] == "Z"
        return True

    wait_for(gone)


@pytest.mark.parametrize(("code", "expected"), [(75, RetryLater), (1, Rejected)])
def test_exit_codes(tmp_path: Path, code: int, expected: type[Exception]) -> None:
    with pytest.raises(expected):
        command.Command(script(tmp_path, f"raise SystemExit({code})"), 20).deliver(MESSAGE)


def test_a_command_that_does_not_exist_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(RetryLater, match="cannot be started"):
        command.Command([str(tmp_path / "missing")], 1).deliver(MESSAGE)
    with pytest.raises(SettingsError, match="is empty"):
        command.open_sink(settings(tmp_path), Context())


# Metrics


def status(audio_s: float, **changes: Any) -> Status:
    plain = Status("playing", -20, -60, True, 0.9, play(1), {"network": 1.5}, audio_s, 0.5, None)
    return dataclasses.replace(plain, **changes)


def values(text: str) -> dict[str, float]:
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    }


def test_the_metrics_are_written_and_have_no_titles(tmp_path: Path) -> None:
    path = tmp_path / "x.prom"
    sink = metrics.open_sink(
        settings(tmp_path, metrics_path=str(path)), Context(queues={"webhook": lambda: 3})
    )
    for event in plays(2):
        sink.handle(event, NOON)
    sink.publish_status(status(10))
    sink.publish_status(status(20, gate_open=False))
    before = time.time()
    sink.publish_status(status(40))
    sink.write()
    text = path.read_text()
    assert "Song" not in text
    found = values(text)
    assert found["overheard_plays_total"] == 2
    assert found["overheard_audio_seconds_total"] == 40
    assert found["overheard_lost_audio_seconds_total"] == 0.5
    assert found["overheard_duty_cycle"] == 0.75
    assert found['overheard_cpu_seconds_total{stage="network"}'] == 1.5
    assert found['overheard_queue_length{sink="webhook"}'] == 3
    assert found["overheard_last_audio_timestamp_seconds"] == pytest.approx(before, abs=5)
    assert found["overheard_process_cpu_seconds_total"] > 0
    sink.close()
    assert not path.exists()


def test_metrics_before_any_sound(tmp_path: Path) -> None:
    found = values(metrics.Metrics({}).text())
    assert found["overheard_last_audio_timestamp_seconds"] == 0
    assert "overheard_audio_seconds_total" not in found
    assert str(tmp_path) in metrics.test(settings(tmp_path), Context())


@pytest.fixture
def server() -> Iterator[int]:
    port = free_port()
    stop = metrics_server.serve(lambda: "x 1\n", port)
    yield port
    stop()


def get(port: int, path: str, host: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_metrics_over_http(server: int) -> None:
    assert get(server, "/metrics", f"localhost:{server}") == (200, b"x 1\n")
    assert get(server, "/metrics?a=b", f"127.0.0.1:{server}")[0] == 200
    assert get(server, "/", "localhost")[0] == 404
    assert get(server, "/metrics", "evil.example")[0] == 421, "a page of another site cannot read them"
    with pytest.raises(OverheardError, match="cannot be used"):
        metrics_server.serve(str, server)


def test_hostile_clients_do_not_keep_others_away(server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overheard.sinks.network.metrics_server._TIMEOUT_S", 0.5)
    with contextlib.ExitStack() as stack:
        for number in range(20):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server)))
            with contextlib.suppress(OSError):
                client.sendall(
                    (b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 99, b"", b"\x00" * 70_000)[number % 3]
                )

        def served() -> bool:
            with contextlib.suppress(OSError, http.client.HTTPException):
                return get(server, "/metrics", "localhost")[0] == 200
            return False

        wait_for(served)


# What the sinks say about themselves


@pytest.mark.parametrize("name", ["webhook", "jsonl", "command"])
def test_an_item_that_was_changed_in_the_queue_is_refused(tmp_path: Path, name: str) -> None:
    deliver: dict[str, Callable[[dict[str, Any]], float]] = {
        "webhook": webhook.Webhook(settings(tmp_path, webhook_url="http://localhost/")).deliver,
        "jsonl": jsonl_file.JsonlFile(tmp_path / "x").deliver,
        "command": command.Command(["false"], 1).deliver,
    }
    with pytest.raises(Rejected, match="damaged"):
        deliver[name]({})
