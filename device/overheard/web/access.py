"""Who may use the page: the token for other computers, and the names under which the page is reached."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Iterable
from pathlib import Path

from overheard.errors import OverheardError
from overheard.files import atomic_write, read_regular

COOKIE = "overheard_session"
COOKIE_AGE_S = 400 * 86400  # browsers allow no more
_TOKEN_BYTES = 24
_MIN_TOKEN, _MAX_TOKEN = 20, 200


def token_path(data_dir: Path) -> Path:
    """Return the file of the token."""
    return data_dir / "web-token"


def load_token(data_dir: Path, renew: bool = False) -> tuple[str, bool]:
    """Return the token, and whether it is a new one.

    Raises
    ------
    OverheardError
        If the file cannot be read or written, or other users can read it.
    """
    path = token_path(data_dir)
    try:
        if not renew and path.exists():
            if path.stat().st_mode & 0o077:
                raise OverheardError(f"{path}: other users can read it", "run `overheard web --new-token`")
            token = read_regular(path, 2 * _MAX_TOKEN).decode().strip()
            if _MIN_TOKEN <= len(token) <= _MAX_TOKEN and token.isascii() and token.isprintable():
                return token, False
            raise OverheardError(f"{path}: contains no token", "run `overheard web --new-token`")
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        with atomic_write(path, private=True) as file:
            file.write(f"{token}\n".encode())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise OverheardError(f"{path}: cannot be used ({reason})", "check its permissions") from error
    return token, True


def is_local(host: str) -> bool:
    """Return whether only this computer can connect to an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def shown_host(host: str) -> str:
    """Return how others reach an address: the host name, if it is that of all networks."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return socket.gethostname()
    return f"[{host}]" if address.version == 6 else host


class Access:
    """Decide about requests.

    Parameters
    ----------
    token : that requests need; None if everybody who can connect may use the page
    names : host names of the page, besides those of this computer; IP addresses are always allowed, since a
        web site cannot make its own name one
    """

    def __init__(self, token: str | None, names: Iterable[str] = ()) -> None:
        self._token = token
        self._cookie = (
            "" if token is None else hmac.new(token.encode(), b"cookie 1", hashlib.sha256).hexdigest()
        )
        own = socket.gethostname().lower().rstrip(".")
        short = own.partition(".")[0]
        self._names = {"localhost", own, short, f"{short}.local", f"{short}.lan", f"{short}.home"}
        self._names |= {name.lower().rstrip(".") for name in names}

    @property
    def needs_token(self) -> bool:
        """Whether requests need the token."""
        return self._token is not None

    @property
    def cookie(self) -> str:
        """The value of the cookie: proves the token without containing it."""
        return self._cookie

    def allows_host(self, host: str) -> bool:
        """Return whether a Host header names this page, and not a web site that resolves to this computer."""
        name = host.strip().lower()
        if name.startswith("["):
            name, bracket, port = name[1:].partition("]")
            port = port.removeprefix(":") if bracket and (not port or port.startswith(":")) else "x"
        else:
            name, _, port = name.partition(":")
        if port and not (port.isascii() and port.isdigit()):
            return False
        if name.rstrip(".") in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def knows_cookie(self, cookie: str) -> bool:
        """Return whether a cookie is the right one; takes the same time for all wrong ones."""
        return hmac.compare_digest(cookie.encode("utf-8", "replace"), self._cookie.encode())

    def knows_token(self, token: str) -> bool:
        """Return whether a token is the right one. It is too long to be guessed: no failures are counted."""
        return self._token is not None and hmac.compare_digest(
            token.encode("utf-8", "replace"), self._token.encode()
        )
