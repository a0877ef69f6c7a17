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

from overheard.errors import OverheardError, missing_training_package
from overheard.process import limit_blas_threads
from overheard.text import one_line
from overheard_train.checkout import default_checkpoints
from overheard_train.parser import build_parser


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
    if args.resume and args.seed is not None and not args.restart:
        problem = "a training that continues its schedule keeps its seed"
        raise OverheardError(problem, "omit --seed, or add --restart")
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
