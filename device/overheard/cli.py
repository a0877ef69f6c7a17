"""The command line: parses, dispatches, and turns errors into one line."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from overheard import settings as settings_module
from overheard.errors import OverheardError
from overheard.process import limit_blas_threads
from overheard.text import one_line

COMMANDS = ("index", "identify", "listen", "devices", "history", "packs", "config", "doctor", "demo")


def build_parser() -> argparse.ArgumentParser:
    """Make the parser; each command's module adds its own part."""
    parser = argparse.ArgumentParser(
        prog="overheard",
        description="Names the music that plays around it, on this machine, with nothing sent anywhere.",
    )
    parser.add_argument("--version", action="version", version=f"overheard {version()}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file to use instead")
    parser.add_argument("--data-dir", metavar="FOLDER", help="folder of packs and history, for this call")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on standard error")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"overheard.commands.{name}")
        module.add_parser(subparsers)
    return parser


def version() -> str:
    """Return the installed version, or say that this is a checkout."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("overheard")
    except PackageNotFoundError:
        return "(not installed)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 2 for an error, 130 when interrupted."""
    _tolerate_odd_names()
    limit_blas_threads()
    args = build_parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.WARNING,
        format="overheard: %(message)s" if not args.verbose else "overheard: %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        command = importlib.import_module(f"overheard.commands.{args.command}")
        settings, _ = settings_module.load(args.config, overrides={"data_dir": args.data_dir})
        code: int = command.run(args, settings)
        sys.stdout.flush()
        return code
    except OverheardError as error:
        print(f"overheard: {one_line(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("overheard: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader left, as `| head` does. Without this, Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _tolerate_odd_names() -> None:
    """Print file names that are no valid text escaped instead of failing on them."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
