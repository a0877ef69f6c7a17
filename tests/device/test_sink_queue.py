"""The queue on the disk, and its delivery: nothing is lost and nothing comes twice."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from overheard.sinks.courier import Courier, Rejected, RetryLater
from overheard.sinks.disk_queue import DiskQueue, Item
from overheard.sinks.outbox import Outbox, queue_path
from sink_fakes import Clock, run_courier, wait_for

DEVICE = Path(__file__).parents[2] / "device"


def keys(queue: DiskQueue) -> list[str]:
    """Take everything out of a queue."""
    found = []
    while (item := queue.first()) is not None:
        found.append(item.key)
        queue.done(item)
    return found


def test_items_leave_in_order_and_once(tmp_path: Path) -> None:
    queue = DiskQueue(tmp_path / "q.sqlite")
    for key in ("a", "b", "a", "c"):
        queue.put(key, {"of": key})
    assert len(queue) == 3
    assert queue.first() == Item("a", {"of": "a"})
    assert keys(queue) == ["a", "b", "c"]
    queue.put("a", {})
    assert len(queue) == 0, "a key that was delivered stays known"


def test_a_queue_survives_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "q.sqlite"
    queue = DiskQueue(path)
    queue.put("a", {"x": 1}, {"recent": [1, 2]})
    again = DiskQueue(path)
    assert keys(again) == ["a"]
    assert again.notes() == {"recent": [1, 2]}
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_full_queue_drops_its_oldest(tmp_path: Path) -> None:
    queue = DiskQueue(tmp_path / "q.sqlite", max_items=3)
    for number in range(5):
        queue.put(str(number), {})
    assert queue.dropped == 2
    assert keys(queue) == ["2", "3", "4"]


def test_delivered_items_leave_no_trace_but_their_keys_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overheard.sinks.disk_queue._MAX_KNOWN", 20)
    queue = DiskQueue(tmp_path / "q.sqlite")
    for number in range(50):
        queue.put(str(number), {"title": "secretsong"})
        queue.done(Item(str(number), {}))
    with sqlite3.connect(tmp_path / "q.sqlite") as db:
        assert db.execute("SELECT count(*), count(body) FROM items").fetchone() == (20, 0)
    queue.close()
    assert b"secretsong" not in (tmp_path / "q.sqlite").read_bytes()


def test_while_the_file_cannot_be_written_items_stay_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "q.sqlite"
    monkeypatch.setattr("overheard.sinks.disk_queue._BUSY_TIMEOUT_S", 0.01)
    queue = DiskQueue(path)
    queue.put("before", {})
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    queue.put("a", {})
    queue.put("b", {})
    queue.put("a", {})
    first = queue.first()
    assert first is not None
    queue.done(first)
    lock.execute("ROLLBACK")
    queue.put("c", {})
    rest = keys(queue)
    assert sorted([first.key, *rest]) == ["a", "b", "before", "c"]
    assert [record.message.split(":")[0] for record in caplog.records] == ["queue of q"] * 2


@pytest.mark.parametrize("damage", [b"", b"not a database at all" * 100])
def test_a_damaged_file_is_moved_aside(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "q.sqlite"
    path.write_bytes(damage)
    queue = DiskQueue(path)
    queue.put("a", {})
    assert keys(DiskQueue(path)) == ["a"]
    assert len(list(tmp_path.glob("*.damaged-*"))) == bool(damage)


def test_a_deleted_file_is_started_again(tmp_path: Path) -> None:
    queue = DiskQueue(tmp_path / "q.sqlite")
    queue.put("a", {})
    for file in tmp_path.iterdir():
        file.unlink()
    queue.put("b", {})
    assert keys(DiskQueue(tmp_path / "q.sqlite")) == ["b"]


def test_an_item_that_was_changed_in_the_file_is_refused_and_does_not_stop_the_others(tmp_path: Path) -> None:
    queue = DiskQueue(tmp_path / "q.sqlite")
    queue.put("a", {"n": 1})
    queue.put("b", {"n": 2})
    with sqlite3.connect(tmp_path / "q.sqlite") as db:
        db.execute("UPDATE items SET body = '[' WHERE key = 'a'")
    assert queue.first() == Item("a", {})


# The courier


class Receiver:
    """Takes items, except when it is away."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.away: tuple[float, float] = (0.0, 0.0)
        self.taken: list[tuple[int, float]] = []
        self.tries: list[float] = []

    def deliver(self, body: dict[str, Any]) -> float:
        self.tries.append(self.clock())
        if self.away[0] <= self.clock() < self.away[1]:
            raise RetryLater("away")
        self.taken.append((body["n"], self.clock()))
        return 0.0


