"""What a figure was measured on and with."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overheard_bench import CHECKOUT

if TYPE_CHECKING:
    from overheard.fingerprint.model import Model

PACKAGES = ("overheard", "ai-edge-litert", "tflite-runtime", "numpy", "scipy", "annoy", "av", "soxr")


def environment() -> dict[str, Any]:
    """Return machine, versions and commit."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit(),
        "machine": platform.machine(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def model_facts(model: Model) -> dict[str, Any]:
    """Return what names the model: digest, sizes and its manifest."""
    return {
        "digest": model.digest,
        "dim": model.spec.dim,
        "hop_s": model.spec.hop_s,
        "segment_s": model.spec.segment_s,
        "code_bytes": list(model.quantizer.widths),
        "manifest": model.manifest,
    }


def processor() -> str:
    """Return the processor's name, or the board's."""
    board = Path("/proc/device-tree/model")
    if board.is_file():
        return board.read_text(errors="replace").strip("\0 \n")
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def commit() -> str:
    """Return the commit, marked when the checkout has other changes, or an empty string."""
    command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
