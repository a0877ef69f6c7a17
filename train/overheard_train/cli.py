"""``overheard-train``: fit, evaluate, profile."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import signal
import sys
from pathlib import Path

from overheard.errors import OverheardError
from overheard.text import one_line

DEFAULT_DATA = Path("../shared/corpus")
CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all sub-commands."""
    parser = argparse.ArgumentParser(prog="overheard-train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fit = commands.add_parser("fit", help="train a recipe on the corpus's train lists")
    fit.add_argument("--recipe", default="resnet", help="by name; see overheard_train/recipes.py")
    fit.add_argument("--data", type=Path, default=DEFAULT_DATA, help="corpus with manifest.csv")
    fit.add_argument("--checkpoint", type=Path, help="written here (default: train/checkpoints/RECIPE.npz)")
    fit.add_argument("--resume", action="store_true", help="continue from the checkpoint with a fresh cosine")
    fit.add_argument("--steps", type=_positive, help="of this session (default: the recipe's)")
    fit.add_argument("--minutes", type=float, help="end after so long all the same")
    fit.add_argument(
        "--learning-rate-scale", type=float, default=1.0, help="of the recipe's peak, as when resuming"
    )
    fit.add_argument("--workers", type=_positive, default=2, help="processes that make batches")
    fit.add_argument("--seed", type=int, default=0)
    evaluate = commands.add_parser("evaluate", help="retrieval of degraded segments of the valid lists")
    evaluate.add_argument("checkpoint", type=Path, nargs="?", default=CHECKPOINTS / "resnet.npz")
    evaluate.add_argument("--data", type=Path, default=DEFAULT_DATA)
    evaluate.add_argument("--queries", type=_positive, default=1020)
    profile = commands.add_parser("profile", help="where the time of a training step goes")
    profile.add_argument("--recipe", default="resnet")
    profile.add_argument("--data", type=Path, default=DEFAULT_DATA)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 0, or 2 with one line on stderr."""
    args = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # many small matrices: BLAS threads only get in each other's way
    try:
        return {"fit": _fit, "evaluate": _evaluate, "profile": _profile}[args.command](args)
    except (OverheardError, OSError) as error:
        print(f"overheard-train: {one_line(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("overheard-train: interrupted", file=sys.stderr)
        return 130


def _fit(args: argparse.Namespace) -> int:
    from overheard_train.recipes import find_recipe
    from overheard_train.train import fit

    recipe = find_recipe(args.recipe)
    checkpoint = args.checkpoint or CHECKPOINTS / f"{args.recipe}.npz"
    if args.resume and not checkpoint.exists():
        raise OverheardError(f"there is no checkpoint {checkpoint} to resume: leave --resume out")
    if checkpoint.exists() and not args.resume:
        raise OverheardError(
            f"{checkpoint} exists: continue it with --resume, or name another with --checkpoint"
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # being stopped saves, as Ctrl-C does
    progress = fit(
        recipe,
        args.data,
        checkpoint,
        args.steps,
        args.minutes,
        args.resume,
        args.seed,
        args.workers,
        args.learning_rate_scale,
    )
    print(f"{checkpoint}: step {progress.step}, loss {progress.loss:.3f}, top-1 {progress.accuracy:.3f}")
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from overheard_train.evaluate import evaluate

    print(
        json.dumps(dataclasses.asdict(evaluate(args.checkpoint, args.data, n_queries=args.queries)), indent=1)
    )
    return 0


def _profile(args: argparse.Namespace) -> int:
    from overheard_train.profile import profile
    from overheard_train.recipes import find_recipe

    print(json.dumps(profile(find_recipe(args.recipe), args.data), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