def test_a_thousand_items_through_an_outage_of_an_hour(tmp_path: Path) -> None:
    clock, queue = Clock(), DiskQueue(tmp_path / "q.sqlite")
    receiver = Receiver(clock)
    receiver.away = (clock.now_s + 10, clock.now_s + 3610)
    courier = Courier("test", queue, receiver.deliver, 1.0, clock)
    for number in range(1000):  # one every four seconds, as from the fastest of radio stations
        queue.put(str(number), {"n": number})
        run_courier(courier, clock, clock.now_s + 4, queue.__len__)
        clock.now_s = 1004.0 + 4 * number
    run_courier(courier, clock, clock.now_s + 4000, queue.__len__)
    assert [number for number, _ in receiver.taken] == list(range(1000))
    times = receiver.tries
    assert all(after - before >= 1.0 for before, after in itertools.pairwise(times))
    during = [at for at in times if receiver.away[0] <= at < receiver.away[1]]
    assert len(during) < 30, "it asks less and less often"
    first_after = next(at for _, at in receiver.taken if at >= receiver.away[1])
    assert first_after - receiver.away[1] <= 300


def test_a_receiver_says_when_to_come_back(tmp_path: Path) -> None:
    clock, queue, tries = Clock(), DiskQueue(tmp_path / "q.sqlite"), list[float]()

    def deliver(_body: dict[str, Any]) -> float:
        tries.append(clock() - 1000)
        if len(tries) == 1:
            raise RetryLater("busy", 42.0)
        return 7.0 if len(tries) == 2 else 0.0

    for number in range(3):
        queue.put(str(number), {})
    run_courier(Courier("test", queue, deliver, 1.0, clock), clock, 2000, queue.__len__)
    assert [round(at, 1) for at in tries] == [0.0, 42.0, 49.0, 50.0]


def test_a_hostile_wait_is_bounded(tmp_path: Path) -> None:
    clock, queue = Clock(), DiskQueue(tmp_path / "q.sqlite")
    queue.put("a", {})

    def deliver(_body: dict[str, Any]) -> float:
        raise RetryLater("busy", 1e300)

    courier = Courier("test", queue, deliver, 1.0, clock)
    courier.step()
    assert courier.step() <= 3600


def test_what_is_refused_or_crashes_does_not_stop_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, queue, taken = Clock(), DiskQueue(tmp_path / "q.sqlite"), list[int]()

    def deliver(body: dict[str, Any]) -> float:
        if body["n"] == 0:
            raise Rejected("bad")
        if body["n"] == 1:
            raise ZeroDivisionError
        taken.append(body["n"])
        return 0.0

    for number in range(3):
        queue.put(str(number), {"n": number})
    run_courier(Courier("test", queue, deliver, 0.0, clock), clock, 2000, queue.__len__)
    assert taken == [2]
    assert queue.notes()["last_error"] == "ZeroDivisionError()"
    assert "test: bad; not sent again" in caplog.text


def test_what_is_urgent_comes_first_or_never(tmp_path: Path) -> None:
    clock, queue = Clock(), DiskQueue(tmp_path / "q.sqlite")
    receiver = Receiver(clock)
    courier = Courier("test", queue, receiver.deliver, 1.0, clock)
    for number in range(3):
        queue.put(str(number), {"n": number})
    courier.step()
    courier.put_urgent({"n": 100}, 60)
    run_courier(courier, clock, 2000, queue.__len__)
    assert [number for number, _ in receiver.taken] == [0, 100, 1, 2]

    receiver.away = (clock.now_s, clock.now_s + 100)
    courier.put_urgent({"n": 101}, 60)
    queue.put("3", {"n": 3})
    run_courier(courier, clock, 2000, queue.__len__)
    assert receiver.taken[4:] == [(3, receiver.taken[-1][1])], "the song was over when the receiver was back"


# The outbox


def test_an_outbox_delivers_while_others_wait_and_a_second_one_only_adds(tmp_path: Path) -> None:
    taken, other = list[int](), list[int]()
    go = threading.Event()

    def deliver(body: dict[str, Any]) -> float:
        go.wait(20)
        taken.append(body["n"])
        return 0.0

    def never(body: dict[str, Any]) -> float:
        other.append(body["n"])
        return 0.0

    first = Outbox("x", tmp_path, deliver)
    first.put("0", {"n": 0})
    wait_for(lambda: first._lock is not None)
    second = Outbox("x", tmp_path, never)
    second.put("1", {"n": 1})
    go.set()
    first.put("2", {"n": 2})
    wait_for(lambda: len(taken) == 3)
    second.close()
    first.close()
    assert (sorted(taken), other) == ([0, 1, 2], [])


PUT = """
import sys
from pathlib import Path
from overheard.sinks.disk_queue import DiskQueue
queue = DiskQueue(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), 1_000_000):
    queue.put(str(number), {"n": number})
    print(number, flush=True)
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path, start, acknowledged = queue_path(tmp_path, "x"), 0, set[str]()
    for _ in range(5):
        env = os.environ | {"PYTHONPATH": str(DEVICE)}
        command = [sys.executable, "-c", PUT, str(path), str(start)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True) as process:
            assert process.stdout is not None
            for _ in range(40):
                acknowledged.add(process.stdout.readline().strip())
            process.send_signal(signal.SIGKILL)
            acknowledged |= {line.strip() for line in process.stdout if line.endswith("\n")}
        start = max(map(int, acknowledged)) + 1
    found = keys(DiskQueue(path))
    assert acknowledged <= set(found)
    assert len(found) == len(set(found))
