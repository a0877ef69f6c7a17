"""`overheard history`: show the plays that `listen` recorded, or delete them."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import itertools
import json
from typing import TYPE_CHECKING

from overheard.commands import history_marks, history_top
from overheard.commands.arguments import whole_number
from overheard.commands.formats import print_csv
from overheard.commands.when import FORMS, parse_when, to_utc
from overheard.errors import OverheardError
from overheard.event_json import local_time
from overheard.settings import Settings
from overheard.text import one_line, one_of, plural, short_clock, speed_change

if TYPE_CHECKING:
    from overheard.history.writer import PlayRow

_DEFAULT_LIMIT = 50  # about a screen and a half; --since, --json and --csv print all
_AROUND_S = 300.0  # before and after the time of --at


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "history",
        help="show which music was played, and when",
        description="Show the plays that `overheard listen` recorded, in local time, the newest last. "
        "Columns: start, length, confidence, artist, title and album.",
        epilog="examples: overheard history --since yesterday; overheard history --at 20:15; "
        "overheard history --top artists --since 7d",
    )
    parser.add_argument("--since", metavar="WHEN", help=f"show plays since WHEN: {FORMS}")
    parser.add_argument("--until", metavar="WHEN", help="show plays that started before WHEN")
    parser.add_argument(
        "--at", metavar="WHEN", help="show what played within 5 minutes of WHEN, also unknown music"
    )
    parser.add_argument(
        "--top", choices=history_top.KINDS, help="count the plays of each track, artist or album"
    )
    parser.add_argument(
        "--limit",
        type=whole_number(),
        metavar="N",
        help="show the latest N plays, or the N most played tracks; 0: all (default: "
        f"{_DEFAULT_LIMIT}, or all with --since, --until and --at; {history_top.DEFAULT_LIMIT} with --top)",
    )
    parser.add_argument(
        "--all",
        dest="hidden",
        action="store_true",
        help="also show plays that you marked as wrong, and unknown music without a name",
    )
    parser.add_argument("--room", metavar="NAME", help="show only plays in this room")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON lines, one object per play")
    form.add_argument("--csv", action="store_true", help="print comma-separated values with a header")
    form.add_argument("--m3u8", action="store_true", help="print a playlist of the files that were played")
    _add_forget(parser)


def _add_forget(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="[ACTION]", title="actions")
    history_marks.add_parsers(actions)
    forget = actions.add_parser(
        "forget",
        help="delete plays",
        description="Delete plays from the history, and overwrite them in the file. `overheard listen` can "
        "keep running. The open play is deleted too. `overheard history --json` prints the ids.",
        epilog="example: overheard history forget --since 2h",
    )
    which = forget.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", action="store_true", help="delete all plays, and damaged history files")
    which.add_argument(
        "--since",
        dest="forget_since",
        metavar="WHEN",
        help="delete plays that ended after WHEN, as for `overheard history --since`",
    )
    which.add_argument(
        "ids", nargs="*", type=whole_number(), default=[], metavar="ID", help="delete the play with this id"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print or delete the plays."""
    from overheard.history.writer import PlayRow

    if args.action == "forget":
        return run_forget(args, settings)
    if args.action == "unknown":
        return history_marks.run_unknown(settings)
    if args.action == "name":
        return history_marks.run_name(settings, args.unknown_id, args.name)
    if args.action == "wrong":
        return history_marks.run_wrong(settings, args.ids, args.undo)
    if args.at is not None and (args.since or args.until or args.top):
        raise OverheardError("--at cannot be used with --since, --until and --top", "leave one of them out")
    if args.top is not None:
        return history_top.run_top(args, settings)
    rows, count = select(args, settings)
    if args.json:
        for row in rows:
            print(json.dumps(dataclasses.asdict(row)))
    elif args.csv:
        print_csv(PlayRow, map(to_cells, rows))
    elif args.m3u8:
        print("\n".join(to_m3u8(rows)))
    else:
        print("\n".join(to_text(rows, count, _where(args))))
    return 0


def select(args: argparse.Namespace, settings: Settings) -> tuple[list[PlayRow], int]:
    """Return the plays that the arguments select, and how many there are without the limit."""
    from overheard.history.writer import read_plays

    since = None if args.since is None else to_utc(args.since)
    until = None if args.until is None else to_utc(args.until, "--until")
    if args.at is not None:
        since, until = (to_utc(args.at, "--at", later_s) for later_s in (-_AROUND_S, _AROUND_S))
    limit = args.limit
    if limit is None:
        limit = 0 if since or until or args.json or args.csv or args.m3u8 else _DEFAULT_LIMIT
    rows, _ = read_plays(settings.history_path, since, hidden=args.hidden or args.at is not None)
    rows = [
        row
        for row in rows
        if (until is None or row.started_at < until)
        and (args.room is None or row.is_in(args.room))
        and (args.hidden or not row.wrong)
    ]
    return rows[-limit:] if limit else rows, len(rows)


