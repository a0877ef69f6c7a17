"""MPRIS and desktop notifications, on a real D-Bus of their own."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import html
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from overheard.errors import OverheardError
from overheard.events import Alternative, PlayEnded, PlayStarted, PlayUpdated
from overheard.sinks.context import Context
from sink_fakes import NOON, play, settings, track, wait_for

jeepney = pytest.importorskip("jeepney")
needs_bus = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="dbus-daemon is not installed")
needs_playerctl = pytest.mark.skipif(shutil.which("playerctl") is None, reason="playerctl is not installed")
CONFIG = """<busconfig><type>session</type><listen>unix:path={path}</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/></policy></busconfig>"""


@contextlib.contextmanager
def running_bus(folder: Path) -> Iterator[None]:
    config = folder / "bus.conf"
    config.write_text(CONFIG.format(path=folder / "bus"))
    nothing = subprocess.DEVNULL
    command = ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile"]
    process = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing)
    try:
        wait_for(lambda: _accepts(folder / "bus"))
        yield
    finally:
        process.kill()
        process.wait(20)
        (folder / "bus").unlink(missing_ok=True)


def _accepts(path: Path) -> bool:
    """Return whether a bus answers: its socket exists a little earlier."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path / 'bus'}")
    return tmp_path


@pytest.fixture
def bus(address: Path) -> Iterator[None]:
    with running_bus(address):
        yield


def playerctl(*arguments: str) -> str:
    command = ["playerctl", "--player=overheard", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout.strip()


@pytest.fixture
def player() -> Iterator[Any]:
    from overheard.sinks.desktop import mpris

    sink = mpris.MprisSink()
    yield sink
    sink.close()


# MPRIS


@needs_bus
@needs_playerctl
def test_playerctl_shows_what_plays(bus: None, player: Any) -> None:
    wait_for(lambda: playerctl("status") == "Stopped")
    player.handle(PlayStarted(play(1, 0, 5, 20)), NOON)
    wait_for(lambda: playerctl("status") == "Playing")
    shown = playerctl("metadata", "--format", "{{artist}}|{{title}}|{{album}}|{{mpris:length}}")
    assert shown == "Ann|Song 1|Album|200000000"
    player.handle(PlayEnded(play(1)), NOON)
    wait_for(lambda: playerctl("status") == "Stopped")


@needs_bus
@needs_playerctl
def test_changes_are_announced(bus: None, player: Any) -> None:
    wait_for(lambda: playerctl("status") == "Stopped")
    command = ["playerctl", "--player=overheard", "--follow", "metadata", "--format", "{{title}}"]
    lines: list[str] = []
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert follower.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(iter(follower.stdout.readline, ""),), daemon=True)
    reader.start()
    try:
        for number in (1, 2):
            player.handle(PlayStarted(play(number, 200.0 * number, 5)), NOON)
            wait_for(functools.partial(lines.__contains__, f"Song {number}\n"))
    finally:
        follower.kill()
        follower.wait(20)


@needs_bus
@needs_playerctl
def test_nobody_can_control_it(bus: None, player: Any) -> None:
    player.handle(PlayStarted(play(1, 0, 5)), NOON)
    wait_for(lambda: playerctl("status") == "Playing")
    for command in ("pause", "next", "stop"):
        playerctl(command)
    assert playerctl("status") == "Playing"


def call(method: str, signature: str | None, body: tuple[Any, ...], interface: str, path: str = "") -> Any:
    """Call the player as any program can; return the kind and the body of the answer."""
    from overheard.sinks.desktop.bus import connect
    from overheard.sinks.desktop.player import OBJECT

    address = jeepney.DBusAddress(path or OBJECT, "org.mpris.MediaPlayer2.overheard", interface)
    with connect() as connection:
        message = jeepney.new_method_call(address, method, signature, body)
        answer = connection.send_and_get_reply(message, timeout=10)
        fields = answer.header.fields
        return fields.get(jeepney.HeaderFields.error_name), answer.body


@needs_bus
def test_properties(bus: None, player: Any) -> None:
    properties, main = "org.freedesktop.DBus.Properties", "org.mpris.MediaPlayer2.Player"
    wait_for(lambda: call("Ping", None, (), "org.freedesktop.DBus.Peer")[0] is None)
    player.handle(PlayStarted(play(1, 0, 5, 20)), NOON)
    error, ((kind, position),) = call("Get", "ss", (main, "Position"), properties)
    assert (error, kind, position) == (None, "x", 200_000_000), "no further than the end of the track"
    error, (found,) = call("GetAll", "s", (main,), properties)
    assert found["CanControl"] == ("b", False)
    assert found["Metadata"][1]["xesam:artist"] == ("as", ["Ann"])
    error, (text,) = call("Introspect", None, (), "org.freedesktop.DBus.Introspectable")
    assert 'name="PlaybackStatus" type="s" access="read"' in text
    for method, signature, body, interface, path in (
        ("Get", "ss", (main, "Nothing"), properties, ""),
        ("Get", "s", (main,), properties, ""),
        ("Get", None, (), properties, ""),
        ("Set", "ssv", (main, "Volume", ("d", 0.0)), properties, ""),
        ("Nothing", "ay", (b"x" * 100_000,), "org.example", ""),
        ("Get", "ss", (main, "Position"), properties, "/elsewhere"),
    ):
        error, _ = call(method, signature, body, interface, path)
        assert error.startswith("org.freedesktop.DBus.Error.")
    assert call("Next", None, (), main)[0] is None


