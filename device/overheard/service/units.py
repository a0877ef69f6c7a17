"""Write the units of systemd: `overheard listen` and `overheard web`, for a user or for the whole system."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

LISTEN, WEB = "overheard.service", "overheard-web.service"
SYSTEM_USER = "overheard"
SYSTEM_DATA = Path("/var/lib/overheard")
SYSTEM_CONFIG = Path("/etc/overheard/config.toml")
_DOCUMENTATION = "man:overheard(1) https://github.com/overheard/overheard/tree/main/docs"
_DESCRIPTIONS = {
    LISTEN: "Recognize the music that plays (overheard)",
    WEB: "Web page of overheard: what plays, and what played",
}
# What neither program needs. In a unit of a user, systemd ignores the options that need a name space, unless
# it has PrivateUsers (until version 253).
_SANDBOX = (
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=read-only",
    "PrivateTmp=yes",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "ProtectProc=invisible",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
    "CapabilityBoundingSet=",
    "UMask=0077",
    "TasksMax=128",
)
_SYSTEM_SANDBOX = ("ProtectHome=yes", "RemoveIPC=yes", "SystemCallFilter=~@privileged @resources")
_LOCAL = ("PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX")
_NETWORK = ("RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",)


@dataclasses.dataclass(frozen=True)
class UnitOptions:
    """What the units depend on.

    Attributes
    ----------
    command : how overheard is started, such as ``("/usr/bin/overheard",)``
    data_dir : the only folder that the service may write to
    system : whether the service belongs to the system, and not to a user
    network : whether a sink of `listen` needs the network
    exposed : whether other computers may open the web page
    sandbox : whether to restrict what the services may do
    config_dir : the folder of the configuration file, which the web page may change
    linger : whether the installation let the user's services run while nobody is logged in
    writes : further folders that sinks of `listen` write to
    """

    command: Sequence[str]
    data_dir: Path
    system: bool = False
    network: bool = False
    exposed: bool = False
    sandbox: bool = True
    linger: bool = False
    config_dir: Path | None = None
    writes: Sequence[Path] = ()


def unit(name: str, options: UnitOptions) -> str:
    """Return the text of a unit: `LISTEN` or `WEB`."""
    service = [*_program(name, options), *(_identity(name, options) if options.system else ())]
    if options.sandbox:
        service += _sandbox(name, options)
    lines = [
        f"# Written by `overheard service{' print' if options.system else ' install'}`.",
        "[Unit]",
        *_dependencies(name, options),
        "",
        "[Service]",
        *service,
        "",
        "[Install]",
        f"WantedBy={'multi-user.target' if options.system else 'default.target'}",
    ]
    if options.linger:
        lines += ["", "[X-Overheard]", "Linger=yes"]
    return "\n".join([*lines, ""])


def enabled_linger(text: str) -> bool:
    """Return whether the installation of this unit let the user's services run without a login."""
    return "\n[X-Overheard]\nLinger=yes\n" in text


def _dependencies(name: str, options: UnitOptions) -> Iterator[str]:
    yield f"Description={_DESCRIPTIONS[name]}"
    yield f"Documentation={_DOCUMENTATION}"
    if name == WEB:
        yield f"After={LISTEN}"
    elif options.system:
        yield "After=sound.target"
    else:
        yield "After=pipewire.service pipewire-pulse.service wireplumber.service pulseaudio.service"
    # At boot, the microphone may appear late: systemd must not give up after a few attempts.
    yield "StartLimitIntervalSec=0"


def _program(name: str, options: UnitOptions) -> Iterator[str]:
    command = " ".join(_quoted(word).replace("$", "$$") for word in options.command)
    if name == WEB:
        yield from ("Type=exec", f"ExecStart={command} web")
        yield from ("Restart=always", "RestartSec=15", "MemoryMax=300M")
        return
    yield from ("Type=notify", "NotifyAccess=main", f"ExecStart={command} listen")
    # Plays are in the history, where they can be deleted; the journal has warnings.
    yield from ("StandardOutput=null", "StandardError=journal")
    yield from ("Restart=always", "RestartSec=15")
    # Ready means that audio arrives; before, a first start may index packs for searching.
    yield from ("TimeoutStartSec=15min", "TimeoutStopSec=30")
    # Without audio for this long, it starts again. SIGTERM: it ends the open play, and leaves no core dump.
    yield from ("WatchdogSec=3min", "WatchdogSignal=SIGTERM")
    yield from ("RuntimeDirectory=overheard", "RuntimeDirectoryMode=0700", "MemoryMax=1G", "Nice=5")


def _identity(name: str, options: UnitOptions) -> Iterator[str]:
    yield from (f"User={SYSTEM_USER}", f"Group={SYSTEM_USER}")
    yield from ("StateDirectory=overheard", "StateDirectoryMode=0700")
    yield f"Environment=OVERHEARD_DATA_DIR={options.data_dir} OVERHEARD_CONFIG={SYSTEM_CONFIG}"
    if name == LISTEN:
        yield from ("SupplementaryGroups=audio", "DevicePolicy=closed", "DeviceAllow=char-alsa rw")
    else:
        yield "PrivateDevices=yes"


def _sandbox(name: str, options: UnitOptions) -> Iterator[str]:
    if options.system:
        yield from (line for line in _SANDBOX if line != "ProtectHome=read-only")
        yield from _SYSTEM_SANDBOX
    else:
        yield "PrivateUsers=yes"
        yield from _SANDBOX
        folders = [options.data_dir, *([options.config_dir] if name == WEB and options.config_dir else [])]
        yield f"ReadWritePaths={' '.join(_quoted(str(folder)) for folder in folders)}"
        if name == LISTEN and options.writes:
            yield _further_paths(options.writes)
    if name == WEB:  # not `listen`: PortAudio's callback is code that is made while the program runs
        yield "MemoryDenyWriteExecute=yes"
    yield from _NETWORK if name == WEB or options.network else _LOCAL
    if options.system and name == LISTEN and not options.network:  # a user's systemd may not filter addresses
        yield "IPAddressDeny=any"
    elif options.system and name == WEB and not options.exposed:
        yield from ("IPAddressDeny=any", "IPAddressAllow=localhost")


def _further_paths(folders: Sequence[Path]) -> str:
    """Return the line that lets a service write to folders; without one that is missing, it starts too."""
    return f"ReadWritePaths={' '.join(_quoted(f'-{folder}') for folder in folders)}"


def drop_in(name: str, options: UnitOptions) -> str:
    """Return what a service of the Debian package needs besides its unit; empty if nothing.

    Each sink and input that needs the network opens it for `listen`, and `web.host` for the page.
    """
    lines = []
    if name == LISTEN and options.network:
        lines += ["PrivateNetwork=no", *_NETWORK, "IPAddressDeny="]
    if name == LISTEN and options.writes:
        lines.append(_further_paths(options.writes))
    if name == WEB and options.exposed:
        lines.append("IPAddressDeny=")
    if not lines:
        return ""
    return "\n".join(["# Written by `overheard service update`.", "[Service]", *lines, ""])


def _quoted(word: str) -> str:
    """Return a word as systemd reads it in a list: one word, in which no specifier is replaced."""
    word = word.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{word}"' if any(c.isspace() or c in "\"';\\" for c in word) else word
