"""A running `overheard listen`: its processor time and its resident memory, from /proc."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from overheard_bench import CHECKOUT

POLL_S = 0.02
READY = "listening to"  # what `overheard listen` says on stderr once everything is loaded
READY_TIMEOUT_S = 120.0


@dataclasses.dataclass(frozen=True)
class Usage:
    """What one whole run took."""

    cpu_s: float
    wall_s: float
    peak_resident_kb: int | None
    resident_kb: int | None  # after three quarters of what was seen: the steady state
    own_kb: int | None  # of it, not backed by files (RssAnon)


def environment_of(data_dir: Path) -> dict[str, str]:
    """Return an environment in which `python -m overheard` is this checkout with that data folder alone."""
    roots = [str(CHECKOUT / "device"), os.environ.get("PYTHONPATH", "")]
    state = {"OVERHEARD_DATA_DIR": str(data_dir), "OVERHEARD_CONFIG": str(data_dir / "config.toml")}
    return os.environ | state | {"PYTHONPATH": os.pathsep.join(filter(None, roots))}


def start_listening(data_dir: Path, audio: Path, arguments: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Start `overheard listen --input FILE`, its output thrown away."""
    (data_dir / "config.toml").touch()
    command = [sys.executable, "-m", "overheard", "listen", "--input", str(audio), "--json", *arguments]
    errors = open(data_dir / "listen.log", "wb")
    try:
        return subprocess.Popen(
            command, env=environment_of(data_dir), stdout=subprocess.DEVNULL, stderr=errors, cwd=data_dir
        )
    finally:
        errors.close()


def wait_until_ready(process: subprocess.Popen[bytes], data_dir: Path) -> None:
    """Wait until it listens; raise RuntimeError if it ends or takes too long."""
    log, until = data_dir / "listen.log", time.monotonic() + READY_TIMEOUT_S
    while READY not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"overheard listen does not start: {error_of(data_dir)}")
        time.sleep(POLL_S)


def listen_to_the_end(data_dir: Path, audio: Path, arguments: Sequence[str] = ()) -> Usage:
    """Run `overheard listen` on a file until it ends, and say what it took; RuntimeError if it failed."""
    began = time.perf_counter()
    process = start_listening(data_dir, audio, arguments)
    seen: list[dict[str, int]] = []
    while True:
        seen.append(memory_kb(process.pid))
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        time.sleep(POLL_S)
    process.returncode = os.waitstatus_to_exitcode(status)  # wait4 took it: Popen must not wait again
    if process.returncode not in (0, 1):
        raise RuntimeError(f"overheard listen failed: {error_of(data_dir)}")
    known = [m for m in seen if "VmRSS" in m]
    steady = known[len(known) * 3 // 4] if known else {}
    return Usage(
        cpu_s=usage.ru_utime + usage.ru_stime,
        wall_s=time.perf_counter() - began,
        peak_resident_kb=max((m["VmHWM"] for m in known if "VmHWM" in m), default=None),
        resident_kb=steady.get("VmRSS"),
        own_kb=steady.get("RssAnon"),
    )


def error_of(data_dir: Path) -> str:
    """Return the last line that `overheard listen` complained with."""
    lines = (data_dir / "listen.log").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def memory_kb(pid: int) -> dict[str, int]:
    """Return the memory lines of /proc/PID/status in kB; none where there is no /proc or no such process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = [line.split(":", 1) for line in lines if line.startswith(("Vm", "Rss"))]
    return {name: int(value.split()[0]) for name, value in pairs}


def cpu_ns(pid: int) -> int:
    """Return the processor time of all threads so far, in ns; those of ended threads are not in it."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue
    return total
