"""Describe the machine, the versions and the model of a measurement."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overheard.recognize.matching.scoring import FIELDS
from overheard_train.checkout import commit

if TYPE_CHECKING:
    from overheard.fingerprint.model import Model

PACKAGES = ("overheard", "ai-edge-litert", "tflite-runtime", "numpy", "scipy", "annoy", "av", "soxr")


def environment() -> dict[str, Any]:
    """Return the machine, the versions and the commit."""
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
    """Return the facts that identify a model; all others are in its manifest."""
    return {
        "name": model.manifest["name"],
        "digest": model.digest,
        "network": model.network_digest,
        "network_bytes": model.manifest["network"]["bytes"],
        **calibrations(model.manifest),
    }


def calibrations(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return a short hash of each scoring in a manifest, which shows whether it was calibrated again."""
    hashes = {}
    for name in FIELDS:
        if name in manifest:
            values = {key: value for key, value in manifest[name].items() if key != "chosen_on"}
            hashes[name] = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
    return hashes


def processor() -> str:
    """Return the name of the board if the system knows it, else that of the processor."""
    board = Path("/proc/device-tree/model")
    if board.is_file():
        return board.read_text(errors="replace").strip("\0 \n")
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
