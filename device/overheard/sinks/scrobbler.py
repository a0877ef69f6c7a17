"""Send plays to a service that counts listenings."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from overheard.events import Event, PlayEnded, PlayStarted, PlayUpdated, Track
from overheard.sinks.courier import Deliver
from overheard.sinks.messages import play_hash
from overheard.sinks.outbox import Outbox
from overheard.sinks.scrobble import Listened, NowPlaying, ScrobbleRule

INTERVAL_S = 1.0  # between two calls, which the services ask for
_SAME_BEGIN_S = 10.0  # two rooms hear the same playing if the track began at the same time in both
_MAX_BEGINS = 100
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
        self._shortest_s = shortest_s
        self._rules = {"": self._new_rule()}  # by room
        self._begins: deque[tuple[str, float, str]] = deque(maxlen=_MAX_BEGINS)

    def _new_rule(self) -> ScrobbleRule:
        return ScrobbleRule(self._shortest_s, self.outbox.queue.notes().get("recent", ()))

    def handle(self, event: Event, started: float) -> None:
        """Queue what the event means."""
        rule = self._rules.get(event.room) or self._rules.setdefault(event.room, self._new_rule())
        for found in rule.follow(event, started):
            if not found.track.artist:
                continue  # the services accept no track without an artist
            if isinstance(found, Listened) and self._heard_elsewhere(event, started):
                continue
            body = self._body(found)
            if isinstance(found, Listened):
                key = play_hash(found.track, found.started_at)
                self.outbox.put(key, body, {"recent": self._recent()})
            elif self._now_playing and found.left_s > 0:
                self.outbox.put_urgent(body, found.left_s)

    def close(self) -> None:
        """Stop; what is not sent stays in the queue."""
        self.outbox.queue.note(recent=self._recent())
        self.outbox.close()

    def _recent(self) -> list[dict[str, Any]]:
        return [listening for rule in self._rules.values() for listening in rule.recent()]

    def _heard_elsewhere(self, event: Event, started: float) -> bool:
        """Return whether the same playing of the track was counted in another room already."""
        if not isinstance(event, PlayStarted | PlayUpdated | PlayEnded):
            return False
        track_id, begin = event.play.track.id, started + event.play.start_s - event.play.offset_s
        for counted, at, room in self._begins:
            if counted == track_id and room != event.room and abs(at - begin) <= _SAME_BEGIN_S:
                return True
        self._begins.append((track_id, begin, event.room))
        return False

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
