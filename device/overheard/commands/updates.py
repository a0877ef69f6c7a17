"""`overheard packs subscribe`, `unsubscribe` and `update`: packs from signed repositories."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from overheard.errors import UpdateError
from overheard.settings import Settings
from overheard.text import one_line, plural, size

if TYPE_CHECKING:
    from overheard.updates.subscribe import Offer
    from overheard.updates.update import Outcome


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommands to `overheard packs`."""
    parser = actions.add_parser(
        "subscribe",
        help="subscribe to a repository of packs, and trust its key",
        description="Trust the key of a repository. `overheard packs update` downloads its packs.",
        epilog="example: overheard packs subscribe https://example.org/packs",
    )
    parser.add_argument("url", metavar="URL", help="http or https URL, or path of a folder")
    parser.add_argument(
        "--key", metavar="FINGERPRINT", help="fingerprint of the key; without it, the command asks"
    )
    parser.add_argument(
        "--pack",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="subscribe to these packs only (default: all)",
    )
    parser.set_defaults(run_action=run_subscribe)

    parser = actions.add_parser(
        "unsubscribe",
        help="end a subscription",
        description="End a subscription, and forget its key. Packs that you downloaded stay.",
    )
    parser.add_argument("url", metavar="URL", help="as for subscribe")
    parser.set_defaults(run_action=run_unsubscribe)

    parser = actions.add_parser(
        "update",
        help="download what is new in your subscriptions",
        description="Download what is new in the repositories that you subscribed to. Exit code: 0 all "
        "packs are up to date, 1 a pack or a repository could not be updated.",
    )
    parser.add_argument("url", nargs="?", metavar="URL", help="update from this repository only")
    parser.add_argument("--check", action="store_true", help="show what is new, without downloading packs")
    parser.add_argument("--json", action="store_true", help="print JSON lines, one object per pack")
    parser.set_defaults(run_action=run_update)


def run_subscribe(args: argparse.Namespace, settings: Settings) -> int:
    """Subscribe; without a key, ask the user, or fail if there is nobody to ask."""
    from overheard.updates.subscribe import subscribe

    if not subscribe(settings, args.url, _ask, args.key, args.pack):
        print("not subscribed")
        return 1
    print("subscribed; `overheard packs update` downloads the packs")
    return 0


def run_unsubscribe(args: argparse.Namespace, settings: Settings) -> int:
    """Unsubscribe, and say which packs stay."""
    from overheard.updates.subscribe import unsubscribe

    subscription = unsubscribe(settings, args.url)
    print(f"unsubscribed from {one_line(subscription.url)}")
    if subscription.installed:
        print(f"these packs stay: {', '.join(sorted(subscription.installed))}")
    return 0


def run_update(args: argparse.Namespace, settings: Settings) -> int:
    """Update; the exit code is 1 if a repository or a pack could not be updated."""
    from overheard.fingerprint.model_choice import open_model
    from overheard.updates.subscribe import Update

    update = Update(settings, open_model(settings), args.url)
    failed = False
    with progress_bar() as report:
        for url, outcome in update.run(args.check, report):
            failed |= isinstance(outcome, UpdateError) or outcome.kind == "failed"
            if args.json:
                print(json.dumps(_facts(url, outcome)), flush=True)
            elif isinstance(outcome, UpdateError):
                print(f"overheard: {one_line(str(outcome))}", file=sys.stderr)
            else:
                stream = sys.stderr if outcome.kind == "failed" else sys.stdout
                print(f"{outcome.name}: {one_line(outcome.detail)}", file=stream, flush=True)
    return 1 if failed else 0


def _facts(url: str, outcome: Outcome | UpdateError) -> dict[str, Any]:
    if isinstance(outcome, UpdateError):
        return {"url": url, "pack": None, "result": "failed", "detail": str(outcome), "bytes": 0}
    facts = {"result": outcome.kind, "detail": outcome.detail, "bytes": outcome.bytes}
    return {"url": url, "pack": outcome.name, **facts}


def _ask(offer: Offer) -> bool:
    """Show what the user is about to trust, and ask. Raises UpdateError if there is no terminal."""
    shown = " or ".join(offer.fingerprints)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UpdateError(
            f"the key of {offer.url} has the fingerprint {shown}",
            "compare it with the one that its publisher shows, and give it with --key",
        )
    for pack in offer.index.packs:
        n_bytes = sum(file.size for file in pack.files)
        print(f"  {pack.name}: {plural(pack.tracks, 'track')}, up to {size(n_bytes)}")
    print(f"The key of {one_line(offer.url)} has the fingerprint\n  {shown}")
    print("Compare it with the one that the publisher shows elsewhere.")
    try:
        return input("Trust this key? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that draws the progress on standard error; nothing, if that is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task("asking the repository", total=None)

        def show(name: str, n_bytes: int, total: int) -> None:
            display.update(task, description=name, completed=n_bytes, total=total)

        yield show
