"""Run a program for each event, with the fields of the event in its environment."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from overheard.errors import SettingsError
from overheard.settings import Settings
from overheard.sinks.context import Context
from overheard.sinks.courier import Rejected, RetryLater
from overheard.sinks.event_sink import EventSink
from overheard.sinks.messages import Messages

NAME = "command"
TRY_AGAIN = 75  # the exit code that BSD's sysexits.h calls EX_TEMPFAIL
_MAX_VALUE = 4000  # characters of a value
_SECRET = re.compile(r"OVERHEARD_\w*(TOKEN|PASSWORD|SECRET|SESSION|URL)")
_KILL_WAIT_S = 2.0  # after SIGTERM


class Command:
    """A program that runs once at a time.

    Parameters
    ----------
    words : the program and its arguments; none of them comes from an event
    timeout_s : after which it is stopped, with all that it started
    """

    def __init__(self, words: Sequence[str], timeout_s: float) -> None:
        self._words = list(words)
        self._timeout_s = timeout_s

    def deliver(self, body: dict[str, Any]) -> float:
        """Run the program, and wait for it."""
        if "event" not in body:
            raise Rejected("an item of the queue is damaged")
        env = {name: value for name, value in os.environ.items() if not _SECRET.fullmatch(name)}
        try:
            process = subprocess.Popen(
                self._words,
                env=env | variables(body),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise RetryLater(f"{self._words[0]} cannot be started: {error}") from error
        try:
            code = process.wait(self._timeout_s)
        except subprocess.TimeoutExpired:
            _stop(process)
            raise Rejected(f"{self._words[0]} was stopped after {self._timeout_s:g} s") from None
        if code == TRY_AGAIN:
            raise RetryLater(f"{self._words[0]} asks to be run again later")
        if code:
            raise Rejected(f"{self._words[0]} ended with exit code {code}")
        return 0.0


def variables(body: Mapping[str, Any]) -> dict[str, str]:
    """Return a message as environment variables.

    Examples
    --------
    >>> variables({"event": "play_started", "play": {"offset_s": 1.5, "track": {"title": "Alpha"}}})
    {'OVERHEARD_EVENT': 'play_started', 'OVERHEARD_OFFSET_S': '1.5', 'OVERHEARD_TITLE': 'Alpha'}
    """
    play = dict(body.get("play", {}))
    track = {
        f"track_{name}" if name == "id" else name: value for name, value in play.pop("track", {}).items()
    }
    values = {**{name: value for name, value in body.items() if name != "play"}, **play, **track}
    return {
        f"OVERHEARD_{name.upper()}": _plain(value)
        for name, value in values.items()
        if isinstance(value, str | int | float)
    }


def _plain(value: str | float) -> str:
    text = str(value)[:_MAX_VALUE].replace("\0", "")
    return text.encode("utf-8", "backslashreplace").decode()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a program and what it started, which are one process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_KILL_WAIT_S)


def _open_command(settings: Settings) -> Command:
    chosen = settings.sinks.command
    if not chosen.command or not chosen.command[0]:
        problem = "sinks.command.command is empty"
        raise SettingsError(problem, 'set it to a list, such as ["/home/me/on-play.sh"]')
    return Command(chosen.command, chosen.timeout_s)


def open_sink(settings: Settings, _context: Context) -> EventSink:
    """Return the sink."""
    messages = Messages("sinks.command.events", settings.sinks.command.events)
    return EventSink(NAME, settings.data_dir, messages, _open_command(settings).deliver)


def test(settings: Settings, _context: Context) -> str:
    """Run the program."""
    command = _open_command(settings)
    command.deliver({"id": "test", "event": "test"})
    return f"{settings.sinks.command.command[0]} ran with OVERHEARD_EVENT=test"
