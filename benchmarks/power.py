"""What an hour of listening costs in energy, in four scenes, each paired with the idle machine.

    python benchmarks/power.py [--seconds 60] [--pairs 3] [--quick]

Writes power.json, power.png and power.md under benchmarks/results. See benchmarks/README.md.
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

from overheard_bench import RESULTS, output, process, scenes
from overheard_bench.corpus import DEFAULT_CORPUS, SAMPLE_RATE
from overheard_bench.environment import environment, model_facts
from overheard_bench.meters import Meter, find_meters
from protocol import CACHE

WARM_UP_S = 12.0  # after which a query window is full


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    args = parse(argv)
    from overheard.errors import OverheardError
    from overheard.fingerprint.model import load_model

    try:
        with tempfile.TemporaryDirectory(prefix="overheard-power-") as folder:
            result = measure(args, Path(folder), load_model())
    except (OverheardError, RuntimeError, FileNotFoundError) as error:
        print(f"power.py: {error}", file=sys.stderr)
        return 2
    output.publish(args.out, "power", result, tables(result), output.power_plot)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--corpus", type=Path, default=DEFAULT_CORPUS)
    parser.add_argument("--pack", type=Path, help="a pack to search rather than the starter pack")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each listening and each idling")
    parser.add_argument("--pairs", type=int, default=3, help="listening and idling, in turn, for each scene")
    parser.add_argument("--quick", action="store_true", help="seconds, not minutes: only to try it")
    parser.add_argument("--out", type=Path, help="folder of the results")
    args = parser.parse_args(argv)
    args.warm_up = WARM_UP_S
    if args.quick:
        args.seconds, args.pairs, args.warm_up = 4.0, 1, 1.0
    args.out = args.out or (CACHE / "quick" if args.quick else RESULTS)
    return args


def measure(args: argparse.Namespace, folder: Path, model: Any) -> dict[str, Any]:
    """Measure every scene with every meter there is."""
    setup = scenes.prepare(folder, args.corpus, args.pack, model, args.quick)
    meters, absent = find_meters()
    pairs = args.pairs if meters else 1  # without a meter idling has nothing to tell
    found = {}
    for scene in scenes.SCENES:
        rounds = [one_round(args, setup, scene, meters) for _ in range(pairs)]
        found[scene] = None if None in rounds else summary(rounds, meters)
    return {
        "scenes": found,
        "meters": {meter.name: "measured" for meter in meters} | absent,
        "seconds": args.seconds,
        "pairs": pairs,
        "catalogue": setup.catalogue,
        "model": model_facts(model),
        "environment": environment(),
        "quick": args.quick,
    }


def one_round(
    args: argparse.Namespace, setup: scenes.Setup, scene: str, meters: Sequence[Meter]
) -> dict[str, Any] | None:
    """Idle, then listen, each for as long; return what both took, or None where there is no such sound."""
    from overheard.demo.synth import write_wav

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
            raise RuntimeError(f"overheard listen ended early: {process.error_of(setup.data_dir)}")
        began, cpu = time.monotonic(), process.cpu_ns(running.pid)
        joules = spend(args.seconds, meters)
        cpu_s, wall_s = (process.cpu_ns(running.pid) - cpu) / 1e9, time.monotonic() - began
        resident = process.memory_kb(running.pid).get("VmRSS")
    finally:
        running.terminate()
        running.wait(timeout=30)
    return {"idle_j": idle, "listen_j": joules, "cpu_s": cpu_s, "wall_s": wall_s, "resident_kb": resident}


def spend(seconds: float, meters: Sequence[Meter]) -> dict[str, float]:
    """Wait, and return the joules that each meter counted, for exactly as long as it ran."""
    for meter in meters:
        meter.start()
    time.sleep(seconds)
    return {meter.name: meter.stop() for meter in meters}


def summary(rounds: Sequence[dict[str, Any]], meters: Sequence[Meter]) -> dict[str, Any]:
    """Return an hour's worth: processor time, and by meter the joules of listening and of idling."""
    share = sum(r["cpu_s"] for r in rounds) / sum(r["wall_s"] for r in rounds)
    energy = {}
    for meter in meters:
        hours = [r["wall_s"] / 3600 for r in rounds]
        listen = [r["listen_j"][meter.name] / h for r, h in zip(rounds, hours, strict=True)]
        idle = [r["idle_j"][meter.name] / h for r, h in zip(rounds, hours, strict=True)]
        net = [a - b for a, b in zip(listen, idle, strict=True)]
        energy[meter.name] = {
            "listen_j_per_hour": round(statistics.fmean(listen), 1),
            "idle_j_per_hour": round(statistics.fmean(idle), 1),
            "net_j_per_hour": round(statistics.fmean(net), 1),
            "net_j_per_hour_by_pair": [round(joules, 1) for joules in net],
            "net_mw": round(statistics.fmean(net) / 3.6, 1),
        }
    kb = rounds[-1]["resident_kb"]
    return {
        "cpu_s_per_hour": round(3600 * share, 2),
        "share_of_one_core_percent": round(100 * share, 3),
        "resident_mb": None if kb is None else round(kb * 1024 / 1e6, 1),
        "energy": energy or "unavailable",
    }


def tables(result: dict[str, Any]) -> str:
    """Return the table for the README, and what each meter says of itself."""
    rows = []
    for scene, found in result["scenes"].items():
        if found is None:
            rows.append([scene, "no audio for it", "", "", ""])
            continue
        cells = [found["cpu_s_per_hour"], f"{found['share_of_one_core_percent']:.2f}", found["resident_mb"]]
        if found["energy"] == "unavailable":
            rows.append([scene, *cells, "unavailable"])
            continue
        each = (f"{e['net_j_per_hour']:.0f} ({name})" for name, e in found["energy"].items())
        rows.append([scene, *cells, ", ".join(each)])
    header = ["listening to", "CPU-seconds an hour", "% of one core", "MB resident", "J an hour over idle"]
    meters = "".join(f"- {name}: {state}\n" for name, state in result["meters"].items())
    return output.markdown(header, rows) + "\nEnergy meters:\n\n" + meters


if __name__ == "__main__":
    raise SystemExit(main())
