"""Kill a forked child at one of its changes of files."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable


def kill_at_change(number: int) -> None:
    """Kill this process when it writes, renames or deletes a file for the `number`-th time."""
    left = [number]

    def hook(event: str, facts: tuple[object, ...]) -> None:
        written = event == "open" and isinstance(facts[2], int) and facts[2] & os.O_CREAT
        if written or event in {"os.rename", "os.remove", "os.mkdir"}:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def killed_at(number: int, change: Callable[[], object]) -> bool:
    """Run something in a child, and return whether it was killed at its `number`-th change of a file."""
    child = os.fork()
    if not child:
        code = 1
        try:
            kill_at_change(number)
            change()
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("the child failed by itself")
    return os.WIFSIGNALED(status)
