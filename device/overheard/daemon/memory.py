"""Keep the memory of a program that runs for weeks small, with what glibc offers."""

from __future__ import annotations

import ctypes
import logging

log = logging.getLogger(__name__)

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h
# Windows are matched in arrays of some MB. In the heap, smaller data would lie between them later, and keep
# their memory; from 4 MB on, NumPy asks for huge pages, of which each byte keeps 2 MiB.
_LARGE_BYTES = 1 << 20


def keep_large_arrays_apart() -> None:
    """Let each large array have memory of its own, which is returned to the system when it is freed.

    Call it before models and packs are opened.
    """
    _call("mallopt", _MMAP_THRESHOLD, _LARGE_BYTES)


def return_freed_memory() -> None:
    """Return to the system what the C library keeps for later. It takes about a millisecond."""
    _call("malloc_trim", 0)


def _call(name: str, *values: int) -> None:
    try:
        getattr(ctypes.CDLL(None), name)(*values)
    except (AttributeError, OSError):  # another C library
        log.debug("this C library has no %s", name)
