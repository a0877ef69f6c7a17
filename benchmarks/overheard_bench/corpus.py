"""Read the corpus: its manifest, its audio, and the committed split of its `valid` lists."""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soxr

from overheard.hear.resampler import to_int16
from overheard.hear.source import Block
from overheard_bench import BENCHMARKS
from overheard_train.checkout import default_corpus

SAMPLE_RATE = 8000
DEFAULT_CORPUS = default_corpus()  # $OVERHEARD_CORPUS, or the folder corpus of the checkout
SPLIT_SEED = 20261123
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
    """The corpus's manifest, and its audio at 8 kHz. Decoded files stay in memory as int16.

    Raises
    ------
    FileNotFoundError
        If the folder has no manifest.
    RuntimeError
        If the manifest is not a CSV file with the columns ``seconds`` and :data:`ITEM_COLUMNS`.
    """

    def __init__(self, root: Path | str = DEFAULT_CORPUS) -> None:
        self.root = Path(root)
        manifest = self.root / "manifest.csv"
        if not manifest.is_file():
            remedy = "use --corpus FOLDER, or set OVERHEARD_CORPUS"
            raise FileNotFoundError(f"there is no corpus: {manifest} is missing; {remedy}")
        text = manifest.read_text(encoding="utf-8")
        rows = csv.DictReader(text.splitlines(), strict=True)
        if missing := {"seconds", *ITEM_COLUMNS} - set(rows.fieldnames or ()):
            raise RuntimeError(f"{manifest} lacks the columns {', '.join(sorted(missing))}")
        try:
            self.items = tuple(_item(row) for row in rows)
        except (ValueError, csv.Error) as error:
            raise RuntimeError(f"{manifest}, line {rows.line_num}: {error}") from error
        self.digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._audio: dict[str, Block] = {}

    def of(self, kind: str, split: str | None = None) -> list[Item]:
        """Return the rows of a kind, in one split or in both."""
        return [item for item in self.items if item.kind == kind and split in (None, item.split)]

    def load(self, path: str) -> Block:
        """Decode a file of the corpus to (n,) int16 mono 8 kHz."""
        if path not in self._audio:
            waveform, rate = decode(self.root / path)
            if rate != SAMPLE_RATE:
                waveform = soxr.resample(waveform, rate, SAMPLE_RATE, quality="HQ")
            self._audio[path] = to_int16(waveform)
        return self._audio[path]


def _item(row: dict[str, str | None]) -> Item:
    values = {name: row[name] for name in ("seconds", *ITEM_COLUMNS)}
    filled = {name: value for name, value in values.items() if value is not None}
    if len(filled) < len(values):
        raise ValueError("the row has too few columns")
    return Item(seconds=float(filled.pop("seconds")), **filled)


def decode(path: Path) -> tuple[npt.NDArray[np.float32], int]:
    """Decode a file to (n,) float32 mono at its own rate, without overheard: peers get the same audio."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        mono = av.AudioResampler(format="fltp", layout="mono", rate=stream.rate)
        frames = (*container.decode(stream), None)  # None drains
        blocks = [out.to_ndarray()[0] for frame in frames for out in mono.resample(frame)]
        return np.concatenate(blocks).astype(np.float32, copy=False), stream.rate


def seeded(seed: int, *names: object) -> np.random.Generator:
    """Return a generator that depends only on the seed and the names, not on earlier draws."""
    text = "/".join(str(n) for n in (seed, *names))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


def every_nth(items: Sequence[Item], n: int, rng: np.random.Generator) -> set[str]:
    """Pick one item in n, spread evenly over the sources, by systematic sampling in order of source."""
    shuffled = [items[i] for i in rng.permutation(len(items))]
    ordered = sorted(shuffled, key=lambda item: item.source)
    return {item.path for item in ordered[int(rng.integers(n)) :: n]}


def make_split(corpus: Corpus, seed: int) -> dict[str, object]:
    """Divide the `valid` lists: one third for calibration, two thirds for the report.

    One fifth of each part's music is left out of the catalogue.
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
        "The `valid` lists of the corpus in two parts: thresholds are selected on `calibration`, figures "
        "come from `report`. `left_out` lists the `music` that the catalogue does not contain. Written by "
        "queries.py --write-split."
    )
    return {"about": about, "seed": seed, **parts}


@dataclasses.dataclass(frozen=True)
class Part:
    """Paths of one part of the `valid` lists. `known` music is in the catalogue, `left_out` music is not."""

    known: tuple[str, ...]
    left_out: tuple[str, ...]
    noise: tuple[str, ...]
    speech: tuple[str, ...]
    ir_room: tuple[str, ...]
    ir_room_synth: tuple[str, ...]
    ir_mic: tuple[str, ...]


@functools.cache
def _read(path: Path) -> dict[str, Any]:
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{path} must contain a JSON object")
    return values


def load_part(name: str, split_file: Path = SPLIT_FILE) -> Part:
    """Read one part of the committed split.

    Left-out tracks with a near-duplicate in the catalogue are dropped: a recognition would not be an error.
    """
    if name not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, not {name!r}")
    lists: dict[str, list[str]] = _read(split_file)[name]
    other_lists = {kind: tuple(lists[kind]) for kind in KINDS if kind != "music"}
    left_out = set(lists["left_out"])
    not_in_catalogue = set(left_out_of_index(split_file))
    duplicates = near_duplicates()
    queried = {path for path in left_out if duplicates.get(path, frozenset()) <= not_in_catalogue}
    known = tuple(path for path in lists["music"] if path not in left_out)
    return Part(known=known, left_out=tuple(sorted(queried)), **other_lists)


def left_out_of_index(split_file: Path = SPLIT_FILE) -> list[str]:
    """Return the tracks of both parts that the catalogue must not contain."""
    split = _read(split_file)
    return sorted(path for part in PARTS for path in split[part]["left_out"])


def near_duplicates(path: Path | None = None) -> dict[str, frozenset[str]]:
    """Return the near-duplicates of each track that has any: paths of files with the same music."""
    path = path or NEAR_DUPLICATES_FILE
    if not path.is_file():
        return {}
    duplicates: dict[str, set[str]] = {}
    for first, second in _read(path)["pairs"]:
        duplicates.setdefault(first, set()).add(second)
        duplicates.setdefault(second, set()).add(first)
    return {track: frozenset(others) for track, others in duplicates.items()}
