"""`overheard status`: ask a running `overheard listen` what it hears."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from overheard.errors import OverheardError
from overheard.event_json import local_time
from overheard.settings import Settings
from overheard.text import length, one_line, one_of, plural, short_clock, speed_change

if TYPE_CHECKING:
    from overheard.live.client import LiveClient

_SHOWN = {  # of a status
    *("state", "pause", "playing", "gate_open", "level_db", "floor_db", "music", "next_check_s", "audio_s"),
    *("lost_s", "cpu_s"),
}
_TIMEOUT_S = 5.0  # a status comes about once a second
NOT_RUNNING = 1


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "status",
        help="show what a running `overheard listen` hears now",
        description="Ask a running `overheard listen` of the same user and data folder what it hears, and "
        "show its processor time. Exit code: 0 it runs, 1 it does not run, 2 it does not answer.",
        epilog="example: overheard status --json",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the status; return 1 if `overheard listen` does not run."""
    from overheard.live.address import socket_path
    from overheard.live.client import LiveClient, NotRunning

    path = socket_path(settings)
    try:
        with LiveClient(path) as client:
            rooms, found = statuses(client)
    except NotRunning as error:
        print(json.dumps({"running": False}) if args.json else str(error))
        return NOT_RUNNING
    if not found:
        raise OverheardError(f"`overheard listen` does not answer at {path}", "restart it")
    plain = [{name: status[name] for name in status if name != "event"} for status in found.values()]
    if args.json and rooms:
        print(json.dumps({"running": True, "rooms": plain}))
    elif args.json:
        print(json.dumps({"running": True, **plain[0]}))
    else:
        print("\n\n".join("\n".join(to_text(status)) for status in found.values()))
    return 0


def statuses(client: LiveClient) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return the names of the rooms, which may be none, and the newest statuses by room.

    Raises
    ------
    OverheardError
        If the running `overheard listen` is of another version, as after an update.
    """
    from overheard.live.protocol import VERSION

    rooms: list[str] = []
    found: dict[str, dict[str, Any]] = {}
    for message in client.messages(_TIMEOUT_S):
        event = message.get("event")
        if (event == "hello" and message.get("protocol") != VERSION) or (
            event == "status" and _SHOWN - message.keys()
        ):
            raise OverheardError("the running `overheard listen` is of another version", "restart it")
        if event == "hello":
            rooms = list(message.get("rooms") or [])
        elif event == "status":
            room = str(message.get("room") or "")
            if room in found and rooms:
                break  # the others have nothing to say yet
            found[room] = message
        if found and len(found) >= len(rooms):
            break
    return rooms, {room: found[room] for room in [*rooms, ""] if room in found}


def to_text(status: dict[str, Any]) -> list[str]:
    """Format a status for people."""
    lines = [f"room:      {one_line(str(status['room']))}"] if status.get("room") else []
    lines.append(f"state:     {one_line(str(status['state']))}")
    if status["pause"] is not None:
        lines[-1] += f" ({_pause(status['pause'])})"
    if status["playing"] is not None:
        lines += _playing(status["playing"])
    gate = "open" if status["gate_open"] else "closed"
    lines.append(
        f"sound:     {status['level_db']:.0f} dBFS, floor {status['floor_db']:.0f} dBFS, gate {gate}"
    )
    lines.append(f"music:     {status['music']:.0%}")
    if status["next_check_s"] is not None:
        what = "searches again" if status["playing"] is None else "verifies the track"
        lines.append(f"next:      {what} in {status['next_check_s']:.0f} s")
    lost = f", {status['lost_s']:.1f} s lost" if status["lost_s"] else ", no audio lost"
    lines.append(f"heard:     {length(status['audio_s'])}{lost}")
    return [*lines, f"cost:      {_cost(status['cpu_s'], status['audio_s'])}"]


def _pause(pause: dict[str, Any]) -> str:
    if pause["until"] is None:
        return f"{pause['reason']}, until `overheard resume`"
    until = local_time(pause["until"])
    return f"{pause['reason']}, until {until:%H:%M}"


def _playing(play: dict[str, Any]) -> list[str]:
    others = [_name(other["track"]) for other in play["alternatives"]]
    total = f" of {short_clock(play['duration_s'])}" if play["duration_s"] else ""
    change = speed_change(play["speed"])
    speed = f", speed {change}" if change else ""
    position = f"{short_clock(play['position_s'])}{total}, confidence {play['confidence']:.0%}{speed}"
    return [f"playing:   {one_line(one_of(_name(play['track']), others))}", f"           at {position}"]


def _name(track: dict[str, str]) -> str:
    return f"{track['artist']} - {track['title']}" if track["artist"] else track["title"]


def _cost(cpu_s: dict[str, float], audio_s: float) -> str:
    total = sum(cpu_s.values())
    if not audio_s or not cpu_s:
        return "not known yet"
    stages = ", ".join(f"{one_line(name)} {seconds:.1f}" for name, seconds in cpu_s.items())
    return f"{total / audio_s:.1%} of a processor ({plural(round(total), 'second')}: {stages})"
