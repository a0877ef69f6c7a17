"""The output of the demonstration agrees with the result, in a pipe and in ASCII."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from overheard.demo import display as display_module
from overheard.demo.display import EveningDisplay, report
from overheard.demo.evening import Evening, Performance, judge
from overheard.demo.synth import Piece
from overheard.events import MusicUnknown, Play, PlayEnded, PlayStarted, PlayUpdated, Track


def piece(title: str) -> Piece:
    return Piece(np.zeros(8, np.float32), title, "Mara Quill")


EVENING = Evening(
    np.zeros(8000 * 130, np.float32),
    (
        Performance(piece("Silver Rain"), Path("/m/a.wav"), 10.0, 40.0, 5.0, 10.0),
        Performance(piece("Idle Kites"), None, 50.0, 80.0, 5.0, 10.0),
        Performance(piece("Jade Ferry"), Path("/m/b.wav"), 90.0, 120.0, 5.0, 10.0),
    ),
)


def play(stem: str, start_s: float, end_s: float) -> Play:
    track = Track(stem, f"Title of {stem}", "Mara Quill", "", f"/m/{stem}.wav", "demo", 100.0)
    return Play(track, start_s, end_s, 65.0, 1.0, 0.97)


def show(*plays: Play, encoding: str = "utf-8") -> str:
    """Return the output for plays that are each recognized 4 s after their start."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    console = Console(file=out, width=100)
    display = EveningDisplay(console)
    for each in plays:
        first = Play(each.track, each.start_s, each.start_s + 4.0, each.offset_s, 1.0, 0.97)
        for event in (PlayStarted(first), PlayUpdated(each), PlayEnded(each)):
            display.handle(event, 0.0)
    display.handle(MusicUnknown(60.0, 75.0), 0.0)
    report(console, EVENING, judge(EVENING.performances, display.plays), display)
    out.flush()
    return raw.getvalue().decode(encoding)


def test_all_correct() -> None:
    text = show(play("a", 11.0, 41.0), play("b", 92.0, 121.0))
    assert "2 of 2 recognized, 0 missed, 0 wrong" in text
    assert "the piece that is not in the catalogue: correctly not identified" in text
    assert "recognized after 5.0 s" in text
    assert "recognized after 6.0 s" in text
    assert "0:11" in text
    assert "at 1:05" in text
    assert "97%" in text
    assert "\x1b" not in text, "no colours in a pipe"
    assert all(len(line) <= 100 for line in text.splitlines())


def test_mistakes() -> None:
    text = show(play("b", 55.0, 70.0), play("a", 92.0, 100.0), play("a", 125.0, 129.0))
    assert "0 of 2 recognized, 1 missed, 3 wrong" in text
    assert "identified as another piece" in text
    assert "missed" in text
    assert "recognized as Mara Quill - Title of a" in text
    assert "but no music played" in text


def test_an_ascii_output_gets_ascii_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display_module, "_encoding", lambda: "ascii")
    text = show(play("a", 11.0, 41.0), encoding="ascii")
    assert "1 of 2 recognized" in text
    assert "+ recognized after" in text
