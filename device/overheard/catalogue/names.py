"""Validate the names of packs, and name the pack of music that the user named."""

from __future__ import annotations

import re

from overheard.errors import SettingsError
from overheard.text import one_line, shorten

FORBIDDEN = '/\\:*?"<>|'  # in file names, on one of the common operating systems
MAX_BYTES = 200  # file systems allow 255; the journal's file adds 24
LABELLED = "labelled"  # pack with the unknown music that the user named
_LABELLED = re.compile(rf"{LABELLED}(-[0-9a-f]{{8}}(-\d+)?)?")


def valid_pack_name(name: str) -> str:
    """Return the name of a pack without ``.pack``.

    Raises
    ------
    SettingsError
        If the name is empty, hidden, too long, or contains a character that file names must not contain.
    """
    name = name.removesuffix(".pack")
    if not name or name.startswith(".") or any(c in FORBIDDEN or not c.isprintable() for c in name):
        raise SettingsError(f'invalid pack name "{one_line(shorten(name))}"', "use letters, digits, - and _")
    if len(name.encode()) > MAX_BYTES:
        raise SettingsError(
            f'the pack name "{shorten(name, 30)}" is too long', f"use at most {MAX_BYTES} bytes"
        )
    return name


def is_labelled(name: str) -> bool:
    """Return whether a pack holds music that the user named: `LABELLED`, or one of another model."""
    return _LABELLED.fullmatch(name) is not None