@needs_bus
def test_the_player_comes_back_with_the_bus(
    address: Path, player: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("overheard.sinks.desktop.mpris._LAST_RETRY_S", 1.0)
    player.handle(PlayStarted(play(1, 0, 5)), NOON)

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return call("Ping", None, (), "org.freedesktop.DBus.Peer")[0] is None
        return False

    for _ in range(2):
        with running_bus(address):
            wait_for(answers)
    assert "mpris: works again" in caplog.text


def test_hostile_titles_and_ids() -> None:
    from overheard.sinks.desktop.player import Player

    evil = dataclasses.replace(
        track(1), id="../x y\u00e9", title="a\0b\udc80\n", artist="", album="", duration_s=0
    )
    player = Player()
    assert player.play(dataclasses.replace(play(1), track=evil), NOON)
    metadata = player.properties("org.mpris.MediaPlayer2.Player", NOON)["Metadata"][1]
    assert metadata == {
        "mpris:trackid": ("o", "/org/overheard/track/___x_y_"),
        "xesam:title": ("s", "ab\\udc80\n"),
    }


# Notifications


class Desktop:
    """A program that shows notifications, and remembers them."""

    def __init__(self) -> None:
        from overheard.sinks.desktop.bus import connect
        from overheard.sinks.desktop.mpris import own_name

        self.shown: list[tuple[Any, ...]] = []
        self.stopping = threading.Event()
        self.bus = connect()
        own_name(self.bus, "org.freedesktop.Notifications")
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while not self.stopping.is_set():
            with contextlib.suppress(TimeoutError):
                message = self.bus.receive(timeout=0.05)
                if message.header.message_type is jeepney.MessageType.method_call:
                    self.shown.append(message.body)
                    self.bus.send(jeepney.new_method_return(message, "u", (message.body[1] or 42,)))
        self.bus.close()


@pytest.fixture
def desktop(bus: None) -> Iterator[Desktop]:
    made = Desktop()
    yield made
    made.stopping.set()
    made.thread.join(10)


@needs_bus
def test_each_play_is_shown_once(desktop: Desktop, tmp_path: Path) -> None:
    from overheard.sinks.desktop import notify

    sink = notify.open_sink(settings(tmp_path, notify_timeout_s=3), Context())
    ambiguous = dataclasses.replace(play(1, 0, 5), alternatives=(Alternative(track(2), 0.0),))
    for event in (
        PlayStarted(ambiguous),
        PlayUpdated(play(2, 0, 9)),
        PlayUpdated(play(2, 0, 90)),
    ):
        sink.handle(event, NOON)
    sink.handle(PlayEnded(play(2, 0, 100)), NOON)
    sink.handle(PlayStarted(play(2, 200, 9)), NOON)
    sink.close()
    summaries = [
        (name, replaces, title, text, ms) for name, replaces, _, title, text, _, _, ms in desktop.shown
    ]
    assert summaries == [
        ("overheard", 0, "Song 2", "Ann\nAlbum", 3000),
        ("overheard", 42, "Song 2", "Ann\nAlbum", 3000),
    ]


@needs_bus
def test_markup_in_tags_is_text(desktop: Desktop) -> None:
    from overheard.sinks.desktop.notify import NotifySink

    sink = NotifySink(0)
    sink.show(dataclasses.replace(track(1), title="x" * 1000, artist="<img src=x> & co\x1b", album=""))
    sink.close()
    (_, _, _, title, text, _, _, expire) = desktop.shown[0]
    assert html.unescape(text) == "<img src=x> & co\\x1b"
    assert "<" not in text
    assert (len(title), expire) == (203, -1)


@needs_bus
def test_without_a_desktop_it_is_an_error_and_works_when_there_is_one(bus: None, tmp_path: Path) -> None:
    from overheard.sinks.desktop import notify

    sink = notify.open_sink(settings(tmp_path), Context())
    with pytest.raises(OSError, match="shows no notifications"):
        sink.show(track(1))
    desktop = Desktop()
    sink.show(track(1))
    sink.close()
    assert "shows a notification" in notify.test(settings(tmp_path), Context())
    assert len(desktop.shown) == 2
    desktop.stopping.set()
    desktop.thread.join(10)


def test_without_a_bus_the_tests_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from overheard.sinks.desktop import mpris, notify

    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for module in (mpris, notify):
        with pytest.raises(OverheardError, match=r"no desktop session.*in your desktop session"):
            module.test(settings(tmp_path), Context())
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "tcp:host=example.org,port=1")
    for module in (mpris, notify):
        with pytest.raises(OverheardError, match="not supported"):
            module.test(settings(tmp_path), Context())


@needs_bus
def test_the_bus_is_found_without_its_variable(
    bus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from overheard.sinks.desktop import mpris

    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert "accepts" in mpris.test(settings(tmp_path), Context())
    assert "DBUS_SESSION_BUS_ADDRESS" not in os.environ
