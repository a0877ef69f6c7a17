"""``overheard-train``: train fingerprint models and the music detector, and check their training data."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from overheard.errors import OverheardError, missing_training_package
from overheard.process import limit_blas_threads
from overheard.text import one_line
from overheard_train.argument_types import bounded_int, positive_float, positive_int
from overheard_train.checkout import default_checkpoints

DEFAULT_RECIPE = "overheard"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    from overheard_train.data import check_parser
    from overheard_train.detector.command import detector_parser, opinion_parser

    parser = argparse.ArgumentParser(
        prog="overheard-train",
        description="Train and evaluate fingerprint models and the music detector, and check their data.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    _fit_parser(commands)
    _average_parser(commands)
    commands.add_parser("recipes", help="list the recipes and their sources")
    _evaluate_parser(commands)
    _profile_parser(commands)
    detector_parser(commands)
    opinion_parser(commands)
    check_parser(commands)
    return parser


def _fit_parser(commands: Any) -> None:
    from overheard_train.data import add_data_argument

    fit = commands.add_parser("fit", help="train a recipe")
    fit.add_argument(
        "--recipe",
        default=DEFAULT_RECIPE,
        help="name of the recipe; `overheard-train recipes` lists them (default: %(default)s)",
    )
    add_data_argument(fit)
    default = str(default_checkpoints() / "RECIPE.npz").replace("%", "%%")
    fit.add_argument("--checkpoint", type=Path, help=f"output (.npz; default: {default})")
    fit.add_argument("--resume", action="store_true", help="continue the checkpoint exactly where it stopped")
    fit.add_argument(
        "--restart", action="store_true", help="with --resume: begin a new schedule from its weights"
    )
    _budget_arguments(fit)
    fit.add_argument(
        "--learning-rate-scale",
        type=positive_float,
        help="factor for the learning rate of the recipe (default: 1, or with --resume the last session's)",
    )
    fit.add_argument(
        "--pairs",
        type=_pair_count,
        help="pairs per step (default: the recipe's, or with --resume the last session's)",
    )
    fit.add_argument(
        "--initial",
        type=Path,
        metavar="CHECKPOINT",
        help="with a recipe that has a teacher: begin from the most important channels of another checkpoint",
    )
    fit.add_argument("--workers", type=positive_int, default=2, help="processes for batches (default: 2)")
    fit.add_argument(
        "--seed", type=_seed, default=0, help="seed of the initial weights and the batches (default: 0)"
    )
    fit.add_argument("--tensorboard", type=Path, metavar="FOLDER", help="write TensorBoard curves")


def _budget_arguments(fit: argparse.ArgumentParser) -> None:
    fit.add_argument("--steps", type=positive_int, help="length of the training (default: the recipe's)")
    fit.add_argument(
        "--cpu-minutes", type=positive_float, help="length of the training in processor time of all processes"
    )
    fit.add_argument(
        "--minutes",
        type=positive_float,
        help="length of the training in minutes; the training ends at the first limit",
    )


def _average_parser(commands: Any) -> None:
    average = commands.add_parser("average", help="average the weights of checkpoints, which often helps")
    average.add_argument("checkpoints", type=Path, nargs="+", help="checkpoints of one recipe, newest last")
    average.add_argument("--checkpoint", type=Path, required=True, help="output (.npz)")


def _evaluate_parser(commands: Any) -> None:
    from overheard_train.data import add_data_argument

    evaluate = commands.add_parser(
        "evaluate", help="measure how often degraded queries from the split `valid` are identified"
    )
    default = default_checkpoints() / f"{DEFAULT_RECIPE}.npz"
    evaluate.add_argument(
        "checkpoint",
        type=Path,
        nargs="?",
        default=default,
        help="checkpoint to evaluate (default: %(default)s)",
    )
    evaluate.add_argument(
        "--model", type=Path, help="manifest of the exported model, to measure its int8 network and codes too"
    )
    evaluate.add_argument(
        "--queries", type=positive_int, default=510, help="queries per length (default: 510)"
    )
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write the results to a file too")
    add_data_argument(evaluate)


def _profile_parser(commands: Any) -> None:
    from overheard_train.data import add_data_argument

    profile = commands.add_parser("profile", help="measure where the time of a training step goes")
    profile.add_argument("--recipe", default=DEFAULT_RECIPE, help="name of the recipe (default: %(default)s)")
    add_data_argument(profile)


def _pair_count(text: str) -> int:
    return bounded_int(text, 2, reason="a loss compares pairs")


def _seed(text: str) -> int:
    return bounded_int(text, 0, 2**32 - 1, "Keras accepts 32-bit seeds only")


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    The exit code: 0, 2 after an error, which is one line on stderr, or 130 after an interrupt.
    """
    limit_blas_threads()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # By default, TensorFlow uses oneDNN with AVX-512 only; other processors train twice as fast with it, too.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    commands = {
        "fit": _fit,
        "average": _average,
        "recipes": _recipes,
        "evaluate": _evaluate,
        "profile": _profile,
        "detector": _detector,
        "opinion": _opinion,
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
        gc.collect()  # frees TensorFlow's iterator, which an error's traceback keeps until here


