"""The command line: parse the arguments, run the command, print errors as one line."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from overheard import settings as settings_module
from overheard.errors import OverheardError
from overheard.process import discard_output, limit_blas_threads, replace_closed_streams, tell
from overheard.text import LogFormatter, one_line, shorten
from overheard.version import version

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

# In the order in which people need them.
COMMANDS = (
    *("demo", "index", "identify", "listen", "status", "pause", "resume", "history", "explain", "web"),
    *("sinks", "service", "packs", "devices", "doctor", "calibrate", "config", "privacy"),
    *("backup", "restore"),
)

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


FAILED, INTERRUPTED, NO_READER = 2, 130, 141  # exit codes; NO_READER: of standard output


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line that says what to type."""

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Write a message, such as the help; unlike argparse, do not hide that it cannot be written."""
        if message:
            (file or sys.stderr).write(message)

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, and exit with code 2."""
        tell(self.format_usage().rstrip())
        tell(f"overheard: {one_line(shorten(message, 300))}; see `{self.prog} --help`")
        self.exit(FAILED)


class ShowVersion(argparse.Action):
    """Print the version and exit; only then look it up."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Print it on standard output."""
        print(f"overheard {version()}")
        parser.exit()


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
    options.add_argument("--version", action=ShowVersion, nargs=0, help="show the version")
    options.add_argument("--config", type=Path, metavar="FILE", help="use this configuration file")
    options.add_argument("--data-dir", metavar="FOLDER", help="keep packs and history in this folder")
    options.add_argument(
        "-v", "--verbose", action="store_true", help="print debug messages on standard error"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    replace_closed_streams()
    _escape_undecodable_names()
    limit_blas_threads()
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()  # reports a full disk here, not at exit
    except OverheardError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader has gone, as `| head` does
        discard_output(sys.stdout)
        return NO_READER
    except OSError as error:  # such as a full disk, or a path that is too long
        return _fail(_system_error(error))
    except MemoryError:
        return _fail("not enough memory; close other programs, or use fewer or smaller packs")


def _run(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.error("a command is missing")
    _start_logging(args.verbose)
    command = importlib.import_module(f"overheard.commands.{args.command}")
    settings, _ = settings_module.load(args.config, overrides={"data_dir": args.data_dir})
    code: int = command.run(args, settings)
    return code


def _start_logging(verbose: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        LogFormatter("overheard: %(name)s: %(message)s" if verbose else "overheard: %(message)s")
    )
    logging.basicConfig(level=logging.DEBUG if verbose else logging.WARNING, handlers=[handler])


def _system_error(error: OSError) -> str:
    """Return the message for an error of the operating system, and discard what cannot be printed."""
    reason = error.strerror or str(error)
    if error.filename is not None:
        return f"{shorten(os.fsdecode(error.filename))}: {reason}"
    try:
        sys.stdout.flush()  # fails again if standard output is the cause
    except OSError:
        discard_output(sys.stdout)
        return f"standard output cannot be written: {reason}"
    return f"input or output failed: {reason}"


def _fail(message: str, code: int = FAILED) -> int:
    line = one_line(message)
    if len(line) > 600:  # such as of a path of thousands of characters: keep the problem and the remedy
        line = f"{line[:300]}...{line[-250:]}"
    tell(f"overheard: {line}")
    return code


def _escape_undecodable_names() -> None:
    """Print file names that are not valid text with escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
