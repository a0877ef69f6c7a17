"""Load mutated models, and print what happened to each as a line of JSON.

    mutated_models.py FIRST [--seconds S | --count N]

A number always gives the same mutation, so that ``mutated_models.py NUMBER --count 1`` repeats a failure.
"""

from __future__ import annotations

import copy
import io
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from attempts import ACCEPTED, refusal, repeat
from mutated_packs import BOMBS, HOSTILE, flipped, replace_somewhere

from overheard.errors import ModelError
from overheard.fingerprint import runtime
from overheard.fingerprint.embedder import Embedder
from overheard.fingerprint.json_values import JsonValueError
from overheard.fingerprint.model import PARTS, SPACE_PARTS, Model, digest_of, load_model, quality_digest
from overheard.fingerprint.spec import FingerprintSpec
from overheard.recognize.matching.scoring import Scoring
from overheard.settings import MODELS_DIR
from overheard.text import one_line

SHIPPED, SPACE = "small", "overheard"  # a model that joined the space of another, whose files it shares
Files = dict[str, bytes]


def shipped() -> Files:
    """Return the contents of the files of the small shipped model, by suffix."""
    return {
        suffix: path_of(MODELS_DIR / f"{SHIPPED}.json", suffix).read_bytes() for suffix in (".json", *PARTS)
    }


def path_of(manifest: Path, suffix: str) -> Path:
    """Return the path of one of the files of a model."""
    return manifest.with_name(SPACE + suffix) if suffix in SPACE_PARTS else manifest.with_suffix(suffix)


