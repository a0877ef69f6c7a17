"""Install and remove the services of a user."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from pathlib import Path

from overheard.files import atomic_write, create_folder
from overheard.service.systemd import Systemd, lingers, set_linger, user_name
from overheard.service.units import (
    LISTEN,
    SYSTEM_USER,
    WEB,
    UnitOptions,
    drop_in,
    enabled_linger,
    unit,
)

SYSTEM_UNITS = Path("/etc/systemd/system")


def units_folder() -> Path:
    """Return the folder of the user's own units."""
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "systemd" / "user"


@dataclasses.dataclass(frozen=True)
class Installation:
    """What `overheard service install` does.

    Attributes
    ----------
    options : of the units
    names : of the units to install
    linger : whether to let them run while the user is not logged in
    """

    options: UnitOptions
    names: tuple[str, ...] = (LISTEN, WEB)
    linger: bool = True

    def steps(self) -> list[str]:
        """Describe each step to the user."""
        steps = [f"write {units_folder() / name}" for name in self.names]
        if not self.options.data_dir.is_dir():
            steps.append(f"create the folder {self.options.data_dir}")
        steps += [f"let {LISTEN} write to {folder}, as a sink does" for folder in self.options.writes]
        steps.append(f"start {' and '.join(self.names)} now, and each time you log in")
        if self.linger and not lingers():
            steps.append(
                f"let your services start at boot and go on after you log out: "
                f"`loginctl enable-linger {user_name()}`; this holds for all services of your account"
            )
        return steps

    def run(self, systemd: Systemd) -> None:
        """Write, enable and start the units; a unit that runs starts again.

        Raises
        ------
        ServiceError
            If systemd reports an error.
        """
        new_linger = self.linger and not lingers()
        linger = new_linger or any(_enabled_linger(name) for name in (LISTEN, WEB))
        create_folder(self.options.data_dir, private=True)
        for folder in self.options.writes:
            create_folder(folder)
        if self.options.config_dir is not None:
            create_folder(self.options.config_dir)
        for name in self.names:
            with atomic_write(units_folder() / name) as file:
                file.write(unit(name, dataclasses.replace(self.options, linger=linger)).encode())
        if new_linger:
            set_linger(True)
        systemd.call("daemon-reload")
        systemd.call("enable", *self.names)
        systemd.call("--no-block", "restart", *self.names)  # a start waits for the microphone


def installed() -> list[Path]:
    """Return the units of this user that exist."""
    return [path for name in (LISTEN, WEB) if (path := units_folder() / name).exists()]


def uninstall(systemd: Systemd) -> list[str]:
    """Stop and remove the units; return what was done, one line each."""
    units = installed()
    linger = any(_enabled_linger(path.name) for path in units)
    done = []
    if units:
        systemd.call("disable", "--now", *(path.name for path in units))
    for path in units:
        path.unlink()
        done.append(f"removed {path}")
    systemd.call("daemon-reload")
    if linger and lingers():
        set_linger(False)
        done.append("your services no longer run while you are logged out (linger is off, as before)")
    return done


def update_system(systemd: Systemd, options: UnitOptions, folder: Path = SYSTEM_UNITS) -> list[str]:
    """Adapt the services of the Debian package to the settings; return what was done, one line each.

    Parameters
    ----------
    systemd : of the system
    options : as the settings of the system need them
    folder : of the system's own units

    Raises
    ------
    ServiceError
        If systemd reports an error.
    """
    done = []
    for path in options.writes:
        if not path.exists():
            create_folder(path)
            shutil.chown(path, SYSTEM_USER, SYSTEM_USER)
            done.append(f"created {path}")
    for name in (LISTEN, WEB):
        path, text = folder / f"{name}.d" / "overheard.conf", drop_in(name, options)
        if text:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as file:
                file.write(text.encode())
            path.chmod(0o644)
            done.append(f"wrote {path}")
        elif path.exists():
            path.unlink()
            done.append(f"removed {path}")
            with contextlib.suppress(OSError):  # it may hold what the user wrote
                path.parent.rmdir()
    systemd.call("daemon-reload")
    systemd.call("--no-block", "try-restart", LISTEN, WEB)
    return [*done, "the running services were restarted with the current settings"]


def _enabled_linger(name: str) -> bool:
    try:
        return enabled_linger((units_folder() / name).read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError):
        return False
