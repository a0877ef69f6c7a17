"""`overheard demo`: composes music, indexes it, and listens to a simulated evening in a cafe."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import shlex
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overheard.errors import OverheardError
from overheard.process import stop_on_signals
from overheard.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from overheard.demo.display import EveningDisplay
    from overheard.demo.evening import Evening
    from overheard.demo.synth import Piece
    from overheard.events import Event
    from overheard.fingerprint.frontend import FloatArray
    from overheard.recognize.listener import Listener

PACK = "demo"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "demo",
        help="compose music, index it, and listen to a simulated evening",
        description="Composes twelve pieces of music, indexes eleven, and listens to a simulated evening in "
        "a cafe where they play among talk and clatter. Everything lies in a folder of its own. Exit code: 0 "
        "if at least nine in ten plays are named right and none wrong, else 1.",
    )
    parser.add_argument("--realtime", action="store_true", help="let the evening last as long as it would")
    parser.add_argument("--seed", type=int, default=7, metavar="N", help="another evening (now: %(default)s)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Hold the evening and judge it."""
    if args.seed < 0:
        raise OverheardError("--seed must be 0 or more")
    from overheard.demo.display import EveningDisplay, make_console, report
    from overheard.demo.evening import score

    console = make_console()
    folder = settings.data_dir / "demo"
    own = dataclasses.replace(settings, data_dir=folder, packs=())
    console.print(f"\n[bold]overheard[/]  a simulated evening [dim](seed {args.seed})[/]\n")
    evening = prepare(console, args.seed, own)
    display = EveningDisplay(console)
    if listen(console, own, evening, display, args.realtime):
        console.print("  stopped before the evening was over")
        return 130
    result = score(evening.performances, display.plays)
    report(console, evening, result, display)
    console.print(f"\n  history   {own.history_path}", soft_wrap=True)
    console.print(f"  see it    {program()} --data-dir {shlex.quote(str(folder))} history", soft_wrap=True)
    console.print(f"  hear it   {folder / 'evening.wav'}\n", soft_wrap=True)
    return 0 if result.passed else 1


def program() -> str:
    """Return how this program can be called from here."""
    if shutil.which("overheard"):
        return "overheard"
    here = os.path.relpath(sys.argv[0]) if sys.argv[0].endswith("overheard") else ""
    return shlex.quote(here) if here else f"{shlex.quote(sys.executable)} -m overheard"


def prepare(console: Console, seed: int, settings: Settings) -> Evening:
    """Compose, write, index and mix what the evening needs, each step with its time."""
    from overheard.demo.display import step, working
    from overheard.demo.evening import SAMPLE_RATE, compose_collection, make_evening
    from overheard.demo.synth import write_wav

    folder = settings.data_dir
    with working(console, "composing"):
        started = time.monotonic()
        pieces = compose_collection(seed)
        known = write_collection(folder, pieces[:-1], seed)
    minutes = sum(len(piece.waveform) for piece in pieces) / SAMPLE_RATE / 60
    taken = f"{time.monotonic() - started:.1f} s"
    step(console, "composed", f"{len(pieces)} pieces, {minutes:.0f} min of music", taken)
    index_music(console, settings)
    unknown = pieces[-1]
    step(console, "withheld", f"{unknown.artist} - {unknown.title}", "it will play, but is in no pack")
    with working(console, "mixing the evening"):
        evening = make_evening(seed, known, [unknown])
        write_wav(folder / "evening.wav", evening.waveform)
    low, high = (choose(p.snr_db for p in evening.performances) for choose in (min, max))
    noise = f"talk and clatter {low:.0f}-{high:.0f} dB under the music"
    step(console, "evening", f"{evening.duration_s / 60:.1f} min in a cafe, {noise}")
    return evening


