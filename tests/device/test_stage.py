"""What the demonstration prints: true to the score, fit for a pipe, and for an output of ASCII only."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from overheard.demo import display as stage_module
from overheard.demo.display import EveningDisplay, report
from overheard.demo.evening import Evening, Performance, score
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


def hold(*plays: Play, encoding: str = "utf-8") -> str:
    """Tell a display of plays, each named 4 s after its start, and return all that it prints."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    console = Console(file=out, width=100)
    display = EveningDisplay(console)
    for each in plays:
        first = Play(each.track, each.start_s, each.start_s + 4.0, each.offset_s, 1.0, 0.97)
        for event in (PlayStarted(first), PlayUpdated(each), PlayEnded(each)):
            display.handle(event, 0.0)
    display.handle(MusicUnknown(60.0, 75.0), 0.0)
    report(console, EVENING, score(EVENING.performances, display.plays), display)
    out.flush()
    return raw.getvalue().decode(encoding)


def test_all_right() -> None:
    text = hold(play("a", 11.0, 41.0), play("b", 92.0, 121.0))
    assert "2 of 2 right, 0 wrong, 0 missed" in text
    assert "rightly left unnamed" in text
    assert "named after 5.0 s" in text
    assert "named after 6.0 s" in text
    assert "0:11" in text
    assert "from 1:05" in text
    assert "97%" in text
    assert "\x1b" not in text, "no colours in a pipe"
    assert all(len(line) <= 100 for line in text.splitlines())


def test_mistakes_are_told() -> None:
    text = hold(play("b", 55.0, 70.0), play("a", 92.0, 100.0), play("a", 125.0, 129.0))
    assert "0 of 2 right, 3 wrong, 1 missed" in text
    assert "was given a name" in text
    assert "missed" in text
    assert "named Mara Quill - Title of a" in text
    assert "though nothing played" in text


def test_output_that_knows_only_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "_encoding", lambda: "ascii")
    text = hold(play("a", 11.0, 41.0), encoding="ascii")
    assert "1 of 2 right" in text
    assert "+ named after" in text
