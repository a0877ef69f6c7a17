"""Scrobble to Last.fm."""

from __future__ import annotations

import time
from typing import Any

import pylast

from overheard.errors import OverheardError, SettingsError
from overheard.settings import Settings
from overheard.sinks.context import Context
from overheard.sinks.courier import Rejected, RetryLater
from overheard.sinks.scrobbler import Scrobbler
from overheard.sinks.secrets import read_secret
from overheard.text import one_line, shorten

NAME = "lastfm"
_SHORTEST_S = 30.0  # https://www.last.fm/api/scrobbling
_RATE_LIMIT = "29"
_RATE_LIMIT_WAIT_S = 60.0
_HTTP: Any = vars(pylast)["httpx"]  # the module that this version of pylast uses
_MAX_BYTES, _ANSWER_S = 1 << 16, 30.0  # of an answer
# Codes of errors: the service is broken or busy, or does not accept who asks; https://www.last.fm/api/errorcodes
_AGAIN = {"8", "11", "16", _RATE_LIMIT}
_WHO = {
    "4": "the session",
    "9": "the session",
    "10": "the API key",
    "13": "the shared secret",
    "26": "the API key",
}


class _Limited:
    """A transport of pylast's HTTP client that limits the bytes of an answer, and the time until its end."""

    def handle_request(self, request: Any) -> Any:
        """Return the answer to a request.

        Raises
        ------
        httpx.ReadError
            If the answer is longer, takes longer, or is compressed, so that its length is not known.
        """
        request.headers["Accept-Encoding"] = "identity"
        until_s = time.monotonic() + _ANSWER_S
        with _HTTP.HTTPTransport(verify=pylast.SSL_CONTEXT) as transport:
            answer = transport.handle_request(request)
            body = b""
            for part in answer.stream:
                body += part
                if len(body) > _MAX_BYTES or time.monotonic() > until_s:
                    raise _HTTP.ReadError("the answer does not end")
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise _HTTP.ReadError("the answer is compressed")
        return _HTTP.Response(answer.status_code, content=body)

    def close(self) -> None:
        """Do nothing: each request has a connection of its own."""

    def __enter__(self) -> _Limited:
        """Return the transport."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


class Lastfm:
    """A client for one user.

    Raises
    ------
    SettingsError
        If the key or a secret is missing.
    """

    def __init__(self, settings: Settings) -> None:
        chosen = settings.sinks.lastfm
        if not chosen.api_key:
            raise SettingsError("sinks.lastfm.api_key is not set", "get one at https://www.last.fm/api")
        secret = read_secret("sinks.lastfm.secret_file", chosen.secret_file, "OVERHEARD_LASTFM_SECRET")
        session = read_secret("sinks.lastfm.session_file", chosen.session_file, "OVERHEARD_LASTFM_SESSION")
        self._network = _network(chosen.api_key, secret, session)

    def deliver(self, body: dict[str, Any]) -> float:
        """Send a message of the scrobbler."""
        if "title" not in body:
            raise Rejected("an item of the queue is damaged")
        values: dict[str, Any] = {"artist": body["artist"], "title": body["title"]}
        if body["album"]:
            values["album"] = body["album"]
        if body["duration_s"]:
            values["duration"] = round(body["duration_s"])
        try:
            if body["listened_at"] is None:
                self._network.update_now_playing(**values)
            else:
                self._network.scrobble(timestamp=body["listened_at"], **values)
        except pylast.WSError as error:
            _settle(error)
        except (pylast.NetworkError, pylast.MalformedResponseError) as error:
            raise RetryLater(f"Last.fm: {one_line(shorten(str(error)))}") from None
        except IndexError:  # pylast takes every answer in XML for one of Last.fm
            raise RetryLater("Last.fm: the answer is of another server") from None
        return 0.0

    def test(self) -> str:
        """Send what plays now; it is not counted."""
        self.deliver(
            {"listened_at": None, "artist": "overheard", "title": "Test", "album": "", "duration_s": 0}
        )
        return 'Last.fm shows "Test" by overheard as playing now, for a while'


def _network(key: str, secret: str, session: str = "") -> pylast.LastFMNetwork:
    network = pylast.LastFMNetwork(key, secret, session_key=session)
    limited: Any = _Limited()
    network.proxy = {"https://": limited}
    return network


def _settle(error: pylast.WSError) -> None:
    """Raise what an error of the service means."""
    code = str(error.status)
    text = f"Last.fm: {one_line(shorten(str(error)))}"
    if code in _WHO:
        raise RetryLater(f"{text}; check {_WHO[code]} in the settings")
    if code in _AGAIN or (code.isascii() and code.isdigit() and len(code) <= 9 and int(code) >= 500):
        raise RetryLater(text, _RATE_LIMIT_WAIT_S if code == _RATE_LIMIT else None)
    raise Rejected(text)


def open_sink(settings: Settings, _context: Context) -> Scrobbler:
    """Return the sink."""
    chosen = settings.sinks.lastfm
    return Scrobbler(NAME, settings.data_dir, Lastfm(settings).deliver, chosen.now_playing, _SHORTEST_S)


def test(settings: Settings, _context: Context) -> str:
    """Send a test."""
    return Lastfm(settings).test()


def new_session(settings: Settings, confirm: Any) -> str:
    """Return a session key, after the user has allowed it in a browser.

    Parameters
    ----------
    confirm : called with the address to open; returns when the user has allowed the access

    Raises
    ------
    OverheardError
        If Last.fm refuses.
    """
    chosen = settings.sinks.lastfm
    secret = read_secret("sinks.lastfm.secret_file", chosen.secret_file, "OVERHEARD_LASTFM_SECRET")
    network = _network(chosen.api_key, secret)
    generator = pylast.SessionKeyGenerator(network)
    try:
        address = generator.get_web_auth_url()
        confirm(address)
        key: str = generator.get_web_auth_session_key(address)
    except (pylast.WSError, pylast.NetworkError, pylast.MalformedResponseError) as error:
        raise OverheardError(f"Last.fm: {one_line(str(error))}", "run the command again") from None
    return key
