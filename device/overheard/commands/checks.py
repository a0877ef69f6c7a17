"""What `overheard doctor` looks at."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import logging
import os
import platform
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overheard import settings as settings_module
from overheard.errors import REINSTALL, AudioError, ModelError, OverheardError, PackError
from overheard.settings import Settings
from overheard.text import size

if TYPE_CHECKING:
    from overheard.hear.source import AudioSource

log = logging.getLogger(__name__)

PACKAGES = ("numpy", "scipy", "av", "soxr", "sounddevice", "mutagen", "annoy", "platformdirs", "rich")
MEASURE_S = 1.0
SETTLE_S = 0.3  # converters begin with a click
PATIENCE_S = 12.0
FREE_BYTES = 50_000_000
CLIPPED = 0.999


@dataclasses.dataclass(frozen=True)
class Check:
    """What one look found."""

    name: str
    ok: bool
    detail: str
    remedy: str | None = None
    data: dict[str, Any] = dataclasses.field(default_factory=dict)


def examine(settings: Settings, config: Path | None = None) -> Iterator[Check]:
    """Make all checks, one after the other."""
    looks: list[tuple[str, Callable[[], list[Check]]]] = [
        ("python", check_python),
        ("packages", check_packages),
        ("runtime", check_runtime),
        ("model", lambda: check_model(settings)),
        ("packs", lambda: check_packs(settings)),
        ("portaudio", check_portaudio),
        ("microphone", lambda: check_microphone(settings)),
        ("configuration", lambda: check_config(config)),
        ("data folder", lambda: check_data(settings)),
        ("history", lambda: check_history(settings)),
    ]
    for name, look in looks:
        try:
            yield from look()
        except OverheardError as error:
            yield failed(name, error)
        except Exception as error:  # a doctor reports whatever it meets, and goes on
            log.debug("%s", name, exc_info=True)
            yield Check(name, False, f"unexpected {type(error).__name__}: {error}", REINSTALL)


def failed(name: str, error: OverheardError, remedy: str | None = None) -> Check:
    """Turn an error into a check; the error's own remedy comes first."""
    return Check(name, False, error.problem, error.remedy or remedy)


def check_python() -> list[Check]:
    """Name interpreter and machine."""
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return [Check("python", True, detail, data={"version": platform.python_version()})]


