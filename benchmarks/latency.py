"""Measure the processor time and memory of recognition, and the speed of indexing.

    python benchmarks/latency.py [--quick]

Writes latency.json, latency.png and latency.md into benchmarks/results. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overheard_bench import (  # first: one BLAS thread
    cost_report,
    indexing,
    output,
    plots,
    process,
    report,
    scenes,
)

# isort: split
from overheard.catalogue.pack import Pack
from overheard.catalogue.search import Catalogue
from overheard.demo.synth import write_wav
from overheard.errors import OverheardError
from overheard.fingerprint.embedder import Embedder
from overheard.fingerprint.frontend import StreamingFrontend
from overheard.fingerprint.model import Model, load_model
from overheard.fingerprint.runtime import available_runtimes
from overheard.recognize.matching.match import Matcher
from overheard.recognize.recognizer import Recognizer
from overheard_bench.corpus import DEFAULT_CORPUS, SAMPLE_RATE
from overheard_bench.environment import environment, model_facts
from overheard_bench.options import results_folder
from overheard_bench.reference import ReferenceJob
from overheard_bench.score import target
from overheard_bench.stopwatch import Method, Stopwatch

# Targets, set before the first measurement.
MAX_CPU_MS_PER_S = 6.0
MAX_RESIDENT_MB = 160.0
MIN_INDEX_SPEED = 200.0  # times real time
WARM_UP_S = 12  # the longest query window is full, and caches are warm
SCENES = ("catalogue music", "unknown music")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    args = parse(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="overheard-latency-") as folder:
            model = load_model(args.model)
            result = measure(args, Path(folder), model)
    except (OverheardError, RuntimeError, FileNotFoundError) as error:
        print(f"latency.py: {error}", file=sys.stderr)
        return 2
    output.publish(
        args.out, "latency", result, f"{cost_report.latency(result)}\n{report.targets(result)}", plots.latency
    )
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--corpus",
        type=Path,
        default=DEFAULT_CORPUS,
        help="folder of the corpus (default: $OVERHEARD_CORPUS, or corpus)",
    )
    parser.add_argument(
        "--model",
        type=Path,
        help="manifest of a model, for stages and indexing (default: the shipped one)",
    )
    parser.add_argument("--pack", type=Path, help="pack to search (default: the starter pack)")
    parser.add_argument("--seconds", type=int, default=180, help="seconds of audio for each measurement")
    parser.add_argument("--pieces", type=int, default=8, help="pieces of 150 s to index in each format")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes, to try the script")
    parser.add_argument("--out", type=Path, help="folder for the results")
    args = parser.parse_args(argv)
    if args.quick:
        args.seconds, args.pieces = 20, 1
    args.out = results_folder(args.out, args.quick)
    return args


def measure(args: argparse.Namespace, folder: Path, model: Model) -> dict[str, Any]:
    """Measure everything."""
    setup = scenes.prepare(folder, args.corpus, args.pack, model, args.quick)
    packs = scenes.open_packs(setup, model)
    reference = ReferenceJob()
    result: dict[str, Any] = {"runtimes": {}, "listen": {}}
    for name, version in available_runtimes().items():
        reference.run()
        stages = stages_of(name, setup, model, packs, args.seconds)
        result["runtimes"][name] = {"version": version} | stages
    for scene in SCENES:
        reference.run()
        result["listen"][scene] = listening(setup, scene, args.seconds)
    reference.run()
    result |= {
        "index": indexing.measure(folder / "collection", model, args.pieces, 30 if args.quick else 150),
        "reference": reference.facts(),
        "catalogue": {"packs": setup.catalogue, "tracks": sum(len(pack.tracks) for pack in packs)},
        "model": model_facts(model),
        "environment": environment(),
        "quick": args.quick,
    }
    result["targets"] = targets(result)
    return result


def stage_methods() -> dict[str, list[Method]]:
    """Return the methods in which each stage spends its time."""
    return {
        "front-end": [(StreamingFrontend, "process")],
        "model": [(Embedder, "query")],
        "search": [(Catalogue, "candidates")],
        "match": [(Matcher, "match")],
    }


def stages_of(
    runtime: str, setup: scenes.Setup, model: Model, packs: list[Pack], seconds: int
) -> dict[str, Any]:
    """Time the stages of a listener for each second of audio."""
    methods = stage_methods()
    names = [*methods, "whole path", "whole path, wall"]
    result: dict[str, Any] = {}
    for scene in SCENES:
        waveform = scenes.sound(setup, scene, WARM_UP_S + seconds)
        if waveform is None:
            continue
        listener = Recognizer(model, packs, runtime=runtime).listener()
        watch = Stopwatch()
        blocks = waveform.reshape(-1, SAMPLE_RATE)
        for block in blocks[:WARM_UP_S]:
            listener.process(block)
        with watch.watch(methods):
            for block in blocks[WARM_UP_S:]:
                watch.second(functools.partial(listener.process, block))
        calls = {name: round(n / len(watch.seconds), 2) for name, n in watch.calls.items()}
        result[scene] = {"stages": watch.table(names), "calls_per_s": calls}
    return result


def listening(setup: scenes.Setup, scene: str, seconds: int) -> dict[str, Any]:
    """Run `overheard listen` on a short and a long file; their difference excludes its start."""
    short_s, long_s = 5, 5 + 4 * seconds
    waveform = scenes.sound(setup, scene, long_s)
    if waveform is None:
        raise RuntimeError(f"there is no sound for {scene}")
    usages = []
    for length_s in (short_s, long_s):
        path = setup.data_dir / "sound.wav"
        write_wav(path, waveform[: length_s * SAMPLE_RATE], SAMPLE_RATE)
        usages.append(process.listen_to_the_end(setup.data_dir, path))
    short, long = usages
    per_s = (long.cpu_s - short.cpu_s) / (long_s - short_s)
    return {
        "seconds": long_s,
        "cpu_ms_per_s": round(1000 * per_s, 3),
        "cpu_s_per_hour": round(3600 * per_s, 2),
        "share_of_one_core_percent": round(100 * per_s, 3),
        "start_cpu_s": round(short.cpu_s, 2),
        "x_real_time": round((long_s - short_s) / max(long.wall_s - short.wall_s, 1e-3), 1),
        "resident_mb": _mb(long.resident_kb),
        "peak_resident_mb": _mb(long.peak_resident_kb),
        "own_mb": _mb(long.own_kb),
    }


def _mb(kb: int | None) -> float | None:
    return None if kb is None else round(kb * 1024 / 1e6, 1)


def targets(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare with the targets."""
    usages, speeds = result["listen"].values(), [row["x_real_time_by_cpu"] for row in result["index"]]
    cpu_ms = max(usage["cpu_ms_per_s"] for usage in usages)
    resident_mb = max(usage["peak_resident_mb"] or math.inf for usage in usages)
    return [
        target("listen, CPU ms per second", "at most", MAX_CPU_MS_PER_S, cpu_ms),
        target("listen, peak resident MB", "at most", MAX_RESIDENT_MB, resident_mb),
        target("index, times real time on one core", "at least", MIN_INDEX_SPEED, min(speeds)),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
