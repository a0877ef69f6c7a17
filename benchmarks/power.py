"""Measure the energy and the processor time of one hour of listening, compared with the idle machine.

    python benchmarks/power.py [--seconds 60] [--pairs 3] [--quick]

Writes power.json, power.png and power.md into benchmarks/results. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overheard.demo.synth import write_wav
from overheard.errors import OverheardError
from overheard.fingerprint.model import Model, load_model
from overheard_bench import cost_report, output, plots, process, scenes
from overheard_bench.corpus import DEFAULT_CORPUS, SAMPLE_RATE
from overheard_bench.environment import environment, model_facts
from overheard_bench.meters import Meter, find_meters
from overheard_bench.options import results_folder
from overheard_bench.reference import ReferenceJob

WARM_UP_S = 12.0  # the longest query window is full after it


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    args = parse(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="overheard-power-") as folder:
            result = measure(args, Path(folder), load_model())
    except (OverheardError, RuntimeError, FileNotFoundError) as error:
        print(f"power.py: {error}", file=sys.stderr)
        return 2
    output.publish(args.out, "power", result, cost_report.power(result), plots.power)
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
    parser.add_argument("--pack", type=Path, help="pack to search (default: the starter pack)")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="seconds of each run and of each idle period"
    )
    parser.add_argument("--pairs", type=int, default=3, help="runs for each scene, each after an idle period")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes, to try the script")
    parser.add_argument("--out", type=Path, help="folder for the results")
    args = parser.parse_args(argv)
    args.warm_up = WARM_UP_S
    if args.quick:
        args.seconds, args.pairs, args.warm_up = 4.0, 1, 1.0
    args.out = results_folder(args.out, args.quick)
    return args


def measure(args: argparse.Namespace, folder: Path, model: Model) -> dict[str, Any]:
    """Measure every scene with every available meter."""
    setup = scenes.prepare(folder, args.corpus, args.pack, model, args.quick)
    meters, unavailable = find_meters()
    pairs = args.pairs if meters else 1  # idle periods only serve the meters
    reference = ReferenceJob()
    summaries: dict[str, dict[str, Any] | None] = {}
    for scene in scenes.SCENES:
        reference.run()
        runs = [one_run(args, setup, scene, meters) for _ in range(pairs)]
        measured = [run for run in runs if run is not None]
        summaries[scene] = summary(measured, meters) if measured else None
    return {
        "scenes": summaries,
        "meters": {meter.name: "measured" for meter in meters} | unavailable,
        "reference": reference.facts(),
        "seconds": args.seconds,
        "pairs": pairs,
        "catalogue": setup.catalogue,
        "model": model_facts(model),
        "environment": environment(),
        "quick": args.quick,
    }


def one_run(
    args: argparse.Namespace, setup: scenes.Setup, scene: str, meters: Sequence[Meter]
) -> dict[str, Any] | None:
    """Idle, then listen for as long. Return the usage, or None if there is no sound for the scene."""
    waveform = scenes.sound(setup, scene, args.warm_up + args.seconds + 10)
    if waveform is None:
        return None
    path = setup.data_dir / "sound.wav"
    write_wav(path, waveform, SAMPLE_RATE)
    idle = spend(args.seconds, meters) if meters else {}
    running = process.start_listening(setup.data_dir, path, ["--realtime"])
    try:
        process.wait_until_ready(running, setup.data_dir)
        time.sleep(args.warm_up)
        if running.poll() is not None:
            raise RuntimeError(f"overheard listen ended too early: {process.error_of(setup.data_dir)}")
        began, cpu = time.monotonic(), process.cpu_ns(running.pid)
        joules = spend(args.seconds, meters)
        cpu_s, wall_s = (process.cpu_ns(running.pid) - cpu) / 1e9, time.monotonic() - began
        resident = process.memory_kb(running.pid).get("VmRSS")
    finally:
        running.terminate()
        running.wait(timeout=30)
    return {"idle_j": idle, "listen_j": joules, "cpu_s": cpu_s, "wall_s": wall_s, "resident_kb": resident}


def spend(seconds: float, meters: Sequence[Meter]) -> dict[str, float]:
    """Wait, and return the joules that each meter counted meanwhile."""
    for meter in meters:
        meter.start()
    time.sleep(seconds)
    return {meter.name: meter.stop() for meter in meters}


def summary(runs: Sequence[dict[str, Any]], meters: Sequence[Meter]) -> dict[str, Any]:
    """Return the processor time and, for each meter, the joules of listening and of idling, per hour."""
    share = sum(r["cpu_s"] for r in runs) / sum(r["wall_s"] for r in runs)
    energy = {}
    for meter in meters:
        hours = [r["wall_s"] / 3600 for r in runs]
        listen = [r["listen_j"][meter.name] / h for r, h in zip(runs, hours, strict=True)]
        idle = [r["idle_j"][meter.name] / h for r, h in zip(runs, hours, strict=True)]
        net = [a - b for a, b in zip(listen, idle, strict=True)]
        energy[meter.name] = {
            "listen_j_per_hour": round(statistics.fmean(listen), 1),
            "idle_j_per_hour": round(statistics.fmean(idle), 1),
            "net_j_per_hour": round(statistics.fmean(net), 1),
            "net_j_per_hour_by_pair": [round(joules, 1) for joules in net],
            "net_mw": round(statistics.fmean(net) / 3.6, 1),
        }
    kb = runs[-1]["resident_kb"]
    return {
        "cpu_s_per_hour": round(3600 * share, 2),
        "share_of_one_core_percent": round(100 * share, 3),
        "resident_mb": None if kb is None else round(kb * 1024 / 1e6, 1),
        "energy": energy or "unavailable",
    }


if __name__ == "__main__":
    raise SystemExit(main())