def check_packages() -> list[Check]:
    """Find each package's version and import it, since a missing system library shows only then."""
    versions: dict[str, str] = {}
    wrong: list[str] = []
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
            if name != "sounddevice":  # PortAudio has a check of its own
                importlib.import_module(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
        except (ImportError, OSError) as error:
            wrong.append(f"{name} cannot be imported ({error})")
    detail = ", ".join(wrong or [f"{name} {version}" for name, version in versions.items()])
    return [Check("packages", not wrong, detail, REINSTALL if wrong else None, versions)]


def check_runtime() -> list[Check]:
    """Name the TensorFlow Lite runtime in use."""
    import numpy as np

    from overheard.fingerprint.runtime import available_runtimes

    found = available_runtimes()
    if not found:
        return [Check("runtime", False, "no TensorFlow Lite runtime", REINSTALL)]
    used = next(iter(found))
    detail = f"{used} {found[used]}"
    if used == "tflite-runtime" and int(np.__version__.partition(".")[0]) >= 2:
        return [
            Check("runtime", False, f"{detail} fails with numpy {np.__version__}", 'pip install "numpy<2"')
        ]
    return [Check("runtime", True, detail, data=dict(found))]


def check_model(settings: Settings) -> list[Check]:
    """Load the model and run it once."""
    import numpy as np

    from overheard.fingerprint.embedder import Embedder
    from overheard.fingerprint.model import load_model

    try:
        model = load_model(settings.model_path)
        segment = np.zeros((1, model.spec.n_frames, model.spec.frontend.n_mels), np.float32)
        Embedder(model).embed(segment)
    except ModelError as error:
        return [failed("model", error)]
    detail = f"{model.name}, fingerprints {model.digest}, {model.path}"
    return [Check("model", True, detail, data={"name": model.name, "digest": model.digest})]


def check_packs(settings: Settings) -> list[Check]:
    """Open every pack, as searching would."""
    from overheard.catalogue.pack import open_pack
    from overheard.catalogue.selection import pack_paths
    from overheard.fingerprint.model import load_model

    paths = pack_paths(settings)
    if not paths:
        return [Check("packs", False, "there is none to search", "overheard index FOLDER")]
    try:
        digest: str | None = load_model(settings.model_path).digest
    except ModelError:
        digest = None  # told by the model's own check
    checks = []
    for name, path in paths.items():
        try:
            pack = open_pack(path, digest)
        except PackError as error:
            checks.append(failed(f"pack {name}", error, None))
            continue
        tracks = len(pack.tracks)
        detail = f"{tracks} tracks, {size(path.stat().st_size)}, {path}"
        checks.append(Check(f"pack {name}", True, detail, data={"tracks": tracks, "path": str(path)}))
    missing = [name for name in settings.packs if name not in paths]
    if missing:
        detail = f"the setting packs names {', '.join(missing)}, which is not there"
        checks.append(
            Check("packs", False, detail, "`overheard packs` lists those that are; change the setting")
        )
    return checks


def check_portaudio() -> list[Check]:
    """Start PortAudio."""
    from overheard.hear.devices import load_portaudio

    return [Check("portaudio", True, str(load_portaudio().get_portaudio_version()[1]).partition(",")[0])]


def check_microphone(settings: Settings) -> list[Check]:
    """Listen to the configured input for a second."""
    from overheard.hear.file import FileSource
    from overheard.hear.open import open_source

    spec = settings.listen.input
    if spec == "-":
        return [Check("microphone", True, "not looked for: listen.input is standard input")]
    remedy = "`overheard devices` lists the inputs; choose one with --input or the setting listen.input"
    try:
        source = open_source(spec, settings)
        if isinstance(source, FileSource):
            return [Check("microphone", True, f"not looked for: listen.input is the file {spec}")]
        level_db, peak = measure(source)
    except AudioError as error:
        return [failed("microphone", error, remedy)]
    return [judge_level(source.name, level_db, peak, settings, is_monitor="monitor" in spec)]


def measure(source: AudioSource) -> tuple[float, float]:
    """Return level in dB of full scale and peak in 0-1 of about a second of sound."""
    import numpy as np

    from overheard.hear.gate import levels_db
    from overheard.hear.resampler import to_float
    from overheard.hear.source import SAMPLE_RATE, Gap

    wanted = round((SETTLE_S + MEASURE_S) * SAMPLE_RATE)
    heard: list[Any] = []
    deadline = time.monotonic() + PATIENCE_S
    for block in source.blocks():
        if not isinstance(block, Gap):
            heard.append(to_float(block))
        if sum(map(len, heard)) >= wanted or time.monotonic() > deadline:
            source.close()  # which ends the blocks
    sound = np.concatenate(heard)[round(SETTLE_S * SAMPLE_RATE) :] if heard else np.zeros(0, np.float32)
    if not sound.size:
        raise AudioError(f"{source.name} delivers nothing; plug it in again, or choose another input")
    return float(levels_db(sound[None])[0]), float(np.abs(sound).max())


def judge_level(name: str, level_db: float, peak: float, settings: Settings, is_monitor: bool) -> Check:
    """Say what a measured level means."""
    finite = level_db > -300
    data = {"name": name, "level_db": round(level_db, 1) if finite else None, "peak": round(peak, 4)}
    if not finite:
        detail = f"{name}: digital silence"
        remedy = None if is_monitor else "unmute it (alsamixer, or the desktop's sound settings)"
        return Check("microphone", is_monitor, detail, remedy, data)
    detail = f"{name}: level {level_db:.0f} dB"
    if peak >= CLIPPED:
        return Check("microphone", False, f"{detail}, overdriven", "lower its gain (alsamixer)", data)
    if level_db < settings.gate.open_db:
        detail += f", under the gate's {settings.gate.open_db:.0f} dB: counts as silence"
    return Check("microphone", True, detail, None, data)


def check_config(config: Path | None) -> list[Check]:
    """Look whether a configuration file is in force or could be written."""
    path = config or settings_module.default_config_path()
    if path.exists():
        return [Check("configuration", True, str(path))]
    folder = nearest(path.parent)
    if os.access(folder, os.W_OK | os.X_OK):
        return [Check("configuration", True, f"none; it would be {path}")]
    return [
        Check(
            "configuration", False, f"{folder} cannot be written", "set OVERHEARD_CONFIG to a file elsewhere"
        )
    ]


def check_data(settings: Settings) -> list[Check]:
    """Look whether packs and history can be written."""
    elsewhere = "set OVERHEARD_DATA_DIR, or data_dir in the configuration, to a folder of yours"
    folder = nearest(settings.data_dir)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return [Check("data folder", False, f"{folder} cannot be written", elsewhere)]
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        return [
            Check(
                "data folder", False, f"{settings.data_dir}: only {size(free)} free", "make room on its disk"
            )
        ]
    return [Check("data folder", True, f"{settings.data_dir}, {size(free)} free")]


def check_history(settings: Settings) -> list[Check]:
    """Look whether the history takes a write; nothing is written."""
    path = settings.history_path
    if not path.exists():
        return [Check("history", True, f"none yet; it will be {path}")]
    try:
        with closing(sqlite3.connect(path, timeout=3, isolation_level=None)) as database:
            (result,) = database.execute("PRAGMA quick_check(1)").fetchone()
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
    except sqlite3.Error as error:
        result = str(error)
    if result != "ok":
        return [Check("history", False, f"{path}: {result}", f"move it away: mv {path} {path}.broken")]
    return [Check("history", True, str(path))]


def nearest(path: Path) -> Path:
    """Return the path or the nearest folder above it that exists."""
    return next((p for p in (path, *path.parents) if p.exists()), path)
