"""Choose the model: the one in the settings, or the largest that this machine can afford to listen with.

All candidates share a space, so packs stay valid whatever is chosen. The choice is measured once and
remembered in the data folder, for this processor, this runtime and these networks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from overheard.errors import REINSTALL, ModelError
from overheard.files import atomic_write, read_regular
from overheard.fingerprint.embedder import Embedder
from overheard.fingerprint.frontend import FloatArray, log_mel
from overheard.fingerprint.json_values import JsonValueError, get_number, get_object, get_string, parse_object
from overheard.fingerprint.model import DEFAULT_MODEL, Model, load_model, read_manifest
from overheard.fingerprint.runtime import available_runtimes
from overheard.fingerprint.space import Space
from overheard.settings import MODELS_DIR, Settings
from overheard.text import one_line, shorten

log = logging.getLogger(__name__)

MAX_SHARE = 0.03  # of one core, for listening
SEGMENTS_PER_S = 0.7  # that `overheard listen` embeds in unknown music, where it embeds the most
OTHER_SHARE = 0.01  # for all else that `overheard listen` does; benchmarks/schedule.py measures both
MEASURED_S = 0.2  # processor time for each model; a run that is under way ends later
MIN_RUNS = 3
FAR_TOO_SLOW = 4  # times what is affordable, in the first run, which also makes tables
MAX_RUNS = 12
RETIRED = {"overheard-tiny": "tiny"}  # models with a space of their own, and what replaces them
FILE = "model.json"
_MAX_BYTES = 1 << 16
_MAX_SHARE = 1e6  # a limit for what a file may say
_CPUINFO = Path("/proc/cpuinfo")
_CPU_FIELDS = ("model name", "Model", "Hardware", "CPU implementer", "CPU part")

Measure = Callable[[Path], float]  # from a model's manifest to the share of a core that listening takes


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was measured and chosen.

    Attributes
    ----------
    name : of the chosen model
    shares : share of one core that `overheard listen` takes with each model, by name, largest model first
    """

    name: str
    shares: dict[str, float]


def open_model(settings: Settings) -> Model:
    """Load the model of the settings.

    Raises
    ------
    ModelError
        If a file is missing, damaged, or of a version that this overheard does not support.
    """
    path = model_path(settings)
    warn_of_removal(path)
    return load_model(path)


def model_path(settings: Settings) -> Path:
    """Return the manifest of the model in the settings, or of the chosen one.

    Raises
    ------
    ModelError
        If the setting is neither the name of a model that ships with overheard nor a file.
    """
    path = settings.model_path
    if path is None:
        return _path_of(choose(settings.data_dir).name)
    # Path.exists raises an error if the path is too long.
    if path.suffix != ".json" and not os.path.exists(path):  # noqa: PTH110
        names = sorted({shipped.stem for shipped in MODELS_DIR.glob("*.json")} - RETIRED.keys())
        remedy = f"set model to auto, {', '.join(names)}, or the path of a model's .json file"
        raise ModelError(f"there is no model {one_line(shorten(settings.model))!r}", remedy)
    return path


def removal(path: Path) -> str | None:
    """Return what to do if the next release does not have the model of a manifest; None if it has."""
    successor = RETIRED.get(path.stem)
    if path.parent != MODELS_DIR or successor is None or not _path_of(successor).exists():
        return None
    return f"set model to auto or {successor}, and index your music again: overheard index FOLDER"


def warn_of_removal(path: Path) -> None:
    """Log what :func:`removal` says. For a command that loads the model, which does it once."""
    if remedy := removal(path):
        log.warning("the next release has no model %s: %s", path.stem, remedy)


def choose(folder: Path, measure: Measure | None = None) -> Choice:
    """Return the largest model whose listening takes at most 3% of one core, or else the smallest.

    Parameters
    ----------
    folder : the data folder, where the result is remembered
    measure : replaces the measurement, in tests

    Raises
    ------
    ModelError
        If a shipped model is missing or damaged.
    """
    names = candidates()
    if len(names) == 1:
        return Choice(names[0], {})
    key = _key(names)
    shares = _remembered(folder / FILE, key, names)
    if not shares:
        shares = {name: (measure or listening_share)(_path_of(name)) for name in names}
        _remember(folder / FILE, key, shares)
    cheap_enough = [name for name in names if shares[name] <= MAX_SHARE]
    return Choice(cheap_enough[0] if cheap_enough else names[-1], shares)


