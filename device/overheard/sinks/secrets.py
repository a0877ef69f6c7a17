"""Read secrets, such as tokens, from a file or from the environment; they are never shown."""

from __future__ import annotations

import os
import stat

from overheard.errors import SettingsError
from overheard.files import expand_user, read_regular

_MAX_BYTES = 4096


def read_secret(setting: str, path: str, variable: str, required: bool = True) -> str:
    """Return a secret: the contents of a file, or else the value of an environment variable.

    Parameters
    ----------
    setting : name of the setting that has the path, for errors
    path : of a file that only its owner can read; empty: none
    variable : name of the environment variable

    Raises
    ------
    SettingsError
        If there is none but it is required, or the file cannot be read or can be read by others.
    """
    secret = os.environ.get(variable, "").strip()
    if path:
        file = expand_user(path)
        try:
            secret = read_regular(file, _MAX_BYTES).decode("utf-8-sig").strip()
            mode = file.stat().st_mode
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise SettingsError(f"{setting}: {file}: {reason}", "write the secret to this file") from None
        if stat.S_ISREG(mode) and mode & 0o007:
            raise SettingsError(f"{setting}: every user can read {file}", f"chmod 600 {file}")
    if not all(character.isprintable() and character.isascii() for character in secret):
        raise SettingsError(f"{setting}: the secret contains a character that is not allowed")
    if required and not secret:
        raise SettingsError(f"{setting} is not set", f"set it to a file with the secret, or set {variable}")
    return secret
