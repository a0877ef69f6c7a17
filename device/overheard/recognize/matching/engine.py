"""Group the embedder, the catalogue and the matcher, which are replaced together when packs change."""

from __future__ import annotations

import dataclasses

from overheard.catalogue.search import SegmentIndex
from overheard.fingerprint.embedder import Embedder
from overheard.recognize.matching.match import Matcher


@dataclasses.dataclass(frozen=True)
class Engine:
    """Embedder, catalogue and matcher; shared by all listeners, and replaced when packs change."""

    embedder: Embedder
    index: SegmentIndex
    matcher: Matcher
