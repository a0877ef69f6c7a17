"""``overheard-train detector`` and ``opinion``: train what tells music from other sound."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from overheard_train.argument_types import keras_seed, positive_int


def detector_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand ``detector`` to the result of ``add_subparsers``."""
    from overheard.hear.detector import DETECTOR_PATH
    from overheard_train.data import add_data_argument

    parser: argparse.ArgumentParser = subparsers.add_parser(
        "detector",
        help="train the music detector",
        description="Train the music detector, which decides whether sound is music before a fingerprint is "
        "computed. Run the same command again to continue after an interruption.",
    )
    add_data_argument(parser)
    default = str(DETECTOR_PATH).replace("%", "%%")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(default),
        metavar="FILE.json",
        help="manifest of the network (default: %(default)s)",
    )
    _add_amounts(parser)
    return parser


def _add_amounts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--examples",
        type=positive_int,
        default=6_000,
        metavar="N",
        help="scenes of 8 s to train on (default: 6000)",
    )
    parser.add_argument(
        "--epochs", type=positive_int, default=25, metavar="N", help="passes over the scenes (default: 25)"
    )
    parser.add_argument(
        "--workers", type=positive_int, default=2, metavar="N", help="processes that make scenes (default: 2)"
    )
    parser.add_argument(
        "--streams",
        type=_share,
        default=1.0,
        metavar="SHARE",
        help="share of the held-out recordings to test it with (default: 1)",
    )
    parser.add_argument(
        "--seed",
        type=keras_seed,
        default=0,
        metavar="N",
        help="seed of scenes, weights and batches (default: 0)",
    )


def opinion_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand ``opinion``."""
    from overheard.recognize.opinion_table import OPINION_PATH
    from overheard_train.data import add_data_argument

    parser: argparse.ArgumentParser = subparsers.add_parser(
        "opinion",
        help="train the second opinion on what is music",
        description="Train the second opinion: a small network that decides from the embeddings of a model "
        "whether sound that matches no track is music.",
    )
    add_data_argument(parser)
    parser.add_argument(
        "--model", type=Path, metavar="FILE.json", help="manifest of the model (default: the shipped one)"
    )
    default = str(OPINION_PATH).replace("%", "%%")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(default),
        metavar="FILE.json",
        help="file to write (default: %(default)s)",
    )
    parser.add_argument(
        "--scenes",
        type=positive_int,
        default=1_800,
        metavar="N",
        help="scenes of 8 s to train on (default: 1800)",
    )
    parser.add_argument(
        "--seed", type=keras_seed, default=0, metavar="N", help="seed of scenes and weights (default: 0)"
    )
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share between 0 and 1")
    return value


def run_detector(args: argparse.Namespace) -> int:
    """Train, write the files, and print what they do on held-out recordings."""
    from overheard.errors import OverheardError
    from overheard_train.detector.train import Options, train

    if args.output.suffix != ".json":
        raise OverheardError(f"the name {args.output} must end in .json")
    options = Options(args.examples, args.epochs, args.seed, args.workers, args.streams)
    choice = train(args.data, args.output, options)
    print(f"{args.output}: {choice.smoothing}")
    print(f"held-out tracks detected in 3 s: {choice.in_time}")
    print(f"share of the time without music that counts as music: {choice.false_share}")
    print(f"false wake-ups per hour: {choice.false_per_hour}")
    return 0


def run_opinion(args: argparse.Namespace) -> int:
    """Train, write the file, and print what it does on held-out recordings."""
    from overheard_train.detector.opinion import train_opinion

    facts = train_opinion(args.data, args.model, args.output, args.scenes, args.seed)
    print(f"{args.output}: shares of held-out sound for which it is certain")
    for name, each in facts["held_out"].items():
        print(f"{name}: {each}")
    return 0
