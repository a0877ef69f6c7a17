"""Compare recipes: train each with one budget of processor time, export, calibrate and measure it.

    python benchmarks/compare.py [RECIPE ...] [--cpu-minutes 40]

All recipes get the same queries. Writes recipes.json, recipes.md and recipes.png into benchmarks/results. A
recipe that has a row with this budget is not measured again: to repeat it, delete its row of recipes.json and
its checkpoint in the work folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overheard.errors import OverheardError
from overheard.text import one_line
from overheard_bench import BENCHMARKS, CHECKOUT, RESULTS
from overheard_train.argument_types import positive_float, positive_int
from overheard_train.checkout import commit
from overheard_train.data import add_data_argument, default_cache_dir
from overheard_train.evaluate import Retrieval, evaluate, load_encoder
from overheard_train.output_files import write_text
from overheard_train.recipes import find_recipe

log = logging.getLogger(__name__)

NAMES = ("woo", "woo-64", "now_playing", "nafp-small", "nmfp", "overheard-tiny", "overheard")
CALIBRATION_POSITIONS = 20  # per query length; the shipped model is calibrated on more
SHOWN_LENGTHS_S = (1, 2, 3, 5, 10)
SNR_CONDITIONS = {"mic-5": -5, "mic0": 0, "mic5": 5, "mic10": 10}  # of the query protocol, in dB


def main(argv: Sequence[str] | None = None) -> int:
    """Compare the recipes, and print the table."""
    args = _parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    work = args.work or default_cache_dir() / f"compare-{args.cpu_minutes:g}"
    try:
        print(compare(args.recipes or NAMES, args.data, work, args.results, args.cpu_minutes, args.positions))
    except (OverheardError, OSError) as error:
        print(f"compare.py: {one_line(str(error))}", file=sys.stderr)
        return 2
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="compare.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=f"default: {', '.join(NAMES)}")
    parser.add_argument(
        "--cpu-minutes",
        type=positive_float,
        default=40.0,
        help="processor minutes of training per recipe (default: 40)",
    )
    parser.add_argument(
        "--positions", type=positive_int, default=50, help="query positions per length (default: 50)"
    )
    parser.add_argument("--work", type=Path, help="folder for checkpoints and models (default: in the cache)")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder for the results (default: benchmarks/results)"
    )
    add_data_argument(parser)
    return parser.parse_args(argv)


def compare(
    names: Sequence[str], data: Sequence[str], work: Path, results: Path, cpu_minutes: float, positions: int
) -> str:
    """Train and measure the recipes that have no row with this budget; write and return the table.

    Parameters
    ----------
    names : of recipes
    work : folder for checkpoints and models; an existing checkpoint is continued
    results : folder of recipes.json, recipes.md and recipes.png
    positions : of the query protocol, per length

    Raises
    ------
    OverheardError
        A recipe is unknown, recipes.json is damaged, or a command failed.
    """
    for name in names:
        find_recipe(name)
    path = results / "recipes.json"
    rows = _read_rows(path)
    for name in names:
        if rows.get(name, {}).get("cpu_minutes") == cpu_minutes:
            log.info("%s has a row with this budget; delete it from %s to repeat the measurement", name, path)
            continue
        rows[name] = measure(name, data, work, cpu_minutes, positions)
        write_text(path, json.dumps(rows, indent=1) + "\n")
        write_text(results / "recipes.md", table(rows))
        plot(rows, results / "recipes.png")
    return table(rows)


def _read_rows(path: Path) -> dict[str, Any]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError:
        rows = None
    if not isinstance(rows, dict):
        raise OverheardError(f"{path} is damaged", "delete it, or restore it from git")
    return rows


def measure(name: str, data: Sequence[str], work: Path, cpu_minutes: float, positions: int) -> dict[str, Any]:
    """Train, export, calibrate and measure one recipe; return its row."""
    from overheard_train.encoders.cost import multiply_adds

    work.mkdir(parents=True, exist_ok=True)
    checkpoint, model = work / f"{name}.npz", work / "models" / f"{name}.json"
    data_arguments = [argument for folder in data for argument in ("--data", str(folder))]
    _train_and_export(name, checkpoint, model, cpu_minutes, data_arguments)
    trials, n_trials = work / f"{name}-trials.json", ["--n", CALIBRATION_POSITIONS, "--full-only"]
    _run([sys.executable, BENCHMARKS / "trials.py", trials, "--model", model, *n_trials])
    _run([sys.executable, "-m", "overheard_export.cli", "calibrate", trials, "--model", model])
    measurement = ["--model", model, "--n", positions, "--out", work / name]
    _run([sys.executable, BENCHMARKS / "accuracy.py", *measurement])
    accuracy = json.loads((work / name / "accuracy.json").read_text(encoding="utf-8"))
    encoder, recipe, progress = load_encoder(checkpoint)
    retrieval = evaluate(checkpoint, data, model)
    return {
        "source": recipe.source,
        "cpu_minutes": cpu_minutes,
        "commit": commit(),
        "parameters": int(encoder.count_params()),
        "multiply_adds": multiply_adds(encoder),
        "tflite_bytes": json.loads(model.read_text(encoding="utf-8"))["network"]["bytes"],
        "steps": progress.step,
        "training": progress.settings,
        "retrieval": [dataclasses.asdict(row) for row in retrieval],
        "overall": accuracy["overall"],
        "at_one_percent": accuracy["at_one_percent"],
        "by_condition": accuracy["by_condition"],
        "by_length": accuracy["by_length"],
        "bytes_per_min": accuracy["catalogue"]["bytes_per_min"],
    }


def _train_and_export(
    name: str, checkpoint: Path, model: Path, cpu_minutes: float, data_arguments: Sequence[str]
) -> None:
    fit: list[object] = ["fit", "--recipe", name, "--checkpoint", checkpoint, "--cpu-minutes", cpu_minutes]
    fit += ["--resume"] if checkpoint.exists() else []
    _run([sys.executable, "-m", "overheard_train.cli", *fit, *data_arguments])
    # Without the parity gate: the table shows the loss of the int8 conversion.
    export = ["model", checkpoint, "--output", model, "--no-gate"]
    _run([sys.executable, "-m", "overheard_export.cli", *export, *data_arguments])


def _run(command: Sequence[object]) -> None:
    roots = os.pathsep.join(str(CHECKOUT / root) for root in ("device", "train", "export"))
    path = os.pathsep.join(filter(None, (roots, os.environ.get("PYTHONPATH"))))
    run = subprocess.run([str(part) for part in command], env=os.environ | {"PYTHONPATH": path}, check=False)
    if run.returncode:
        raise OverheardError(
            f"{' '.join(str(part) for part in command[1:4])} ... failed", "see its message above"
        )


def table(rows: dict[str, Any]) -> str:
    """Return the rows as Markdown: results of the query protocol, then retrieval by variant and length."""
    lines = [
        "| recipe | parameters | MMAC per segment | precision | processor min | steps | correct, % "
        "| correct at 1% false positives, % | false positives | bytes/min |",
        "|---|---:|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        overall = row["overall"]
        cells = (
            name,
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['multiply_adds'] / 1e6:.1f}",
            row["training"][-1]["environment"]["precision"],
            f"{row['cpu_minutes']:g}",
            row["steps"],
            f"{overall['right_percent']:.1f}",
            f"{row['at_one_percent']['right_percent']:.1f}",
            f"{overall['false_positives']}/{overall['out_n']}",
            f"{row['bytes_per_min']:.0f}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += [
        "",
        "Retrieval (top-1 track, %): degraded queries among all segments of `valid`, no threshold:",
        "",
    ]
    lines.append("| recipe | variant | " + " | ".join(f"{n} s" for n in SHOWN_LENGTHS_S) + " |")
    lines.append("|---|---|" + "---:|" * len(SHOWN_LENGTHS_S))
    for name, row in rows.items():
        results = [Retrieval(**values) for values in row["retrieval"]]
        for variant in dict.fromkeys(result.variant for result in results):
            by_length = {result.length_s: result.track for result in results if result.variant == variant}
            shares = " | ".join(f"{100 * by_length[length]:.1f}" for length in SHOWN_LENGTHS_S)
            lines.append(f"| {name} | {variant} | {shares} |")
    return "\n".join(lines) + "\n"


def plot(rows: dict[str, Any], path: Path) -> None:
    """Draw the share of correct answers by query length and by signal-to-noise ratio, one line per recipe."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (by_length, by_snr) = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained", sharey=True)
    for (name, row), marker in zip(rows.items(), itertools.cycle("os^Dv<>P"), strict=False):
        correct = {int(length): pool["right_percent"] for length, pool in row["by_length"].items()}
        by_length.plot(list(correct), list(correct.values()), marker=marker, label=name)
        pools = row["by_condition"]
        by_snr.plot(
            list(SNR_CONDITIONS.values()),
            [pools[condition]["right_percent"] for condition in SNR_CONDITIONS],
            marker=marker,
        )
    by_length.set(xlabel="query length, s", ylabel="correctly identified, %", ylim=(0, 100))
    by_snr.set(xlabel="signal-to-noise ratio in a room, dB")
    figure.legend(loc="outside right upper")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    raise SystemExit(main())
