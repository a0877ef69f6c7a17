"""The lock of an output file."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from overheard.errors import OverheardError
from overheard_train.output_files import exclusive_lock


def test_a_lock_file_that_its_owner_deletes_at_this_moment_locks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flock = tmp_path / "one.lock", fcntl.flock

    def owner_ends(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        path.unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", owner_ends)
    with exclusive_lock(path, "in use", "wait"):
        with pytest.raises(OverheardError, match="in use; wait"), exclusive_lock(path, "in use", "wait"):
            pass
        assert path.exists()
    assert not path.exists()