def candidates() -> list[str]:
    """Return the names of the shipped models of the default model's space, largest network first."""
    sizes = {}
    manifests = {path.stem: read_manifest(path) for path in MODELS_DIR.glob("*.json")}
    digest = manifests.get(DEFAULT_MODEL, {}).get("digest")
    for name, manifest in manifests.items():
        space = Space.from_manifest(manifest)
        # A network of an earlier space of this name stays behind when the default model is exported again.
        joined = space is not None and (space.name, space.pack_digest) == (DEFAULT_MODEL, digest)
        if name == DEFAULT_MODEL or joined:
            sizes[name] = _size_of(_path_of(name).with_suffix(".tflite"))
    return sorted(sizes, key=lambda name: (-sizes[name], name)) or [DEFAULT_MODEL]


def _size_of(network: Path) -> int:
    try:
        return network.stat().st_size
    except OSError as error:
        raise ModelError(f"cannot read the model file {network} ({error.strerror})", REINSTALL) from error


def listening_share(path: Path) -> float:
    """Measure the share of one core that `overheard listen` takes with a model.

    The shortest run counts: other programs and the frequency of the processor only make runs longer. If the
    first one shows that the model is far too slow, it is the only one: it can take a second.
    """
    model = load_model(path)
    embedder = Embedder(model)
    n_samples = model.spec.segment_samples
    waveform = np.random.default_rng(0).standard_normal(n_samples).astype(np.float32) * np.float32(0.1)
    times = [_run_s(embedder, waveform)]
    if _share_of(times[0]) > FAR_TOO_SLOW * MAX_SHARE:
        return _share_of(times[0])
    while len(times) < MAX_RUNS and (len(times) < MIN_RUNS or sum(times) < MEASURED_S):
        times.append(_run_s(embedder, waveform))
    return _share_of(min(times))


def _share_of(segment_s: float) -> float:
    """Return the share of one core if a segment takes this processor time."""
    return SEGMENTS_PER_S * segment_s + OTHER_SHARE


def _run_s(embedder: Embedder, waveform: FloatArray) -> float:
    before = time.thread_time()
    embedder.query(log_mel(waveform, embedder.spec.frontend)[None])
    return time.thread_time() - before


def _path_of(name: str) -> Path:
    return MODELS_DIR / f"{name}.json"


def _key(names: list[str]) -> str:
    """Return a hash of all that the measurement depends on."""
    models = [f"{name} {read_manifest(_path_of(name)).get('digest')}" for name in names]
    runtime = next(iter(available_runtimes().items()), ())
    facts = [*models, *runtime, processor(), str(SEGMENTS_PER_S), str(OTHER_SHARE)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def processor(cpuinfo: Path = _CPUINFO) -> str:
    """Return the name of the processor as the kernel reports it, or else its architecture."""
    found: dict[str, str] = {}
    try:
        for line in read_regular(cpuinfo, 1 << 22).decode("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in _CPU_FIELDS:
                found.setdefault(name.strip(), value.strip())
    except OSError:  # macOS and Windows have none
        pass
    return ", ".join([*found.values(), platform.machine()])


def _remembered(path: Path, key: str, names: list[str]) -> dict[str, float]:
    """Return the shares that were measured earlier; empty if there are none for this machine."""
    try:
        stored = parse_object(read_regular(path, _MAX_BYTES))
        if get_string(stored, "key") != key:
            return {}
        shares = get_object(stored, "shares")
        return {name: float(get_number(shares, name, OTHER_SHARE, _MAX_SHARE)) for name in names}
    except (OSError, JsonValueError):
        return {}


def _remember(path: Path, key: str, shares: dict[str, float]) -> None:
    """Write the shares; a folder that cannot be written only means that they are measured again."""
    rounded = {name: round(share, 5) for name, share in shares.items() if math.isfinite(share)}
    text = json.dumps({"key": key, "processor": processor(), "shares": rounded}, indent=1) + "\n"
    try:
        with atomic_write(path, private=True) as file:
            file.write(text.encode())
    except OSError as error:
        log.debug("%s: cannot be written (%s)", path, error.strerror or error)
