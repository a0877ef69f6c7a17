"""The progress of indexing, as a terminal shows it."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Sequence

import pytest

from overheard.commands.progress import progress_bar
from overheard.index.report import Progress


def shown_in_a_terminal(states: Sequence[Progress], monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what a terminal of 80 columns gets."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as file, contextlib.redirect_stderr(file):
        with progress_bar() as show:
            assert show is not None
            for state in states:
                show(state)
        text = b""
        while select.select([ours], [], [], 0.1)[0]:
            text += os.read(ours, 1 << 16)
    os.close(ours)
    return text.decode()


def test_files_and_percent_are_shown_and_removed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    states = [
        Progress(0, 4, 0, 1000, 0.0, 0, ""),
        Progress(1, 4, 250, 1000, 60.0, 0, "/music/a.flac"),
        Progress(3, 4, 900, 1000, 120.0, 2, "/music/c.flac"),
    ]
    text = shown_in_a_terminal(states, monkeypatch)
    assert "searching for audio files" in text
    assert "3/4 files, 2 unreadable" in text
    assert "90%" in text
    assert text.rstrip().endswith("\x1b[2K"), "the line is not erased"


def test_a_run_with_nothing_to_read_is_shown_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "0/0 files" in shown_in_a_terminal([Progress(0, 0, 0, 0, 0.0, 0, "")], monkeypatch)


def test_a_file_gets_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as show:
        assert show is None
    assert capsys.readouterr() == ("", "")
