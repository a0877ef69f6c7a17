"""The live view of `overheard listen`, on a pseudo-terminal whose screen a small emulator keeps."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import io
import logging
import math
import os
import pty
import re
import struct
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
from test_daemon import SECOND, FakeListener, FakeSource, arguments, play

from overheard.commands import listen
from overheard.events import PlayEnded, PlayStarted, PlayUpdated, Status, Track
from overheard.settings import Settings
from overheard.sinks.live_view import LiveView, suits
from overheard.sinks.terminal import TerminalSink

STATUS = Status("searching", -20.0, -60.0, True, 0.9, None, {"gate": 1.0, "network": 2.0}, 100.0, 0.0, None)


class Screen:
    """What a terminal of a fixed width shows: text, line feeds, moves up and erasing; colours are ignored."""

    def __init__(self, width: int = 80) -> None:
        self.width = width
        self.rows = [""]
        self.row = self.column = 0

    def feed(self, text: str) -> None:
        for part in re.findall(r"\x1b\[\d*[A-Za-z]|\r|\n|[^\x1b\r\n]", text):
            if part == "\r":
                self.column = 0
            elif part == "\n":
                self.row, self.column = self.row + 1, 0
                if self.row == len(self.rows):
                    self.rows.append("")
            elif part.startswith("\x1b") and part.endswith("A"):
                self.row -= int(part[2:-1] or 1)
                assert self.row >= 0
            elif part.startswith("\x1b") and part.endswith("J"):
                self.rows = [*self.rows[: self.row], self.rows[self.row][: self.column]]
            elif not part.startswith("\x1b"):
                if self.column == self.width:
                    self.feed("\n")
                line = self.rows[self.row].ljust(self.column)
                self.rows[self.row] = line[: self.column] + part + line[self.column + 1 :]
                self.column += 1


@dataclasses.dataclass
class Terminal:
    """A pseudo-terminal: the program's end as a stream, and the screen at the other end."""

    stream: TextIO
    master: int
    screen: Screen

    def shown(self) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.screen.feed(os.read(self.master, 65536).decode().replace("\r\n", "\n"))
        return self.screen.rows

    def resize(self, width: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        self.screen.width = width


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setattr("overheard.sinks.live_view._REDRAW_S", 3600.0)  # tests draw themselves
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    with os.fdopen(slave, "w", encoding="utf-8") as stream:
        found = Terminal(stream, master, Screen())
        found.resize(80)
        yield found
    os.close(master)


@pytest.fixture
def view(terminal: Terminal) -> Iterator[LiveView]:
    view = LiveView(terminal.stream, "USB Audio", now=lambda: 1000.0 + 30)
    yield view
    view.close()


def test_the_panel_shows_the_level_the_play_and_its_position(terminal: Terminal, view: LiveView):
    view.draw()
    assert terminal.shown() == ["listening", "USB Audio"]
    view.publish_status(STATUS)
    view.handle(PlayStarted(play(8)), 1000.0)
    view.draw()
    line, panel, status = terminal.shown()
    assert line.endswith("Ann - Alpha  (at 1:02, 93%)")
    assert panel == "1:32 / 3:20   93%  Ann - Alpha"
    assert status == "███████████████░░░░░ -20 dBFS  processor 3.0%  USB Audio"
    view.handle(PlayUpdated(play(40)), 1000.0)
    view.draw()
    assert terminal.shown()[1].startswith("1:42 / 3:20")
    view.handle(PlayEnded(play(50)), 1000.0)
    view.publish_status(dataclasses.replace(STATUS, state="paused", level_db=-math.inf, lost_s=3))
    view.draw()
    assert terminal.shown()[1].endswith("Ann - Alpha  ended after 0:50")
    assert terminal.shown()[2:] == ["paused", "USB Audio"]
    view.close()
    assert [row for row in terminal.shown() if row] == terminal.shown()[:2]


def test_a_narrow_terminal_and_one_that_becomes_narrower_stay_clean(terminal: Terminal, view: LiveView):
    view.publish_status(STATUS)
    track = Track("c" * 12, "長い" * 40, "Ann", "", "/c.flac", "music", 100.0)
    view.handle(PlayStarted(dataclasses.replace(play(1), track=track)), 1000.0)
    view.draw()
    n_rows = len(terminal.shown())
    assert n_rows == 2 + 2  # the line of the play wraps, the panel is cut
    terminal.resize(20)
    terminal.screen = Screen(20)
    view._shown = ["1234567890" * 4, "x"]  # as the terminal wraps them now
    terminal.screen.feed("1234567890" * 4 + "\nx")
    view.draw()
    assert all(len(row) <= 20 for row in terminal.shown())
    assert not any("12345" in row for row in terminal.shown())


def test_a_terminal_that_does_not_know_its_width_is_80_wide(terminal: Terminal, view: LiveView):
    terminal.resize(0)  # as of a serial line, or of a program that opened a pseudo-terminal
    terminal.screen.width = 80
    view.publish_status(STATUS)
    view.draw()
    assert terminal.shown()[-1].endswith("processor 3.0%  USB Audio")


def test_a_message_of_the_log_stands_above_the_panel(terminal: Terminal, view: LiveView):
    handler = logging.StreamHandler(terminal.stream)
    handler.addFilter(view)
    view.draw()
    handler.handle(logging.LogRecord("x", logging.WARNING, "", 0, "microphone gone", None, None))
    view.draw()
    assert terminal.shown() == ["microphone gone", "listening", "USB Audio"]


def test_a_title_cannot_move_the_cursor(terminal: Terminal, view: LiveView):
    track = dataclasses.replace(play(1).track, title="\x1b[2J\x1b[5AEvil\r")
    view.handle(PlayStarted(dataclasses.replace(play(1), track=track)), 1000.0)
    view.draw()
    assert "\\x1b[2J" in terminal.shown()[1]


def test_nothing_is_drawn_again_if_nothing_changed(terminal: Terminal, view: LiveView):
    view.draw()
    terminal.shown()
    view.draw()
    with pytest.raises(BlockingIOError):
        os.read(terminal.master, 1)


def test_no_event_waits_for_a_terminal_that_is_stopped(monkeypatch: pytest.MonkeyPatch):
    stopped = threading.Event()

    class Stopped(io.StringIO):
        def write(self, text: str) -> int:
            stopped.wait(60)
            return len(text)

    monkeypatch.setattr("overheard.sinks.live_view._REDRAW_S", 0.001)
    monkeypatch.setattr("overheard.sinks.live_view._CLOSE_S", 0.01)
    view = LiveView(Stopped(), "mic")
    for _ in range(5000):
        view.handle(PlayStarted(play(1)), 0.0)
        view.publish_status(STATUS)
    assert len(view._waiting) <= 1000
    view.close()
    stopped.set()


@pytest.mark.parametrize(
    ("terminal_name", "words", "kind"),
    [("xterm", (), LiveView), ("xterm", ("--plain",), TerminalSink), ("dumb", (), TerminalSink)],
)
def test_listen_shows_the_view_in_a_terminal_only(
    terminal: Terminal,
    monkeypatch: pytest.MonkeyPatch,
    terminal_name: str,
    words: tuple[str, ...],
    kind: type,
):
    monkeypatch.setenv("TERM", terminal_name)
    monkeypatch.setattr("sys.stdout", terminal.stream)
    args = arguments("--no-history", *words)
    (sink,) = listen.open_sinks(args, Settings(), FakeSource([]))
    assert isinstance(sink, kind)
    sink.close()


def test_a_file_is_no_terminal(tmp_path: Path):
    with (tmp_path / "out").open("w") as stream:
        assert not suits(stream, {"TERM": "xterm"})


def test_listen_in_a_terminal_leaves_the_lines_there(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Recognizer:
        listener = FakeListener

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout", terminal.stream)
    monkeypatch.setattr("overheard.recognize.open.open_recognizer", lambda settings, packs: Recognizer())
    monkeypatch.setattr("overheard.recognize.reload.watching_packs", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr("overheard.hear.open.open_source", lambda *_: FakeSource([SECOND] * 3))
    assert listen.run(arguments(), Settings(data_dir=tmp_path)) == 0
    assert [row[10:] for row in terminal.shown()] == [
        "Ann - Alpha  (at 1:02, 93%)",
        "Ann - Alpha  ended after 0:03",
        "",
    ]
