"""Evidence to a score: calibrated weights, and a threshold that fits whatever the query's length."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from overheard.errors import ModelError


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What speaks for the best alignment; the score is a weighted sum of :meth:`features`."""

    track: int
    offset_frames: int
    similarity: float
    background: float
    margin: float
    n_segments: float
    expected: float
    heard_frames: tuple[
        int, int
    ]  # where in the window the track sounds: the first frame, and one past the last

    def features(self) -> tuple[float, ...]:
        """Return the features in the order of :attr:`Scoring.weights`, with 1 for the bias."""
        logarithm = float(np.log(max(self.n_segments, 0.25)))
        return (self.similarity, self.background, self.margin, logarithm, self.expected, 1.0)


@dataclasses.dataclass(frozen=True)
class Scoring:
    """Calibrated weights: evidence to a score that one threshold fits, whatever the query's length.

    Attributes
    ----------
    weights : of mean similarity, background, margin, the logarithm of the number of segments, and expected
        similarity; then the bias; their sum is the log-odds that the match is right
    lengths_s, penalties : what a query of this length loses, so that equal scores are equally often false;
        penalties between are interpolated
    threshold : the score from which a match is named
    """

    weights: tuple[float, ...] = (36.0, -36.0, 5.0, 1.5, 0.0, -3.0)
    lengths_s: tuple[float, ...] = (2.0, 10.0)
    penalties: tuple[float, ...] = (0.0, 0.0)
    threshold: float = 4.0

    def log_odds(self, evidence: Evidence) -> float:
        """Return the log-odds that the evidence's track is right."""
        return float(np.dot(self.weights, evidence.features()))

    def score(self, evidence: Evidence, length_s: float) -> float:
        """Return what the threshold is applied to."""
        return self.log_odds(evidence) - float(np.interp(length_s, self.lengths_s, self.penalties))

    @classmethod
    def from_manifest(cls, manifest: dict[str, Any], compact: bool = False) -> Scoring:
        """Read what a model manifest says for codes of full length, or compact ones; else the defaults.

        Where it says nothing for compact codes, what it says for others holds.
        """
        values = (manifest.get("compact_scoring") if compact else None) or manifest.get("scoring")
        if values is None:
            return cls()
        try:
            weights, lengths_s, penalties = (
                tuple(map(float, values[name])) for name in ("weights", "lengths_s", "penalties")
            )
            if len(weights) != len(cls.weights):
                raise ValueError(f"{len(weights)} weights, not {len(cls.weights)}")
            return cls(weights, lengths_s, penalties, float(values["threshold"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"the model's scoring is unreadable ({error}): install overheard anew"
            ) from error
