"""`overheard doctor`: what is installed, what works, and for each problem its mend."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from overheard.settings import Settings
from overheard.text import one_line

if TYPE_CHECKING:
    from overheard.commands.checks import Check


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "doctor",
        help="look for anything wrong, and say how to mend it",
        description="Looks at packages, runtime, model, packs, microphone and folders, "
        "and says for each problem how to mend it. Exit code: 0 all is well, 1 there is a problem.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print every check as soon as it is done, or all as JSON."""
    from overheard.commands.checks import examine

    checks: list[Check] = []
    for check in examine(settings, args.config):
        checks.append(check)
        if not args.json:
            print("\n".join(to_text(check)), flush=True)
    problems = sum(not check.ok for check in checks)
    if args.json:
        print(json.dumps({"ok": not problems, "checks": [dataclasses.asdict(check) for check in checks]}))
    else:
        print("all is well" if not problems else f"{problems} problem{'s' if problems > 1 else ''}")
    return 1 if problems else 0


def to_text(check: Check) -> list[str]:
    """Write a check as a line, and its mend as another."""
    lines = [f"{'ok' if check.ok else 'PROBLEM':<7}  {check.name:<14} {one_line(check.detail)}"]
    return lines + ([f"{'':<24} fix: {one_line(check.remedy)}"] if check.remedy else [])
