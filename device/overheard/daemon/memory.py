"""Return memory that was freed to the system."""

from __future__ import annotations

import ctypes
import logging

log = logging.getLogger(__name__)


def return_freed_memory() -> None:
    """Return what the C library keeps for later, if it can.

    The arrays of each look differ in size, so that glibc's heap gets holes: without this, the resident memory
    of a listener grew by a quarter in four days, although nothing else did.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # another C library
        log.debug("this C library keeps the memory that is freed")
