"""The settings: their names, defaults, limits and descriptions.

Parameters that invalidate existing fingerprints are not settings; they are in
:mod:`overheard.fingerprint.spec`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from overheard.files import expand_user

MODELS_DIR = Path(__file__).parents[1] / "models"
AUTO = ("", "auto")  # values of `model` for which overheard.fingerprint.choice chooses
MODEL_ALIASES = {"large": "overheard"}


def _about(text: str, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """Return the metadata of a setting: its description and, of a number, its lowest and highest value."""
    return {"about": text, "low": low, "high": high}


def _field(default: Any, about: str, low: float | None = None, high: float | None = None) -> Any:
    return dataclasses.field(default=default, metadata=_about(about, low, high))


@dataclasses.dataclass(frozen=True)
class ListenSettings:
    """Settings of `overheard listen`."""

    input: str = _field("default", 'audio source: "default", "monitor", a device, a file or "-"')
    history: bool = _field(True, "save plays to history.sqlite in the data folder")
    queue_s: float = _field(10.0, "seconds of audio to buffer while recognition is busy", 1, 600)
    reconnect_max_s: float = _field(
        30.0, "longest wait in seconds between attempts to reopen a lost device", 1, 3600
    )


@dataclasses.dataclass(frozen=True)
class IndexSettings:
    """Settings of `overheard index`."""

    pack: str = _field("music", "name of the pack that `overheard index` writes")
    jobs: int = _field(0, "files to process in parallel; 0: one per processor", 0, 1024)
    compact: bool = _field(False, "half the size, lower accuracy")
    quiet_s: float = _field(10.0, "seconds without changes before --watch indexes them", 1, 3600)
    poll_s: float = _field(
        60.0, "seconds between two scans by --watch of folders on network shares", 1, 86400
    )


@dataclasses.dataclass(frozen=True)
class GateSettings:
    """Settings of the level gate, which skips the analysis of silence."""

    open_db: float = _field(-65.0, "level in dBFS at which the gate opens and analysis starts", -120, 0)
    close_db: float = _field(-68.0, "level in dBFS below which the gate closes", -120, 0)
    hang_s: float = _field(2.0, "seconds that the gate stays open after the last loud block", 0, 60)


@dataclasses.dataclass(frozen=True)
class TrackSettings:
    """Settings that decide how matches become plays."""

    gap_s: float = _field(6.0, "seconds without a match after which a play ends", 1, 120)
    unknown_s: float = _field(
        15.0, "seconds without a match after which sound counts as unknown music", 1, 600
    )


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings."""

    data_dir: Path = dataclasses.field(default=Path(), metadata=_about("folder of packs and history"))
    packs: tuple[str, ...] = _field((), "names of the packs to search; empty: those that are enabled")
    model: str = _field("auto", "auto, large, another model that ships with overheard, or the path of a .json")
    listen: ListenSettings = ListenSettings()
    index: IndexSettings = IndexSettings()
    gate: GateSettings = GateSettings()
    track: TrackSettings = TrackSettings()

    @property
    def packs_dir(self) -> Path:
        """The folder of the user's own packs."""
        return self.data_dir / "packs"

    @property
    def history_path(self) -> Path:
        """The SQLite file of the plays."""
        return self.data_dir / "history.sqlite"

    @property
    def model_path(self) -> Path | None:
        """The manifest of the model that the settings name; None if it is chosen automatically."""
        if self.model in AUTO:
            return None
        name = MODEL_ALIASES.get(self.model, self.model)
        shipped = MODELS_DIR / f"{name}.json"
        if name == Path(name).name and shipped.exists():
            return shipped
        return expand_user(self.model)
