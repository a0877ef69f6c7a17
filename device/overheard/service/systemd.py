"""Ask the systemd of the user or of the system: start, stop, state and messages of the services."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from overheard.errors import OverheardError
from overheard.text import one_line, shorten

_BOOTED = Path("/run/systemd/system")  # exists where systemd is the first process: man sd_booted
_TIMEOUT_S = 60.0
_OWN_INIT = "start `overheard listen` with the service manager of this computer"


class ServiceError(OverheardError):
    """The service cannot be managed here."""


class Systemd:
    """The systemd of the user, or of the whole system.

    Raises
    ------
    ServiceError
        If systemd does not run, or the user's does not.
    """

    def __init__(self, system: bool = False) -> None:
        self._scope = () if system else ("--user",)
        if not _BOOTED.is_dir() or shutil.which("systemctl") is None:
            raise ServiceError("systemd does not run here", _OWN_INIT)
        runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
        if not system and not Path(runtime, "systemd").is_dir():
            problem = "the systemd of this user does not run"
            raise ServiceError(problem, "log in as this user, and not through su or sudo")
        os.environ.setdefault("XDG_RUNTIME_DIR", runtime)

    def call(self, *arguments: str) -> str:
        """Run systemctl; return its output.

        Raises
        ------
        ServiceError
            If it fails.
        """
        return run_program(["systemctl", *self._scope, "--no-pager", *arguments])

    def properties(self, unit: str, names: Sequence[str]) -> dict[str, str]:
        """Return properties of a unit by name; those of a unit that does not exist are empty."""
        lines = self.call("show", f"--property={','.join(names)}", unit).splitlines()
        found = dict(line.partition("=")[::2] for line in lines)
        return {name: found.get(name, "") for name in names}

    def can_isolate(self) -> bool:
        """Return whether this systemd can start programs in name spaces, on which the sandbox depends."""
        if shutil.which("systemd-run") is None:
            return False
        command = ["systemd-run", *self._scope, "--quiet", "--wait", "--collect"]
        properties = ["PrivateUsers=yes", "PrivateNetwork=yes", "ProtectSystem=strict"]
        try:
            run_program([*command, *(f"--property={name}" for name in properties), "true"])
        except ServiceError:
            return False
        return True

    def show_log(self, units: Sequence[str], n_lines: int, follow: bool) -> int:
        """Print the messages of units from the journal; return journalctl's exit code."""
        command = ["journalctl", *self._scope, "--no-hostname", f"--lines={n_lines}"]
        command += [f"--unit={unit}" for unit in units] + (["--follow"] if follow else [])
        return subprocess.run(command, check=False).returncode


def lingers() -> bool:
    """Return whether the user's services run while the user is not logged in."""
    return Path("/var/lib/systemd/linger", user_name()).exists()


def set_linger(on: bool) -> None:
    """Let the user's services run while the user is not logged in, or no longer."""
    run_program(["loginctl", "enable-linger" if on else "disable-linger", user_name()])


def user_name() -> str:
    """Return the name of the user that runs this process."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without an entry
        return str(os.getuid())


def run_program(command: list[str]) -> str:
    """Run a program; return its output.

    Raises
    ------
    ServiceError
        If it is missing, fails, or does not end in time.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise ServiceError(f"{command[0]} is not installed", _OWN_INIT) from None
    except subprocess.TimeoutExpired:
        raise ServiceError(f"{command[0]} does not answer", "`journalctl` may say why") from None
    if done.returncode:
        reason = shorten(one_line(done.stderr or done.stdout), 300) or f"exit code {done.returncode}"
        raise ServiceError(f"{' '.join(command[:3])}: {reason}")
    return done.stdout
