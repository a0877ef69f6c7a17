"""Open mutated packs, and print what happened to each as a line of JSON.

    mutated_packs.py FIRST [--seconds S | --count N]

A number always gives the same mutation, so that ``mutated_packs.py NUMBER --count 1`` repeats a failure.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import random
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from attempts import ACCEPTED, refusal, repeat

from overheard.catalogue import pack_format
from overheard.catalogue.pack import TrackEntry, open_pack, write_pack
from overheard.commands.packs_show import describe, to_table
from overheard.errors import PackError
from overheard.fingerprint.spec import SPEC
from overheard.settings import Settings

HOSTILE: list[Any] = [
    *(None, True, False, [], {}, "", "22", -1, 0, 1, 22.9, 1e300, -1e300, 10**17, -(10**17), 2**63, 10**4000),
    *(float("nan"), float("inf"), float("-inf"), "\ud800", "\x1b[2J\n", "a\0b", "x" * 100_000, [[]] * 10_000),
    *(
        "9999-12-31T23:59:59-12:00",
        "0001-01-01T00:00:00+12:00",
        [None],
        {"\udfff": "\ud800"},
        [["/x", -1, 1.5]],
    ),
]
BOMBS = [
    *(b" " * (1 << 25), b"[" * 200_000, b"9" * 1_000_000, b'{"columns":[],"rows":[' + b"[]," * 3_000_000),
    *(
        b'{"a":"' + b"\xf0\x9f\x8e\xb5" * (1 << 21) + b'"}',
        b'{"columns":' + b'["",' * 900 + b"1",
        b"1e400",
        b"NaN",
    ),
]

Parts = dict[str, bytes]


def valid_pack(path: Path) -> bytes:
    """Write a small pack and return its bytes."""
    rng = np.random.default_rng(0)
    entries = [
        TrackEntry(
            title=f"Title {number}",
            artist="Björk",
            path=f"/music/{number}\udcff.flac",
            duration_s=n + 0.6,
            size=number,
            mtime_ns=1,
            extras={"licence": "CC0"},
            also=(("/copy.flac", 1, 2),),
            packed_cells=rng.integers(0, 1 << 16, n, dtype=np.uint16),
            codes=rng.integers(0, 256, (n, 4), dtype=np.uint8),
        )
        for number, n in enumerate((3, 40, 1))
    ]
    write_pack(path, "music", "feed" * 4, SPEC, entries)
    return path.read_bytes()


def signed(manifest: bytes, rest: bytes) -> bytes:
    """Return a file with this manifest and a correct header."""
    base = -(-(pack_format.HEADER.size + len(manifest)) // 64) * 64
    header = pack_format.HEADER.pack(
        b"OVERHEARD PACK\n\0", 1, len(manifest), base + len(rest), hashlib.sha256(manifest).digest()
    )
    return (header + manifest).ljust(base, b"\0") + rest


class Mutator:
    """Makes one mutation of a pack for each number."""

    def __init__(self, content: bytes) -> None:
        view = memoryview(content)
        self.content = content
        self.manifest = pack_format.read_manifest(view)
        self.parts = {k: bytes(v) for k, v in pack_format.read_parts(view, self.manifest).items()}
        self.table = json.loads(zlib.decompress(self.parts["tracks"]).decode("utf-8", "surrogatepass"))

    def __call__(self, number: int) -> bytes:
        rng = random.Random(number)  # noqa: S311
        if number < len(BOMBS):
            return self.resigned(self.manifest, {**self.parts, "tracks": zlib.compress(BOMBS[number])})
        ways: list[Callable[[random.Random], bytes]] = [
            *(self.damaged, self.spliced, self.strange_manifest, self.strange_tracks, self.strange_parts),
            *(self.strange_header, self.strange_text),
        ]
        return rng.choice(ways)(rng)

    def resigned(self, facts: dict[str, Any], parts: Parts) -> bytes:
        """Return a file of these contents with correct checksums."""
        file = io.BytesIO()
        pack_format.write_parts(
            file, facts, {name: pack_format.Part.of([part]) for name, part in parts.items()}
        )
        return file.getvalue()

    def damaged(self, rng: random.Random) -> bytes:
        return flipped(self.content, rng)[: rng.choice([None, rng.randrange(len(self.content))])]

    def spliced(self, rng: random.Random) -> bytes:
        one, two, three = (rng.randrange(len(self.content)) for _ in range(3))
        return self.content[:one] + self.content[two : two + rng.randrange(300)] + self.content[three:]

    def strange_manifest(self, rng: random.Random) -> bytes:
        manifest = copy.deepcopy(self.manifest)
        replace_somewhere(manifest, rng)
        text = json.dumps(manifest, separators=(",", ":")).encode()
        rest = self.content[-(-(64 + len(json.dumps(self.manifest, separators=(",", ":")))) // 64) * 64 :]
        return signed(text, rest)

    def strange_tracks(self, rng: random.Random) -> bytes:
        table = copy.deepcopy(self.table)
        for _ in range(rng.randint(1, 3)):
            replace_somewhere(table, rng)
        text = json.dumps(table, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
        return self.resigned(self.manifest, {**self.parts, "tracks": zlib.compress(text)})

    def strange_text(self, rng: random.Random) -> bytes:
        text = flipped(zlib.decompress(self.parts["tracks"]), rng)
        packed = zlib.compress(text) if rng.random() < 0.7 else flipped(self.parts["tracks"], rng)
        return self.resigned(self.manifest, {**self.parts, "tracks": packed})

    def strange_parts(self, rng: random.Random) -> bytes:
        name = rng.choice(list(self.parts))
        part = rng.choice([b"", rng.randbytes(len(self.parts[name])), rng.randbytes(rng.randrange(400))])
        return self.resigned(self.manifest, {**self.parts, name: part})

    def strange_header(self, rng: random.Random) -> bytes:
        fields = list(pack_format.HEADER.unpack_from(self.content))
        fields[rng.choice([1, 2, 3])] = rng.choice([0, 1, 64, 2**31, 2**32 - 1])
        return pack_format.HEADER.pack(*fields) + self.content[64:]


def flipped(content: bytes, rng: random.Random) -> bytes:
    """Return the bytes with a few changed."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def replace_somewhere(values: Any, rng: random.Random) -> None:
    """Replace, remove or add a value somewhere in nested JSON values."""
    keys = list(values) if isinstance(values, dict) else list(range(len(values)))
    if not keys:
        return
    key = rng.choice(keys)
    if isinstance(values[key], dict | list) and rng.random() < 0.8:
        replace_somewhere(values[key], rng)
    elif rng.random() < 0.1:
        del values[key]
    else:
        # A copy, because the next replacement may be inside this value.
        values[key] = copy.deepcopy(rng.choice(HOSTILE))


def main() -> None:
    """Do with each mutation what `listen` and `packs` do with a pack."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "music.pack"
        mutate = Mutator(valid_pack(path))

        def attempt() -> str:
            try:
                [track.to_track("music") for track in open_pack(path).tracks]
            except PackError as error:
                return refusal(str(error))
            else:
                return ACCEPTED
            finally:
                print("\n".join(to_table([describe(path, None, Settings())])), file=io.StringIO())

        repeat(lambda number: path.write_bytes(mutate(number)), attempt)


if __name__ == "__main__":
    main()
