"""What recognition costs, by stage, hour and memory; and how fast indexing is.

    python benchmarks/latency.py [--quick]

Writes latency.json, latency.png and latency.md under benchmarks/results. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overheard_bench import RESULTS, indexing, output, process, scenes
from overheard_bench.corpus import DEFAULT_CORPUS, SAMPLE_RATE
from overheard_bench.environment import environment, model_facts
from overheard_bench.stopwatch import Method, Stopwatch
from protocol import CACHE

CPU_BAR_MS, RESIDENT_BAR_MB, INDEX_BAR = 6.0, 160.0, 200.0
WARM_UP_S = 12  # a query window is full, caches are warm
SOUNDS = ("catalogue music", "unknown music")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    args = parse(argv)
    from overheard.errors import OverheardError
    from overheard.fingerprint.model import load_model

    try:
        with tempfile.TemporaryDirectory(prefix="overheard-latency-") as folder:
            model = load_model(args.model)
            result = measure(args, Path(folder), model)
    except (OverheardError, RuntimeError, FileNotFoundError) as error:
        print(f"latency.py: {error}", file=sys.stderr)
        return 2
    output.publish(args.out, "latency", result, tables(result), output.latency_plot)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--corpus", type=Path, default=DEFAULT_CORPUS)
    parser.add_argument(
        "--model", type=Path, help="a model other than the shipped one (stages and index only)"
    )
    parser.add_argument("--pack", type=Path, help="a pack to search rather than the starter pack")
    parser.add_argument("--seconds", type=int, default=180, help="of sound for each figure")
    parser.add_argument("--pieces", type=int, default=8, help="of 150 s, to index in each format")
    parser.add_argument("--quick", action="store_true", help="seconds, not minutes: only to try it")
    parser.add_argument("--out", type=Path, help="folder of the results")
    args = parser.parse_args(argv)
    if args.quick:
        args.seconds, args.pieces = 20, 1
    args.out = args.out or (CACHE / "quick" if args.quick else RESULTS)
    return args


def measure(args: argparse.Namespace, folder: Path, model: Any) -> dict[str, Any]:
    """Measure everything."""
    from overheard.fingerprint.runtime import available_runtimes

    setup = scenes.prepare(folder, args.corpus, args.pack, model, args.quick)
    packs = open_packs(setup, model)
    result: dict[str, Any] = {
        "runtimes": {
            name: {"version": version} | stages_of(name, setup, model, packs, args.seconds)
            for name, version in available_runtimes().items()
        },
        "listen": {scene: listening(setup, scene, args.seconds) for scene in SOUNDS},
        "index": indexing.measure(folder / "collection", model, args.pieces, 30 if args.quick else 150),
        "catalogue": {"packs": setup.catalogue, "tracks": sum(len(pack.tracks) for pack in packs)},
        "model": model_facts(model),
        "environment": environment(),
        "quick": args.quick,
    }
    result["bars"] = bars(result)
    return result


def open_packs(setup: scenes.Setup, model: Any) -> list[Any]:
    """Open what `overheard listen` would search."""
    from overheard.catalogue.pack import open_pack

    paths = sorted((setup.data_dir / "packs").glob("*.pack"))
    starter = scenes.starter_pack()
    return [open_pack(path, model.digest) for path in (*paths, *([starter] if starter else []))]


def stage_methods() -> dict[str, list[Method]]:
    """Name the methods in which each stage spends its time."""
    from overheard.catalogue.search import Catalogue
    from overheard.fingerprint.embedder import Embedder
    from overheard.fingerprint.frontend import StreamingFrontend
    from overheard.recognize.match import Matcher

    return {
        "front-end": [(StreamingFrontend, "process")],
        "model": [(Embedder, "query")],
        "search": [(Catalogue, "candidates")],
        "match": [(Matcher, "match")],
    }


def stages_of(
    runtime: str, setup: scenes.Setup, model: Any, packs: list[Any], seconds: int
) -> dict[str, Any]:
    """Feed a listener second by second and say what each stage took."""
    from overheard.recognize.pipeline import Recognizer

    methods = stage_methods()
    names = [*methods, "whole path", "whole path, wall"]
    found: dict[str, Any] = {}
    for scene in SOUNDS:
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
        found[scene] = {"stages": watch.table(names), "calls_per_s": calls}
    return found


def listening(setup: scenes.Setup, scene: str, seconds: int) -> dict[str, Any]:
    """Run `overheard listen` on a short and a long file; their difference leaves the start out."""
    from overheard.demo.synth import write_wav

    short_s, long_s = 5, 5 + 4 * seconds
    waveform = scenes.sound(setup, scene, long_s)
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


def bars(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare with the issue's bars."""
    cpu = max(found["cpu_ms_per_s"] for found in result["listen"].values())
    resident = max((found["peak_resident_mb"] or 0.0) for found in result["listen"].values())
    slowest = min(found["x_real_time"] for found in result["index"])
    return [
        {
            "bar": "listen, ms of processor a second",
            "kind": "at most",
            "limit": CPU_BAR_MS,
            "measured": cpu,
            "met": cpu <= CPU_BAR_MS,
        },
        {
            "bar": "listen, MB resident at most",
            "kind": "at most",
            "limit": RESIDENT_BAR_MB,
            "measured": resident,
            "met": 0 < resident <= RESIDENT_BAR_MB,
        },
        {
            "bar": "index, x real time on one core",
            "kind": "at least",
            "limit": INDEX_BAR,
            "measured": slowest,
            "met": slowest >= INDEX_BAR,
        },
    ]


def tables(result: dict[str, Any]) -> str:
    """Return the tables for the README."""
    stages = [
        [f"{name}, {runtime}, {scene}", *(f"{row[key]:.2f}" for key in ("p50_ms", "p95_ms", "mean_ms"))]
        for runtime, found in result["runtimes"].items()
        for scene in SOUNDS
        for name, row in found.get(scene, {"stages": {}})["stages"].items()
    ]
    listen = [
        [
            scene,
            *(found[key] for key in ("cpu_ms_per_s", "cpu_s_per_hour", "resident_mb", "peak_resident_mb")),
        ]
        for scene, found in result["listen"].items()
    ]
    index = [[f["format"], f["x_real_time"], f["x_real_time_by_cpu"]] for f in result["index"]]
    met = [
        [b["bar"], f"{b['kind']} {b['limit']:g}", b["measured"], "yes" if b["met"] else "no"]
        for b in result["bars"]
    ]
    return "\n".join(
        [
            output.markdown(["ms of processor a second of audio", "p50", "p95", "mean"], stages),
            output.markdown(
                ["listen", "ms a second", "CPU-seconds an hour", "MB resident", "MB peak"], listen
            ),
            output.markdown(["index, one core", "x real time", "by processor time"], index),
            output.markdown(["bar", "asked", "measured", "met"], met),
        ]
    )


if __name__ == "__main__":
    raise SystemExit(main())
