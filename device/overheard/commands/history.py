"""`overheard history`: what was played, and when."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import datetime
import itertools
import json
import re
import sys
from typing import TYPE_CHECKING

from overheard.errors import OverheardError
from overheard.settings import Settings
from overheard.text import one_line, short_clock

if TYPE_CHECKING:
    from overheard.sinks.history import PlayRow

_SHOWN = 50
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "history",
        help="show what was played, and when",
        description="Shows the plays that `overheard listen` heard, the latest last, in local time.",
    )
    parser.add_argument(
        "--since",
        metavar="WHEN",
        help='"30m", "2h", "3d" or "1w" ago; "today" or "yesterday"; a date, such as "2026-11-01", '
        'with a time "2026-11-01T20:30"',
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help=f"the latest N; 0 is all (default: {_SHOWN} without --since)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object for each play, one to a line")
    form.add_argument("--csv", action="store_true", help="comma-separated, with a line of names")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the plays."""
    from overheard.sinks.history import PlayRow, read_plays
    from overheard.sinks.jsonl import iso_utc

    since = None
    if args.since is not None:
        since = iso_utc(parse_since(args.since, datetime.datetime.now().astimezone()).timestamp())
    whole = args.since is not None or args.json or args.csv
    limit = args.limit if args.limit is not None else 0 if whole else _SHOWN
    if limit < 0:
        raise OverheardError("--limit must be 0 or more")
    rows, count = read_plays(settings.history_path, since, limit)
    if args.json:
        for row in rows:
            print(json.dumps(dataclasses.asdict(row)))
    elif args.csv:
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(field.name for field in dataclasses.fields(PlayRow))
        table.writerows(dataclasses.astuple(row) for row in rows)
    else:
        print("\n".join(to_text(rows, count, args.since)))
    return 0


def parse_since(text: str, now: datetime.datetime) -> datetime.datetime:
    """Return the time that a user means.

    Raises
    ------
    OverheardError
        If it is none.
    """
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    ago = re.fullmatch(r"(\d+)\s*([mhdw])", text.strip().lower())
    try:
        if ago:
            return now - datetime.timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        if text in ("today", "yesterday"):
            # Through the calendar, not by 24 hours, since days differ when the clocks change.
            return (midnight - datetime.timedelta(days=text == "yesterday")).astimezone()
        return datetime.datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        hint = 'use "2h", "3d", "today", "yesterday" or a date such as 2026-11-01'
        raise OverheardError(f"--since {text} is no time: {hint}") from error


def to_text(rows: list[PlayRow], count: int, since: str | None) -> list[str]:
    """Write plays under the day that they started on, with a sum at the end."""
    if not rows:
        return [f"no plays since {since}" if since else "no plays yet; `overheard listen` collects them"]
    lines: list[str] = []
    for day, plays in itertools.groupby(rows, key=lambda row: _local(row.started_at).date()):
        lines += ["", f"{day:%A} {day.day} {day:%B %Y}"] if lines else [f"{day:%A} {day.day} {day:%B %Y}"]
        lines += [_row_text(row) for row in plays]
    hidden = f"; {count - len(rows)} earlier ones with --limit 0" if count > len(rows) else ""
    plural = "play" if len(rows) == 1 else "plays"
    heard = short_clock(round(sum(_length_s(row) for row in rows)))
    return [*lines, "", f"{len(rows)} {plural}, {heard} of music{hidden}"]


def _row_text(row: PlayRow) -> str:
    name = one_line(f"{row.artist} - {row.title}" if row.artist else row.title)
    album = f"  ({one_line(row.album)})" if row.album else ""
    length = short_clock(round(_length_s(row)))
    return f"  {_local(row.started_at):%H:%M}  {length:>7}  {row.confidence:>4.0%}  {name}{album}"


def _local(when: str) -> datetime.datetime:
    # Python before 3.11 does not read the Z.
    return datetime.datetime.fromisoformat(when.replace("Z", "+00:00")).astimezone()


def _length_s(row: PlayRow) -> float:
    return (_local(row.ended_at) - _local(row.started_at)).total_seconds()
