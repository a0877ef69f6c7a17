"""`overheard doctor`: check the installation, and print a remedy for each problem."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from overheard.settings import Settings
from overheard.text import one_line, plural

if TYPE_CHECKING:
    from overheard.commands.check import Check


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "doctor",
        help="check the installation and say how to fix problems",
        description="Check the packages, runtime, model, packs, microphone, configuration and folders, and "
        "print how to fix each problem. The microphone check records for one second. "
        "Exit code: 0 no problem, 1 at least one problem.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the checks; print each result at once, or all of them as JSON."""
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
        print(plural(problems, "problem") if problems else "no problems")
    return 1 if problems else 0


def to_text(check: Check) -> list[str]:
    """Format a check as one line, and its remedy as a second one."""
    lines = [f"{'ok' if check.ok else 'PROBLEM':<7}  {check.name:<14} {one_line(check.detail)}"]
    return lines + ([f"{'':<24} fix: {one_line(check.remedy)}"] if check.remedy else [])
