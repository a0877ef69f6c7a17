"""Check that the splits `train` and `valid` have no file, sound, group, room or copy in common."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from overheard_train.data.copies import Sounds, find_copies
from overheard_train.data.dataset import Data
from overheard_train.data.duplicate_responses import duplicate_responses
from overheard_train.data.sources import KINDS, SPLITS, TOGETHER, Recording

log = logging.getLogger(__name__)

ROOMS, MICROPHONES, SOUNDS = TOGETHER[3], TOGETHER[4], ("music", "noise", "speech")


@dataclasses.dataclass(frozen=True)
class Finding:
    """Two files, one of each split, that have something in common.

    Attributes
    ----------
    reason : ``file``, ``sound`` (the same samples), ``group`` (room, source recording, artist, speaker),
        ``copy`` (the same recording in any format), ``version`` (of one piece) or ``response``
    kind : of the `valid` recording
    train, valid : the files
    strength : at most 1: the correlation, or the share of the track that is recognized
    """

    reason: str
    kind: str
    train: Path
    valid: Path
    strength: float = 1.0


@dataclasses.dataclass(frozen=True)
class SplitReport:
    """The result of a check.

    Attributes
    ----------
    counts : by kind, the number of recordings of `train` and of `valid` that were compared
    """

    findings: tuple[Finding, ...]
    counts: dict[str, tuple[int, int]]

    @property
    def disjoint(self) -> bool:
        """Whether the splits have nothing in common."""
        return not self.findings

    def table(self) -> str:
        """Return one line per finding, by kind and strength."""
        order = sorted(
            self.findings, key=lambda f: (KINDS.index(f.kind), f.reason, -f.strength, str(f.valid))
        )
        rows = [
            (f.reason, f.kind, f"{f.strength:.2f}", f"{f.valid} (valid) and {f.train} (train)") for f in order
        ]
        return "\n".join(
            f"{reason:<9}{kind:<14}{strength:>5}  {pair}" for reason, kind, strength, pair in rows
        )


def check_splits(data: Data, model: Path | None = None, jobs: int = 2) -> SplitReport:
    """Compare `train` with `valid`; recordings that the cache lacks are decoded.

    Parameters
    ----------
    model : manifest of the model that proposes copies; by default the shipped one
    jobs : number of processes that fingerprint

    Raises
    ------
    AudioError
        A kind has recordings, but none that can be decoded.
    """
    train, valid = ([pair for kinds in TOGETHER for pair in _sounds(data, kinds, split)] for split in SPLITS)
    counts = {kind: (_count(train, kind), _count(valid, kind)) for kind in KINDS}
    findings = [*_same_files(data), *_same_sounds(train, valid), *_same_groups(data)]
    for kinds in (ROOMS, MICROPHONES):
        findings += _same_responses(_only(train, kinds), _only(valid, kinds))
    train_sounds, valid_sounds = _only(train, SOUNDS), _only(valid, SOUNDS)
    log.info("fingerprinting %d recordings of train and %d of valid", len(train_sounds), len(valid_sounds))
    for copy in find_copies(train_sounds, valid_sounds, data.cache_path("check"), model, jobs):
        is_copy = copy.is_same_recording
        reason, strength = ("copy", copy.correlation) if is_copy else ("version", copy.recognized)
        findings.append(Finding(reason, copy.valid.kind, copy.train.path, copy.valid.path, strength))
    return SplitReport(_without_repeats(findings), counts)


def _sounds(data: Data, kinds: Sequence[str], split: str) -> Sounds:
    """Return the recordings that can be decoded, with their samples, ``(n,)`` int16."""
    recordings = data.of(kinds, split)
    if not recordings:
        return []
    clips = data.clips(kinds, split)
    known = {data.name(recording): recording for recording in recordings}
    return [(known[path], clips.clip(number)) for number, path in enumerate(clips.paths)]


def _only(sounds: Sounds, kinds: Sequence[str]) -> Sounds:
    return [pair for pair in sounds if pair[0].kind in kinds]


def _count(sounds: Sounds, kind: str) -> int:
    return sum(recording.kind == kind for recording, _ in sounds)


def _same_files(data: Data) -> Iterator[Finding]:
    train = {os.path.realpath(r.path): r for r in data.of(KINDS, "train")}
    for recording in data.of(KINDS, "valid"):
        other = train.get(os.path.realpath(recording.path))
        if other is not None:
            yield Finding("file", recording.kind, other.path, recording.path)


def _same_sounds(train: Sounds, valid: Sounds) -> Iterator[Finding]:
    known = {hashlib.sha256(samples.tobytes()).digest(): recording for recording, samples in train}
    for recording, samples in valid:
        other = known.get(hashlib.sha256(samples.tobytes()).digest())
        if other is not None:
            yield Finding("sound", recording.kind, other.path, recording.path)


def _same_groups(data: Data) -> Iterator[Finding]:
    """Yield one pair for each group that is in both splits."""
    train: dict[tuple[str, str], Recording] = {}
    for recording in data.of(KINDS, "train"):
        train.setdefault((recording.kind, recording.group), recording)
    for recording in data.of(KINDS, "valid"):
        other = train.pop((recording.kind, recording.group), None)
        if other is not None:
            yield Finding("group", recording.kind, other.path, recording.path)


def _same_responses(train: Sounds, valid: Sounds) -> Iterator[Finding]:
    responses = [[samples.astype(np.float32) for _, samples in side] for side in (train, valid)]
    pairs = duplicate_responses(responses[0], responses[1])
    for number, other, correlation in pairs:
        recording = valid[other][0]
        yield Finding("response", recording.kind, train[number][0].path, recording.path, correlation)


def _without_repeats(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Keep the first finding of each pair; the simplest reasons come first."""
    first: dict[tuple[Path, Path], Finding] = {}
    for finding in findings:
        first.setdefault((finding.train, finding.valid), finding)
    return tuple(first.values())
