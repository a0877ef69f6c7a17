"""Validate the names of packs."""

from __future__ import annotations

from overheard.errors import SettingsError
from overheard.text import one_line

FORBIDDEN = '/\\:*?"<>|'  # in file names, on one of the common operating systems


def valid_pack_name(name: str) -> str:
    """Return the name of a pack without ``.pack``.

    Raises
    ------
    SettingsError
        If the name is empty, hidden, or contains a character that file names must not contain.
    """
    name = name.removesuffix(".pack")
    if not name or name.startswith(".") or any(c in FORBIDDEN or not c.isprintable() for c in name):
        raise SettingsError(f'invalid pack name "{one_line(name)}"', "use letters, digits, - and _")
    return name
