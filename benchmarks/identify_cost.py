"""Measure the processor time of `Recognizer.identify` per second of audio, for clips of different lengths.

    python benchmarks/identify_cost.py [--pack FILE] [--repeats 5] [--quick]

Writes identify_cost.json and identify_cost.md into benchmarks/results. The cost per second must not
increase from 15 s on, neither for music of the catalogue nor for unknown music.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from overheard_bench import report, scenes  # first: BLAS gets one thread, as in commands

# isort: split
from overheard.fingerprint.model import Model, load_model
from overheard.recognize.recognizer import Recognizer
from overheard_bench.corpus import SAMPLE_RATE
from overheard_bench.environment import environment, model_facts
from overheard_bench.options import results_folder, scenes_parser
from overheard_bench.script import measure_and_publish

LENGTHS_S = (5, 10, 15, 17, 20, 25, 30, 45, 60, 120)
REFERENCE_S = 15
KNOWN, UNKNOWN = "catalogue music", "unknown music"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    parser = scenes_parser(__doc__)
    parser.add_argument(
        "--repeats", type=int, default=5, help="clips of each kind and length; the median counts"
    )
    parser.add_argument("--quick", action="store_true", help="one clip of each length, to try the script")
    parser.add_argument("--out", type=Path, help="folder for the results")
    args = parser.parse_args(argv)
    if args.quick:
        args.repeats = 1
    args.out = results_folder(args.out, args.quick)
    return measure_and_publish(
        "identify_cost",
        args.out,
        lambda folder: measure(args, folder, load_model(args.model)),
        report.identify_cost,
    )


def measure(args: argparse.Namespace, folder: Path, model: Model) -> dict[str, Any]:
    """Identify clips of known and of unknown music."""
    setup = scenes.prepare(folder, args.corpus, args.pack, model, args.quick)
    recognizer = Recognizer(model, scenes.open_packs(setup, model))
    times = {name: cpu_s(recognizer, setup, name, args.repeats) for name in (KNOWN, UNKNOWN)}
    return {
        "clips": clips(times[KNOWN]),
        "unknown_clips": clips(times[UNKNOWN]),
        "reference_s": REFERENCE_S,
        "repeats": args.repeats,
        "catalogue": setup.catalogue,
        "model": model_facts(model),
        "environment": environment(),
        "quick": args.quick,
    }


def cpu_s(recognizer: Recognizer, setup: scenes.Setup, scene: str, repeats: int) -> dict[int, float]:
    """Return the median processor time of a clip of each length.

    The lengths take turns, upwards and downwards, so that the load of the machine affects them alike.
    """
    waveform = scenes.sound(setup, scene, max(LENGTHS_S) + repeats)
    if waveform is None:
        raise RuntimeError(f"there is no {scene}")
    recognizer.identify(waveform[: REFERENCE_S * SAMPLE_RATE])  # warms caches up
    times: dict[int, list[float]] = {length_s: [] for length_s in LENGTHS_S}
    for repeat in range(repeats):
        for length_s in LENGTHS_S if repeat % 2 == 0 else reversed(LENGTHS_S):
            clip = waveform[repeat * SAMPLE_RATE :][: length_s * SAMPLE_RATE]
            began = time.process_time()
            recognizer.identify(clip)
            times[length_s].append(time.process_time() - began)
    return {length_s: statistics.median(each) for length_s, each in times.items()}


def clips(cpu_s: Mapping[int, float]) -> list[dict[str, float]]:
    """Return a row for each length of clip, from its processor time in seconds."""
    reference = cpu_s[REFERENCE_S] / REFERENCE_S
    return [
        {
            "length_s": length_s,
            "cpu_s": round(each, 4),
            "cpu_s_per_s": round(each / length_s, 5),
            "ratio": round(each / length_s / reference, 3),
        }
        for length_s, each in cpu_s.items()
    ]


if __name__ == "__main__":
    raise SystemExit(main())
