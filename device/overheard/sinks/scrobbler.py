"""Send plays to a service that counts listenings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from overheard.events import Event, Track
from overheard.sinks.courier import Deliver
from overheard.sinks.messages import play_hash
from overheard.sinks.outbox import Outbox
from overheard.sinks.scrobble import Listened, NowPlaying, ScrobbleRule

INTERVAL_S = 1.0  # between two calls, which the services ask for
RecordingId = Callable[[Track], str]


class Scrobbler:
    """Apply the rule to events, and queue what counts.

    Parameters
    ----------
    name : of the sink
    data_dir : folder of the queues
    deliver : sends a message of `now_playing` or `listened`
    now_playing : whether to send what plays now
    shortest_s : tracks below this do not count
    recording_id : returns the MusicBrainz id of a track's recording, or ""
    """

    def __init__(
        self,
        name: str,
        data_dir: Path,
        deliver: Deliver,
        now_playing: bool,
        shortest_s: float = 0.0,
        recording_id: RecordingId = lambda _track: "",
    ) -> None:
        self.name = name
        self._now_playing = now_playing
        self._recording_id = recording_id
        self.outbox = Outbox(name, data_dir, deliver, INTERVAL_S)
        self._rule = ScrobbleRule(shortest_s, self.outbox.queue.notes().get("recent", ()))

    def handle(self, event: Event, started: float) -> None:
        """Queue what the event means."""
        for found in self._rule.follow(event, started):
            if not found.track.artist:
                continue  # the services accept no track without an artist
            body = self._body(found)
            if isinstance(found, Listened):
                key = play_hash(found.track, found.started_at)
                self.outbox.put(key, body, {"recent": self._rule.recent()})
            elif self._now_playing and found.left_s > 0:
                self.outbox.put_urgent(body, found.left_s)

    def close(self) -> None:
        """Stop; what is not sent stays in the queue."""
        self.outbox.queue.note(recent=self._rule.recent())
        self.outbox.close()

    def _body(self, found: Listened | NowPlaying) -> dict[str, Any]:
        track = found.track
        return {
            "listened_at": int(found.started_at) if isinstance(found, Listened) else None,
            "artist": track.artist,
            "title": track.title,
            "album": track.album,
            "duration_s": track.duration_s,
            "recording_id": self._recording_id(track),
        }
