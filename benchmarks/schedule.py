"""Measure the processor time of listening with the schedule and the music detector, and without them.

    python benchmarks/schedule.py [--pack FILE] [--seconds 300] [--quick]

Writes schedule.json and schedule.md into benchmarks/results. Both listeners hear the same sound in turns, so
that the load of the machine affects them alike.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from overheard_bench import report, scenes  # first: BLAS gets one thread, as in commands

# isort: split
import numpy as np

from overheard.events import Event, MusicUnknown, PlayStarted
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import Model, load_model
from overheard.recognize.recognizer import Recognizer
from overheard_bench.corpus import SAMPLE_RATE
from overheard_bench.environment import environment, model_facts
from overheard_bench.options import results_folder, scenes_parser
from overheard_bench.script import measure_and_publish

BLOCK = SAMPLE_RATE // 4
WITH, WITHOUT = "with the schedule", "without it"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    parser = scenes_parser(__doc__)
    parser.add_argument("--seconds", type=int, default=300, help="length of each scene")
    parser.add_argument("--quick", action="store_true", help="a few seconds, to try the script")
    parser.add_argument("--out", type=Path, help="folder for the results")
    args = parser.parse_args(argv)
    if args.quick:
        args.seconds = 6
    args.out = results_folder(args.out, args.quick)
    return measure_and_publish(
        "schedule", args.out, lambda folder: measure(args, folder, load_model(args.model)), report.schedule
    )


def measure(args: argparse.Namespace, folder: Path, model: Model) -> dict[str, Any]:
    """Listen to every scene in both ways."""
    setup = scenes.prepare(folder, args.corpus, args.pack, model, args.quick)
    packs = scenes.open_packs(setup, model)
    recognizers = {name: Recognizer(model, packs, scheduled=name == WITH) for name in (WITH, WITHOUT)}
    played = (*scenes.SCENES, *scenes.WITHOUT_MUSIC)
    sounds = {scene: scenes.sound(setup, scene, args.seconds) for scene in played}
    hiss = np.random.default_rng(1).standard_normal(3 * SAMPLE_RATE, np.float32) * np.float32(0.1)
    for recognizer in recognizers.values():
        recognizer.identify(hiss)  # what the first search loads is no cost of listening
    return {
        "scenes": {
            scene: None if sound is None else listen(recognizers, sound) for scene, sound in sounds.items()
        },
        "seconds": args.seconds,
        "catalogue": setup.catalogue,
        "model": model_facts(model),
        "environment": environment(),
        "quick": args.quick,
    }


def listen(recognizers: Mapping[str, Recognizer], sound: FloatArray) -> dict[str, Any]:
    """Return the processor seconds per hour of sound: in all, of each stage, and the ratio."""
    listeners = {name: recognizer.listener() for name, recognizer in recognizers.items()}
    cpu_s, events = dict.fromkeys(listeners, 0.0), {name: list[Event]() for name in listeners}
    for begin in range(0, len(sound), BLOCK):
        for name, listener in listeners.items():
            began = time.thread_time()
            events[name] += listener.process(sound[begin : begin + BLOCK])
            cpu_s[name] += time.thread_time() - began
    hours = len(sound) / SAMPLE_RATE / 3600
    return {
        "ratio": round(cpu_s[WITH] / cpu_s[WITHOUT], 3),
        **{
            name: {
                "cpu_s_per_hour": round(cpu_s[name] / hours, 2),
                "stages": {s: round(t / hours, 2) for s, t in listener.status().cpu_s.items()},
                "plays": sum(isinstance(event, PlayStarted) for event in events[name]),
                "unknown": sum(isinstance(event, MusicUnknown) for event in events[name]),
            }
            for name, listener in listeners.items()
        },
    }


if __name__ == "__main__":
    raise SystemExit(main())
