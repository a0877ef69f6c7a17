"""The command line: parse the arguments, run the command, print errors as one line."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from overheard import settings as settings_module
from overheard.errors import OverheardError
from overheard.process import limit_blas_threads
from overheard.text import one_line

# In the order in which people need them.
COMMANDS = ("demo", "index", "identify", "listen", "history", "packs", "devices", "doctor", "config")

DESCRIPTION = """\
Recognize the music that plays around you, offline.

overheard fingerprints your music collection and then identifies it in recordings
and at the microphone. Audio never leaves this machine."""
EXAMPLES = """\
examples:
  overheard index ~/Music            fingerprint your collection once
  overheard identify recording.wav   identify the music in a recording
  overheard listen                   recognize music at the microphone

`overheard COMMAND --help` explains a command."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line that says what to type."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, and exit with code 2."""
        self.print_usage(sys.stderr)
        self.exit(2, f"overheard: {one_line(message)}; see `{self.prog} --help`\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; the module of each command adds the command's arguments."""
    parser = Parser(
        prog="overheard",
        usage="%(prog)s [options] COMMAND ...",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    # Not `required`: argparse would complain about COMMAND without saying how to list the commands.
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", prog="overheard")
    for name in COMMANDS:
        importlib.import_module(f"overheard.commands.{name}").add_parser(subparsers)
    options = parser.add_argument_group("options")  # after the commands
    options.add_argument("-h", "--help", action="help", help="show this help")
    options.add_argument(
        "--version", action="version", version=f"overheard {version()}", help="show the version"
    )
    options.add_argument("--config", type=Path, metavar="FILE", help="use this configuration file")
    options.add_argument("--data-dir", metavar="FOLDER", help="keep packs and history in this folder")
    options.add_argument(
        "-v", "--verbose", action="store_true", help="print debug messages on standard error"
    )
    return parser


def version() -> str:
    """Return the installed version, or "(not installed)" in a source checkout."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("overheard")
    except PackageNotFoundError:
        return "(not installed)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 2 after an error, 130 if interrupted."""
    _escape_undecodable_names()
    limit_blas_threads()
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.error("a command is missing")
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
        # The reader has gone, as `| head` does. Without this, Python would report the error again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _escape_undecodable_names() -> None:
    """Print file names that are not valid text with escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
