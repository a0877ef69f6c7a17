"""Choose the calibration of a model that fits the packs that are searched."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from overheard.catalogue.pack import Pack
from overheard.fingerprint.model import Model
from overheard.recognize.matching.scoring import Scoring

MIN_OWN_SHARE = 0.1  # of the segments; a few segments of its own give a network few false positives


@dataclasses.dataclass(frozen=True)
class PackKinds:
    """What the calibration depends on.

    Attributes
    ----------
    code_bytes : bytes of the longest codes in the packs; 0 if all packs are empty
    n_segments : in the packs
    by_network : segments in files with fingerprints of a network, by ``Model.network_digest`` (if known)
    """

    code_bytes: int = 0
    n_segments: int = 0
    by_network: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, packs: Sequence[Pack]) -> PackKinds:
        """Return the kinds of opened packs."""
        layers = [layer for pack in packs for layer in pack.layers if layer.n_segments]
        return cls.joined(
            cls(layer.code_bytes, layer.n_segments, dict.fromkeys(layer.networks, layer.n_segments))
            for layer in layers
        )

    @classmethod
    def joined(cls, kinds: Iterable[PackKinds]) -> PackKinds:
        """Return the kinds of all packs together."""
        each = list(kinds)
        by_network: Counter[str] = Counter()
        for one in each:
            by_network.update(one.by_network)
        return cls(
            max((one.code_bytes for one in each), default=0),
            sum(one.n_segments for one in each),
            dict(by_network),
        )

    def scoring(self, model: Model) -> Scoring:
        """Return the calibration; if compact and full packs are mixed, that of full ones, which is stricter.

        Raises
        ------
        ModelError
            If the calibration in the manifest is incomplete or has invalid values.
        """
        compact = 0 < self.code_bytes < model.quantizer.code_bytes
        n_own = self.by_network.get(model.network_digest, 0)
        return Scoring.from_manifest(model.manifest, compact, n_own > MIN_OWN_SHARE * self.n_segments)
