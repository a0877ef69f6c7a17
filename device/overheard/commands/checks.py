"""The checks of `overheard doctor`."""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import os
import platform
import shlex
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from overheard import settings as settings_module
from overheard.commands.check import Check, failed
from overheard.commands.check_microphone import check_microphone
from overheard.errors import REINSTALL, ModelError, OverheardError, PackError
from overheard.settings import Settings
from overheard.text import plural, size

if TYPE_CHECKING:
    from overheard.fingerprint.model import Model

log = logging.getLogger(__name__)

PACKAGES = ("numpy", "scipy", "av", "soxr", "sounddevice", "annoy", "platformdirs", "rich")
MIN_FREE_BYTES = 50_000_000  # a pack of about 500 hours of music


def examine(settings: Settings, config: Path | None = None) -> Iterator[Check]:
    """Run the checks one after the other; a check that raises an error is a problem."""
    checks: list[tuple[str, Callable[[], list[Check]]]] = [
        ("python", check_python),
        ("packages", check_packages),
        ("runtime", check_runtime),
        ("model", lambda: check_model(settings)),
        ("packs", lambda: check_packs(settings)),
        ("subscriptions", lambda: check_subscriptions(settings)),
        ("portaudio", check_portaudio),
        ("microphone", lambda: check_microphone(settings)),
        ("configuration", lambda: check_config(config)),
        ("data folder", lambda: check_data(settings)),
        ("history", lambda: check_history(settings)),
    ]
    for name, check in checks:
        try:
            yield from check()
        except OverheardError as error:
            yield failed(name, error)
        except OSError as error:
            yield Check(name, False, str(error), "check the path, its permissions and its disk")
        except Exception as error:  # a bug in one check must not hide the results of the others
            log.debug("%s", name, exc_info=True)
            detail = f"unexpected {type(error).__name__}: {error}"
            yield Check(name, False, detail, "report this bug with the output of `overheard -v doctor`")


def check_python() -> list[Check]:
    """Report the versions of Python and of the operating system."""
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return [Check("python", True, detail, data={"version": platform.python_version()})]


def check_packages() -> list[Check]:
    """Look up each package's version, and import it to detect missing system libraries."""
    versions: dict[str, str] = {}
    problems: list[str] = []
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
            if name != "sounddevice":  # check_portaudio imports it
                importlib.import_module(name)
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{name} is not installed")
        except (ImportError, OSError) as error:
            problems.append(f"{name} cannot be imported ({error})")
    detail = ", ".join(problems or [f"{name} {version}" for name, version in versions.items()])
    return [Check("packages", not problems, detail, REINSTALL if problems else None, versions)]


def check_runtime() -> list[Check]:
    """Report the TensorFlow Lite runtime in use."""
    import numpy as np

    from overheard.fingerprint.runtime import available_runtimes

    runtimes = available_runtimes()
    if not runtimes:
        return [Check("runtime", False, "no TensorFlow Lite runtime is installed", REINSTALL)]
    used = next(iter(runtimes))
    detail = f"{used} {runtimes[used]}"
    if used == "tflite-runtime" and int(np.__version__.partition(".")[0]) >= 2:
        return [
            Check(
                "runtime",
                False,
                f"{detail} does not work with numpy {np.__version__}",
                'pip install "numpy<2"',
            )
        ]
    return [Check("runtime", True, detail, data=dict(runtimes))]


def check_model(settings: Settings) -> list[Check]:
    """Load the model and run it once; report what listening costs with each model of its space."""
    import numpy as np

    from overheard.catalogue.searching_model import model_path
    from overheard.fingerprint import model_choice
    from overheard.fingerprint.embedder import Embedder
    from overheard.fingerprint.model import load_model

    path = model_path(settings)
    model = load_model(path)
    segment = np.zeros((1, model.spec.n_frames, model.spec.frontend.n_mels), np.float32)
    Embedder(model).embed(segment)
    detail = f"{model.name}, fingerprints {model.digest}, {model.path}"
    data: dict[str, object] = {"name": model.name, "digest": model.digest, "network": model.network_digest}
    is_candidate = path.parent == settings_module.MODELS_DIR and path.stem in model_choice.candidates()
    shares = model_choice.choose(settings.data_dir).shares if is_candidate else {}
    if shares:
        costs = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        chosen = "chosen by the" if settings.model in settings_module.AUTO else "set;"
        detail += f"; {chosen} share of a core that listening takes: {costs}"
        data["shares"] = shares
    remedy = model_choice.removal(path)
    if remedy:
        detail += "; the next release does not have this model"
    return [Check("model", True, detail, remedy, data)]


def check_packs(settings: Settings) -> list[Check]:
    """Open every pack for the model that searches the packs."""
    from overheard.catalogue.searching_model import model_path
    from overheard.catalogue.selection import enabled_packs, pack_paths
    from overheard.fingerprint.model import load_model

    paths = pack_paths(settings)
    if not paths:
        return [Check("packs", False, "no packs", "create one with `overheard index FOLDER`")]
    try:
        model = load_model(model_path(settings))
    except ModelError:
        model = None  # check_model reports the error
    enabled = settings.packs or enabled_packs(settings, paths)
    checks = [_check_pack(path, name in enabled, model, settings) for name, path in paths.items()]
    missing = [name for name in settings.packs if name not in paths]
    if missing:
        detail = f"the setting packs lists {', '.join(missing)}, but there is no such pack"
        checks.append(Check("packs", False, detail, "correct the setting; `overheard packs` lists all packs"))
    return checks


