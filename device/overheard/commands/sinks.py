"""`overheard sinks`: show where plays are sent, and send a test."""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from overheard.errors import OverheardError
from overheard.settings import Settings
from overheard.text import one_line, plural, shorten

if TYPE_CHECKING:
    from overheard.sinks.registry import Kind

_MAX_TARGET = 40


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "sinks",
        help="show where plays are sent, such as Home Assistant or ListenBrainz",
        description="Show each sink: whether the settings enable it, where it sends, how many events wait "
        "to be sent, and its last error. All sinks are off by default.",
        epilog="example: overheard sinks test mqtt",
    )
    parser.add_argument("--json", action="store_true", help="print JSON lines, one object per sink")
    actions = parser.add_subparsers(dest="action", metavar="[ACTION]", title="actions")
    test = actions.add_parser(
        "test", help="send a test", description="Send a test event, even if the sink is off."
    )
    test.add_argument("name", metavar="NAME", help="name of the sink, as `overheard sinks` lists it")
    clear = actions.add_parser(
        "clear",
        help="delete the events that wait to be sent",
        description="Delete the events that wait in the queue of a sink.",
    )
    clear.add_argument("name", metavar="NAME", help="name of the sink, as `overheard sinks` lists it")
    login = actions.add_parser(
        "login",
        help="allow overheard to scrobble to Last.fm",
        description="Allow overheard to scrobble to your Last.fm account, and write the session key to "
        "sinks.lastfm.session_file.",
    )
    login.add_argument("name", choices=["lastfm"], help="name of the sink")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Show the sinks, or do something with one."""
    from overheard.sinks.registry import KINDS, kind

    if args.action == "test":
        send_test(settings, kind(args.name))
    elif args.action == "clear":
        print(f"{args.name}: {plural(clear(settings, kind(args.name)), 'item')} deleted")
    elif args.action == "login":
        login(settings, kind(args.name))
    elif args.json:
        for each in KINDS:
            print(json.dumps(state(settings, each)))
    else:
        print("\n".join(to_text([state(settings, each) for each in KINDS])))
    return 0


def send_test(settings: Settings, kind: Kind) -> None:
    """Send a test by a sink, and print what happened."""
    from overheard.commands.outputs import sink_context
    from overheard.sinks.courier import Rejected, RetryLater

    try:
        result = kind.load().test(settings, sink_context())
    except (RetryLater, Rejected) as error:
        raise OverheardError(f"{kind.name}: {error}", f"check the settings of sinks.{kind.name}") from error
    print(one_line(f"{kind.name}: {result}"))


def state(settings: Settings, kind: Kind) -> dict[str, Any]:
    """Return what is known about a sink; secrets are not shown."""
    from overheard.sinks.disk_queue import DiskQueue
    from overheard.sinks.outbox import queue_path

    found: dict[str, Any] = {
        "name": kind.name,
        "about": kind.about,
        "enabled": kind.enabled(settings),
        "network": kind.network,
        "target": kind.target(settings.sinks),
        "waiting": 0,
        "last_error": None,
        "last_error_at": None,
    }
    path = queue_path(settings.data_dir, kind.name)
    if path.exists():
        queue = DiskQueue(path)
        notes = queue.notes()
        found |= {name: notes[name] for name in ("last_error", "last_error_at") if name in notes}
        found["waiting"] = len(queue)
        queue.close()
    return found


def to_text(states: list[dict[str, Any]]) -> Iterator[str]:
    """Format the sinks as a table, each error below its sink."""
    for each in states:
        enabled = "on" if each["enabled"] else "off"
        target = shorten(one_line(each["target"]), _MAX_TARGET) if each["enabled"] else ""
        waiting = f"  {each['waiting']:,} waiting" if each["waiting"] else ""
        yield f"{each['name']:<13} {enabled:<4} {each['about']:<34} {target}{waiting}".rstrip()
        if each["last_error"] and (each["enabled"] or each["waiting"]):
            when = datetime.datetime.fromtimestamp(each["last_error_at"] or 0).strftime("%Y-%m-%d %H:%M")
            yield f"{'':<13} last error, {when}: {one_line(shorten(str(each['last_error']), 200))}"


def clear(settings: Settings, kind: Kind) -> int:
    """Delete what waits; return the number of items."""
    from overheard.sinks.disk_queue import DiskQueue
    from overheard.sinks.outbox import queue_path

    path = queue_path(settings.data_dir, kind.name)
    if not path.exists():
        return 0
    queue = DiskQueue(path)
    try:
        return queue.clear()
    finally:
        queue.close()


def login(settings: Settings, kind: Kind) -> None:
    """Write a new session key to the file in the settings."""
    from overheard.files import atomic_write, expand_user

    path = settings.sinks.lastfm.session_file
    if not path:
        raise OverheardError("sinks.lastfm.session_file is not set", "set it to a file for the session key")

    def confirm(address: str) -> None:
        print(f"Open this address in a browser and allow the access:\n{address}")
        input("Then press Enter here. ")

    key = kind.load().new_session(settings, confirm)
    with atomic_write(expand_user(path), private=True) as file:
        file.write(f"{key}\n".encode())
    print(f"lastfm: the session key is in {one_line(path)}")
