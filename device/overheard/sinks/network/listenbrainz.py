"""Send listens to ListenBrainz, or to a server with the same interface, such as Maloja.

https://listenbrainz.readthedocs.io/en/latest/users/api/core.html
"""

from __future__ import annotations

import json
from typing import Any

from overheard.settings import Settings
from overheard.sinks.context import Context
from overheard.sinks.courier import Rejected
from overheard.sinks.network.http import Answer, Endpoint, settle
from overheard.sinks.scrobbler import Scrobbler
from overheard.sinks.secrets import read_secret
from overheard.version import version

NAME = "listenbrainz"


class ListenBrainz:
    """A client for one user.

    Parameters
    ----------
    settings : Settings

    Raises
    ------
    SettingsError
        If the URL is not valid, or there is no token.
    """

    def __init__(self, settings: Settings) -> None:
        chosen = settings.sinks.listenbrainz
        self._endpoint = Endpoint.of("sinks.listenbrainz.url", chosen.url)
        self._token = read_secret(
            "sinks.listenbrainz.token_file", chosen.token_file, "OVERHEARD_LISTENBRAINZ_TOKEN"
        )

    def deliver(self, body: dict[str, Any]) -> float:
        """Send a message of the scrobbler; return how long the server wants to rest."""
        if "title" not in body:
            raise Rejected("an item of the queue is damaged")
        listened_at = body["listened_at"]
        listen: dict[str, Any] = {} if listened_at is None else {"listened_at": listened_at}
        listen["track_metadata"] = _metadata(body)
        kind = "playing_now" if listened_at is None else "single"
        return self._send({"listen_type": kind, "payload": [listen]})

    def _send(self, document: dict[str, Any]) -> float:
        headers = {"Authorization": f"Token {self._token}", "Content-Type": "application/json"}
        answer = self._endpoint.request("POST", "/1/submit-listens", json.dumps(document).encode(), headers)
        settle(answer, self._endpoint.shown)
        return _rest_s(answer)

    def test(self) -> str:
        """Send what plays now; it is not counted."""
        self.deliver(
            {"listened_at": None, "artist": "overheard", "title": "Test", "album": "", "duration_s": 0}
        )
        return f'{self._endpoint.shown} shows "Test" by overheard as playing now, for a while'


def _metadata(body: dict[str, Any]) -> dict[str, Any]:
    extra: dict[str, Any] = {
        "media_player": "overheard",
        "submission_client": "overheard",
        "submission_client_version": version(),
    }
    if body["duration_s"]:
        extra["duration_ms"] = round(1000 * body["duration_s"])
    if body.get("recording_id"):
        extra["recording_mbid"] = body["recording_id"]
    found = {"artist_name": body["artist"], "track_name": body["title"], "additional_info": extra}
    return {**found, "release_name": body["album"]} if body["album"] else found


def _rest_s(answer: Answer) -> float:
    """Return how long to wait before the next request, if there may be none at once."""
    if answer.seconds("X-RateLimit-Remaining") == 0:
        return answer.seconds("X-RateLimit-Reset-In") or 0.0
    return 0.0


def open_sink(settings: Settings, context: Context) -> Scrobbler:
    """Return the sink."""
    client, chosen = ListenBrainz(settings), settings.sinks.listenbrainz
    return Scrobbler(
        NAME,
        settings.data_dir,
        client.deliver,
        chosen.now_playing,
        recording_id=context.recording_id,
    )


def test(settings: Settings, _context: Context) -> str:
    """Send a test."""
    return ListenBrainz(settings).test()
