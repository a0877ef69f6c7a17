"""Identify unknown music in a listener, give it an id, and collect its fingerprint while it plays."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence

from overheard.catalogue.search import IntArray
from overheard.errors import PackError
from overheard.events import Event, MusicUnknown, PlayStarted, Silence
from overheard.fingerprint.embedder import Queries
from overheard.fingerprint.spec import FingerprintSpec
from overheard.recognize.matching.engine import Engine
from overheard.recognize.stretch import Stretch
from overheard.recognize.unknown_store import UnknownPiece, UnknownStore

log = logging.getLogger(__name__)

EARLY_SEGMENTS = 30
MIN_SEGMENTS = 8  # a shorter fingerprint is not stored
MAX_LEARNED = 90  # seconds; each costs a run of the network


class UnknownMusic:
    """Recognizes unknown music that plays again.

    When a window is unknown music, it is looked up in the store. While the music plays, one embedding per
    second is kept. When it ends, these are stored, unless it turned out to be a known track.

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
        self._piece: UnknownPiece | None = None  # that is heard
        self._learned: list[Queries] = []  # one a second
        self._from_s = 0.0  # start of the window in which the music became unknown
        self._stretch: Stretch | None = None  # sound that is learned
        self._next = 0  # its segment that is learned next
        self._stored = False

    def window(
        self, events: Sequence[Event], queries: Queries, starts: IntArray, start_s: float, end_s: float
    ) -> list[Event]:
        """Take a window that was matched and its events; return them with the ids of unknown music.

        Parameters
        ----------
        events : that the window caused
        queries : its segments
        starts : (n,) int64, increasing; their first frames in the window
        start_s, end_s : the window in seconds of the source
        """
        found: list[Event] = []
        for event in events:
            if isinstance(event, PlayStarted):
                self._forget()
            elif isinstance(event, MusicUnknown):
                event = self._identify(event, queries, starts, start_s, end_s)
            found.append(event)
        return found

    def other(self, events: Sequence[Event]) -> list[Event]:
        """Take events that no window caused; store the music if it is over."""
        if any(isinstance(event, Silence) for event in events):
            self.finish()
        return list(events)

    def finish(self) -> None:
        """Store what was learned, because the music or the source is over."""
        piece = self._piece
        if piece is not None and self._enough and not self._is_named(piece):
            self._store_piece(piece)
        self._forget()

    def _is_named(self, piece: UnknownPiece) -> bool:
        """Return whether the user has given the piece a name, or forgot it, since it was stored."""
        return self._stored and self._store.entry(piece.unknown_id) is None

    def _store_piece(self, piece: UnknownPiece) -> None:
        self._stored = True
        try:
            self._store.put(piece, Queries.join(self._learned).embeddings)
        except (PackError, OSError) as error:
            log.warning("unknown music: cannot be stored, so it is not remembered: %s", error)

    def _forget(self) -> None:
        self._piece, self._stretch, self._learned, self._stored = None, None, [], False

    def _identify(
        self, event: MusicUnknown, queries: Queries, starts: IntArray, start_s: float, end_s: float
    ) -> MusicUnknown:
        self.finish()  # of the piece before
        now = self._now()
        try:
            known = self._store.find(queries, starts, start_s, end_s)
            if known is None:
                piece = UnknownPiece(self._store.new_id(), 1, now, now)
            else:
                piece = dataclasses.replace(known, times=known.times + 1, last_heard=now)
                self._store.put(piece)
        except (PackError, OSError) as error:
            log.warning("unknown music: cannot be stored, so it is not remembered: %s", error)
            return event
        self._piece, self._stored, self._from_s = piece, known is not None, start_s
        return dataclasses.replace(
            event, unknown_id=piece.unknown_id, times_heard=piece.times, first_heard=piece.first_heard
        )

    def learn(self, stretch: Stretch, engine: Engine) -> None:
        """Embed the seconds of unknown music that are complete, and keep them; after a gap, begin again."""
        piece = self._piece
        if piece is None or (self._enough and stretch is not self._stretch):
            return
        first = round((self._from_s - stretch.origin_s) * self._spec.frontend.frames_per_s)
        if stretch is not self._stretch or self._next < stretch.first_start:
            self._stretch, self._learned = stretch, []
            self._next = max(first, stretch.first_start)
        while self._next <= stretch.last_start and len(self._learned) < MAX_LEARNED:
            self._learned.append(stretch.embed([self._next], engine))
            self._next += self._spec.hop_frames
        if not self._stored and len(self._learned) >= EARLY_SEGMENTS:
            self._store_piece(piece)  # so that it can be given a name while it plays

    @property
    def _enough(self) -> bool:
        return len(self._learned) >= MIN_SEGMENTS
