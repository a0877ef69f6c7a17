"""`packs export` and `merge` while they are killed, and on a full disk."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kills import killed_at
from overheard.catalogue.layers import write_layer
from overheard.catalogue.pack import open_pack, verify_pack
from overheard.catalogue.share import export_pack, merge_packs
from overheard.errors import PackError
from repositories import entries, pack_of


def contents(path: Path) -> list[str] | None:
    """Return the titles of a pack's tracks, of which every byte was verified; None if there is no pack."""
    if not path.exists():
        return None
    verify_pack(path)
    return sorted(track.title for track in open_pack(path).tracks)


def export(folder: Path) -> None:
    export_pack(open_pack(folder / "one.pack"), folder / "target.pack")


def merge(folder: Path) -> None:
    merge_packs(
        [open_pack(folder / f"{name}.pack") for name in ("one", "two", "target")], folder / "target.pack"
    )


@pytest.mark.parametrize(("change", "exists"), [(export, False), (export, True), (merge, True)])
def test_a_kill_at_any_point_leaves_the_old_or_the_new_pack(
    tmp_path: Path, change: Callable[[Path], None], exists: bool
) -> None:
    start = tmp_path / "start"
    start.mkdir()
    write_layer(open_pack(pack_of(start / "one.pack", entries(range(5)))), entries(range(5, 7)))
    pack_of(start / "two.pack", entries(range(4, 9)))
    if exists:
        write_layer(open_pack(pack_of(start / "target.pack", entries(range(20, 24)))), entries(range(30, 31)))
    old = contents(start / "target.pack")
    states = []
    for number in itertools.count(1):
        folder = tmp_path / str(number)
        shutil.copytree(start, folder)
        killed = killed_at(number, lambda: change(folder))  # noqa: B023
        states.append(contents(folder / "target.pack"))
        change(folder)  # nothing that was left behind is in the way of the next run
        new = contents(folder / "target.pack")
        assert states[-1] in (old, new)
        assert [contents(folder / f"{name}.pack") for name in ("one", "two")] == [
            contents(start / f"{name}.pack") for name in ("one", "two")
        ]
        if not killed:
            break
    assert states[-1] == new
    assert states[0] == old
    assert len(states) > 2, "nothing was killed"


@pytest.mark.parametrize(("change", "exists"), [(export, False), (export, True), (merge, True)])
def test_a_full_disk_leaves_the_old_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], exists: bool
) -> None:
    pack_of(tmp_path / "one.pack", entries(range(5)))
    pack_of(tmp_path / "two.pack", entries(range(4, 9)))
    if exists:
        pack_of(tmp_path / "target.pack", entries(range(20, 24)))
    before = sorted(os.listdir(tmp_path)), contents(tmp_path / "target.pack")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PackError, match="No space left"):
        change(tmp_path)
    assert (sorted(os.listdir(tmp_path)), contents(tmp_path / "target.pack")) == before
