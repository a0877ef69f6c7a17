"""``overheard-train``: train recipes, evaluate and compare them, look after the data."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import logging
import math
import os
import sys
from pathlib import Path
from typing import Any

from overheard.errors import OverheardError, missing_training_package
from overheard.text import one_line
from overheard_train.arguments import positive, whole_number

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all sub-commands."""
    from overheard_train.data import add_data_argument, check_parser

    parser = argparse.ArgumentParser(prog="overheard-train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _fit_parser(commands)
    average = commands.add_parser("average", help="the mean of checkpoints' weights, often better than each")
    average.add_argument("checkpoints", type=Path, nargs="+", help="of one recipe, the newest last")
    average.add_argument("--checkpoint", type=Path, required=True, help="written here (.npz)")
    commands.add_parser("recipes", help="list the recipes and where they come from")
    evaluate = commands.add_parser("evaluate", help="retrieval of degraded queries of the valid lists")
    evaluate.add_argument("checkpoint", type=Path, nargs="?", default=CHECKPOINTS / "overheard.npz")
    evaluate.add_argument(
        "--model", type=Path, help="manifest of its exported model: int8 and code beside float"
    )
    evaluate.add_argument("--queries", type=positive, default=510, help="of each length")
    evaluate.add_argument("--json", type=Path, help="write the figures here too")
    add_data_argument(evaluate)
    compare = commands.add_parser("compare", help="train recipes at one budget and put them in one table")
    compare.add_argument("recipes", nargs="*", help="by name (default: all that train here)")
    compare.add_argument("--cpu-minutes", type=_amount, default=40.0, help="of processor time for each")
    compare.add_argument("--positions", type=positive, default=50, help="of the queries, per length")
    compare.add_argument("--work", type=Path, help="checkpoints and models (default: in the cache)")
    compare.add_argument("--results", type=Path, help="default: benchmarks/results")
    add_data_argument(compare)
    profile = commands.add_parser("profile", help="where the time of a training step goes")
    profile.add_argument("--recipe", default="overheard")
    add_data_argument(profile)
    check_parser(commands)
    return parser


def _fit_parser(commands: Any) -> None:
    from overheard_train.data import add_data_argument

    fit = commands.add_parser("fit", help="train a recipe on the train lists")
    fit.add_argument("--recipe", default="overheard", help="by name; see overheard-train recipes")
    add_data_argument(fit)
    fit.add_argument("--checkpoint", type=Path, help="written here (default: train/checkpoints/RECIPE.npz)")
    fit.add_argument("--resume", action="store_true", help="continue the checkpoint where it stopped")
    fit.add_argument(
        "--restart", action="store_true", help="with --resume: begin a new schedule from its weights"
    )
    fit.add_argument("--steps", type=positive, help="length of the training (default: the recipe's)")
    fit.add_argument("--cpu-minutes", type=_amount, help="or this much processor time, to compare recipes")
    fit.add_argument("--minutes", type=_amount, help="or this much wall clock; what is used up first ends it")
    fit.add_argument(
        "--learning-rate-scale",
        type=_amount,
        help="of the recipe's peak (default: 1, or with --resume what it was)",
    )
    fit.add_argument(
        "--pairs", type=_pair_count, help="of a step (default: the recipe's, or with --resume what it was)"
    )
    fit.add_argument("--workers", type=positive, default=2, help="processes that make batches")
    fit.add_argument("--seed", type=_seed, default=0)
    fit.add_argument("--tensorboard", type=Path, metavar="FOLDER", help="write curves here")


def _pair_count(text: str) -> int:
    return whole_number(text, 2, "pairs are told from each other")


def _seed(text: str) -> int:
    return whole_number(text, 0, "it seeds Keras too", 2**32 - 1)


def _amount(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 0, or 2 with one line on stderr."""
    # Before numpy is there: on many small matrices BLAS threads only get in each other's way.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow leaves it out on processors without AVX-512, which train twice as fast with it too.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    commands = {
        "fit": _fit,
        "average": _average,
        "recipes": _recipes,
        "evaluate": _evaluate,
        "compare": _compare,
        "profile": _profile,
        "data": _data,
    }
    try:
        return commands[args.command](args)
    except (OverheardError, OSError) as error:
        print(f"overheard-train: {one_line(str(error))}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"overheard-train: {missing_training_package(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("overheard-train: interrupted", file=sys.stderr)
        return 130
    finally:
        gc.collect()  # as fit does; what an error held is free only here


def _fit(args: argparse.Namespace) -> int:
    from overheard_train.checkpoints import files_of
    from overheard_train.recipes import find_recipe
    from overheard_train.schedule import Budget
    from overheard_train.text import check_writable, only_one
    from overheard_train.train import fit

    recipe = find_recipe(args.recipe)
    checkpoint = _written(args.checkpoint or CHECKPOINTS / f"{args.recipe}.npz")
    if args.resume and not checkpoint.exists():
        raise OverheardError(f"there is no checkpoint {checkpoint} to resume: leave --resume out")
    if checkpoint.exists() and not args.resume:
        raise OverheardError(
            f"{checkpoint} exists: continue it with --resume, or name another with --checkpoint"
        )
    if args.restart and not args.resume:
        raise OverheardError("--restart begins anew from a checkpoint: say --resume too")
    told = (args.steps, args.cpu_minutes, args.minutes)
    check_writable(files_of(checkpoint), "name another with --checkpoint")
    taken = f"another training writes {checkpoint}: name another with --checkpoint"
    with only_one(checkpoint.with_suffix(".lock"), taken):
        progress = fit(
            recipe,
            args.data,
            checkpoint,
            Budget(*told) if any(told) else None,
            args.resume,
            args.restart,
            args.seed,
            args.workers,
            args.learning_rate_scale,
            args.tensorboard,
            args.pairs,
        )
    print(f"{checkpoint}: step {progress.step}, loss {progress.loss:.3f}, top-1 {progress.accuracy:.3f}")
    return 0


def _written(checkpoint: Path) -> Path:
    if checkpoint.suffix != ".npz":
        raise OverheardError(f"{checkpoint} must end in .npz: its state and settings lie beside it")
    return checkpoint


def _average(args: argparse.Namespace) -> int:
    from overheard_train.checkpoints import average, files_of, restore, save_checkpoint, write_settings
    from overheard_train.encoders import build_encoder
    from overheard_train.recipes import find_recipe
    from overheard_train.text import check_writable

    checkpoint = _written(args.checkpoint)
    if checkpoint.exists():
        raise OverheardError(f"{checkpoint} exists: name another with --checkpoint")
    check_writable(files_of(checkpoint), "name another with --checkpoint")
    if len(args.checkpoints) < 2:
        raise OverheardError("a mean is of two checkpoints or more: name them")
    weights, progress = average(args.checkpoints)
    recipe = find_recipe(progress.recipe)
    restore(build_encoder(recipe.encoder, recipe.spec), weights, str(args.checkpoints[-1]))
    save_checkpoint(weights, progress, checkpoint)
    write_settings(checkpoint, recipe.to_dict(), progress)
    print(f"{checkpoint}: the mean of {len(args.checkpoints)} checkpoints of {progress.recipe}")
    return 0


def _data(args: argparse.Namespace) -> int:
    from overheard_train.data import run_check

    return run_check(args)


def _recipes(args: argparse.Namespace) -> int:
    from overheard_train.recipes import RECIPES

    for recipe in RECIPES.values():
        print(f"{recipe.name:<16} {recipe.source}")
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from overheard_train.evaluate import evaluate, table
    from overheard_train.text import write_text

    found = evaluate(args.checkpoint, args.data, args.model, n_queries=args.queries)
    print(table(found))
    if args.json is not None:
        write_text(args.json, json.dumps([dataclasses.asdict(row) for row in found], indent=1) + "\n")
    return 0


def _compare(args: argparse.Namespace) -> int:
    from overheard_train.compare import NAMES, RESULTS, compare
    from overheard_train.data import default_cache_dir

    work = args.work or default_cache_dir() / f"compare-{args.cpu_minutes:g}"
    names, results = args.recipes or NAMES, args.results or RESULTS
    print(compare(names, args.data, work, results, args.cpu_minutes, args.positions))
    return 0


def _profile(args: argparse.Namespace) -> int:
    from overheard_train.profile import profile
    from overheard_train.recipes import find_recipe

    print(json.dumps(profile(find_recipe(args.recipe), args.data), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
