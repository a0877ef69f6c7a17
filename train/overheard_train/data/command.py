"""``overheard-train data``: list the training data, and check that its splits have nothing in common."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overheard.text import one_line
from overheard_train.argument_types import positive_int
from overheard_train.checkout import default_corpus
from overheard_train.data.cache import Clips
from overheard_train.data.dataset import Data, open_data
from overheard_train.data.sources import SPLITS, TOGETHER

MAX_LISTED = 20  # files that cannot be decoded


class _AddName(argparse.Action):
    """Append to a list; the first name replaces the default."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        names = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*([] if names is self.default else names), str(values)])


def add_data_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--data``, which can be repeated; pass ``args.data`` to :func:`open_data`."""
    parser.add_argument(
        "--data",
        action=_AddName,
        default=[str(default_corpus())],
        metavar="[KIND=]FOLDER",
        help="a corpus with manifest.csv, the root of FMA or MUSAN, or any folder of a KIND: music (the "
        "default), noise, speech, ir_room, ir_room_synth, ir_mic; can be repeated (default: "
        "$OVERHEARD_CORPUS, or the folder corpus)",
    )


def check_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand ``data`` to the result of ``add_subparsers``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "data",
        help="decode and list the training data, and check its splits",
        description="Decode the training data, and list it by kind and split. With --check, also look for "
        "recordings that are in both splits; then the exit code is 1 if there are any.",
    )
    add_data_argument(parser)
    parser.add_argument("--check", action="store_true", help="look for recordings that are in both splits")
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FILE.json",
        help="manifest of the model for --check (default: the shipped one)",
    )
    parser.add_argument(
        "--jobs", type=positive_int, default=2, metavar="N", help="number of processes (default: 2)"
    )
    return parser


def run_check(args: argparse.Namespace) -> int:
    """List the data; with ``--check``, also list what the splits have in common.

    Returns
    -------
    0, or 1 if the splits have something in common

    Raises
    ------
    OverheardError
        The data is missing or unreadable.
    """
    data = open_data(args.data, jobs=args.jobs)
    unreadable = _print_summary(data)
    for path, reason in unreadable[:MAX_LISTED]:
        print(f"unreadable: {one_line(path)}: {one_line(reason)}")
    if len(unreadable) > MAX_LISTED:
        print(f"unreadable: {len(unreadable) - MAX_LISTED} more")
    if not args.check:
        return 0
    from overheard_train.data.splits import check_splits

    report = check_splits(data, args.model, args.jobs)
    if report.disjoint:
        print("train and valid have nothing in common")
        return 0
    print(report.table())
    print(f"in both splits: {len(report.findings)}")
    return 1


def _print_summary(data: Data) -> list[tuple[str, str]]:
    """Print a line per kind and split; return name and reason of recordings that cannot be decoded."""
    unreadable: list[tuple[str, str]] = []
    print(f"{'kind':<14}{'split':<6}{'recordings':>11}{'hours':>9}{'unreadable':>11}{'groups':>8}")
    for kinds in TOGETHER:
        for split in SPLITS:
            if not data.of(kinds, split):
                continue
            clips = data.clips(kinds, split)
            unreadable += clips.unreadable
            for kind in kinds:
                if data.of([kind], split):
                    print(_row(data, kind, split, clips))
    return unreadable


def _row(data: Data, kind: str, split: str, clips: Clips) -> str:
    recordings = {data.name(recording): recording for recording in data.of([kind], split)}
    numbers = [number for number, path in enumerate(clips.paths) if path in recordings]
    n_unreadable = sum(path in recordings for path, _ in clips.unreadable)
    hours = clips.hours_of(numbers)
    groups = len({recordings[clips.paths[number]].group for number in numbers})
    return f"{kind:<14}{split:<6}{len(numbers):>11}{hours:>9.2f}{n_unreadable:>11}{groups:>8}"
