"""The wheel as `pip install .` and pipx build it, installed on its own and used outside the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from overheard.demo.synth import synthesize, write_wav

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SAMPLE_RATE = 22050
PIECE_S = 30.0
CLIP_S = 10.0
TIMEOUT_S = 300


def run(*command: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program outside the checkout and without its source folders on the path."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(word) for word in command],
        cwd="/",
        env=clean | (env or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )


def succeed(*command: str | Path, env: dict[str, str] | None = None) -> str:
    done = run(*command, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy of what git would commit, so that neither build/ nor .venv/ gets in."""
    folder = tmp_path_factory.mktemp("build")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, os.fsdecode(listing).split("\0")):
        if (ROOT / name).is_file():  # git also lists files that are deleted but not yet committed so
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "source" / name)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    succeed(*pip, "--wheel-dir", folder, folder / "source")
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a new environment with its declared dependencies only; return its bin folder."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    succeed(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    site_packages = Path(
        succeed(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    )
    pip = (sys.executable, "-m", "pip", "--python", python)
    succeed(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
    (installed,) = metadata.distributions(name="overheard", path=[str(site_packages)])
    for name in required(installed):
        link(metadata.distribution(name), site_packages)
    succeed(*pip, "check")
    return environment / "bin"


def required(distribution: metadata.Distribution) -> set[str]:
    """Return the names of all distributions that one needs here, directly or not."""
    names: set[str] = set()
    waiting = [(distribution, "")]
    done: set[tuple[str, str]] = set()
    while waiting:
        current, extra = waiting.pop()
        for requirement in map(Requirement, current.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                names.add(requirement.name)
                for wanted in {"", *requirement.extras}:
                    if (requirement.name, wanted) not in done:
                        done.add((requirement.name, wanted))
                        waiting.append((metadata.distribution(requirement.name), wanted))
    return names


def link(distribution: metadata.Distribution, site_packages: Path) -> None:
    """Link the modules and the metadata of a distribution that the tests' own environment has."""
    for top in {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}:
        target = site_packages / top
        if not target.exists() and top != "__pycache__":
            target.symlink_to(Path(str(distribution.locate_file(top))))


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pieces in music/, and clip.wav of the first."""
    folder = tmp_path_factory.mktemp("sounds")
    (folder / "music").mkdir()
    for seed in (1, 2):
        piece = synthesize(seed, PIECE_S, SAMPLE_RATE).waveform
        write_wav(folder / "music" / f"{seed}.wav", piece, SAMPLE_RATE)
        if seed == 1:
            start = round(8 * SAMPLE_RATE)
            clip = piece[start : start + round(CLIP_S * SAMPLE_RATE)]
            silence = np.zeros(2 * SAMPLE_RATE, np.float32)
            write_wav(folder / "clip.wav", np.concatenate([clip, silence]), SAMPLE_RATE)
    return folder


def test_the_wheel_holds_the_packages_and_their_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    (information,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == {"overheard", "overheard_export", "overheard_train", information}
    assert f"{information}/licenses/LICENSE" in names
    tracked = [path for path in (ROOT / "device" / "overheard").rglob("*") if path.is_file()]
    data = {path for path in tracked if path.suffix in {".json", ".npz", ".pack", ".tflite", ".typed"}}
    assert {path.suffix for path in data} == {".json", ".npz", ".pack", ".tflite", ".typed"}
    assert {str(path.relative_to(ROOT / "device")) for path in data} <= set(names)
    modules = {
        str(path.relative_to(ROOT / root))
        for root in ("device", "export", "train")
        for path in (ROOT / root).rglob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == modules


def test_index_identify_and_listen_work_from_the_wheel(programs: Path, sounds: Path, tmp_path: Path) -> None:
    own = {
        "OVERHEARD_DATA_DIR": str(tmp_path / "data"),
        "OVERHEARD_CACHE_DIR": str(tmp_path / "cache"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    overheard = programs / "overheard"
    version = succeed(
        programs / "python", "-c", "import importlib.metadata as m; print(m.version('overheard'))"
    )
    assert succeed(overheard, "--version", env=own) == f"overheard {version}"
    assert "2 tracks" in succeed(overheard, "index", sounds / "music", "--jobs", "1", env=own)

    (line,) = succeed(overheard, "identify", "--json", sounds / "clip.wav", env=own).splitlines()
    (play,) = json.loads(line)["plays"]
    assert Path(play["track"]["path"]).name == "1.wav"

    events = succeed(overheard, "listen", "--json", "--input", sounds / "clip.wav", env=own)
    assert "1.wav" in events
    assert "1" in succeed(overheard, "history", env=own)
    assert "starter" in succeed(overheard, "packs", env=own)


@pytest.mark.parametrize(
    ("program", "command"), [("overheard-train", "evaluate"), ("overheard-export", "model")]
)
def test_training_programs_without_tensorflow(programs: Path, program: str, command: str) -> None:
    assert f"usage: {program}" in succeed(programs / program, "--help")
    done = run(programs / program, command, ROOT / "train" / "checkpoints" / "overheard-tiny.npz")
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{program}: ")
    assert "'.[train]'" in line
