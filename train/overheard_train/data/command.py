"""``overheard-train data``: what there is to train on, what cannot be read, what is on both sides."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overheard.text import one_line
from overheard_train.arguments import positive
from overheard_train.data.cache import Clips
from overheard_train.data.opened import Data, open_data
from overheard_train.data.sources import SPLITS
from overheard_train.data.splits import TOGETHER, check_splits

DEFAULT_DATA = "../shared/corpus"
_MAX_UNREADABLE = 20  # that are listed


class _AddName(argparse.Action):
    """Append, where the first name takes the default's place."""

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
    """Add ``--data``, which may be repeated; ``args.data`` is what :func:`open_data` takes."""
    parser.add_argument(
        "--data",
        action=_AddName,
        default=[DEFAULT_DATA],
        metavar="[KIND=]FOLDER",
        help="a corpus with manifest.csv, FMA's root, MUSAN's root, or any folder of a KIND: music (the "
        "default), noise, speech, ir_room, ir_room_synth, ir_mic; may be repeated (default: "
        f"{DEFAULT_DATA})",
    )


def check_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the sub-command ``data`` to what ``add_subparsers`` returned."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "data", help="decode the data and say what there is of it"
    )
    add_data_argument(parser)
    parser.add_argument("--check", action="store_true", help="look for what is in both train and valid")
    parser.add_argument(
        "--model", type=Path, help="manifest of a model other than the shipped one, for --check"
    )
    parser.add_argument("--jobs", type=positive, default=2, help="processes that decode and fingerprint")
    return parser


def run_check(args: argparse.Namespace) -> int:
    """Print what there is; with ``--check`` also what is on both sides.

    Returns
    -------
    0, or 1 where something is on both sides

    Raises
    ------
    OverheardError
        The data is missing or unreadable.
    """
    data = open_data(args.data, jobs=args.jobs)
    unreadable = _print_summary(data)
    for path, reason in unreadable[:_MAX_UNREADABLE]:
        print(f"unreadable: {one_line(path)}: {one_line(reason)}")
    if len(unreadable) > _MAX_UNREADABLE:
        print(f"unreadable: {len(unreadable) - _MAX_UNREADABLE} more")
    if not args.check:
        return 0
    report = check_splits(data, args.model, args.jobs)
    if report.apart:
        print("nothing is on both sides")
        return 0
    print(report.table())
    print(f"on both sides: {len(report.findings)}")
    return 1


def _print_summary(data: Data) -> list[tuple[str, str]]:
    """Print a line for each kind and split that has recordings; return what could not be read."""
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
    mine = [number for number, path in enumerate(clips.paths) if path in recordings]
    lost = sum(path in recordings for path, _ in clips.unreadable)
    hours = clips.hours_of(mine)
    groups = len({recordings[clips.paths[number]].group for number in mine})
    return f"{kind:<14}{split:<6}{len(mine):>11}{hours:>9.2f}{lost:>11}{groups:>8}"
