"""Choose the calibration of a model that fits the packs that are searched."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from overheard.catalogue.pack import Pack
from overheard.fingerprint.model import Model
from overheard.recognize.matching.scoring import Scoring


@dataclasses.dataclass(frozen=True)
class PackKinds:
    """What the calibration depends on.

    Attributes
    ----------
    code_bytes : bytes of the longest codes in the packs; 0 if all packs are empty
    networks : ``Model.network_digest`` of the networks that made their fingerprints, as far as known
    """

    code_bytes: int = 0
    networks: frozenset[str] = frozenset()

    @classmethod
    def of(cls, packs: Sequence[Pack]) -> PackKinds:
        """Return the kinds of opened packs."""
        widths = [layer.code_bytes for pack in packs for layer in pack.layers if layer.n_segments]
        return cls(max(widths, default=0), frozenset(name for pack in packs for name in pack.networks))

    @classmethod
    def joined(cls, kinds: Iterable[PackKinds]) -> PackKinds:
        """Return the kinds of all packs together."""
        each = list(kinds)
        return cls(
            max((one.code_bytes for one in each), default=0),
            frozenset().union(*(one.networks for one in each)),
        )

    def scoring(self, model: Model) -> Scoring:
        """Return the calibration; if compact and full packs are mixed, that of full ones, which is stricter.

        Raises
        ------
        ModelError
            If the calibration in the manifest is incomplete or has invalid values.
        """
        compact = 0 < self.code_bytes < model.quantizer.code_bytes
        return Scoring.from_manifest(model.manifest, compact, model.network_digest in self.networks)
