"""Training as a user starts it: in its own process, with worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="training needs requirements-train.txt")

from overheard_train.checkpoints import load_checkpoint

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in ("device", "train")),
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
ENDLESS = ("--steps", 1_000_000, "--pairs", 24)  # small batches: most of the time is the start


def start(corpus: Path, checkpoint: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start ``overheard-train fit``."""
    fit = ("fit", "--recipe", "trial", "--data", corpus, "--checkpoint", checkpoint, *arguments)
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "overheard_train.cli", *map(str, fit)],
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def training(corpus: Path, checkpoint: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start an endless training and return when it has begun."""
    process = start(corpus, checkpoint, *ENDLESS, *arguments)
    assert process.stderr is not None
    assert any("parameters" in line for line in iter(process.stderr.readline, ""))
    return process


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a process and for its workers, which share its standard error."""
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert "Traceback" not in err
    return process.returncode, out, err.splitlines()[-1] if err else ""


def test_fit_trains_and_prints_its_result(corpus: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "trial.npz"
    code, out, _ = ended(start(corpus, checkpoint, "--steps", 3, "--workers", 1, "--pairs", 24))
    assert code == 0
    assert out.startswith(f"{checkpoint}: step 3, loss ")
    settings = load_checkpoint(checkpoint)[1].settings[0]
    assert settings["workers"] == 1
    assert settings["n_pairs"] == 24
    assert settings["environment"]["precision"] in ("float32", "mixed_bfloat16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trial.json", "trial.npz", "trial.state.npz"]


def test_a_training_that_a_terminal_stops_saves_and_leaves_no_process(corpus: Path, tmp_path: Path) -> None:
    process = training(corpus, tmp_path / "stopped.npz")
    os.killpg(process.pid, signal.SIGINT)
    assert ended(process)[::2] == (130, "overheard-train: interrupted")
    assert load_checkpoint(tmp_path / "stopped.npz")[1].step >= 1


def test_one_training_at_a_time_writes_a_checkpoint_and_a_service_can_stop_it(
    corpus: Path, tmp_path: Path
) -> None:
    process = training(corpus, tmp_path / "one.npz")
    code, _, line = ended(start(corpus, tmp_path / "one.npz", "--steps", 1))
    assert (code, "another training is writing" in line) == (2, True)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[::2] == (130, "overheard-train: interrupted")
    assert load_checkpoint(tmp_path / "one.npz")[1].step >= 1
    assert not (tmp_path / "one.lock").exists()


def children(pid: int) -> list[int]:
    """Return the processes that a process started."""
    pids = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == pid:
            pids.append(int(status.parent.name))
    return pids


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes by /proc")
def test_a_dead_worker_ends_the_training_with_a_one_line_error(corpus: Path, tmp_path: Path) -> None:
    process = training(corpus, tmp_path / "x.npz")
    os.kill(children(process.pid)[0], signal.SIGKILL)
    code, out, line = ended(process)
    assert code == 2
    assert out == ""
    assert line.startswith("overheard-train: a process that makes batches died")


BATCHES = """
import hashlib, itertools, sys
from overheard_train.batches import Batches
from overheard_train.data import open_data
from overheard_train.pairs import make_pairs
from overheard_train.recipes import RECIPES
from overheard_train.reuse import Reuse

maker = make_pairs(RECIPES["trial"], open_data([sys.argv[1]]))
for seed, first_step, n_workers in ((0, 0, 2), (0, 1, 1), (1, 0, 1)):
    source = Batches(maker, seed, first_step, 3, n_workers, Reuse(int(sys.argv[2]), 9))
    print(*(hashlib.sha256(b[0].tobytes() + b[1].tobytes()).hexdigest() for b in itertools.islice(source, 3)))
    source.close()
    assert source.cpu_s > 0 and next(source, None) is None
"""


@pytest.mark.parametrize("reuse", [1, 2])
def test_seed_and_step_determine_a_batch_for_any_number_of_workers(corpus: Path, reuse: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BATCHES, str(corpus), str(reuse)],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    two_workers, later, other_seed = (line.split() for line in done.stdout.splitlines())
    assert two_workers[1:] == later[:2]
    assert len({*two_workers, *later, *other_seed}) == 3 + 1 + 3


KILLED = """
import sys
from overheard_train.batches import Batches
from overheard_train.data import open_data
from overheard_train.pairs import make_pairs
from overheard_train.recipes import RECIPES

for _ in Batches(make_pairs(RECIPES["trial"], open_data([sys.argv[1]])), 0, 0, 2, 2):
    print("batch", flush=True)
"""


def test_workers_end_with_a_killed_training(corpus: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(corpus)], env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"batch\n"
    process.kill()
    process.communicate(timeout=60)  # the workers hold the pipe open as long as they live
