"""Run a function in a process whose memory a Linux control group limits, as a service with `MemoryMax` is.

The limit counts the pages of mapped files that are in memory too; the kernel drops those when it is reached,
and kills the process when that is not enough. Needs permission to make control groups, as root has.

Source: Linux kernel documentation, cgroup-v2.rst (memory.max) and cgroup-v1/memory.rst.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

ROOT = Path("/sys/fs/cgroup")


def run_limited(limit_mb: int, function: Callable[..., dict[str, Any]], *arguments: object) -> dict[str, Any]:
    """Return the result of a function of a module, and the limit as `sufficient_mb` if it was sufficient.

    If the process was killed, or no control group can be made, `failed` says so.
    """
    try:
        group = _make_group(limit_mb)
    except OSError as error:
        return {"failed": f"no control group can be made ({error.strerror})"}
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            result = pool.submit(_inside, group, function, *arguments).result()
    except BrokenProcessPool:
        return {"failed": f"the process was killed, probably for more than {limit_mb} MB"}
    finally:
        group.rmdir()
    return {"sufficient_mb": limit_mb, **result}


def _inside(group: Path, function: Callable[..., dict[str, Any]], *arguments: object) -> dict[str, Any]:
    (group / "cgroup.procs").write_text(str(os.getpid()))
    return function(*arguments)


def _make_group(limit_mb: int) -> Path:
    """Make a control group with a memory limit. Raises OSError."""
    has_one_hierarchy = "memory" in _words(ROOT / "cgroup.subtree_control")
    group = (ROOT if has_one_hierarchy else ROOT / "memory") / f"overheard-bench-{os.getpid()}"
    limit_file = "memory.max" if has_one_hierarchy else "memory.limit_in_bytes"
    group.mkdir()
    try:
        (group / limit_file).write_text(str(limit_mb * 10**6))
    except OSError:
        group.rmdir()
        raise
    return group


def _words(path: Path) -> list[str]:
    return path.read_text().split() if path.is_file() else []
