"""`overheard history --top`: what was played most often."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from overheard.commands.formats import print_csv
from overheard.commands.when import to_utc
from overheard.errors import OverheardError
from overheard.settings import Settings
from overheard.text import one_line, plural, short_clock

if TYPE_CHECKING:
    from overheard.history.counts import Count

KINDS = ("tracks", "artists", "albums")
DEFAULT_LIMIT = 20


def run_top(args: argparse.Namespace, settings: Settings) -> int:
    """Print how often each track, artist or album was played."""
    from overheard.history.counts import Count, count_plays

    if args.m3u8 or args.hidden:
        raise OverheardError(f"--top cannot be used with {'--m3u8' if args.m3u8 else '--all'}")
    since = None if args.since is None else to_utc(args.since)
    until = None if args.until is None else to_utc(args.until, "--until")
    counts = count_plays(settings.history_path, args.top, since, until, args.room)
    limit = DEFAULT_LIMIT if args.limit is None and not (args.json or args.csv) else args.limit
    shown = counts[:limit] if limit else counts
    if args.json:
        for count in shown:
            print(json.dumps(dataclasses.asdict(count)))
    elif args.csv:
        print_csv(Count, (dataclasses.astuple(count) for count in shown))
    else:
        print("\n".join(_text(shown, counts, args.top)))
    return 0


def _text(shown: list[Count], counts: list[Count], kind: str) -> list[str]:
    if not counts:
        return [
            f"no {kind} yet" if kind == "tracks" else f"no {kind} yet; they come from the tags of the files"
        ]
    lines = [
        f"  {count.plays:>5}  {short_clock(round(count.heard_s)):>9}  {one_line(_name(count))}"
        for count in shown
    ]
    plays, heard_s = sum(count.plays for count in counts), sum(count.heard_s for count in counts)
    more = len(counts) - len(shown)
    hint = f"; --limit 0 shows {more:,} more" if more else ""
    total = f"{plural(len(counts), kind.removesuffix('s'))}, {plural(plays, 'play')}"
    return [*lines, "", f"{total}, {short_clock(round(heard_s))} of music{hint}"]


def _name(count: Count) -> str:
    return " - ".join(name for name in (count.artist, count.title or count.album) if name)
