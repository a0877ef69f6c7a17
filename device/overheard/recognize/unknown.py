"""Follow unknown music in a listener: give it an id, and learn its fingerprint while it goes on."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence

from overheard.errors import PackError
from overheard.events import Event, MusicUnknown, PlayStarted, Silence
from overheard.fingerprint.embedder import Queries
from overheard.fingerprint.spec import FingerprintSpec
from overheard.recognize.unknown_store import MAX_SEGMENTS, Unknown, UnknownStore

log = logging.getLogger(__name__)

EARLY_SEGMENTS = 30
MIN_SEGMENTS = 8  # a shorter fingerprint is not stored


class UnknownMusic:
    """Recognize unknown music that returns.

    When a window is unknown music, it is looked up in the store. As long as the music goes on, one embedding
    a second is kept; when it ends, they are stored. If it turns out to be a track, nothing is.

    Parameters
    ----------
    store : of the fingerprints
    spec : of the embeddings
    now : returns the Unix time
    """

    def __init__(
        self, store: UnknownStore, spec: FingerprintSpec, now: Callable[[], float] = time.time
    ) -> None:
        self._store, self._spec, self._now = store, spec, now
        self._piece: Unknown | None = None  # that is heard
        self._learned: list[Queries] = []  # one a second
        self._next_s = 0.0  # start of the next one in seconds of the source
        self._stored = False

    @property
    def wanted(self) -> bool:
        """Whether more of the music that is heard should be embedded, without a gap."""
        return self._piece is not None and len(self._learned) < MAX_SEGMENTS

    def window(
        self, events: Sequence[Event], queries: Queries, step_frames: int, start_s: float, end_s: float
    ) -> list[Event]:
        """Take a window that was matched and its events; return them with the ids of unknown music.

        Parameters
        ----------
        events : that the window caused
        queries : its segments
        step_frames : frames between their starts
        start_s, end_s : the window in seconds of the source
        """
        found: list[Event] = []
        for event in events:
            if isinstance(event, PlayStarted):
                self._forget()
            elif isinstance(event, MusicUnknown):
                event = self._identify(event, queries, step_frames, start_s, end_s)
            found.append(event)
        if self._piece is not None:
            self._learn(queries, step_frames, start_s)
            if not self._stored and len(self._learned) >= EARLY_SEGMENTS:
                self._store_piece(self._piece)  # so that it can be given a name while it plays
        return found

    def other(self, events: Sequence[Event]) -> list[Event]:
        """Take events that no window caused; store the music if it is over."""
        if any(isinstance(event, Silence) for event in events):
            self.finish()
        return list(events)

    def finish(self) -> None:
        """Store what was learned, because the music or the source is over."""
        piece = self._piece
        if piece is not None and len(self._learned) >= MIN_SEGMENTS and not self._is_named(piece):
            self._store_piece(piece)
        self._forget()

    def _is_named(self, piece: Unknown) -> bool:
        """Return whether the user has given the piece a name, or forgot it, since it was stored."""
        return self._stored and self._store.entry(piece.unknown_id) is None

    def _store_piece(self, piece: Unknown) -> None:
        self._stored = True
        try:
            self._store.put(piece, Queries.join(self._learned).embeddings)
        except (PackError, OSError) as error:
            log.warning("unknown music: it is not remembered: %s", error)

    def _forget(self) -> None:
        self._piece, self._learned, self._stored = None, [], False

    def _identify(
        self, event: MusicUnknown, queries: Queries, step_frames: int, start_s: float, end_s: float
    ) -> MusicUnknown:
        self.finish()  # of the piece before
        now = self._now()
        try:
            known = self._store.find(queries, step_frames, start_s, end_s)
            if known is None:
                piece = Unknown(self._store.new_id(), 1, now, now)
            else:
                piece = dataclasses.replace(known, times=known.times + 1, last_heard=now)
                self._store.put(piece)
        except (PackError, OSError) as error:
            log.warning("unknown music: it is not remembered: %s", error)
            return event
        self._piece, self._stored = piece, known is not None
        return dataclasses.replace(
            event, unknown_id=piece.unknown_id, times_heard=piece.times, first_heard=piece.first_heard
        )

    def _learn(self, queries: Queries, step_frames: int, start_s: float) -> None:
        """Keep one embedding a second of the window's new part; after a gap, begin again."""
        frames_per_s = self._spec.frontend.frames_per_s
        hop_s, step_s = self._spec.hop_frames / frames_per_s, step_frames / frames_per_s
        starts = [start_s + i * step_s for i in range(len(queries.expected))]
        if not self._learned or starts[0] > self._next_s + step_s / 2:
            if len(self._learned) >= MIN_SEGMENTS:
                return  # what was learned so far is enough
            self._learned, self._next_s = [], starts[0]
        for i, at_s in enumerate(starts):
            if abs(at_s - self._next_s) < step_s / 2 and len(self._learned) < MAX_SEGMENTS:
                self._learned.append(queries.rows(slice(i, i + 1)))
                self._next_s = at_s + hop_s
