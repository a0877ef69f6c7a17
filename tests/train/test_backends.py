"""Training on JAX: the tests of ``test_fit.py`` again, and the command with its worker processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jax", reason="the JAX backend needs jax")

ROOT = Path(__file__).parents[2]
TWO_DEVICES = {
    "KERAS_BACKEND": "jax",
    "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in ("device", "train")),
}
FIT = """
import sys
from overheard_train import cli
code = cli.main(sys.argv[1:])
import keras
spread = keras.distribution.distribution()
print(keras.backend.backend(), type(spread).__name__, spread.device_mesh.shape)
sys.exit(code)
"""


def run(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | TWO_DEVICES,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_training_resumes_exactly_and_other_losses_train() -> None:
    wanted = "interrupt or exact or nmfp"
    out = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/train/test_fit.py", "-k", wanted)
    assert "3 passed" in out


def test_the_command_trains_on_every_device(corpus: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "trial.npz"
    told = ("--recipe", "trial", "--data", corpus, "--checkpoint", checkpoint, "--steps", 3)
    lines = run("-c", FIT, "fit", *told).splitlines()
    assert lines[0].startswith(f"{checkpoint}: step 3, loss ")
    assert lines[1] == "jax DataParallel (2,)"