class Mutator:
    """Makes one mutation of a model for each number."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.manifest = json.loads(files[".json"])

    def __call__(self, number: int) -> Files:
        rng = random.Random(number)  # noqa: S311
        ways: list[Callable[[random.Random], Files]] = [
            *(self.damaged, self.strange_manifest, self.strange_spec, self.strange_tables, self.strange_file),
            self.strange_calibration,
        ]
        return rng.choice(ways)(rng)

    def damaged(self, rng: random.Random) -> Files:
        """Change or cut off one file, as a bad disk does."""
        suffix = rng.choice(list(self.files))
        content = flipped(self.files[suffix], rng)
        return {**self.files, suffix: content[: rng.choice([None, rng.randrange(len(content))])]}

    def strange_file(self, rng: random.Random) -> Files:
        """Replace one file by something else, with the correct digest, unless it is the network."""
        suffix = rng.choice(list(self.files))
        content = rng.choice([b"", rng.randbytes(300), self.files[rng.choice(PARTS)], rng.choice(BOMBS)])
        return self.signed({**self.files, suffix: content})

    def strange_manifest(self, rng: random.Random) -> Files:
        manifest = copy.deepcopy(self.manifest)
        for _ in range(rng.randint(1, 3)):
            replace_somewhere(manifest, rng)
        return {**self.files, ".json": json.dumps(manifest).encode()}

    def strange_calibration(self, rng: random.Random) -> Files:
        manifest = copy.deepcopy(self.manifest)
        field = rng.choice(["scoring", "compact_scoring", "own_scoring", "name", "space", "training"])
        if isinstance(manifest.get(field), dict) and rng.random() < 0.8:
            replace_somewhere(manifest[field], rng)
        else:
            manifest[field] = copy.deepcopy(rng.choice(HOSTILE))
        return {**self.files, ".json": json.dumps(manifest).encode()}

    def strange_spec(self, rng: random.Random) -> Files:
        manifest = copy.deepcopy(self.manifest)
        replace_somewhere(manifest["spec"], rng)
        return self.signed({**self.files, ".json": json.dumps(manifest).encode()})

    def strange_tables(self, rng: random.Random) -> Files:
        """Change tables of one file, with the correct digest."""
        suffix = rng.choice(PARTS[1:])
        with np.load(io.BytesIO(self.files[suffix])) as stored:
            tables = {name: stored[name] for name in stored.files}
        for _ in range(rng.randint(1, 2)):
            name = rng.choice(list(tables))
            changed = strange_table(tables.pop(name), rng)
            if changed is not None:
                tables[name] = changed
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **tables)
        return self.signed({**self.files, suffix: buffer.getvalue()})

    def signed(self, files: Files) -> Files:
        """Return the files with correct digests, as an attacker would; the network stays the shipped one."""
        files = {**files, ".tflite": self.files[".tflite"]}
        try:
            manifest = json.loads(files[".json"])
            spec = FingerprintSpec.from_dict(manifest["spec"])
        except (ValueError, KeyError, TypeError, RecursionError, JsonValueError):
            return files
        manifest["digest"] = digest_of(spec, *(files[suffix] for suffix in PARTS[:3]))
        manifest["quality_digest"] = quality_digest(files[".quality.npz"])
        if isinstance(manifest.get("space"), dict):
            manifest["space"]["digest"] = digest_of(spec, *(files[suffix] for suffix in SPACE_PARTS))
        return {**files, ".json": json.dumps(manifest).encode()}


def strange_table(values: np.ndarray, rng: random.Random) -> np.ndarray | None:
    """Return a table with another type, shape or values; None to leave it out."""
    way = rng.randrange(8)
    if way == 0:
        return None
    if way == 1:
        return values[: rng.randrange(len(values))]
    if way == 2:
        return values[..., : rng.randrange(values.shape[-1])]
    if way == 3:
        return np.repeat(values, 2, axis=rng.randrange(values.ndim))
    if way == 4:
        return values.astype(rng.choice(["f8", "i1", "u2", "?", "S3"]))
    if way == 5:
        return rng.choice([np.zeros(0, values.dtype), np.zeros((3,) * values.ndim, values.dtype), values[0]])
    changed = values.copy()
    highest = [] if values.dtype.kind == "f" else [np.iinfo(values.dtype).max]
    strange = rng.choice([0, *(highest or (np.nan, np.inf, -np.inf, 6e4))])
    changed.flat[[rng.randrange(values.size) for _ in range(5)]] = strange
    return changed


def use(model: Model) -> None:
    """Do what opening a recognizer and indexing do with a model, on a little noise."""
    one_line(model.name)
    for kind in ({}, {"compact": True}, {"own": True}):
        Scoring.from_manifest(model.manifest, **kind)
    embedder = Embedder(model)
    noise = np.random.default_rng(0).normal(-40, 10, (3, model.spec.n_frames, model.spec.frontend.n_mels))
    queries = embedder.query(noise.astype(np.float32))
    for width in model.quantizer.widths:
        cells, codes = model.quantizer.encode(queries.embeddings, width)
        model.quantizer.decode(cells, codes)
    model.encode_track(queries.embeddings)
    model.quantizer.nearest_cells(queries.embeddings[0], 4)


def only(network: bytes) -> None:
    """Let the runtime load no network but this one: an altered one can crash it."""
    original = runtime.Network.__init__

    def checked(self: runtime.Network, tflite: bytes, *args: Any, **kwargs: Any) -> None:
        if tflite != network:
            raise AssertionError("an altered network reaches the runtime")
        original(self, tflite, *args, **kwargs)

    runtime.Network.__init__ = checked  # type: ignore[method-assign]


def main() -> None:
    """Load and use one mutation after the other."""
    with tempfile.TemporaryDirectory() as name:
        path, files = Path(name) / "m.json", shipped()
        only(files[".tflite"])
        mutate = Mutator(files)

        def prepare(number: int) -> None:
            for suffix, content in mutate(number).items():
                path_of(path, suffix).write_bytes(content)

        def attempt() -> str:
            try:
                use(load_model(path))
            except ModelError as error:
                return refusal(str(error))
            return ACCEPTED

        repeat(prepare, attempt)


if __name__ == "__main__":
    main()
