"""Write a model's files: network, quantizer, cohort, quality estimator and manifest.

A model that joins a space has no quantizer and no cohort of its own.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overheard.files import atomic_write, sync_folder
from overheard.fingerprint import model as device
from overheard.fingerprint.cohort import Cohort
from overheard.fingerprint.quality import QualityEstimator
from overheard.fingerprint.quantizer import Quantizer
from overheard.fingerprint.runtime import Network
from overheard.fingerprint.spec import FingerprintSpec

if TYPE_CHECKING:
    from overheard_train.checkpoints import Progress
    from overheard_train.recipes import Recipe


def write_model(
    path: Path,
    spec: FingerprintSpec,
    tflite: bytes,
    quantizer: Quantizer,
    cohort: Cohort,
    quality: QualityEstimator,
    manifest: dict[str, Any],
) -> None:
    """Write the model's files, and ``NAME.json`` last.

    Parameters
    ----------
    path : of the manifest, ``NAME.json``
    manifest : fields to add to those that are computed from the other parts
    """
    parts = (tflite, quantizer.to_bytes(), cohort.to_bytes(), quality.to_bytes())
    fields = {
        "manifest_version": device.MANIFEST_VERSION,
        "name": path.stem,
        "digest": device.digest_of(spec, *parts[:3]),
        "quality_digest": device.quality_digest(parts[3]),
        "spec": spec.to_dict(),
        "spec_digest": spec.digest(),
        "code_bytes": list(quantizer.widths),
        "n_cells": len(quantizer.cells),
        **manifest,
    }
    _write_together(path, {**dict(zip(device.PARTS, parts, strict=True)), ".json": _text(fields)})


def write_joining(
    path: Path, teacher: device.Model, tflite: bytes, quality: QualityEstimator, manifest: dict[str, Any]
) -> None:
    """Write a model that joins the space of another, whose files are beside `path`.

    Parameters
    ----------
    path : of the manifest, ``NAME.json``
    teacher : a model of the space
    manifest : fields to add to those that are computed from the other parts
    """
    space = teacher.space
    quantizer, cohort = (path.with_name(space.name + suffix).read_bytes() for suffix in device.SPACE_PARTS)
    estimator = quality.to_bytes()
    fields = {
        "manifest_version": device.MANIFEST_VERSION,
        "name": path.stem,
        "space": space.to_dict(),
        "digest": device.digest_of(teacher.spec, tflite, quantizer, cohort),
        "quality_digest": device.quality_digest(estimator),
        "spec": teacher.spec.to_dict(),
        "spec_digest": teacher.spec.digest(),
        "code_bytes": list(teacher.quantizer.widths),
        "n_cells": len(teacher.quantizer.cells),
        **manifest,
    }
    contents = {".tflite": tflite, ".quality.npz": estimator, ".json": _text(fields)}
    _write_together(path, contents)
    for suffix in device.SPACE_PARTS:
        path.with_suffix(suffix).unlink(missing_ok=True)  # of an earlier model of this name


def _text(fields: dict[str, Any]) -> bytes:
    return (json.dumps(fields, indent=1) + "\n").encode()


def _write_together(path: Path, contents: dict[str, bytes]) -> None:
    """Write files that differ in their suffix; rename them only after all of them are on the disk."""
    targets = {path.with_suffix(f"{suffix}.partial"): path.with_suffix(suffix) for suffix in contents}
    try:
        for partial, content in zip(targets, contents.values(), strict=True):
            with atomic_write(partial) as file:
                file.write(content)
        for partial, target in targets.items():
            partial.replace(target)
    finally:
        for partial in targets:
            partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def training_facts(recipe: Recipe, progress: Progress) -> dict[str, Any]:
    """Return how a network was trained, for the manifest."""
    from overheard_train.checkout import commit

    return {**dataclasses.asdict(progress), "recipe_values": recipe.to_dict(), "commit": commit()}


def network_facts(tflite: bytes) -> dict[str, Any]:
    """Return the size, the scales and the zero points of a network, for the manifest."""
    network = Network(tflite)
    return {
        "bytes": len(tflite),
        "input": {"scale": float(network.input_scale), "zero_point": int(network.input_zero_point)},
        "output": {"scale": float(network.output_scale), "zero_point": int(network.output_zero_point)},
    }
