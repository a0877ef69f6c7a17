"""Let `listen` hear simulated days, faster than time, and measure whether memory, descriptors or files grow.

    python benchmarks/soak.py [--days 7] [--minutes 20] [--quick]

Writes soak.json and soak.md into benchmarks/results. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overheard.catalogue.pack import open_pack, write_pack
from overheard.catalogue.track_list import TrackEntry
from overheard.commands import outputs
from overheard.daemon import Pause, run_listen
from overheard.demo.room import cafe
from overheard.demo.synth import Piece, synthesize
from overheard.fingerprint.embedder import Embedder, fingerprint
from overheard.fingerprint.model import Model, load_model
from overheard.hear.resampler import to_int16
from overheard.hear.source import SAMPLE_RATE, AudioSource, Block
from overheard.history.retention import RetentionSink
from overheard.history.writer import HistorySink, read_plays
from overheard.live.client import LiveClient
from overheard.process import keep_large_arrays_apart, stop_on_signals
from overheard.recognize.recognizer import Recognizer
from overheard.recognize.unknown_store import UnknownStore
from overheard.settings import Settings, load
from overheard.sinks.runner import Sink
from overheard_bench import appliance_report
from overheard_bench.environment import environment, model_facts
from overheard_bench.options import results_folder
from overheard_bench.process import memory_kb
from overheard_bench.script import measure_and_publish

KEEP_DAYS = 2
PIECE_S, N_KNOWN, N_UNKNOWN = 60.0, 10, 8
FIRST_HOUR = 19  # of the first day, so that the first hour has everything
MUSIC_HOURS = (8, 13, 19, 20)
QUIET_DBFS = -75.0


class Clock:
    """The simulated time: what has been heard."""

    def __init__(self) -> None:
        self.now_s = time.time()

    def __call__(self) -> float:
        """Return the Unix time in seconds."""
        return self.now_s


class Days(AudioSource):
    """Hours of quiet, and hours with music of the catalogue, other music, talk and quiet.

    Parameters
    ----------
    clock : goes on with each second
    n_hours : until the end
    measure : called after each hour; returns whether there is time for another one
    sounds : of `prepare`
    """

    name = "simulated days"

    def __init__(
        self, clock: Clock, n_hours: int, measure: Callable[[], bool], sounds: Mapping[str, list[Path]]
    ) -> None:
        super().__init__()
        self._clock, self._n_hours, self._measure, self._sounds = clock, n_hours, measure, sounds

    def blocks(self) -> Iterator[Block]:
        """Yield one second after the other, as fast as they are processed."""
        for hour in range(self._n_hours):
            n_left = 3600
            for sound, n_seconds in self._music_hour(hour):
                for second in range(n_seconds):
                    yield self._second(sound, second)
                n_left -= n_seconds
            for second in range(n_left):
                yield self._second(self._sounds["quiet"][0], second % 60)
            if not self._measure():
                return

    def _music_hour(self, hour: int) -> list[tuple[Path, int]]:
        """Return the sounds of an hour, and how many seconds of each are heard; none in a quiet hour."""
        if (FIRST_HOUR + hour) % 24 not in MUSIC_HOURS:
            return []
        (talk,), (quiet,) = self._sounds["talk"], self._sounds["quiet"]
        known = [self._sounds["known"][(hour + i) % N_KNOWN] for i in range(15)]
        unknown = [self._sounds["unknown"][(hour + i) % N_UNKNOWN] for i in range(3)]
        parts = [*known, talk, *unknown, talk, talk]
        return [heard for part in parts for heard in ((part, n_seconds_of(part)), (quiet, 10))]

    def _second(self, sound: Path, second: int) -> Block:
        """Read a second. Sounds that are mapped into memory would count as memory of the listener."""
        self._clock.now_s += 1.0
        return np.fromfile(sound, np.int16, SAMPLE_RATE, offset=2 * SAMPLE_RATE * second)


def main(argv: Sequence[str] | None = None) -> int:
    """Listen, measure and write."""
    args = parse(argv)
    return measure_and_publish(
        "soak", args.out, lambda folder: measure(args, folder / "data", load_model()), appliance_report.soak
    )


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--days", type=float, default=7.0, help="simulated days")
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="end after this processor time in minutes (default: 60)"
    )
    parser.add_argument("--quick", action="store_true", help="two simulated hours, to try the script")
    parser.add_argument("--out", type=Path, help="folder for the results")
    args = parser.parse_args(argv)
    args.hours = 2 if args.quick else round(24 * args.days)
    args.out = results_folder(args.out, args.quick)
    return args


def measure(args: argparse.Namespace, folder: Path, model: Model) -> dict[str, Any]:
    """Run the session, and return what was measured after each hour."""
    keep_large_arrays_apart()
    settings = settings_of(folder)
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(prepare, settings).result()  # its large arrays do not belong to the memory of a listener
    recognizer = Recognizer(model, [open_pack(settings.packs_dir / "music.pack", model.digest)])
    recognizer.unknown_store = UnknownStore(settings.unknown_path, model, settings.unknown.max_pieces)
    began_s, clock, hours = time.process_time(), Clock(), list[dict[str, float]]()
    pause, stop = Pause(now=clock, elapsed=clock), threading.Event()
    forget = outputs.unknown_forgetter(settings, recognizer)
    retention = RetentionSink(settings.history_path, KEEP_DAYS, forget, clock, clock)

    def hour_over() -> bool:
        time.sleep(0.3)  # the sinks take what is in their queues
        retention.idle()
        with LiveClient(folder / "live.sock") as client:  # somebody opens the page
            client.first("status", 5.0)
        hours.append(state(folder))
        return bool(time.process_time() - began_s < 60 * args.minutes)

    sinks: list[Sink] = [HistorySink(settings.history_path, "simulated")]
    sinks += outputs.open_enabled_sinks(settings, pause)
    new_listener = outputs.add_live(sinks, settings, pause, recognizer.listener)
    monitors: list[Any] = [sink for sink in sinks if hasattr(sink, "publish_status")]
    source = Days(clock, args.hours, hour_over, find_sounds(settings))
    with stop_on_signals(stop):  # what was measured so far is written
        run_listen(
            *(settings, source, sinks, stop, lambda: new_listener(""), clock, clock),
            pause=pause,
            monitors=monitors,
        )
    plays, count = read_plays(settings.history_path)
    return {
        **{"quick": args.quick, "hours": hours, "keep_days": KEEP_DAYS, "plays_kept": count},
        **{"titles": len({play.title for play in plays}), "cpu_s": time.process_time() - began_s},
        **{"environment": environment(), "model": model_facts(model)},
    }


def settings_of(folder: Path) -> Settings:
    """Return settings with a file of JSON lines and metrics in a folder, and the live socket there too."""
    os.environ.pop("XDG_RUNTIME_DIR", None)
    chosen = {"data_dir": folder, "sinks.jsonl.enabled": True, "sinks.jsonl.max_mb": 0.02}
    settings, _ = load(env={}, overrides={**chosen, "sinks.jsonl.keep": 1, "sinks.metrics.enabled": True})
    return settings


def prepare(settings: Settings) -> None:
    """Make the sounds, and index those that are to be recognized."""
    rng = np.random.default_rng(3)
    known = [synthesize(600 + seed, PIECE_S) for seed in range(N_KNOWN)]
    unknown = [synthesize(800 + seed, PIECE_S) for seed in range(N_UNKNOWN)]
    level = 10 ** (QUIET_DBFS / 20)
    sounds = {
        **{f"known-{i}": np.float32(0.5) * piece.waveform for i, piece in enumerate(known)},
        **{f"unknown-{i}": np.float32(0.5) * piece.waveform for i, piece in enumerate(unknown)},
        "talk-0": (0.1 * cafe(rng, 120 * SAMPLE_RATE, SAMPLE_RATE)).astype(np.float32),
        "quiet-0": (level * rng.standard_normal(60 * SAMPLE_RATE)).astype(np.float32),
    }
    sounds_folder(settings).mkdir()
    for name, samples in sounds.items():
        to_int16(samples).tofile(sounds_folder(settings) / f"{name}.s16")
    index(settings, load_model(), known)


def sounds_folder(settings: Settings) -> Path:
    """Return the folder of the sounds."""
    return settings.data_dir.with_name(f"{settings.data_dir.name}-sounds")


def find_sounds(settings: Settings) -> dict[str, list[Path]]:
    """Return the sounds of `prepare`, by kind."""
    found: dict[str, list[Path]] = {}
    for path in sorted(sounds_folder(settings).glob("*.s16")):
        found.setdefault(path.stem.partition("-")[0], []).append(path)
    return found


def n_seconds_of(sound: Path) -> int:
    """Return the length of a sound."""
    return sound.stat().st_size // (2 * SAMPLE_RATE)


def index(settings: Settings, model: Model, pieces: Sequence[Piece]) -> None:
    """Write a pack of the pieces."""
    embedder, entries = Embedder(model), []
    for piece in pieces:
        cells, codes = model.encode_track(fingerprint(embedder, piece.waveform))
        about = TrackEntry(
            title=piece.title, path=piece.title, duration_s=PIECE_S, packed_cells=cells, codes=codes
        )
        entries.append(dataclasses.replace(about, artist=piece.artist))
    settings.packs_dir.mkdir(parents=True)
    write_pack(settings.packs_dir / "music.pack", "music", model.digest, model.spec, entries)


def state(folder: Path) -> dict[str, float]:
    """Return the memory and the descriptors of this process, and the size of what it wrote."""
    files, memory = [path for path in folder.rglob("*") if path.is_file()], memory_kb(os.getpid())
    return {
        "resident_kb": memory["VmRSS"],
        "anonymous_kb": memory["RssAnon"],
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
    }


if __name__ == "__main__":
    sys.exit(main())
