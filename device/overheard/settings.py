"""What a user may set: defaults, a TOML file, the environment and flags, each value with its origin.

Parameters that invalidate existing fingerprints are in :mod:`overheard.fingerprint.spec`.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from overheard.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MODELS_DIR = Path(__file__).parent / "models"


def _field(default: Any, about: str, low: float | None = None, high: float | None = None) -> Any:
    return dataclasses.field(default=default, metadata={"about": about, "low": low, "high": high})


@dataclasses.dataclass(frozen=True)
class ListenSettings:
    """`overheard listen`."""

    input: str = _field("default", 'sound source: "default", "monitor", a device, a file or "-"')
    history: bool = _field(True, "write plays to history.sqlite in the data folder")
    queue_s: float = _field(10.0, "seconds of sound held while recognition is busy", 1, 600)
    reconnect_max_s: float = _field(30.0, "longest pause in s between tries to reach a lost device", 1, 3600)


@dataclasses.dataclass(frozen=True)
class IndexSettings:
    """`overheard index`."""

    pack: str = _field("music", "name of the pack that is written")
    jobs: int = _field(0, "files decoded at once; 0 is one for each processor", 0, 1024)
    compact: bool = _field(False, "half the bytes, for markedly fewer recognitions")


@dataclasses.dataclass(frozen=True)
class GateSettings:
    """The level under which nothing is computed."""

    open_db: float = _field(-65.0, "level in dB of full scale at which the gate opens", -120, 0)
    close_db: float = _field(-68.0, "level in dB of full scale under which it closes", -120, 0)
    hang_s: float = _field(2.0, "seconds that it stays open after the last loud block", 0, 60)


@dataclasses.dataclass(frozen=True)
class TrackSettings:
    """How matches become plays."""

    gap_s: float = _field(6.0, "seconds without a match after which a play has ended", 1, 120)
    unknown_s: float = _field(15.0, "seconds of unmatched sound that count as unknown music", 1, 600)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything in force."""

    data_dir: Path = _field(Path(), "folder of packs and history")
    packs: tuple[str, ...] = _field((), "names of the packs to search; empty is all")
    model: str = _field(
        "", "overheard, overheard-tiny or the path of a model's .json; empty is the first, for most machines"
    )
    listen: ListenSettings = ListenSettings()
    index: IndexSettings = IndexSettings()
    gate: GateSettings = GateSettings()
    track: TrackSettings = TrackSettings()

    @property
    def packs_dir(self) -> Path:
        """Folder of the user's own packs."""
        return self.data_dir / "packs"

    @property
    def history_path(self) -> Path:
        """The SQLite file of plays."""
        return self.data_dir / "history.sqlite"

    @property
    def model_path(self) -> Path | None:
        """The model to load, None for the default one."""
        shipped = MODELS_DIR / f"{self.model}.json"
        if self.model == Path(self.model).name and shipped.exists():
            return shipped
        return Path(self.model).expanduser() if self.model else None


def default_config_path(env: Mapping[str, str] | None = None) -> Path:
    """Where the configuration file is looked for: ``OVERHEARD_CONFIG`` or the platform's place."""
    import platformdirs

    named = (os.environ if env is None else env).get("OVERHEARD_CONFIG")
    if named:
        return Path(named).expanduser()
    return Path(platformdirs.user_config_dir("overheard")) / "config.toml"


def load(
    path: Path | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> tuple[Settings, dict[str, str]]:
    """Read the settings in force.

    Parameters
    ----------
    path
        Configuration file, which must exist; None looks at :func:`default_config_path`, which need not.
    env
        Environment, by default the process's own.
    overrides
        Dotted name to value, such as flags; they win over everything.

    Returns
    -------
    The settings, and each dotted name's origin.

    Raises
    ------
    SettingsError
        If a file is missing or no TOML, or a name or value is impossible.
    """
    import platformdirs

    env = os.environ if env is None else env
    config = default_config_path(env) if path is None else path
    required = path is not None or bool(env.get("OVERHEARD_CONFIG"))
    values: dict[str, Any] = {"data_dir": platformdirs.user_data_dir("overheard")}
    origins = {name: "default" for name, _, _ in fields(Settings())}
    from_file = flatten(read_toml(config, required))
    if isinstance(from_file.get("data_dir"), str) and from_file["data_dir"]:
        from_file["data_dir"] = config.parent / Path(from_file["data_dir"]).expanduser()
    sources = [(f"file {config}", from_file)]
    if env.get("OVERHEARD_DATA_DIR"):
        sources.append(("environment OVERHEARD_DATA_DIR", {"data_dir": env["OVERHEARD_DATA_DIR"]}))
    sources.append(("flag", {k: v for k, v in (overrides or {}).items() if v is not None}))
    for origin, found in sources:
        for name, value in found.items():
            values[name] = _check(name, value, origin)
            origins[name] = origin
    settings = _build(Settings, "", values)
    if settings.gate.close_db > settings.gate.open_db:
        raise SettingsError("gate.close_db must not be above gate.open_db")
    return settings, origins


def read_toml(path: Path, required: bool = False) -> dict[str, Any]:
    """Parse one TOML file; a missing one is empty unless it is required."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        if required:
            raise SettingsError(f"{path}: no such configuration file") from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested tables into dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def fields(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    """Yield each setting's dotted name, value and field."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value, field


_DEFAULTS = {name: (value, field.metadata) for name, value, field in fields(Settings())}


def _check(name: str, value: Any, origin: str) -> Any:
    """Return the value in its setting's type, or say what is wrong with it."""
    if name not in _DEFAULTS:
        near = difflib.get_close_matches(name, _DEFAULTS, n=1)
        hint = f"; did you mean {near[0]}?" if near else "; `overheard config` lists all"
        raise SettingsError(f"{origin}: unknown setting {name}{hint}")
    default, meta = _DEFAULTS[name]
    wanted, fits = _type_of(default, value)
    if not fits:
        raise SettingsError(f"{origin}: {name} must be {wanted}, not {value!r}")
    if name == "data_dir" and not str(value):
        raise SettingsError(f"{origin}: data_dir is empty")
    low, high = meta["low"], meta["high"]
    if low is not None and not low <= value <= high:
        raise SettingsError(f"{origin}: {name} must lie between {low} and {high}, not {value}")
    return value


def _type_of(default: Any, value: Any) -> tuple[str, bool]:
    """Name the type that a default asks for, and whether a value has it."""
    if isinstance(default, bool):
        return "true or false", isinstance(value, bool)
    if isinstance(default, int):
        return "a whole number", isinstance(value, int) and not isinstance(value, bool)
    if isinstance(default, float):
        return "a number", isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, tuple):
        strings = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
        return "a list of names", strings
    return "text", isinstance(value, str | Path)


def _build(cls: type[Any], prefix: str, values: Mapping[str, Any]) -> Any:
    """Make a settings class out of dotted values, whatever is absent at its default."""
    known: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        default = field.default
        if dataclasses.is_dataclass(default):
            known[field.name] = _build(type(default), f"{prefix}{field.name}.", values)
        elif prefix + field.name in values:
            known[field.name] = _convert(default, values[prefix + field.name])
    return cls(**known)


def _convert(default: Any, value: Any) -> Any:
    if isinstance(default, Path):
        # Absolute, so that a later change of the working folder moves nothing.
        return Path(os.path.abspath(Path(value).expanduser()))
    if isinstance(default, bool | int):
        return value
    return type(default)(value)
