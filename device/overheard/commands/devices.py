"""`overheard devices`: list the audio inputs."""

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
        help="list the audio inputs",
        description="List the audio inputs. Pass a value of the first column to `overheard listen --input`. "
        "Exit code: 0 at least one input, 1 no input, 2 error.",
        epilog='example: overheard listen --input "USB Audio"',
    )
    parser.add_argument("--json", action="store_true", help="print JSON lines, one object per input")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the inputs; return 1 if there is none."""
    from overheard.hear.devices import list_inputs

    devices = list_inputs()
    if args.json:
        for device in devices:
            print(json.dumps(dataclasses.asdict(device)))
    elif devices:
        print("\n".join(to_table(devices)))
    else:
        print("no audio input; connect a microphone, or start PulseAudio or PipeWire")
    return 0 if devices else 1


def to_table(devices: list[InputDevice]) -> list[str]:
    """Format the inputs as aligned columns, and mark the default."""
    rows = [("INPUT", "CHANNELS", "RATE", "API", "NAME")]
    for device in devices:
        rate = f"{device.sample_rate} Hz" if device.sample_rate else ""
        name = one_line(device.name) + ("  (default)" if device.default else "")
        rows.append((one_line(device.input), str(device.channels), rate, one_line(device.host), name))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    columns = [[cell.ljust(width) for cell, width in zip(row, widths, strict=False)] for row in rows]
    return ["  ".join([*cells, row[4]]) for cells, row in zip(columns, rows, strict=True)]
