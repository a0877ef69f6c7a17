"""The audio hashes that earlier releases kept in JSON: read if intact, and otherwise left out."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from overheard.index.file_hashes_json import load_json

ROW = ["/music/a.flac", 100, 5, "f" * 16]


def written(path: Path, body: bytes, digest: str | None = None) -> Path:
    digest = hashlib.sha256(body).hexdigest() if digest is None else digest
    path.write_bytes(f"overheard file hashes 1 {digest}".encode() + b"\n" + body)
    return path


def test_an_intact_list_is_read(tmp_path: Path) -> None:
    rows = [ROW, ["/music/\udcff.mp3", 0, -1, "a"]]
    path = written(tmp_path / "x.index.json", json.dumps({"files": rows}).encode())
    assert list(load_json(path)) == [tuple(row) for row in rows]


@pytest.mark.parametrize(
    "files",
    [
        [ROW, ROW[:3]],
        [ROW, [*ROW, 1]],
        [ROW, {}],
        [ROW, [5, *ROW[1:]]],
        [ROW, [*ROW[:3], None]],
        [ROW, ["a", -1, 5, "f"]],
        [ROW, ["a", 1.5, 5, "f"]],
        [ROW, ["a", 1, "5", "f"]],
        {},
    ],
)
def test_a_list_with_an_invalid_row_is_left_out(tmp_path: Path, files: object) -> None:
    assert list(load_json(written(tmp_path / "x", json.dumps({"files": files}).encode()))) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"{", b"[" * 10_000])
def test_what_is_no_list_is_left_out(tmp_path: Path, body: bytes) -> None:
    assert list(load_json(written(tmp_path / "x", body))) == []


def test_a_damaged_or_missing_list_is_left_out(tmp_path: Path) -> None:
    body = json.dumps({"files": [ROW]}).encode()
    path = written(tmp_path / "x", body, hashlib.sha256(body + b" ").hexdigest())
    assert list(load_json(path)) == []
    path.write_bytes(body)
    assert list(load_json(path)) == []
    assert list(load_json(tmp_path / "missing")) == []
    os.mkfifo(tmp_path / "fifo")
    assert list(load_json(tmp_path / "fifo")) == []
