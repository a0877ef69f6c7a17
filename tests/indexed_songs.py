"""Synthesized songs, a recognizer whose catalogue holds some of them, and what the network costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from overheard.catalogue.pack import open_pack, write_pack
from overheard.catalogue.track_list import TrackEntry
from overheard.demo.synth import synthesize
from overheard.fingerprint.embedder import Embedder, Queries, fingerprint
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import default_model
from overheard.recognize.recognizer import Recognizer

RATE = 8000
SONG_S = 60.0


def write_songs(path: Path, songs: Sequence[FloatArray]) -> None:
    """Write a pack whose tracks have the numbers of the songs as titles."""
    model, entries = default_model(), []
    for number, song in enumerate(songs):
        cells, codes = model.encode_track(fingerprint(Embedder(model), song))
        entries.append(
            TrackEntry(
                title=str(number),
                artist="",
                path=f"{number}.wav",
                duration_s=len(song) / RATE,
                packed_cells=cells,
                codes=codes,
            )
        )
    write_pack(path, "songs", model.digest, model.spec, entries)


@pytest.fixture(scope="module")
def songs() -> list[FloatArray]:
    return [synthesize(seed, SONG_S).waveform for seed in range(300, 304)]


@pytest.fixture(scope="module")
def recognizer(songs: list[FloatArray], tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    """Songs 0 to 2 are in the catalogue."""
    model, path = default_model(), tmp_path_factory.mktemp("packs") / "songs.pack"
    write_songs(path, songs[:3])
    return Recognizer(model, [open_pack(path, model.digest)])


class Counter:
    """Counts the segments that the network embeds."""

    def __init__(self, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n = 0
        self._query = recognizer.embedder.query
        monkeypatch.setattr(recognizer.embedder, "query", self.query)

    def query(self, segments: FloatArray) -> Queries:
        self.n += len(segments)
        return self._query(segments)