def write_collection(folder: Path, pieces: list[Piece], seed: int) -> list[tuple[Piece, Path]]:
    """Write pieces as tagged WAV files in place of those of the last demonstration."""
    from mutagen.id3 import TALB, TIT2, TPE1
    from mutagen.wave import WAVE

    from overheard.demo.synth import write_wav

    music = folder / "music"
    try:
        music.mkdir(parents=True, exist_ok=True)
        for old in [*music.glob("*.wav"), folder / "packs" / f"{PACK}.pack", *folder.glob("history.sqlite*")]:
            old.unlink(missing_ok=True)
        written = []
        for piece in pieces:
            path = Path(os.path.abspath(music / f"{piece.artist} - {piece.title}.wav"))
            write_wav(path, piece.waveform)
            file: Any = WAVE(path)  # type: ignore[no-untyped-call]
            file.add_tags()
            for frame, text in ((TIT2, piece.title), (TPE1, piece.artist), (TALB, f"Demonstration {seed}")):
                file.tags.add(frame(encoding=3, text=[text]))
            file.save()
            written.append((piece, path))
    except OSError as error:
        raise OverheardError(f"{folder}: the demonstration cannot be written: {error.strerror}") from error
    return written


def index_music(console: Console, settings: Settings) -> None:
    """Index the collection as `overheard index` does."""
    from overheard.demo.display import step, working
    from overheard.index.run import index
    from overheard.index.worker import ModelFingerprinter

    make = functools.partial(ModelFingerprinter, settings.model_path)
    jobs = settings.index.jobs or os.cpu_count() or 1
    music, pack = settings.data_dir / "music", settings.packs_dir / f"{PACK}.pack"
    stop_event = threading.Event()
    with working(console, "indexing"), stop_on_signals(stop_event):
        report = index([music], pack, make, jobs, stop=stop_event.is_set)
    if report.interrupted:
        raise KeyboardInterrupt
    if report.failed:
        path, reason = report.failed[0]
        raise OverheardError(f"{path}: {reason}")
    what = f"{report.tracks} of them, {report.bytes_per_minute:,.0f} bytes a minute of music"
    step(console, "indexed", what, f"{report.elapsed_s:.1f} s, {report.times_real_time:.0f} x real time")


def listen(
    console: Console, settings: Settings, evening: Evening, display: EveningDisplay, realtime: bool
) -> bool:
    """Listen to the evening's recording as `overheard listen` does; return whether it was stopped early."""
    from rich.progress import BarColumn, Progress, TextColumn

    from overheard.daemon import run_listen
    from overheard.hear.file import FileSource
    from overheard.recognize.open import open_recognizer
    from overheard.sinks.history import HistorySink

    recognizer = open_recognizer(settings, [PACK])
    source = FileSource(settings.data_dir / "evening.wav", realtime)
    history = HistorySink(settings.history_path, "demo")
    # Played faster than it would be, it counts as just over: no play lies in the future.
    started = time.time() - (0.0 if realtime else evening.duration_s)
    stop_event = threading.Event()
    console.print("\n  listening\n")
    columns = (TextColumn("  [dim]{task.description}[/]"), BarColumn(40))
    bar = Progress(*columns, console=console, transient=True, disable=not sys.stdout.isatty())
    task = bar.add_task("", total=evening.duration_s)
    with stop_on_signals(stop_event), bar:
        run_listen(
            settings,
            source,
            [history, display],
            stop_event,
            lambda: Watched(recognizer.listener(), bar, task),
            now=lambda: started,
        )
    return stop_event.is_set()


class Watched:
    """A listener whose progress is shown."""

    def __init__(self, listener: Listener, bar: Progress, task: TaskID) -> None:
        self._listener, self._bar, self._task = listener, bar, task
        self.gap = listener.gap
        self.finish = listener.finish

    def process(self, block: FloatArray) -> list[Event]:
        """Hand on a block."""
        from overheard.text import short_clock

        events = self._listener.process(block)
        now_s = self._listener.now_s
        self._bar.update(self._task, completed=now_s, description=f"{short_clock(now_s):>5}")
        return events
