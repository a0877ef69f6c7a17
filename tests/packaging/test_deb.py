"""The Debian package: its scripts, and the test that builds and installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["postinst", "prerm", "postrm"])
def test_the_maintainer_scripts_are_valid_and_do_nothing_for_unknown_actions(name: str, tmp_path: Path):
    script = ROOT / "script" / "debian" / name
    subprocess.run(["sh", "-n", str(script)], check=True, timeout=60)
    env = {"PATH": str(tmp_path)}  # no program can be found, so none can be called
    done = subprocess.run(
        ["/bin/sh", str(script), "unknown"], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_the_output_of_the_last_test_of_the_package_shows_that_it_passed():
    text = (ROOT / "docs" / "deb-output.txt").read_text()
    assert text.endswith("\nall passed\n")
    assert "left by purge: nothing" in text


@pytest.mark.slow
def test_the_package_installs_runs_and_leaves_nothing():
    """Takes ten minutes, and is run by hand: OVERHEARD_TEST_DEB=1 as root."""
    if not os.environ.get("OVERHEARD_TEST_DEB"):
        pytest.skip("it takes ten minutes: set OVERHEARD_TEST_DEB=1, as root")
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip("needs root and debootstrap")
    subprocess.run([str(ROOT / "script" / "test-deb")], check=True, timeout=3600)