def _check_pack(path: Path, enabled: bool, model: Model | None, settings: Settings) -> Check:
    """Open a pack; if it is of an earlier model, say how far its music has been fingerprinted again."""
    from overheard.catalogue.names import is_labelled
    from overheard.catalogue.pack import open_pack
    from overheard.catalogue.pack_model import digest_of_pack, is_earlier
    from overheard.catalogue.searching_model import remedy
    from overheard.catalogue.selection import open_for_model, waits
    from overheard.index.journal import progress_of

    name = f"pack {path.stem}"
    try:
        pack = open_pack(path) if model is None else open_for_model(path, model)
    except PackError as error:
        if model is not None and (waiting := waits(path, model.digest, settings)):
            return Check(name, True, str(waiting))
        of_another = model is not None and digest_of_pack(path) not in ("", model.digest)
        # After a change of the model, named music stays behind; there is nothing to repair.
        if is_labelled(path.stem) and of_another:
            return Check(name, True, str(error))
        return failed(name, error)
    detail = f"{plural(pack.n_tracks, 'track')}, {size(pack.bytes)}, {path}"
    data: dict[str, object] = {"tracks": pack.n_tracks, "path": str(path), "enabled": enabled}
    if not enabled:
        detail += ", disabled"
    if model is not None and is_earlier(model, settings):
        detail += f"; made for the model {model.name}; {remedy(path.stem)}"
        if not is_labelled(path.stem):
            data["indexed_again"] = progress_of(path)
            detail += f" ({data['indexed_again']})"
    return Check(name, True, detail, data=data)


def check_subscriptions(settings: Settings) -> list[Check]:
    """Read the subscriptions, without a connection to the repositories."""
    from overheard.updates.state import State

    checks = []
    for each in State(settings).subscriptions.values():
        names = sorted(name for name, files in each.installed.items() if files)
        packs = f"{plural(len(names), 'pack')} ({', '.join(names)})" if names else "no packs yet"
        detail = f"{each.url}, {packs}"
        detail += f", published {each.seen.created:%Y-%m-%d}" if each.seen.version else ""
        checks.append(Check("subscription", True, detail, data={"url": each.url, "packs": names}))
    return checks


def check_portaudio() -> list[Check]:
    """Load and start PortAudio; then look for what the sound server needs."""
    from overheard.hear.devices import load_portaudio

    version = str(load_portaudio().get_portaudio_version()[1]).partition(",")[0]
    return [Check("portaudio", True, version), *check_sound_server()]


def check_sound_server() -> list[Check]:
    """Look for what reports that the sound server connected the input to another source."""
    from overheard.hear.devices import reaches_sound_server
    from overheard.hear.sound_server import SoundServer

    if not reaches_sound_server():
        return []
    if SoundServer.available():
        return [Check("sound server", True, "changes of the source are reported")]
    detail = "pactl is missing: `overheard listen` does not notice if the source changes"
    return [Check("sound server", True, detail, "optional: `sudo apt install pulseaudio-utils`")]


def check_config(config: Path | None) -> list[Check]:
    """Check that the configuration file exists or can be created."""
    path = config or settings_module.default_config_path()
    if path.exists():
        return [Check("configuration", True, str(path))]
    folder = nearest_existing(path.parent)
    if os.access(folder, os.W_OK | os.X_OK):
        return [Check("configuration", True, f"no file (its path would be {path})")]
    return [
        Check(
            "configuration",
            False,
            f"{folder} cannot be written",
            "set OVERHEARD_CONFIG to a file in another folder",
        )
    ]


def check_data(settings: Settings) -> list[Check]:
    """Check that the data folder can be written, and that its disk has room."""
    remedy = "set OVERHEARD_DATA_DIR, or the setting data_dir, to a folder that you can write to"
    folder = nearest_existing(settings.data_dir)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return [Check("data folder", False, f"{folder} cannot be written", remedy)]
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        return [
            Check(
                "data folder",
                False,
                f"{settings.data_dir}: only {size(free)} free",
                "free some space on this disk",
            )
        ]
    return [Check("data folder", True, f"{settings.data_dir}, {size(free)} free")]


def check_history(settings: Settings) -> list[Check]:
    """Check that the history is intact and can be written, without writing to it."""
    path = settings.history_path
    if not path.exists():
        return [Check("history", True, f"no plays yet (the file will be {path})")]
    try:
        with closing(sqlite3.connect(path, timeout=3, isolation_level=None)) as database:
            (result,) = database.execute("PRAGMA quick_check(1)").fetchone()
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
    except sqlite3.Error as error:
        result = str(error)
    if result != "ok":
        return [
            Check(
                "history",
                False,
                f"{path}: {result}",
                f"move the file away: mv {shlex.quote(str(path))} {shlex.quote(str(path) + '.broken')}",
            )
        ]
    return [Check("history", True, str(path))]


def nearest_existing(path: Path) -> Path:
    """Return the path, or its closest parent that exists."""
    return next((p for p in (path, *path.parents) if p.exists()), path)