def _fit(args: argparse.Namespace) -> int:
    from overheard_train.checkpoints import files_of
    from overheard_train.fit import Options, fit
    from overheard_train.output_files import check_writable, exclusive_lock
    from overheard_train.recipes import find_recipe
    from overheard_train.schedule import Budget

    recipe = find_recipe(args.recipe)
    checkpoint = _npz(args.checkpoint or default_checkpoints() / f"{args.recipe}.npz")
    _check_resume(args, checkpoint)
    check_writable(files_of(checkpoint), "give another path with --checkpoint")
    limits = (args.steps, args.cpu_minutes, args.minutes)
    options = Options(
        Budget(*limits) if any(limits) else None,
        args.resume,
        args.restart,
        args.seed,
        args.workers,
        args.learning_rate_scale,
        args.tensorboard,
        args.pairs,
        args.initial,
    )
    problem = f"another training is writing {checkpoint}"
    with exclusive_lock(checkpoint.with_suffix(".lock"), problem, "give another path with --checkpoint"):
        progress = fit(recipe, args.data, checkpoint, options)
    print(f"{checkpoint}: step {progress.step}, loss {progress.loss:.3f}, top-1 {progress.accuracy:.3f}")
    return 0


def _check_resume(args: argparse.Namespace, checkpoint: Path) -> None:
    if args.resume and not checkpoint.exists():
        raise OverheardError(f"there is no checkpoint {checkpoint} to resume", "omit --resume to begin one")
    if checkpoint.exists() and not args.resume:
        raise OverheardError(
            f"{checkpoint} exists", "continue it with --resume, or give another path with --checkpoint"
        )
    if args.initial and args.resume:
        raise OverheardError("--initial begins a training, --resume continues one", "omit one of them")
    if args.restart and not args.resume:
        raise OverheardError("--restart continues a checkpoint", "add --resume")


def _npz(checkpoint: Path) -> Path:
    if checkpoint.suffix != ".npz":
        raise OverheardError(f"the name of the checkpoint {checkpoint} must end in .npz")
    return checkpoint


def _average(args: argparse.Namespace) -> int:
    from overheard_train.checkpoints import average, files_of, restore, save_checkpoint, write_settings
    from overheard_train.encoders import build_encoder
    from overheard_train.output_files import check_writable
    from overheard_train.recipes import find_recipe

    checkpoint, remedy = _npz(args.checkpoint), "give another path with --checkpoint"
    if checkpoint.exists():
        raise OverheardError(f"{checkpoint} exists", remedy)
    check_writable(files_of(checkpoint), remedy)
    if len(args.checkpoints) < 2:
        raise OverheardError("an average needs two checkpoints or more")
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


def _detector(args: argparse.Namespace) -> int:
    from overheard_train.detector.command import run_detector

    return run_detector(args)


def _opinion(args: argparse.Namespace) -> int:
    from overheard_train.detector.command import run_opinion

    return run_opinion(args)


def _recipes(_args: argparse.Namespace) -> int:
    from overheard_train.recipes import RECIPES

    for recipe in RECIPES.values():
        print(f"{recipe.name:<16} {recipe.source}")
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from overheard_train.evaluate import evaluate, table
    from overheard_train.output_files import write_text

    results = evaluate(args.checkpoint, args.data, args.model, n_queries=args.queries)
    print(table(results))
    if args.json is not None:
        write_text(args.json, json.dumps([dataclasses.asdict(row) for row in results], indent=1) + "\n")
    return 0


def _profile(args: argparse.Namespace) -> int:
    from overheard_train.profile import profile
    from overheard_train.recipes import find_recipe

    print(json.dumps(profile(find_recipe(args.recipe), args.data), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
