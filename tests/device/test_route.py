"""What moves of a stream between the sources of the sound server mean, and the parsing of `pactl`."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from overheard.hear import route, sound_server
from overheard.hear.route import Route, RouteWatch, confirmed, watching_route
from overheard.hear.sound_server import Connection, SoundServer
from overheard.hear.source import Gap, Rerouted

MIC, SPEAKERS, HDMI = "mic", "speakers.monitor", "hdmi.monitor"


class World:
    """Sources, the one that a stream records, and a route that sees each change."""

    def __init__(self, spec: str, source: str) -> None:
        self.sources = {MIC: 1, SPEAKERS: 2, HDMI: 3}
        self.source, self.monitor = source, SPEAKERS
        self.route = Route(spec, spec)
        assert self.check() is None

    def remove(self, source: str) -> None:
        """Remove a source, as by unplugging it; the server moves the stream to the microphone."""
        del self.sources[source]
        if self.source == source:
            self.source = MIC

    def add(self, source: str, number: int = 9) -> None:
        self.sources[source] = number

    def check(self) -> Rerouted | None:
        def now() -> Connection:
            return Connection(0, self.source, dict(self.sources), self.monitor)

        self.source = self.route.wanted(now())
        return self.route.update(now())


def test_a_stream_whose_source_disappears_returns_when_it_is_back():
    world = World(f"pulse:{SPEAKERS}", SPEAKERS)
    world.remove(SPEAKERS)
    assert world.check() == Rerouted(f"pulse:{MIC}", f"pulse:{MIC}", f"pulse:{SPEAKERS}", "gone")
    assert world.check() is None
    world.add(SPEAKERS)
    assert world.check() == Rerouted(f"pulse:{SPEAKERS}", f"pulse:{SPEAKERS}", f"pulse:{MIC}", "returned")
    assert world.check() is None


def test_a_source_that_is_back_before_anybody_looked_was_gone_too():
    world = World(f"pulse:{SPEAKERS}", SPEAKERS)
    world.remove(SPEAKERS)
    world.add(SPEAKERS)
    assert world.check() is None
    assert world.source == SPEAKERS


def test_a_stream_that_somebody_moved_stays_there():
    world = World(f"pulse:{SPEAKERS}", SPEAKERS)
    world.source = HDMI
    assert world.check() == Rerouted(f"pulse:{HDMI}", f"pulse:{HDMI}", f"pulse:{SPEAKERS}", "moved")
    assert world.check() is None
    world.remove(SPEAKERS)
    world.add(SPEAKERS)
    assert world.check() is None
    assert world.source == HDMI
    world.remove(HDMI)  # the source that was chosen is the one to return to
    change = world.check()
    assert change is not None
    assert change.reason == "gone"
    world.add(HDMI)
    world.check()
    assert world.source == HDMI


def test_a_stream_that_lost_its_source_returns_although_it_was_moved_meanwhile():
    world = World(f"pulse:{SPEAKERS}", SPEAKERS)
    world.remove(SPEAKERS)
    world.check()
    world.source = HDMI  # the server does this too, when the default source changes
    world.check()
    world.add(SPEAKERS)
    world.check()
    assert world.source == SPEAKERS


def test_the_monitor_follows_the_default_output():
    world = World("monitor", SPEAKERS)
    world.remove(SPEAKERS)
    world.monitor = HDMI
    assert world.check() == Rerouted(f"pulse:{HDMI}", f"pulse:{HDMI}", f"pulse:{SPEAKERS}", "gone")
    world.add(SPEAKERS)
    assert world.check() is None
    world.monitor = SPEAKERS
    assert world.check() == Rerouted("monitor", f"pulse:{SPEAKERS}", f"pulse:{HDMI}", "returned")
    world.source = MIC  # by somebody
    world.check()
    world.monitor = HDMI
    assert world.check() is None
    assert world.source == MIC


def test_the_first_source_of_a_default_input_is_its_own():
    world = World("default", MIC)
    world.source = HDMI
    world.check()
    world.source = MIC
    assert world.check() == Rerouted("default", f"pulse:{MIC}", f"pulse:{HDMI}", "returned")


def test_a_stream_that_was_opened_elsewhere_is_moved():
    world = World.__new__(World)
    world.sources, world.source, world.monitor = {MIC: 1, SPEAKERS: 2}, MIC, ""
    world.route = Route(f"pulse:{SPEAKERS}", "")
    assert world.check() is None
    assert world.source == SPEAKERS


# pactl


@pytest.fixture
def pactl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a `pactl` that prints files: the words of its arguments are their name."""
    script = tmp_path / "pactl"
    script.write_text(f'#!/bin/sh\ncase "$*" in subscribe) exec sleep 60;; esac\ncat "{tmp_path}/$3$4"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "listsources").write_text('[{"index": 7, "name": "mic"}, {"index": 8, "name": "other"}]')
    (tmp_path / "info").write_text('{"default_sink_name": "speakers"}')
    return tmp_path


def streams(pid: object, source: object = 7) -> str:
    return (
        f'[{{"index":5,"client":"31","source":{source},"properties":{{"application.process.id":"{pid}"}}}}]'
    )


def test_the_stream_of_this_process_is_found(pactl: Path):
    (pactl / "listsource-outputs").write_text(streams(os.getpid()))
    assert SoundServer().connection() == Connection(5, "mic", {"mic": 7, "other": 8}, "speakers.monitor")
    (pactl / "listclients").write_text("[]")
    (pactl / "listsource-outputs").write_text(streams(1))
    assert SoundServer().connection() is None


def test_the_stream_of_this_process_is_found_by_its_client(pactl: Path):
    (pactl / "listsource-outputs").write_text('[{"index": 5, "client": "31", "source": 8, "properties": {}}]')
    row = f'{{"index": 31, "properties": {{"application.process.id": "{os.getpid()}"}}}}'
    (pactl / "listclients").write_text(f"[{row}]")
    connection = SoundServer().connection()
    assert connection is not None
    assert connection.source == "other"


@pytest.mark.parametrize(
    "text", ["", "nonsense", "{}", "[1]", "[" * 100_000, '[{"properties": 3}]', "\xff", streams("x", "null")]
)
def test_output_that_is_not_understood_is_no_connection(pactl: Path, text: str):
    (pactl / "listclients").write_text(text, encoding="latin-1")
    (pactl / "listsource-outputs").write_text(text, encoding="latin-1")
    assert SoundServer().connection() is None
    (pactl / "listsource-outputs").write_text(streams(os.getpid()))
    (pactl / "listsources").write_text(text, encoding="latin-1")
    assert SoundServer().connection() is None


def test_a_sound_server_that_hangs_delays_neither_the_reader_nor_the_end(
    pactl: Path, monkeypatch: pytest.MonkeyPatch
):
    (pactl / "pactl").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(sound_server, "PACTL_TIMEOUT_S", 0.2)
    assert SoundServer().connection() is None
    monkeypatch.setattr(sound_server, "PACTL_TIMEOUT_S", 50.0)
    monkeypatch.setattr(route, "_STOP_S", 30.0)
    with watching_route(Route("default", "")) as changes:
        assert changes() == []
    assert "sound server" not in [thread.name for thread in threading.enumerate()]


def test_the_subscription_ends_with_the_client(pactl: Path):
    server = SoundServer()
    changes = server.changes()
    next(changes)
    server.close()
    assert list(changes) == []


def test_nothing_is_watched_without_pactl(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    with watching_route(Route("default", "")) as changes:
        assert changes() == []


@pytest.mark.parametrize(
    ("line", "relevant"),
    [
        (b"Event 'change' on source-output #3", True),
        (b"Event 'new' on source #3", True),
        (b"Event 'change' on source #3", False),  # as by its volume
        (b"Event 'change' on server #4294967295", True),
        (b"Event 'new' on client #3", False),
        (b"", False),
    ],
)
def test_only_some_events_are_followed(line: bytes, relevant: bool):
    assert sound_server._is_relevant(line) is relevant


# Audio while it is not known which source it is from

SECOND = np.ones(8000, np.int16)


def test_audio_is_held_back_until_its_source_is_known():
    watch = RouteWatch()

    def items():
        yield SECOND
        watch.announce()  # such as another program that starts to record
        yield SECOND
        yield SECOND
        watch.checked(None)
        yield SECOND

    assert [len(item) for item in confirmed(items(), watch) if isinstance(item, np.ndarray)] == [
        8000,
        0,
        0,
        8000,
        8000,
        8000,
    ]


def test_audio_of_another_source_is_discarded():
    watch, change = RouteWatch(), Rerouted("b", "pulse:b", "pulse:a", "gone")

    def items():
        yield SECOND
        watch.announce()
        yield SECOND
        yield Gap(800)
        watch.checked(change)
        yield SECOND
        yield SECOND

    passed = list(confirmed(items(), watch))
    assert [item.size for item in passed if isinstance(item, np.ndarray)] == [8000, 0, 0, 8000]
    assert passed[3:5] == [Gap(8000 + 800 + 8000, slow=False), change]


def test_audio_is_not_held_back_for_ever(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(route, "_LONGEST_HELD_S", 0.0)
    watch = RouteWatch()
    watch.announce()
    assert list(confirmed([SECOND], watch)) == [SECOND]


def test_a_sign_of_a_change_is_noticed_before_the_look(pactl: Path):
    """The audio from then on is held back, although the check takes a while."""
    (pactl / "listsource-outputs").write_text(streams(os.getpid()))
    script = (pactl / "pactl").read_text()
    talk = "echo \"Event 'change' on source-output #5\"; exec sleep 60"
    (pactl / "pactl").write_text(script.replace("exec sleep 60", talk))
    noticed: list[int] = []
    server = SoundServer()
    changes = server.changes(lambda: noticed.append(1))
    while not noticed:
        next(changes)
    server.close()
    changes.close()
