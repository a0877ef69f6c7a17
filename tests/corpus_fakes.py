"""A corpus for the benchmarks' tests that is in memory instead of in a folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from overheard.hear.source import Block
from overheard_bench.corpus import Corpus, Item


class MemoryCorpus(Corpus):
    """Corpus of the given rows of the manifest and the given audio, by path."""

    def __init__(self, items: Iterable[Item] = (), audio: Mapping[str, Block] | None = None) -> None:
        self.items = tuple(items)
        self._audio = dict(audio or {})
