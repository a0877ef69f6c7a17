"""Convert the evidence for a match to a score, so that one threshold applies to all window lengths."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from overheard.errors import REINSTALL, ModelError
from overheard.fingerprint.json_values import JsonValueError, get_number, get_numbers, get_object

MIN_SEGMENTS = 0.25  # lower limit of Evidence.n_segments in its logarithm
REPETITIVE = 0.6  # mean cosine of a window's segments above which they repeat each other
# Of the manifest: for full codes, for compact ones, and for packs that the network indexed itself.
FIELDS = ("scoring", "compact_scoring", "own_scoring")
MAX_ARGUMENT = 500.0  # of the logistic function; beyond it, floats cannot show a difference
TINY = 1e-12  # keeps the log-odds of a probability finite
SLOPES = (0.01, 100.0)  # of a confidence; outside, it would be the same for all matches, or a step


@dataclasses.dataclass(frozen=True)
class Evidence:
    """The features of the best alignment of a window.

    Attributes
    ----------
    track : number of the track in the catalogue
    offset_frames : position in the track at the window's start, in frames
    similarity : mean similarity of the queries to the track's segments
    background : mean similarity of the queries to the nearest segments of other recordings and the cohort
    margin : similarity minus that of the runner-up or the background, whichever is higher
    n_segments : number of catalogue segments compared, weighted by 0-1
    expected_similarity : similarity of a correct match that the quality estimator expects
    matched_frames : first frame and end (exclusive) of the part of the window that matches
    self_similarity : mean cosine between the window's segments that do not overlap
    """

    track: int
    offset_frames: int
    similarity: float
    background: float
    margin: float
    n_segments: float
    expected_similarity: float
    matched_frames: tuple[int, int]
    self_similarity: float = 0.0

    @property
    def effective_share(self) -> float:
        """Share of the segments that counts, 0-1: all segments of a steady tone together count as one.

        It is the effective size of a sample whose members are correlated. Music is not affected: its segments
        are rarely as similar to each other as `REPETITIVE`.
        Source: Kish, Survey Sampling, 1965, section 5.4 (design effect of clusters).
        """
        correlation = min(max((self.self_similarity - REPETITIVE) / (1 - REPETITIVE), 0.0), 1.0)
        return 1 / (1 + correlation * max(self.n_segments - 1, 0.0))

    def features(self) -> tuple[float, ...]:
        """Return the features in the order of :attr:`Scoring.weights`; the last is 1, for the bias."""
        logarithm = float(np.log(max(self.n_segments * self.effective_share, MIN_SEGMENTS)))
        return (self.similarity, self.background, self.margin, logarithm, self.expected_similarity, 1.0)


@dataclasses.dataclass(frozen=True)
class Confidence:
    """The probability that a match is right, as a logistic curve of its log-odds between two limits.

    The log-odds rank matches well, but are no probabilities: a few matches, such as those of a passage that
    two tracks share, are wrong at any log-odds, and flatten the fit for all others. The curve is fitted to
    the log-odds of the same trials, and the limits take up these few.

    Attributes
    ----------
    slope, offset : of the curve's argument; the slope is positive, so that the probability never falls
    lowest, highest : limits of the probability, 0-1
    """

    slope: float = 1.0
    offset: float = 0.0
    lowest: float = 0.0
    highest: float = 1.0

    def of(self, log_odds: float) -> float:
        """Return the probability, 0-1."""
        argument = float(np.clip(self.slope * log_odds + self.offset, -MAX_ARGUMENT, MAX_ARGUMENT))
        return self.lowest + (self.highest - self.lowest) / (1 + math.exp(-argument))

    def after(self, probability: float, log_odds: float) -> float:
        """Return a probability, 0-1, after its log-odds have changed by this much."""
        width = self.highest - self.lowest
        if width <= 0:
            return probability
        share = min(max((probability - self.lowest) / width, TINY), 1 - TINY)
        argument = math.log(share / (1 - share)) + self.slope * log_odds
        argument = min(max(argument, -MAX_ARGUMENT), MAX_ARGUMENT)
        return self.lowest + width / (1 + math.exp(-argument))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Confidence:
        """Read and validate the values of a manifest. Raises JsonValueError."""
        lowest = get_number(values, "lowest", 0.0, 1.0)
        return cls(
            slope=get_number(values, "slope", *SLOPES),
            offset=get_number(values, "offset"),
            lowest=lowest,
            highest=get_number(values, "highest", lowest, 1.0),
        )


@dataclasses.dataclass(frozen=True)
class Scoring:
    """Calibrated weights and threshold. The defaults serve tests and models without a calibration.

    Attributes
    ----------
    weights : tuple of 6 float
        Weights of similarity, background, margin, logarithm of the number of segments, and expected
        similarity, and the bias. The weighted sum is the log-odds that the match is correct.
    lengths_s : tuple of float
        Increasing window lengths in seconds, for `penalties`.
    penalties : tuple of float
        Log-odds that a window of each length loses, so that equal scores have equal false positive rates.
        Values between the lengths are interpolated.
    threshold : float
        A match with this score or a higher one is accepted.
    confidence : Confidence
        Converts log-odds to a probability.
    """

    weights: tuple[float, ...] = (36.0, -36.0, 5.0, 1.5, 0.0, -3.0)
    lengths_s: tuple[float, ...] = (2.0, 10.0)
    penalties: tuple[float, ...] = (0.0, 0.0)
    threshold: float = 4.0
    confidence: Confidence = Confidence()

    def log_odds(self, evidence: Evidence) -> float:
        """Return the log-odds that the track is correct."""
        return float(np.dot(self.weights, evidence.features()))

    def probability(self, evidence: Evidence) -> float:
        """Return the probability that the track is correct, 0-1."""
        return self.confidence.of(self.log_odds(evidence))

    def relative_odds(self, difference: float) -> float:
        """Return the odds of another track with the same passage, whose similarity is this much lower."""
        return math.exp(-max(0.0, min(self.weights[0] * difference, MAX_ARGUMENT)))

    def score(self, evidence: Evidence, length_s: float) -> float:
        """Return the score of evidence from a window of this length, to compare with the threshold."""
        effective_s = length_s * evidence.effective_share
        return self.log_odds(evidence) - float(np.interp(effective_s, self.lengths_s, self.penalties))

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any], compact: bool = False, own: bool = False) -> Scoring:
        """Read the calibration in a model's manifest, or return the defaults if it has none.

        Parameters
        ----------
        manifest : contents of the manifest
        compact : True for codes of compact packs; without their own calibration they use that of full codes
        own : True if the model's network indexed some of the packs. A network that joined the space of
            another resembles its own fingerprints more, right or wrong, and has a calibration for them.

        Raises
        ------
        ModelError
            If the calibration is incomplete or has invalid values.
        """
        wanted = (("compact_scoring", compact), ("own_scoring", own))
        name = next((name for name, use in wanted if use and manifest.get(name) is not None), "scoring")
        if manifest.get(name) is None:
            return cls()
        try:
            return cls._from_dict(get_object(manifest, name))
        except JsonValueError as error:
            raise ModelError(f"the model's {name} is invalid ({error})", REINSTALL) from error

    @classmethod
    def _from_dict(cls, values: Mapping[str, Any]) -> Scoring:
        """Read and validate the values of a calibration. Raises JsonValueError."""
        lengths_s = get_numbers(values, "lengths_s")
        if not lengths_s or any(after <= before for before, after in itertools.pairwise(lengths_s)):
            raise JsonValueError("lengths_s must be increasing")
        return cls(
            weights=get_numbers(values, "weights", len(cls.weights)),
            lengths_s=lengths_s,
            penalties=get_numbers(values, "penalties", len(lengths_s)),
            threshold=get_number(values, "threshold"),
            confidence=_confidence(values),
        )


def _confidence(values: Mapping[str, Any]) -> Confidence:
    """Return the curve of a calibration; log-odds as they are in a manifest that has none."""
    if values.get("confidence") is None:
        return Confidence()
    try:
        return Confidence.from_dict(get_object(values, "confidence"))
    except JsonValueError as error:
        raise JsonValueError(f"confidence: {error}") from error
