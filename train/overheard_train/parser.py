"""The commands of ``overheard-train``, their options, and the text of ``--help``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from overheard_train.argument_types import bounded_int, keras_seed, positive_float, positive_int
from overheard_train.checkout import default_checkpoints

DEFAULT_RECIPE = "overheard"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    from overheard_train.data import check_parser
    from overheard_train.detector.command import detector_parser, opinion_parser

    parser = argparse.ArgumentParser(
        prog="overheard-train",
        description="Train and evaluate fingerprint models and the music detector, and check their data.",
        epilog="`overheard-train COMMAND --help` explains a command.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    _fit_parser(commands)
    _average_parser(commands)
    commands.add_parser(
        "recipes",
        help="list the recipes and their sources",
        description="List the recipes: configurations of encoder, loss and training pairs, and the paper or "
        "model that each one follows.",
    )
    _evaluate_parser(commands)
    _profile_parser(commands)
    detector_parser(commands)
    opinion_parser(commands)
    check_parser(commands)
    return parser


def _fit_parser(commands: Any) -> None:
    from overheard_train.data import add_data_argument

    fit = commands.add_parser(
        "fit",
        help="train a recipe",
        description="Train the network of a recipe. A checkpoint is saved every few minutes, and when you "
        "press Ctrl-C; --resume continues it.",
        epilog="example: overheard-train fit --recipe overheard --data ~/corpus --checkpoint mine.npz "
        "--minutes 60",
    )
    fit.add_argument(
        "--recipe",
        default=DEFAULT_RECIPE,
        metavar="NAME",
        help="name of the recipe; `overheard-train recipes` lists them (default: %(default)s)",
    )
    add_data_argument(fit)
    default = str(default_checkpoints() / "RECIPE.npz").replace("%", "%%")
    fit.add_argument(
        "--checkpoint", type=Path, metavar="FILE.npz", help=f"checkpoint to write (default: {default})"
    )
    fit.add_argument("--resume", action="store_true", help="continue the checkpoint exactly where it stopped")
    fit.add_argument(
        "--restart", action="store_true", help="with --resume: begin a new schedule from its weights"
    )
    _budget_arguments(fit)
    _session_arguments(fit)


def _budget_arguments(fit: argparse.ArgumentParser) -> None:
    fit.add_argument(
        "--steps", type=positive_int, metavar="N", help="length of the training (default: the recipe's)"
    )
    fit.add_argument(
        "--cpu-minutes",
        type=positive_float,
        metavar="N",
        help="length of the training in processor time of all processes",
    )
    fit.add_argument(
        "--minutes",
        type=positive_float,
        metavar="N",
        help="length of the training in minutes; the training ends at the first limit",
    )


def _session_arguments(fit: argparse.ArgumentParser) -> None:
    fit.add_argument(
        "--learning-rate-scale",
        type=positive_float,
        metavar="X",
        help="factor for the learning rate of the recipe (default: 1; with --resume but without --restart, "
        "that of the last session)",
    )
    fit.add_argument(
        "--pairs",
        type=_pair_count,
        metavar="N",
        help="pairs per step (default: the recipe's; with --resume but without --restart, those of the last "
        "session)",
    )
    fit.add_argument(
        "--initial",
        type=Path,
        metavar="FILE.npz",
        help="with a recipe that has a teacher: begin from the most important channels of this checkpoint",
    )
    fit.add_argument(
        "--workers", type=positive_int, default=2, metavar="N", help="processes for batches (default: 2)"
    )
    fit.add_argument(
        "--seed",
        type=keras_seed,
        metavar="N",
        help="seed of the initial weights and the batches (default: 0); with --resume, only with --restart",
    )
    fit.add_argument("--tensorboard", type=Path, metavar="FOLDER", help="write TensorBoard curves")


def _average_parser(commands: Any) -> None:
    average = commands.add_parser(
        "average",
        help="average the weights of checkpoints, which often helps",
        description="Write a checkpoint whose weights are the mean of those of other checkpoints. "
        "It is often more accurate than each of them.",
    )
    average.add_argument(
        "checkpoints",
        type=Path,
        nargs="+",
        metavar="FILE.npz",
        help="checkpoints of one recipe, newest last",
    )
    average.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE.npz", help="checkpoint to write"
    )


def _evaluate_parser(commands: Any) -> None:
    from overheard_train.data import add_data_argument

    evaluate = commands.add_parser(
        "evaluate",
        help="measure how often degraded queries from the split `valid` are identified",
        description="Measure how often degraded queries from the split `valid` are identified, by the length "
        "of the query.",
    )
    evaluate.add_argument(
        "checkpoint",
        type=Path,
        nargs="?",
        default=default_checkpoints() / f"{DEFAULT_RECIPE}.npz",
        metavar="FILE.npz",
        help="checkpoint to evaluate (default: %(default)s)",
    )
    evaluate.add_argument(
        "--model",
        type=Path,
        metavar="FILE.json",
        help="manifest of the exported model, to measure its int8 network and codes too",
    )
    evaluate.add_argument(
        "--queries", type=positive_int, default=510, metavar="N", help="queries per length (default: 510)"
    )
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write the results to a file too")
    add_data_argument(evaluate)


def _profile_parser(commands: Any) -> None:
    from overheard_train.data import add_data_argument

    profile = commands.add_parser(
        "profile",
        help="measure where the time of a training step goes",
        description="Measure where the time of a training step goes, and print it as JSON.",
    )
    profile.add_argument(
        "--recipe", default=DEFAULT_RECIPE, metavar="NAME", help="name of the recipe (default: %(default)s)"
    )
    add_data_argument(profile)


def _pair_count(text: str) -> int:
    return bounded_int(text, 2, reason="a loss compares pairs")
