"""Arguments for a passphrase, which are never part of the command line itself."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path

from overheard.errors import OverheardError
from overheard.files import read_regular

_MAX_BYTES = 4096


def add_passphrase_file(parser: argparse.ArgumentParser, also: str = "") -> None:
    """Add ``--passphrase-file``."""
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help=f"read the passphrase from the first line of this file, instead of asking{also}",
    )


def read_passphrase(file: Path | None, confirm: bool) -> str:
    """Return the passphrase from a file, or ask for it, if it is new, twice.

    Raises
    ------
    OverheardError
        If there is none, or nobody to ask.
    """
    if file is not None:
        text = read_regular(file, _MAX_BYTES).decode("utf-8-sig", "surrogateescape").partition("\n")[0]
    elif sys.stdin is None or not sys.stdin.isatty():
        raise OverheardError(
            "this needs a passphrase, but standard input is not a terminal", "add --passphrase-file FILE"
        )
    else:
        text = getpass.getpass("Passphrase: ")
        if confirm and getpass.getpass("Again: ") != text:
            raise OverheardError("the passphrases differ", "run the command again")
    if not text.strip():
        raise OverheardError("the passphrase is empty", "use several words")
    return text.strip("\r")
