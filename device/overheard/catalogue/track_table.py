"""Keep the metadata of a large layer's tracks in a derived file, as rows that are parsed one at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from overheard.catalogue.derived import derive
from overheard.catalogue.pack_format import Layout, Part
from overheard.catalogue.track_list import PackTrack, decompress, from_row, to_id
from overheard.fingerprint.json_values import JsonValueError, get_array

LAYOUT = Layout(b"OVERHEARD TRACKS", "a table of tracks", ("columns", "offsets", "rows", "ids", "removed"))
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
_MAX_MEMBERS = 16


class TrackTable(Sequence[PackTrack]):
    """The tracks of a large layer.

    Parameters
    ----------
    path : of the layer
    source : SHA-256 of its manifest
    packed : part ``tracks`` of the layer
    counts : (n_tracks,) uint32, segments of each track
    pack_bytes : size of the layer, which limits the size of the metadata

    Attributes
    ----------
    ids : (n_tracks,) S12
    removed : frozenset of str

    Raises
    ------
    JsonValueError
        If the metadata is invalid.
    """

    def __init__(
        self, path: Path, source: str, packed: memoryview, counts: npt.NDArray[np.uint32], pack_bytes: int
    ) -> None:
        parts = derive(
            path,
            source,
            "tracks",
            LAYOUT,
            {},
            lambda: _parts(packed, counts, pack_bytes),
            lambda parts: _is_consistent(parts, len(counts)),
        )
        self._columns: list[str] = json.loads(bytes(parts["columns"]))
        self._offsets = np.frombuffer(parts["offsets"], "<i8")
        self._rows, self._counts = parts["rows"], counts
        self.ids: npt.NDArray[np.bytes_] = np.frombuffer(parts["ids"], "S12")
        self.removed = frozenset(np.frombuffer(parts["removed"], "S12").astype("U12").tolist())

    def __len__(self) -> int:
        """Return the number of tracks."""
        return len(self._counts)

    @overload
    def __getitem__(self, number: int) -> PackTrack: ...
    @overload
    def __getitem__(self, number: slice) -> tuple[PackTrack, ...]: ...

    def __getitem__(self, number: int | slice) -> PackTrack | tuple[PackTrack, ...]:
        """Return one or several tracks. Raises IndexError."""
        if isinstance(number, slice):
            return tuple(self[i] for i in range(*number.indices(len(self))))
        i = range(len(self))[number]
        start, end = (int(offset) for offset in self._offsets[i : i + 2])
        row = json.loads(bytes(self._rows[start:end]).decode("utf-8", "surrogatepass"))
        return from_row(self._columns, row, int(self._counts[i]))


def _is_consistent(parts: Mapping[str, memoryview], n: int) -> bool:
    """Return whether the parts of a derived file agree with each other and with the number of tracks."""
    if len(parts["offsets"]) != 8 * (n + 1) or len(parts["ids"]) != 12 * n or len(parts["removed"]) % 12:
        return False
    offsets = np.frombuffer(parts["offsets"], "<i8")
    in_order = offsets[0] == 0 and bool((offsets[1:] >= offsets[:-1]).all())
    return in_order and int(offsets[-1]) == len(parts["rows"])


def _parts(packed: memoryview, counts: npt.NDArray[np.uint32], pack_bytes: int) -> Mapping[str, Part]:
    """Parse and verify the metadata row by row, so that only its text is in memory at once."""
    text = decompress(packed, pack_bytes)
    members: dict[str, Any] = {}
    rows, ids = list[bytes](), list[bytes]()
    for row, start, end in _walk(text, members):
        if len(rows) == len(counts):
            raise JsonValueError(f"more than {len(counts)} rows for as many tracks")
        columns = get_array(members, "columns")
        if not all(isinstance(column, str) for column in columns):
            raise JsonValueError("a column's name must be a string")
        ids.append(from_row(columns, row, int(counts[len(rows)])).id.encode())
        rows.append(text[start:end].encode("utf-8", "surrogatepass"))
    if len(rows) != len(counts):
        raise JsonValueError(f"{len(rows)} rows for {len(counts)} tracks")
    removed = sorted({to_id(value).encode() for value in get_array({"removed": [], **members}, "removed")})
    offsets = np.cumsum([0, *map(len, rows)], dtype="<i8")
    return {
        "columns": Part.of([json.dumps(get_array({"columns": [], **members}, "columns")).encode()]),
        "offsets": Part.of([offsets.tobytes()]),
        "rows": Part.of(rows),
        "ids": Part.of(ids),
        "removed": Part.of(removed),
    }


def _walk(text: str, members: dict[str, Any]) -> Iterator[tuple[Any, int, int]]:
    """Yield the items of the array ``rows`` of a JSON object, and where they are; put the rest in `members`.

    Raises
    ------
    JsonValueError
        If the text is not one JSON object.
    """
    at = _expect(text, 0, "{")
    for _ in range(_MAX_MEMBERS):
        name, at = _decode(text, at)
        at = _expect(text, at, ":")
        if name == "rows":
            at = _expect(text, at, "[")
            closed = text[at : at + 1] == "]"
            while not closed:
                value, end = _decode(text, at)
                yield value, at, end
                closed = text[end : end + 1] == "]"
                at = end if closed else _expect(text, end, ",")
            at = _expect(text, at, "]")
        else:
            members[str(name)], at = _decode(text, at)
        if text[at : at + 1] == "}":
            break
        at = _expect(text, at, ",")
    if _expect(text, at, "}") != len(text):
        raise JsonValueError("invalid JSON (extra data)")


def _decode(text: str, at: int) -> tuple[Any, int]:
    """Return the JSON value at a position, and the position after it and the space that follows."""
    try:
        value, end = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        raise JsonValueError(f"invalid JSON ({error})") from error
    return value, _after_space(text, end)


def _expect(text: str, at: int, character: str) -> int:
    at = _after_space(text, at)
    if text[at : at + 1] != character:
        raise JsonValueError(f"invalid JSON (no {character} at {at})")
    return _after_space(text, at + 1)


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()
