"""The corpus: its manifest, its audio, and the committed split of its `valid` lists."""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import numpy as np
import soxr

from overheard_bench import BENCHMARKS, CHECKOUT

SAMPLE_RATE = 8000
DEFAULT_CORPUS = CHECKOUT.parent / "shared" / "corpus"
SPLIT_FILE = BENCHMARKS / "calibration_split.json"
NEAR_DUPLICATES_FILE = BENCHMARKS / "near_duplicates.json"
KINDS = ("music", "noise", "speech", "ir_room", "ir_room_synth", "ir_mic")
PARTS = ("calibration", "report")
ITEM_COLUMNS = ("kind", "split", "path", "title", "artist", "source")


@dataclasses.dataclass(frozen=True)
class Item:
    """One row of the manifest."""

    kind: str
    split: str
    path: str
    seconds: float
    title: str
    artist: str
    source: str


class Corpus:
    """The manifest, and audio at 8 kHz. Decoded files stay in memory as int16."""

    def __init__(self, root: Path | str = DEFAULT_CORPUS) -> None:
        self.root = Path(root)
        manifest = self.root / "manifest.csv"
        if not manifest.is_file():
            raise FileNotFoundError(f"no corpus: {manifest} is missing (name a place with --corpus)")
        try:
            text = manifest.read_text(encoding="utf-8")
            self.items = tuple(_item(row) for row in csv.DictReader(text.splitlines()))
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            columns = ", ".join(ITEM_COLUMNS)
            raise RuntimeError(
                f"{manifest} is no list of a corpus, with the columns seconds, {columns} ({error!r})"
            ) from error
        self.digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._audio: dict[str, np.ndarray] = {}

    def of(self, kind: str, split: str | None = None) -> list[Item]:
        """Return the rows of a kind, of one split or of both."""
        return [i for i in self.items if i.kind == kind and split in (None, i.split)]

    def load(self, path: str) -> np.ndarray:
        """Decode a file of the corpus to (n,) int16 mono 8 kHz."""
        if path not in self._audio:
            waveform, rate = decode(self.root / path)
            if rate != SAMPLE_RATE:
                waveform = soxr.resample(waveform, rate, SAMPLE_RATE, quality="HQ")
            self._audio[path] = np.round(np.clip(waveform, -1, 1) * 32767).astype(np.int16)
        return self._audio[path]


def _item(row: dict[str, str]) -> Item:
    return Item(seconds=float(row["seconds"]), **{name: row[name] for name in ITEM_COLUMNS})


def decode(path: Path) -> tuple[np.ndarray, int]:
    """Decode a file to (n,) float32 mono at its own rate, without overheard: peers use it too."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        mono = av.AudioResampler(format="fltp", layout="mono", rate=stream.rate)
        frames = (*container.decode(stream), None)  # None drains
        blocks = [out.to_ndarray()[0] for frame in frames for out in mono.resample(frame)]
        return np.concatenate(blocks), stream.rate


def seeded(seed: int, *names: object) -> np.random.Generator:
    """Return a generator that depends on the seed and the names alone, whatever was drawn before."""
    text = "/".join(str(n) for n in (seed, *names))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


def every_nth(items: Sequence[Item], n: int, rng: np.random.Generator) -> set[str]:
    """Pick one in n, spread evenly over the sources: systematic sampling of the list in order of source."""
    shuffled = [items[i] for i in rng.permutation(len(items))]
    ordered = sorted(shuffled, key=lambda item: item.source)
    return {item.path for item in ordered[int(rng.integers(n)) :: n]}


def make_split(corpus: Corpus, seed: int) -> dict[str, object]:
    """Divide the `valid` lists: a third for calibration, the rest for the report.

    Of each part's music a fifth is left out of the index.
    """
    parts: dict[str, dict[str, list[str]]] = {part: {} for part in PARTS}
    for kind in KINDS:
        items = sorted(corpus.of(kind, "valid"), key=lambda i: i.path)
        third = every_nth(items, 3, seeded(seed, "third", kind))
        for part in PARTS:
            chosen = [i for i in items if (i.path in third) == (part == "calibration")]
            parts[part][kind] = [i.path for i in chosen]
            if kind == "music":
                parts[part]["left_out"] = sorted(every_nth(chosen, 5, seeded(seed, "left out", part)))
    about = (
        "The `valid` lists of the corpus in two parts: thresholds are chosen on `calibration`, figures come "
        "from `report`. `left_out`: those of `music` that the index does not hold. Written by "
        "protocol.py --write-split."
    )
    return {"about": about, "seed": seed, **parts}


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of the `valid` lists, by path. `known` is in the catalogue, `left_out` is not."""

    known: tuple[str, ...]
    left_out: tuple[str, ...]
    noise: tuple[str, ...]
    speech: tuple[str, ...]
    ir_room: tuple[str, ...]
    ir_room_synth: tuple[str, ...]
    ir_mic: tuple[str, ...]


@functools.cache
def _read(path: Path) -> dict[str, object]:
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{path} should hold an object")
    return values


def load_part(name: str, split_file: Path = SPLIT_FILE) -> Part:
    """Read one part of the committed split. Left-out tracks that have a twin in the catalogue are dropped."""
    if name not in PARTS:
        raise ValueError(f"part is one of {', '.join(PARTS)}, not {name!r}")
    lists = _read(split_file)[name]
    lists_by_kind = {kind: tuple(lists[kind]) for kind in KINDS if kind != "music"}  # type: ignore[index]
    left_out = set(lists["left_out"])  # type: ignore[index]
    everywhere_out = set(left_out_of_index(split_file))
    twins = near_duplicates()
    queried = {p for p in left_out if twins.get(p, frozenset()) <= everywhere_out}
    known = tuple(p for p in lists["music"] if p not in left_out)  # type: ignore[index]
    return Part(known=known, left_out=tuple(sorted(queried)), **lists_by_kind)


def left_out_of_index(split_file: Path = SPLIT_FILE) -> list[str]:
    """Return the tracks, of both parts, that the catalogue must not hold."""
    split = _read(split_file)
    return sorted(path for part in PARTS for path in split[part]["left_out"])  # type: ignore[index]


def near_duplicates(path: Path | None = None) -> dict[str, frozenset[str]]:
    """Return, for each track with twins (the same music under two paths), its twins."""
    path = path or NEAR_DUPLICATES_FILE
    if not path.is_file():
        return {}
    twins: dict[str, set[str]] = {}
    pairs: Iterable[Sequence[str]] = _read(path).get("pairs", [])  # type: ignore[assignment]
    for first, second in pairs:
        twins.setdefault(first, set()).add(second)
        twins.setdefault(second, set()).add(first)
    return {track: frozenset(others) for track, others in twins.items()}
