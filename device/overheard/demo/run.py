"""Run the demonstration: compose music, index it, listen to a simulated evening, and print the result."""

from __future__ import annotations

import dataclasses
import functools
import os
import shlex
import shutil
import sys
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from overheard.daemon import run_listen
from overheard.demo.display import EveningDisplay, make_console, report, step, working
from overheard.demo.evening import SAMPLE_RATE, Evening, compose_collection, judge, make_evening
from overheard.demo.synth import Piece, write_wav
from overheard.errors import OverheardError
from overheard.events import Event
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model_choice import model_path
from overheard.hear.file import FileSource
from overheard.history.writer import HistorySink
from overheard.index.run import index
from overheard.index.worker import ModelFingerprinter
from overheard.process import processors, stop_on_signals
from overheard.recognize.listener import Listener
from overheard.recognize.open import open_recognizer
from overheard.settings import Settings
from overheard.text import short_clock

PACK = "demo"
PASSED, FAILED, INTERRUPTED = 0, 1, 130  # exit codes


def run_demo(settings: Settings, seed: int, realtime: bool) -> int:
    """Run the demonstration in the folder ``demo`` of the data folder.

    Parameters
    ----------
    settings : Settings
        The user's settings; the user's packs and history are not used.
    seed : int
        Determines the music and the evening; 0 or more.
    realtime : bool
        Whether the recording plays at normal speed, not as fast as possible.

    Returns
    -------
    int
        The exit code: 0 passed, 1 failed, 130 interrupted.

    Raises
    ------
    OverheardError
        If the model cannot be loaded, or a file cannot be written.
    """
    console = make_console()
    folder = settings.data_dir / "demo"
    own = dataclasses.replace(settings, data_dir=folder, packs=())
    console.print(f"\n[bold]overheard[/]  a simulated evening [dim](seed {seed})[/]\n")
    evening = prepare(console, seed, own)
    display = EveningDisplay(console)
    if listen(console, own, evening, display, realtime):
        console.print("  stopped before the end of the evening")
        return INTERRUPTED
    result = judge(evening.performances, display.plays)
    report(console, evening, result, display)
    print_links(console, folder, own.history_path)
    return PASSED if result.passed else FAILED


def print_links(console: Console, folder: Path, history: Path) -> None:
    """Print where the user finds the history and the recording."""
    console.print(f"\n  history    {history}", soft_wrap=True)
    command = f"{program()} --data-dir {shlex.quote(str(folder))} history"
    console.print(f"  show it    {command}", soft_wrap=True)
    console.print(f"  recording  {folder / 'evening.wav'}\n", soft_wrap=True)


def program() -> str:
    """Return the command that starts this program from the current folder."""
    if shutil.which("overheard"):
        return "overheard"
    if sys.argv[0].endswith("overheard"):
        return shlex.quote(os.path.relpath(sys.argv[0]))
    return f"{shlex.quote(sys.executable)} -m overheard"


def prepare(console: Console, seed: int, settings: Settings) -> Evening:
    """Compose the collection, index all of it but one piece, and simulate the evening."""
    folder = settings.data_dir
    model_path(settings)  # raises now instead of after the composition
    with working(console, "composing"):
        started = time.monotonic()
        pieces = compose_collection(seed)
        known = write_collection(folder, pieces[:-1], seed)
    minutes = sum(len(piece.waveform) for piece in pieces) / SAMPLE_RATE / 60
    elapsed = f"{time.monotonic() - started:.1f} s"
    step(console, "composed", f"{len(pieces)} pieces, {minutes:.0f} min of music", elapsed)
    index_music(console, settings)
    unknown = pieces[-1]
    step(console, "withheld", f"{unknown.artist} - {unknown.title}", "it will play, but is not indexed")
    with working(console, "simulating the evening"):
        evening = make_evening(seed, known, [unknown])
        write_wav(folder / "evening.wav", evening.waveform)
    low, high = (limit(p.snr_db for p in evening.performances) for limit in (min, max))
    noise = f"talk and clatter {low:.0f}-{high:.0f} dB below the music"
    step(console, "evening", f"{evening.duration_s / 60:.1f} min in a cafe, {noise}")
    return evening


def write_collection(folder: Path, pieces: list[Piece], seed: int) -> list[tuple[Piece, Path]]:
    """Write the pieces as tagged WAV files, and delete the files of an earlier demonstration."""
    music = folder / "music"
    try:
        music.mkdir(parents=True, exist_ok=True)
        for old in [*music.glob("*.wav"), folder / "packs" / f"{PACK}.pack", *folder.glob("history.sqlite*")]:
            old.unlink(missing_ok=True)
        written = []
        for piece in pieces:
            path = music / f"{piece.artist} - {piece.title}.wav"
            album = f"Demonstration {seed}"
            tags = {"INAM": piece.title, "IART": piece.artist, "IPRD": album}
            write_wav(path, piece.waveform, tags=tags)
            written.append((piece, path))
    except OSError as error:
        raise OverheardError(
            f"{folder}: cannot write the demonstration: {error.strerror}",
            "choose another folder with `overheard --data-dir FOLDER demo`",
        ) from error
    return written


def index_music(console: Console, settings: Settings) -> None:
    """Index the collection as `overheard index` does."""
    make = functools.partial(ModelFingerprinter, model_path(settings))
    jobs = settings.index.jobs or processors()
    music, pack = settings.data_dir / "music", settings.packs_dir / f"{PACK}.pack"
    stop_event = threading.Event()
    with working(console, "indexing"), stop_on_signals(stop_event):
        report = index([music], pack, make, jobs, stop=stop_event.is_set)
    if report.interrupted:
        raise KeyboardInterrupt
    if report.failed:
        path, reason = report.failed[0]
        raise OverheardError(f"{path}: {reason}")
    summary = f"{report.tracks} of them, {report.bytes_per_minute:,.0f} bytes per minute of music"
    step(console, "indexed", summary, f"{report.elapsed_s:.1f} s, {report.times_real_time:.0f} x real time")


def listen(
    console: Console, settings: Settings, evening: Evening, display: EveningDisplay, realtime: bool
) -> bool:
    """Listen to the recording as `overheard listen` does; return whether the user interrupted it."""
    recognizer = open_recognizer(settings, [PACK])
    source = FileSource(settings.data_dir / "evening.wav", realtime)
    history = HistorySink(settings.history_path, "demo")
    # At full speed the evening ends now, so that no play in the history is in the future.
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
            lambda: ListenerWithProgress(recognizer.listener(), bar, task),
            now=lambda: started,
        )
    return stop_event.is_set()


class ListenerWithProgress:
    """A listener that moves a progress bar."""

    def __init__(self, listener: Listener, bar: Progress, task: TaskID) -> None:
        self._listener, self._bar, self._task = listener, bar, task
        self.gap = listener.gap
        self.finish = listener.finish

    def process(self, block: FloatArray) -> list[Event]:
        """Process the next block, (n,) float32 in [-1, 1], and update the bar."""
        events = self._listener.process(block)
        now_s = self._listener.now_s
        self._bar.update(self._task, completed=now_s, description=f"{short_clock(now_s):>5}")
        return events
