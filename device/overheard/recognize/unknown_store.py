"""Store the fingerprints of unknown music in a separate pack, to recognize the music when it plays again."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from overheard.catalogue.layer_files import Stamps, stamps_of
from overheard.catalogue.pack import Pack, TrackEntry, open_pack, write_pack
from overheard.catalogue.pack_lock import SHORT_CHANGE_S, pack_lock
from overheard.catalogue.search import Catalogue, IntArray
from overheard.errors import PackError
from overheard.files import atomic_write, create_folder, read_regular
from overheard.fingerprint.embedder import Queries
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.json_values import JsonValueError, get_integer, parse_object
from overheard.fingerprint.model import Model
from overheard.recognize.matching.alignments import Window
from overheard.recognize.matching.match import Matcher
from overheard.recognize.pack_kinds import PackKinds

log = logging.getLogger(__name__)

MAX_SEGMENTS = 300  # of one piece, in seconds; they take 7 kB
_MAX_STATE_BYTES = 1000


@dataclasses.dataclass(frozen=True)
class UnknownPiece:
    """A piece of unknown music: an id that stays the same, how often it was heard, and when (Unix time)."""

    unknown_id: int
    times: int
    first_heard: float
    last_heard: float

    def extras(self) -> dict[str, str]:
        """Return what the pack stores besides the fingerprint."""
        return {name: repr(value) for name, value in dataclasses.asdict(self).items()}

    @classmethod
    def of(cls, entry: TrackEntry) -> UnknownPiece:
        """Read what the pack stores. Raises ValueError."""
        number, times = (int(entry.extras.get(name, "")) for name in ("unknown_id", "times"))
        return cls(
            number, times, *(float(entry.extras.get(f"{name}_heard", "")) for name in ("first", "last"))
        )


class UnknownStore:
    """The pack of unknown music. It holds fingerprints and times; only the user can read it.

    Other processes may change it at any time. A pack that cannot be used, such as one of another model, is
    replaced when the next piece is stored.

    Parameters
    ----------
    path : of the pack, in a folder of its own
    model : of the fingerprints
    max_pieces : the setting ``unknown.max_pieces``; of more, those that were heard least often and longest
        ago are forgotten, but not the one that is being stored

    Attributes
    ----------
    networks : ``Model.network_digest`` of the networks that made the fingerprints, as far as known
    """

    def __init__(self, path: Path, model: Model, max_pieces: int) -> None:
        self.path, self._model, self._max_pieces = path, model, max_pieces
        self._stamps: Stamps | None = None
        self._entries: dict[int, TrackEntry] = {}
        self.networks: frozenset[str] = frozenset()
        self._matcher: Matcher | None = None

    def pieces(self) -> list[UnknownPiece]:
        """Return the pieces in the order of their ids."""
        self._read()
        return [UnknownPiece.of(self._entries[number]) for number in sorted(self._entries)]

    def entry(self, unknown_id: int) -> TrackEntry | None:
        """Return the fingerprint of a piece; None if it is not stored."""
        self._read()
        return self._entries.get(unknown_id)

    def find(self, queries: Queries, starts: IntArray, start_s: float, end_s: float) -> UnknownPiece | None:
        """Return the piece that a window contains; None if it contains none.

        Parameters
        ----------
        queries : all query segments of the window
        starts : (n,) int64, increasing; first frames of the segments in the window
        start_s, end_s : the window in seconds of the source
        """
        self._read()
        if self._matcher is None:
            return None
        candidates = self._matcher.index.candidates(queries.embeddings)
        rows = np.arange(len(queries.expected))
        window = Window(queries, starts, candidates, rows, int(starts[-1]))
        match = self._matcher.match(window, start_s, end_s)
        if match is None or not match.accepted:
            return None
        return next(
            (UnknownPiece.of(one) for one in self._entries.values() if one.id == match.track.id), None
        )

    def new_id(self) -> int:
        """Return an id that no piece has had.

        Raises
        ------
        OSError
            If the next one cannot be stored.
        """
        state = self.path.with_suffix(".json")
        try:
            number = get_integer(parse_object(read_regular(state, _MAX_STATE_BYTES)), "next_id")
        except (FileNotFoundError, JsonValueError, ValueError):
            number = 1
        number = max([number, *(known + 1 for known in self._entries)])
        with atomic_write(state, private=True) as file:
            file.write(json.dumps({"next_id": number + 1}).encode())
        return number

    def put(self, piece: UnknownPiece, embeddings: FloatArray | None = None) -> None:
        """Store a piece, or change it.

        Parameters
        ----------
        piece : as it is now
        embeddings : (n, dim) float32, one per second in time order; None keeps the fingerprint, as does a
            fingerprint that is not longer than the stored one

        Raises
        ------
        PackError
            If the pack cannot be written.
        """
        with self._changing(piece.unknown_id):
            known = self._entries.get(piece.unknown_id)
            if embeddings is not None and (known is None or len(embeddings) > len(known.packed_cells)):
                self._entries[piece.unknown_id] = self._new_entry(piece, embeddings[:MAX_SEGMENTS])
                self.networks |= {self._model.network_digest}
            elif known is not None:
                self._entries[piece.unknown_id] = dataclasses.replace(known, extras=piece.extras())

    def remove(self, unknown_ids: Iterable[int]) -> int:
        """Forget pieces; return how many. Raises PackError if the pack cannot be written."""
        unknown_ids = frozenset(unknown_ids)
        self._read()
        # Without a known id, there is nothing to write. A pack that cannot be read has no entries; it is
        # deleted.
        if not self.path.exists() or (self._entries and not self._entries.keys() & unknown_ids):
            return 0
        with self._changing():
            return sum(self._entries.pop(number, None) is not None for number in unknown_ids)

    def forget(self, since: float) -> int:
        """Forget the pieces that were heard after a Unix time; return how many.

        Raises
        ------
        PackError
            If the pack cannot be written.
        """
        return self.remove([one.unknown_id for one in self.pieces() if one.last_heard >= since])

    def _new_entry(self, piece: UnknownPiece, embeddings: FloatArray) -> TrackEntry:
        cells, codes = self._model.encode_track(embeddings)
        return TrackEntry(
            title=f"unknown music {piece.unknown_id}",
            path=f"unknown/{piece.unknown_id}",
            duration_s=float(len(embeddings) - 1 + self._model.spec.segment_s),
            extras=piece.extras(),
            packed_cells=cells,
            codes=codes,
        )

    @contextlib.contextmanager
    def _changing(self, kept: int | None = None) -> Iterator[None]:
        """Read the pack, let the block change the entries, and write it; do not evict the piece `kept`."""
        create_folder(self.path.parent, private=True)
        with pack_lock(self.path, SHORT_CHANGE_S):
            self._read()
            yield
            self._evict(kept)
            entries = [self._entries[number] for number in sorted(self._entries)]
            if entries:
                model = self._model
                write_pack(self.path, "unknown", model.digest, model.spec, entries, networks=self.networks)
                self.path.chmod(0o600)
            else:
                self.path.unlink(missing_ok=True)
        self._stamps = None

    def _evict(self, kept: int | None) -> None:
        """Delete entries beyond the limit. A new piece was heard once, so it would always be the first."""
        pieces = sorted(
            map(UnknownPiece.of, self._entries.values()),
            key=lambda one: (one.unknown_id == kept, one.times, one.last_heard),
        )
        for piece in pieces[: max(0, len(pieces) - self._max_pieces)]:
            del self._entries[piece.unknown_id]

    def _read(self) -> None:
        """Read the pack if it has changed."""
        stamps = stamps_of(self.path) if self.path.exists() else ()
        if stamps == self._stamps:
            return
        self._stamps, self._entries, self._matcher = stamps, {}, None
        self.networks = frozenset()
        if not stamps:
            return
        try:
            pack = open_pack(self.path, self._model.digest)
            self._entries = {UnknownPiece.of(entry).unknown_id: entry for entry in pack.entries()}
            self.networks = frozenset(pack.networks)
            self._matcher = self._matcher_for(pack)
        except (PackError, ValueError) as error:
            problem = error.problem if isinstance(error, PackError) else error  # it has no files to index
            log.warning("unknown music: %s. Earlier unknown music is forgotten", problem)

    def _matcher_for(self, pack: Pack) -> Matcher:
        model = self._model
        index = Catalogue([pack], model.quantizer, model.cohort)
        return Matcher(index, model.spec, PackKinds.of([pack]).scoring(model))


def forget_all(path: Path) -> None:
    """Forget all unknown music, also in a pack that no model can read.

    Parameters
    ----------
    path : of the pack

    Raises
    ------
    PackError
        If another process keeps changing the pack, or it cannot be deleted.
    """
    if not path.parent.is_dir():
        return
    with pack_lock(
        path, SHORT_CHANGE_S
    ):  # otherwise a `put` that has read the pack would write the pieces back
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise PackError(
                f"{path}: cannot be deleted ({error.strerror or error})",
                "check the permissions of its folder",
            ) from error
