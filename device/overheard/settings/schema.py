"""The settings: their names, defaults, limits and descriptions.

Parameters that invalidate existing fingerprints are not settings; they are in
:mod:`overheard.fingerprint.spec`.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from overheard.files import expand_user
from overheard.settings.field import about as _about
from overheard.settings.field import field as _field
from overheard.settings.rooms import parse_rooms
from overheard.settings.sinks import ALL_OFF, SinksSettings

MODELS_DIR = Path(__file__).parents[1] / "models"
AUTO = ("", "auto")  # values of `model` for which overheard.fingerprint.model_choice chooses
LOWEST_RATE = 8000  # Hz; lower values of `listen.sample_rate` lose what fingerprints are made of
MODEL_ALIASES = {"large": "overheard"}


@dataclasses.dataclass(frozen=True)
class ListenSettings:
    """Settings of `overheard listen`."""

    input: str = _field(
        "default", 'audio source: "default", "monitor", a device, a file, "stream:URL" or "-"'
    )
    rooms: tuple[str, ...] = _field(
        (),
        'inputs of several rooms, as in ["kitchen=default", "bath=pulse:NAME"]; replaces listen.input',
    )
    channel: str = _field("auto", "channel of a stereo device: auto, mix, left, right or difference")
    sample_rate: int = _field(0, "sample rate in Hz at which to open a device; 0: its own", 0, 384000)
    history: bool = _field(True, "save plays to history.sqlite in the data folder")
    queue_s: float = _field(10.0, "seconds of audio to buffer while recognition is busy", 1, 600)
    reconnect_max_s: float = _field(
        30.0, "longest wait in seconds between attempts to reopen a lost device", 1, 3600
    )
    schedule: bool = _field(
        True, "search only when there may be something new, which saves processor time; false: every second"
    )
    quiet_hours: str = _field("", "hours of the day without listening, in local time, such as 23:00-07:00")
    live: bool = _field(True, "let `overheard status` and the web page see what is heard, on a local socket")

    @property
    def inputs(self) -> tuple[str, ...]:
        """What is heard: the inputs of the rooms, or the only one."""
        return tuple(room.input for room in parse_rooms(self.rooms)) or (self.input,)


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
    hang_s: float = _field(2.0, "seconds for which the gate stays open after the level has dropped", 0, 60)


@dataclasses.dataclass(frozen=True)
class TrackSettings:
    """Settings that decide how matches become plays."""

    gap_s: float = _field(6.0, "seconds without a match after which a play ends", 1, 120)
    unknown_s: float = _field(
        15.0, "seconds without a match after which sound counts as unknown music", 1, 600
    )
    caution: float = _field(
        0.0,
        "score, in log-odds, that a match needs in addition before a play starts; more is stricter",
        0,
        10,
    )


@dataclasses.dataclass(frozen=True)
class HistorySettings:
    """Settings of the history."""

    keep_days: int = _field(0, "days after which `overheard listen` deletes plays; 0: never", 0, 36500)


@dataclasses.dataclass(frozen=True)
class WebSettings:
    """Settings of `overheard web`."""

    host: str = _field("127.0.0.1", "address to listen on; 0.0.0.0 lets other computers open the page")
    port: int = _field(8377, "port to listen on; 0: any that is free", 0, 65535)
    token: bool = _field(False, "ask for the token on this computer too")
    names: tuple[str, ...] = _field((), "further host names of the page, such as that of a reverse proxy")


@dataclasses.dataclass(frozen=True)
class UnknownSettings:
    """Settings of unknown music."""

    remember: bool = _field(
        True, "remember unknown music by its fingerprint, to recognize it when it returns"
    )
    max_pieces: int = _field(200, "pieces of unknown music to remember", 1, 2000)


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings."""

    data_dir: Path = dataclasses.field(default=Path(), metadata=_about("folder of packs and history"))
    packs: tuple[str, ...] = _field((), "names of the packs to search; empty: those that are enabled")
    model: str = _field("auto", "auto, large, small, tiny, or the path of a model's .json")
    listen: ListenSettings = ListenSettings()
    index: IndexSettings = IndexSettings()
    gate: GateSettings = GateSettings()
    track: TrackSettings = TrackSettings()
    history: HistorySettings = HistorySettings()
    web: WebSettings = WebSettings()
    sinks: SinksSettings = ALL_OFF
    unknown: UnknownSettings = UnknownSettings()

    @property
    def packs_dir(self) -> Path:
        """The folder of the user's own packs."""
        return self.data_dir / "packs"

    @property
    def unknown_path(self) -> Path:
        """The pack of unknown music."""
        return self.data_dir / "unknown" / "unknown.pack"

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
        # Path.exists raises an error if the name is too long.
        if name == Path(name).name and os.path.exists(shipped):  # noqa: PTH110
            return shipped
        return expand_user(self.model)
