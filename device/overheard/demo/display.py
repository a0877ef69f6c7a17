"""How the demonstration looks in a terminal, and in a pipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from overheard.demo.evening import Evening, Score, Verdict
from overheard.events import Event, MusicUnknown, Play, PlayEnded, PlayStarted
from overheard.text import one_line, short_clock

WIDTH = 100
STYLES = {"right": "green", "unnamed": "green", "missed": "yellow", "wrong": "bold red"}


def make_console() -> Console:
    """Return a console on standard output that is no wider than is good to read; a pipe gets plain text."""
    console = Console(highlight=False, soft_wrap=False)
    console.width = min(console.width, WIDTH) if sys.stdout.isatty() else WIDTH
    return console


class EveningDisplay:
    """A sink that prints what is named, as it is named, and keeps the plays for the score."""

    name = "display"

    def __init__(self, console: Console) -> None:
        self._console = console
        self.plays: list[Play] = []
        self.named_at_s: dict[tuple[str, float], float] = {}

    def handle(self, event: Event, started: float) -> None:
        """Print the start of a play and of unknown music; collect the ends."""
        if isinstance(event, PlayStarted):
            self.named_at_s[_key(event.play)] = event.play.end_s
            self._console.print(_play_line(event.play))
        elif isinstance(event, PlayEnded):
            self.plays.append(event.play)
        elif isinstance(event, MusicUnknown):
            self._console.print(_line(event.start_s, "?", "dim", Text("sounds that no pack knows", "dim")))

    def close(self) -> None:
        """Every line is out already."""

    def delay_s(self, verdict: Verdict) -> float | None:
        """Return how long after a piece began it was rightly named, in s."""
        times = [self.named_at_s[_key(play)] for play in verdict.right if _key(play) in self.named_at_s]
        return min(times) - verdict.performance.start_s if times else None


def _key(play: Play) -> tuple[str, float]:
    return play.track.id, play.start_s


def _play_line(play: Play) -> Text:
    what = Text(f"{one_line(play.track.name):<38}", "bold")
    what.append(f"  from {short_clock(play.offset_s)}   {play.confidence:>4.0%}", "not bold dim")
    return _line(play.start_s, "♪", "cyan", what)


def _line(at_s: float, sign: str, style: str, what: Text) -> Text:
    return Text.assemble((f"  {short_clock(at_s):>5}  ", "dim"), (f"{_sign(sign)} ", style), what)


def _sign(sign: str) -> str:
    """Return the sign, or a plain one where the output cannot show it."""
    try:
        sign.encode(_encoding())
    except (UnicodeEncodeError, LookupError):
        return {"♪": ">", "✓": "+", "✗": "x", "–": "-"}.get(sign, "*")
    return sign


def _encoding() -> str:
    return sys.stdout.encoding or "ascii"


def working(console: Console, what: str) -> contextlib.AbstractContextManager[object]:
    """Show that something is being done, on a terminal."""
    return console.status(what) if sys.stdout.isatty() else contextlib.nullcontext()


def step(console: Console, name: str, what: str, note: str = "") -> None:
    """Print one finished step of the preparation."""
    console.print(Text.assemble((f"  {name:<10}", "cyan"), what, (f"   {note}" if note else "", "dim")))


def report(console: Console, evening: Evening, score: Score, display: EveningDisplay) -> None:
    """Print each performance beside what was named, and the counts."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for column in ("  when", "what played", "noise", "verdict"):
        table.add_column(column, no_wrap=column != "what played", overflow="fold")
    for verdict in score.verdicts:
        table.add_row(*_row(verdict, display.delay_s(verdict)))
    console.print()
    console.print(table)
    for play in score.astray:
        what = Text(f"{one_line(play.track.name)}, though nothing played", "red")
        console.print(_line(play.start_s, "✗", "bold red", what))
    console.print()
    for line in _summary(evening, score, display):
        console.print(line)


def _row(verdict: Verdict, delay_s: float | None) -> tuple[Text, Text, Text, Text]:
    performance = verdict.performance
    when = f"  {short_clock(performance.start_s)}-{short_clock(performance.end_s)}"
    return (
        Text(when, "dim"),
        Text(f"{performance.piece.artist} - {performance.piece.title}"),
        Text(f"-{performance.snr_db:.0f} dB", "dim"),
        Text(_judgement(verdict, delay_s), STYLES[verdict.word]),
    )


def _judgement(verdict: Verdict, delay_s: float | None) -> str:
    if verdict.word == "wrong":
        return f"{_sign('✗')} named {one_line(verdict.wrong[0].track.name)}"
    if verdict.word == "right":
        return f"{_sign('✓')} named after {delay_s:.1f} s" if delay_s is not None else f"{_sign('✓')} named"
    return f"{_sign('✓')} in no pack, unnamed" if verdict.word == "unnamed" else f"{_sign('–')} missed"


def _summary(evening: Evening, score: Score, display: EveningDisplay) -> Iterator[Text]:
    known = sum(performance.path is not None for performance in evening.performances)
    right, missed = score.count("right"), score.count("missed")
    style = "bold green" if score.passed else "bold red"
    yield Text(f"  {right} of {known} right, {score.wrong} wrong, {missed} missed", style)
    unknown = [verdict for verdict in score.verdicts if verdict.performance.path is None]
    if unknown and all(verdict.word == "unnamed" for verdict in unknown):
        yield Text("  the piece that is in no pack was rightly left unnamed", "green")
    elif unknown:
        yield Text("  the piece that is in no pack was given a name", "bold red")
    delays = sorted(d for d in map(display.delay_s, score.verdicts) if d is not None)
    if delays:
        yield Text(f"  named {delays[len(delays) // 2]:.1f} s after the first note, in the median", "dim")
