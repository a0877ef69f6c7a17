"""Run `overheard listen` as a process and measure its processor time and memory with /proc."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from overheard.fingerprint.model import DEFAULT_MODEL
from overheard_bench import CHECKOUT

POLL_S = 0.02
READY = "listening to"  # `overheard listen` prints this on stderr when everything is loaded
READY_TIMEOUT_S = 120.0  # ample for an SD card


@dataclasses.dataclass(frozen=True)
class Usage:
    """Processor time and memory of one complete run."""

    cpu_s: float
    wall_s: float
    peak_resident_kb: int | None
    resident_kb: int | None  # at three quarters of the run: the steady state
    own_kb: int | None  # the part of it that is not backed by files (RssAnon)


def environment_of(data_dir: Path) -> dict[str, str]:
    """Return an environment in which `python -m overheard` is this checkout with only that data."""
    roots = [str(CHECKOUT / "device"), os.environ.get("PYTHONPATH", "")]
    state = {"OVERHEARD_DATA_DIR": str(data_dir), "OVERHEARD_CONFIG": str(data_dir / "config.toml")}
    state["OVERHEARD_MODEL"] = DEFAULT_MODEL  # results must not depend on which model this machine chooses
    return os.environ | state | {"PYTHONPATH": os.pathsep.join(filter(None, roots))}


def start_listening(data_dir: Path, audio: Path, arguments: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Start `overheard listen --input FILE` and discard its output."""
    (data_dir / "config.toml").touch()
    command = [sys.executable, "-m", "overheard", "listen", "--input", str(audio), "--json", *arguments]
    with (data_dir / "listen.log").open("wb") as errors:
        return subprocess.Popen(
            command, env=environment_of(data_dir), stdout=subprocess.DEVNULL, stderr=errors, cwd=data_dir
        )


def wait_until_ready(process: subprocess.Popen[bytes], data_dir: Path) -> None:
    """Wait until the process listens. Raises RuntimeError if it ends or takes too long."""
    log, until = data_dir / "listen.log", time.monotonic() + READY_TIMEOUT_S
    while READY not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"overheard listen did not start: {error_of(data_dir)}")
        time.sleep(POLL_S)


def listen_to_the_end(data_dir: Path, audio: Path, arguments: Sequence[str] = ()) -> Usage:
    """Run `overheard listen` on a file until it ends. Raises RuntimeError if it fails."""
    began = time.perf_counter()
    process = start_listening(data_dir, audio, arguments)
    samples: list[dict[str, int]] = []
    while True:
        samples.append(memory_kb(process.pid))
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        time.sleep(POLL_S)
    process.returncode = os.waitstatus_to_exitcode(status)  # wait4 has already reaped the process
    if process.returncode not in (0, 1):
        raise RuntimeError(f"overheard listen failed: {error_of(data_dir)}")
    known = [m for m in samples if "VmRSS" in m]
    steady = known[len(known) * 3 // 4] if known else {}
    return Usage(
        cpu_s=usage.ru_utime + usage.ru_stime,
        wall_s=time.perf_counter() - began,
        peak_resident_kb=max((m["VmHWM"] for m in known if "VmHWM" in m), default=None),
        resident_kb=steady.get("VmRSS"),
        own_kb=steady.get("RssAnon"),
    )


def error_of(data_dir: Path) -> str:
    """Return the last line that `overheard listen` printed on stderr."""
    lines = (data_dir / "listen.log").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"


def memory_kb(pid: int) -> dict[str, int]:
    """Return the memory fields of /proc/PID/status in kB; empty if there is no /proc or no such process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = [line.split(":", 1) for line in lines if line.startswith(("Vm", "Rss"))]
    return {name: int(value.split()[0]) for name, value in pairs}


def proportional_mb(pid: int) -> float:
    """Return the memory of a process in MB, of which each page counts in parts for those that share it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def cpu_ns(pid: int) -> int:
    """Return the processor time of all running threads so far, in ns; ended threads do not count."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue
    return total
