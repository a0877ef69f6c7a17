"""Kill overheard, fill its disk, lock its history, change its packs, and count what is lost.

`script/torture` runs this.
Everything runs on synthesized music that is piped into `overheard listen`, so no microphone is needed.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from torture_history import disk_full, history_locked
from torture_kills import index_killed, listen_killed
from torture_packs import commands_killed, packs_changed
from torture_tools import Outcome

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "docs" / "torture-output.txt"
PARTS = {
    "index": index_killed,
    "listen": listen_killed,
    "packs": packs_changed,
    "commands": commands_killed,
    "disk": disk_full,
    "lock": history_locked,
}


def main() -> int:
    """Run the parts, and print the table; return 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="script/torture", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--tries", type=int, default=100, help="kills and changes (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="of full disk and lock (default: %(default)s)"
    )
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    outcomes, start_s = [], time.monotonic()
    for name in args.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="overheard-torture-", ignore_cleanup_errors=True) as folder:
            outcomes.append(PARTS[name](Path(folder), args.tries, args.seconds))
        print(row(outcomes[-1]), flush=True)
    text = report(outcomes, time.monotonic() - start_s)
    print(f"\n{text}", end="")
    n_losses = sum(len(outcome.losses) for outcome in outcomes)
    if not args.parts and not n_losses:
        OUTPUT.write_text(text, encoding="utf-8")
        print(f"written to {OUTPUT.relative_to(ROOT)}")
    return 1 if n_losses else 0


def report(outcomes: list[Outcome], took_s: float) -> str:
    """Return the header and the table."""
    now = datetime.datetime.now(datetime.timezone.utc)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    header = [
        f"overheard under script/torture, {now:%Y-%m-%d %H:%M} UTC, took {took_s / 60:.0f} minutes",
        f"this machine   {platform.machine()}, {os.cpu_count()} processors, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        f"commit         {commit or 'unknown'}",
        "",
        f"{'what':<28}  tries  losses",
    ]
    return "\n".join([*header, *map(row, outcomes)]) + "\n"


def row(outcome: Outcome) -> str:
    """Return the row of the table."""
    return f"{outcome.what:<28}  {outcome.tries:>5}  {len(outcome.losses):>6}  {'; '.join(outcome.facts)}"


if __name__ == "__main__":
    sys.exit(main())
