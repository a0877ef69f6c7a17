"""The locked versions: within the ranges that users get, one for each Python and machine, and with hashes."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
# The Python versions that script/setup accepts, on the machines that script/lock resolves for.
PLATFORMS = list(itertools.product(("3.10", "3.11", "3.12", "3.13"), ("x86_64", "aarch64")))
LOCKS = {
    "device": (
        "requirements-device.txt",
        "requirements-sinks.txt",
        "requirements-watch.txt",
        "requirements-web.txt",
    ),
    "test": (
        "requirements-device.txt",
        "requirements-train.txt",
        "requirements-dask.txt",
        "requirements-sinks.txt",
        "requirements-web.txt",
        "requirements-dev.txt",
    ),
}
RENEW = "run script/lock"


def lines(name: str) -> list[str]:
    """Return the requirements of a file, each with its options."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def pins(name: str) -> list[Requirement]:
    """Return the locked requirements and check that each has a hash."""
    found = []
    for line in lines(f"requirements/{name}.lock"):
        requirement, *hashes = re.split(r"\s+--hash=", line)
        assert hashes, f"{requirement} has no hash: {RENEW}"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", value) for value in hashes), requirement
        found.append(Requirement(requirement))
    return found


def environment(python: str, machine: str) -> dict[str, str]:
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": machine,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }


def applies(marker: Marker | None, where: dict[str, str]) -> bool:
    return marker is None or marker.evaluate(where)


def versions(name: str, where: dict[str, str]) -> dict[str, str]:
    """Return the locked version of each package for one Python and machine."""
    found: dict[str, str] = {}
    for pin in pins(name):
        if applies(pin.marker, where):
            (specifier,) = pin.specifier
            assert specifier.operator == "=="
            assert canonicalize_name(pin.name) not in found, f"{pin.name} is locked twice"
            found[canonicalize_name(pin.name)] = specifier.version
    return found


@pytest.mark.parametrize(("python", "machine"), PLATFORMS)
@pytest.mark.parametrize("lock", LOCKS)
def test_locked_versions_are_within_the_ranges(lock: str, python: str, machine: str) -> None:
    where = environment(python, machine)
    locked = versions(lock, where)
    for requirement in map(Requirement, (line for name in LOCKS[lock] for line in lines(name))):
        if applies(requirement.marker, where):
            version = locked.get(canonicalize_name(requirement.name))
            assert version is not None, f"{requirement.name} is not locked: {RENEW}"
            assert requirement.specifier.contains(version), f"{requirement} excludes {version}: {RENEW}"


@pytest.mark.parametrize(("python", "machine"), PLATFORMS)
def test_the_locks_agree(python: str, machine: str) -> None:
    where = environment(python, machine)
    everything = versions("test", where)
    assert versions("device", where).items() <= everything.items(), RENEW
    assert versions("build", where).items() <= everything.items(), RENEW


def test_the_lock_for_tflite_runtime_is_within_the_ranges_of_a_32_bit_pi() -> None:
    locked = versions("tflite", environment("3.11", "x86_64"))
    for requirement in map(Requirement, lines("requirements-device.txt")):
        if applies(requirement.marker, environment("3.11", "armv7l")):
            assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), RENEW


def test_the_build_lock_contains_the_build_requirements_of_pyproject() -> None:
    required = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"][
        "requires"
    ]
    locked = versions("build", environment("3.11", "x86_64"))
    assert [canonicalize_name(Requirement(text).name) for text in required] == list(locked)
    for requirement in map(Requirement, required):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), RENEW
