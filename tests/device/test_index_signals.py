"""Signals to `overheard index`: it always ends within seconds, with its workers and without a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import audio_files
import indexing_fakes
from overheard.index.journal import Journal

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
LIMIT_S = 30.0  # far more than needed, for busy machines


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for seed in range(12):
        audio_files.encode(folder / f"{seed}.wav", audio_files.music(3.0, seed), 8000, "pcm_s16le", "mono")
    return folder


def group(pid: int) -> list[int]:
    """Return the processes of a session that run."""
    members = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == pid and state != "Z":
            members.append(int(path.parent.name))
    return members


def interrupted(music: Path, data: Path, delay_s: float, numbers: list[signal.Signals]) -> tuple[int, str]:
    """Send signals to the process group of a run, as a terminal does; return its exit code and output."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OVERHEARD_DATA_DIR": str(data),
        "FAKE_DELAY_S": "0.3",
    }
    process = subprocess.Popen(
        [sys.executable, indexing_fakes.__file__, "cli", "index", str(music), "--jobs", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )
    journal = data / "packs" / "music.indexing.sqlite"
    deadline = time.monotonic() + LIMIT_S
    while not journal.exists() and time.monotonic() < deadline:  # from here on, signals are handled
        time.sleep(0.01)
    time.sleep(delay_s)
    for number in numbers:
        if process.poll() is None:
            os.killpg(process.pid, number)
        time.sleep(0.1)
    try:
        out, _ = process.communicate(timeout=LIMIT_S)
        while group(process.pid) and time.monotonic() < deadline + LIMIT_S:
            time.sleep(0.05)
        assert group(process.pid) == []
    finally:
        for pid in group(process.pid):
            os.kill(pid, signal.SIGKILL)
    return process.returncode, out


@pytest.mark.slow
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay_s", [0.0, 0.3, 1.0, 2.0])
def test_two_signals_end_the_run_and_its_workers(
    music: Path, tmp_path: Path, delay_s: float, second: signal.Signals
) -> None:
    code, out = interrupted(music, tmp_path, delay_s, [signal.SIGINT, second])
    assert code in (-second, 130)
    assert "Traceback" not in out
    path = tmp_path / "packs" / "music.indexing.sqlite"
    if code != 130:  # the finished files are not in the pack yet
        journal = Journal(path, f"{indexing_fakes.FakeFingerprinter().digest}/{indexing_fakes.CODE_BYTES}")
        assert journal.notes == []
        journal.close()
