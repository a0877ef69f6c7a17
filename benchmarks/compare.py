"""Every recipe trained at one budget of processor time, exported, calibrated and asked the same queries."""

from __future__ import annotations

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
from overheard_train.evaluate import Retrieval, evaluate, load_encoder
from overheard_train.recipes import find_recipe
from overheard_train.text import commit, write_text

log = logging.getLogger(__name__)

CHECKOUT = Path(__file__).parents[2]
RESULTS = CHECKOUT / "benchmarks" / "results"
NAMES = ("woo", "woo-64", "now_playing", "nafp-small", "nmfp", "overheard-tiny", "overheard")
CALIBRATION_POSITIONS = 20
FALSE_ACCEPTS = 0.008  # as the shipped model is calibrated
SHOWN_LENGTHS_S = (1, 2, 3, 5, 10)
SNR_CONDITIONS = {"mic-5": -5, "mic0": 0, "mic5": 5, "mic10": 10}  # of the query protocol, in dB


def compare(
    names: Sequence[str],
    data: Sequence[str],
    work: Path,
    results: Path = RESULTS,
    cpu_minutes: float = 40.0,
    positions: int = 50,
) -> str:
    """Train and measure the recipes that have no row yet at this budget; write and return the table.

    Parameters
    ----------
    names : of recipes
    work : folder for checkpoints and models; what is there already at this budget is not made again
    results : folder of recipes.json and recipes.md
    positions : of the query protocol, per length

    Raises
    ------
    OverheardError
        A recipe is unknown, or one of its steps failed.
    """
    for name in names:
        find_recipe(name)
    path = results / "recipes.json"
    rows = _read_rows(path)
    for name in names:
        if rows.get(name, {}).get("cpu_minutes") == cpu_minutes:
            log.info("%s has been measured at this budget: to do it anew, delete its row of %s", name, path)
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
        raise OverheardError(f"{path} is damaged: delete it, or take it from git")
    return rows


def measure(name: str, data: Sequence[str], work: Path, cpu_minutes: float, positions: int) -> dict[str, Any]:
    """Train, export, calibrate and measure one recipe."""
    from overheard_train.encoders.cost import multiply_adds

    work.mkdir(parents=True, exist_ok=True)
    checkpoint = work / f"{name}.npz"
    told = [part for folder in data for part in ("--data", str(folder))]
    resume = ["--resume"] if checkpoint.exists() else []
    fit = ["fit", "--recipe", name, "--checkpoint", checkpoint, "--cpu-minutes", cpu_minutes, *told, *resume]
    _run([sys.executable, "-m", "overheard_train.cli", *fit])
    exported = work / "models" / f"{name}.json"
    # Without the gate: the table shows what int8 loses.
    export = ["model", checkpoint, "--output", exported, "--no-gate", *told]
    _run([sys.executable, "-m", "overheard_export.cli", *export])
    benchmarks = CHECKOUT / "benchmarks"
    chosen = ["--n", CALIBRATION_POSITIONS, "--false-accepts", FALSE_ACCEPTS, "--full-only"]
    _run([sys.executable, benchmarks / "calibrate.py", "--model", exported, *chosen])
    asked = ["--model", exported, "--n", positions, "--out", work / name]
    _run([sys.executable, benchmarks / "accuracy.py", *asked])
    accuracy = json.loads((work / name / "accuracy.json").read_text(encoding="utf-8"))
    encoder, recipe, progress = load_encoder(checkpoint)
    retrieval = evaluate(checkpoint, data, exported)
    return {
        "source": recipe.source,
        "cpu_minutes": cpu_minutes,
        "commit": commit(),
        "parameters": int(encoder.count_params()),
        "multiply_adds": multiply_adds(encoder),
        "tflite_bytes": accuracy["model"]["manifest"]["network"]["bytes"],
        "steps": progress.step,
        "training": progress.settings,
        "retrieval": [dataclasses.asdict(row) for row in retrieval],
        "overall": accuracy["overall"],
        "at_one_percent": accuracy["at_one_percent"],
        "by_condition": accuracy["by_condition"],
        "by_length": accuracy["by_length"],
        "bytes_per_min": accuracy["catalogue"]["bytes_per_min"],
    }


def table(rows: dict[str, Any]) -> str:
    """Return the rows as Markdown: the query protocol, then retrieval by variant and length."""
    lines = [
        "| recipe | parameters | MMAC a segment | trained in | processor min | steps | right, % | at 1%, % "
        "| unknown named | bytes/min |",
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
            f"{overall['out_named']}/{overall['out_n']}",
            f"{row['bytes_per_min']:.0f}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "Right track first, %, one degraded query against all of `valid`, without threshold:", ""]
    lines.append("| recipe | variant | " + " | ".join(f"{n} s" for n in SHOWN_LENGTHS_S) + " |")
    lines.append("|---|---|" + "---:|" * len(SHOWN_LENGTHS_S))
    for name, row in rows.items():
        found = [Retrieval(**values) for values in row["retrieval"]]
        for variant in dict.fromkeys(result.variant for result in found):
            of = {result.length_s: result.track for result in found if result.variant == variant}
            shares = " | ".join(f"{100 * of[length]:.1f}" for length in SHOWN_LENGTHS_S)
            lines.append(f"| {name} | {variant} | {shares} |")
    return "\n".join(lines) + "\n"


def plot(rows: dict[str, Any], path: Path) -> None:
    """Draw rightly named queries against their length and their signal-to-noise ratio, a line a recipe."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (by_length, by_snr) = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained", sharey=True)
    for (name, row), marker in zip(rows.items(), itertools.cycle("os^Dv<>P")):
        right = {int(length): pool["right_percent"] for length, pool in row["by_length"].items()}
        by_length.plot(list(right), list(right.values()), marker=marker, label=name)
        pools = row["by_condition"]
        by_snr.plot(
            list(SNR_CONDITIONS.values()),
            [pools[condition]["right_percent"] for condition in SNR_CONDITIONS],
            marker=marker,
        )
    by_length.set(xlabel="length of the query, s", ylabel="named rightly, %", ylim=(0, 100))
    by_snr.set(xlabel="signal-to-noise ratio in a room, by a microphone, dB")
    figure.legend(loc="outside right upper")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _run(command: Sequence[object]) -> None:
    roots = os.pathsep.join(str(CHECKOUT / root) for root in ("device", "train", "export"))
    path = os.pathsep.join(filter(None, (roots, os.environ.get("PYTHONPATH"))))
    done = subprocess.run([str(part) for part in command], env=os.environ | {"PYTHONPATH": path}, check=False)
    if done.returncode:
        raise OverheardError(f"{' '.join(str(part) for part in command[1:4])} ... failed: see above")
