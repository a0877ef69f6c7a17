"""Print the demonstration: the steps, the plays as they are recognized, and the result.

In a pipe the output is plain text, and without characters that the output's encoding lacks.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from overheard.demo.evening import Evening, Outcome, Result
from overheard.events import Event, MusicUnknown, Play, PlayEnded, PlayStarted
from overheard.text import one_line, short_clock

MAX_WIDTH = 100  # columns; longer lines are hard to read
STYLES = {"recognized": "green", "unknown": "green", "missed": "yellow", "wrong": "bold red"}
NOTE, CHECK, CROSS, DASH = "♪", "✓", "✗", "\N{EN DASH}"
ASCII = {NOTE: ">", CHECK: "+", CROSS: "x", DASH: "-"}


def make_console() -> Console:
    """Return a console on standard output with at most `MAX_WIDTH` columns."""
    console = Console(highlight=False, soft_wrap=False)
    console.width = min(console.width, MAX_WIDTH) if sys.stdout.isatty() else MAX_WIDTH
    return console


class EveningDisplay:
    """A sink that prints each play when it starts, and collects the plays for the evaluation."""

    name = "display"

    def __init__(self, console: Console) -> None:
        self._console = console
        self._recognized_at_s: dict[tuple[str, float], float] = {}
        self.plays: list[Play] = []

    def handle(self, event: Event, started: float) -> None:
        """Print the start of a play or of unknown music; collect the play when it ends."""
        if isinstance(event, PlayStarted):
            self._recognized_at_s[_key(event.play)] = event.play.end_s
            self._console.print(_play_line(event.play))
        elif isinstance(event, PlayEnded):
            self.plays.append(event.play)
        elif isinstance(event, MusicUnknown):
            self._console.print(_line(event.start_s, "?", "dim", Text("unknown music", "dim")))

    def close(self) -> None:
        """Do nothing: every line is already printed."""

    def delay_s(self, outcome: Outcome) -> float | None:
        """Return the time in s from the start of a performance to its recognition; None if missed."""
        keys = map(_key, outcome.correct)
        times_s = [self._recognized_at_s[key] for key in keys if key in self._recognized_at_s]
        return min(times_s) - outcome.performance.start_s if times_s else None


def _key(play: Play) -> tuple[str, float]:
    return play.track.id, play.start_s


def _play_line(play: Play) -> Text:
    text = Text(f"{one_line(play.track.name):<38}", "bold")
    text.append(f"  at {short_clock(play.offset_s)}   {play.confidence:>4.0%}", "not bold dim")
    return _line(play.start_s, NOTE, "cyan", text)


def _line(at_s: float, symbol: str, style: str, text: Text) -> Text:
    return Text.assemble((f"  {short_clock(at_s):>5}  ", "dim"), (f"{_printable(symbol)} ", style), text)


def _printable(symbol: str) -> str:
    """Return the symbol, or an ASCII one if the output's encoding lacks it."""
    try:
        symbol.encode(_encoding())
    except (UnicodeEncodeError, LookupError):
        return ASCII.get(symbol, "*")
    return symbol


def _encoding() -> str:
    return sys.stdout.encoding or "ascii"


def working(console: Console, activity: str) -> contextlib.AbstractContextManager[object]:
    """Show an activity while the block runs, if standard output is a terminal."""
    return console.status(activity) if sys.stdout.isatty() else contextlib.nullcontext()


def step(console: Console, name: str, text: str, note: str = "") -> None:
    """Print one finished step of the preparation."""
    console.print(Text.assemble((f"  {name:<10}", "cyan"), text, (f"   {note}" if note else "", "dim")))


def report(console: Console, evening: Evening, result: Result, display: EveningDisplay) -> None:
    """Print the outcome of each performance, and a summary."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for column in ("  time", "played", "noise", "result"):
        table.add_column(column, no_wrap=column != "played", overflow="fold")
    for outcome in result.outcomes:
        table.add_row(*_row(outcome, display.delay_s(outcome)))
    console.print()
    console.print(table)
    for play in result.spurious:
        text = Text(f"{one_line(play.track.name)}, but no music played", "red")
        console.print(_line(play.start_s, CROSS, "bold red", text))
    console.print()
    for line in _summary(evening, result, display):
        console.print(line)


def _row(outcome: Outcome, delay_s: float | None) -> tuple[Text, Text, Text, Text]:
    performance = outcome.performance
    time = f"  {short_clock(performance.start_s)}-{short_clock(performance.end_s)}"
    return (
        Text(time, "dim"),
        Text(f"{performance.piece.artist} - {performance.piece.title}"),
        Text(f"-{performance.snr_db:.0f} dB", "dim"),
        Text(_verdict(outcome, delay_s), STYLES[outcome.verdict]),
    )


def _verdict(outcome: Outcome, delay_s: float | None) -> str:
    if outcome.verdict == "wrong":
        return f"{_printable(CROSS)} recognized as {one_line(outcome.wrong[0].track.name)}"
    if outcome.verdict == "recognized":
        after = f" after {delay_s:.1f} s" if delay_s is not None else ""
        return f"{_printable(CHECK)} recognized{after}"
    if outcome.verdict == "unknown":
        return f"{_printable(CHECK)} correctly not identified"
    return f"{_printable(DASH)} missed"


def _summary(evening: Evening, result: Result, display: EveningDisplay) -> Iterator[Text]:
    n_known = sum(performance.path is not None for performance in evening.performances)
    n_recognized, n_missed = result.count("recognized"), result.count("missed")
    style = "bold green" if result.passed else "bold red"
    yield Text(f"  {n_recognized} of {n_known} recognized, {n_missed} missed, {result.n_wrong} wrong", style)
    unknown = [outcome for outcome in result.outcomes if outcome.performance.path is None]
    if unknown and all(outcome.verdict == "unknown" for outcome in unknown):
        yield Text("  the piece that is not in the catalogue: correctly not identified", "green")
    elif unknown:
        yield Text("  the piece that is not in the catalogue: identified as another piece", "bold red")
    delays_s = [delay for delay in map(display.delay_s, result.outcomes) if delay is not None]
    if delays_s:
        median_s = statistics.median_high(delays_s)
        yield Text(f"  median time from the first note to recognition: {median_s:.1f} s", "dim")
