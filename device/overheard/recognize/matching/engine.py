"""Group the embedder, the catalogue and the matcher, which are replaced together when packs change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from overheard.catalogue.search import SegmentIndex
from overheard.fingerprint.embedder import Embedder
from overheard.fingerprint.frontend import FloatArray
from overheard.recognize.matching.match import Matcher


@dataclasses.dataclass(frozen=True)
class Engine:
    """Embedder, catalogue and matcher; shared by all listeners, and replaced when packs change.

    Attributes
    ----------
    music_log_odds : returns the log-odds that segments ``(n, dim)`` of one sound are music; None if unknown
    """

    embedder: Embedder
    index: SegmentIndex
    matcher: Matcher
    music_log_odds: Callable[[FloatArray], float] | None = None
