"""`overheard devices`: the inputs that `listen` can take."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from overheard.settings import Settings
from overheard.text import one_line

if TYPE_CHECKING:
    from overheard.hear.devices import InputDevice


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "devices",
        help="list the sound inputs",
        description="Lists the sound inputs; the first column is what `overheard listen --input` takes.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for each input, one to a line")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the inputs; 1 if there is none."""
    from overheard.hear.devices import list_inputs

    found = list_inputs()
    if args.json:
        for device in found:
            print(json.dumps(dataclasses.asdict(device)))
    elif found:
        print("\n".join(to_table(found)))
    else:
        print("there is no sound input: plug in a microphone, or start PulseAudio or PipeWire")
    return 0 if found else 1


def to_table(devices: list[InputDevice]) -> list[str]:
    """Write the inputs as aligned columns; the default has a star."""
    rows = [("INPUT", "CHANNELS", "RATE", "THROUGH", "NAME")]
    for device in devices:
        rate = f"{device.sample_rate} Hz" if device.sample_rate else ""
        name = one_line(device.name) + ("  (default)" if device.default else "")
        rows.append((device.input, str(device.channels), rate, device.host, name))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    columns = [[cell.ljust(width) for cell, width in zip(row, widths, strict=False)] for row in rows]
    return ["  ".join([*cells, row[4]]) for cells, row in zip(columns, rows, strict=True)]
