"""Read from the kernel what a running `overheard listen` has open: files, sockets and sound cards."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import os
import struct
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_WRITES = os.O_WRONLY | os.O_RDWR
_LIBRARIES = ("/usr/", "/lib", "/proc/", "/sys/", "/etc/", "/opt/")


@dataclasses.dataclass(frozen=True)
class OpenFiles:
    """What a process has open.

    Attributes
    ----------
    network : connections and listening sockets of TCP and UDP, with their addresses
    sockets : sockets of this computer, by path
    devices : sound cards
    written : files that are open for writing
    read : other files of the user
    """

    pid: int
    command: str
    network: list[str]
    sockets: list[str]
    devices: list[str]
    written: list[str]
    read: list[str]


def listening_processes() -> list[OpenFiles]:
    """Return what each running `overheard listen` of this user has open."""
    found = []
    for folder in sorted(_PROC.glob("[0-9]*"), key=lambda path: int(path.name)):
        with contextlib.suppress(OSError):  # it has ended, or belongs to another user
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if is_listen(words) and int(folder.name) != os.getpid():
                found.append(open_files(int(folder.name), " ".join(words).strip()))
    return found


def is_listen(words: list[str]) -> bool:
    """Return whether these are the words of a command `overheard listen`."""
    names = [Path(word).name for word in words]
    starts = [i for i, name in enumerate(names[:4]) if name == "overheard"]
    return bool(starts) and "listen" in names[starts[0] + 1 :]


def open_files(pid: int, command: str = "") -> OpenFiles:
    """Return what a process has open.

    Raises
    ------
    OSError
        If there is no such process, or it belongs to another user.
    """
    folder = _PROC / str(pid)
    inet, local = _inet_sockets(folder), _local_sockets(folder)
    network, sockets, devices, written, read = (set[str]() for _ in range(5))
    for link in (folder / "fd").iterdir():
        with contextlib.suppress(OSError):
            target, flags = str(link.readlink()), _flags(folder / "fdinfo" / link.name)
            if target.startswith("socket:["):
                number = target[8:-1]
                if number in inet:
                    network.add(inet[number])
                else:
                    sockets.add(local.get(number) or "a connection to another program of this computer")
            elif target.startswith("/dev/snd/"):
                devices.add(target)
            elif target.startswith("/") and not target.startswith("/dev/"):
                if flags & _WRITES:
                    written.add(target)
                elif not target.startswith(_LIBRARIES):
                    read.add(target)
    return OpenFiles(pid, command, *(sorted(each) for each in (network, sockets, devices, written, read)))


def _flags(path: Path) -> int:
    for line in path.read_text().splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8)
    return 0


def _inet_sockets(folder: Path) -> dict[str, str]:
    """Return the sockets of TCP and UDP by inode, in the name space of the process."""
    found = {}
    for name in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        for words in _table(folder / "net" / name):
            there = _address(words[2])
            listens = there.endswith(":0")
            found[words[9]] = f"{name} {'at' if listens else 'to'} {_address(words[1]) if listens else there}"
    for words in _table(folder / "net" / "packet"):
        found[words[8]] = "raw packets"
    return found


def _local_sockets(folder: Path) -> dict[str, str]:
    return {words[6]: words[7] for words in _table(folder / "net" / "unix") if len(words) > 7}


def _table(path: Path) -> Iterator[list[str]]:
    """Yield the words of each line below the heading; none if the kernel has no such table."""
    try:
        lines = path.read_text(errors="replace").splitlines()[1:]
    except FileNotFoundError:
        return
    yield from (line.split() for line in lines)


def _address(text: str) -> str:
    """Format an address of the kernel: hexadecimal, in words of 32 bits of this processor's byte order."""
    host, _, port = text.partition(":")
    words = [int(host[i : i + 8], 16) for i in range(0, len(host), 8)]
    name = ipaddress.ip_address(b"".join(struct.pack("=I", word) for word in words))
    return f"[{name}]:{int(port, 16)}" if name.version == 6 else f"{name}:{int(port, 16)}"