def _where(args: argparse.Namespace) -> str:
    """Return which plays are shown, for a message that there are none."""
    times = {"since": args.since, "before": args.until, "within 5 minutes of": args.at, "in": args.room}
    return " ".join(f"{word} {value}" for word, value in times.items() if value)


def run_forget(args: argparse.Namespace, settings: Settings) -> int:
    """Delete the plays that the arguments select."""
    from overheard.history.forget import forget

    since = None if args.forget_since is None else to_utc(args.forget_since)
    if not (args.all or since or args.ids):  # argparse takes an empty list for an argument on Python 3.10
        raise OverheardError("nothing selected", "give --all, --since WHEN or the id of a play")
    count = forget(settings.history_path, args.ids, since)
    if not args.ids:
        _forget_unknown(settings, args.forget_since)
    print(f"{plural(count, 'play')} deleted")
    history_marks.require_found(count, args.ids)
    return 0


def _forget_unknown(settings: Settings, since: str | None) -> None:
    """Forget the fingerprints of the unknown music that was heard since then, or of all."""
    if not settings.unknown_path.parent.exists():
        return
    from overheard.catalogue.searching_model import open_model
    from overheard.recognize.unknown_store import UnknownStore, forget_all

    if since is None:  # without a model, because there may be none that can be opened
        forget_all(settings.unknown_path)
        return
    if not settings.unknown_path.exists():
        return
    store = UnknownStore(settings.unknown_path, open_model(settings), settings.unknown.max_pieces)
    now = datetime.datetime.now().astimezone()
    store.forget(parse_when(since, now).timestamp())


def to_m3u8(rows: list[PlayRow]) -> list[str]:
    """Return the lines of a playlist, in the order of the plays."""
    from overheard.commands.formats import Entry, m3u8

    return list(m3u8(Entry(0.0, row.title, row.artist, row.path, _length_s(row)) for row in rows))


def to_cells(row: PlayRow) -> list[object]:
    """Return the values of a row for CSV."""
    return [*(dataclasses.asdict(row) | {"alternatives": "; ".join(_names(row))}).values()]


def _names(row: PlayRow) -> list[str]:
    """Return the names of the other recordings that a play may be."""
    from overheard.history.play_rows import alternative_name

    return [alternative_name(other) or "" for other in row.alternatives]


def to_text(rows: list[PlayRow], count: int, where: str = "") -> list[str]:
    """Format the plays, grouped by the local day on which they started, and a summary.

    Parameters
    ----------
    count : number of plays without the limit
    where : which plays are shown, for a message that there are none
    """
    if not rows:
        return [f"no plays {where}" if where else "no plays yet; `overheard listen` records them"]
    lines: list[str] = []
    for day, plays in itertools.groupby(rows, key=lambda row: local_time(row.started_at).date()):
        lines += ["", f"{day:%A} {day.day} {day:%B %Y}"] if lines else [f"{day:%A} {day.day} {day:%B %Y}"]
        lines += [_row_text(row) for row in plays]
    total = short_clock(round(sum(_length_s(row) for row in rows)))
    hidden = count - len(rows)
    hint = f"; --limit 0 shows {hidden:,} more" if hidden else ""
    return [*lines, "", f"{plural(len(rows), 'play')}, {total} of music{hint}"]


def _row_text(row: PlayRow) -> str:
    name = one_line(one_of(f"{row.artist} - {row.title}" if row.artist else row.title, _names(row)))
    album = f"  ({one_line(row.album)})" if row.album else ""
    change = speed_change(row.speed)
    album += f"  [speed {change}]" if change else ""
    album += "  [wrong]" if row.wrong else ""
    length = short_clock(round(_length_s(row)))
    confidence = f"{row.confidence:.0%}" if row.unknown_id is None else ""  # the user named it
    return f"  {local_time(row.started_at):%H:%M}  {length:>7}  {confidence:>4}  {name}{album}"


def _length_s(row: PlayRow) -> float:
    return (local_time(row.ended_at) - local_time(row.started_at)).total_seconds()
