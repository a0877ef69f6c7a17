"""What the functions of the API share."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import anyio

from overheard.process import return_freed_memory
from overheard.settings import Settings
from overheard.web.hub import Hub

_MAX_THREADS = 4  # that read the history, packs and covers for requests
_MAX_COVERS = 256
_MAX_COVER_BYTES = 16 << 20


class Covers:
    """The covers that were read last, bounded in number and bytes. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # one file is decoded at a time
        self._covers: OrderedDict[tuple[str, int], bytes | None] = OrderedDict()
        self._bytes = 0

    def get(self, path: str, size: int) -> bytes | None:
        """Return the JPEG of a file's cover, None if it has none; see `read_cover`."""
        if not Path(path).is_absolute():  # of a pack that somebody else made
            return None
        with self._lock:
            key = (path, size)
            if key not in self._covers:
                from overheard.hear.cover_art import read_cover  # ffmpeg's libraries take 16 MB

                cover = read_cover(path, size)
                return_freed_memory()  # of a large picture
                if cover is None and not Path(path).exists():
                    return None  # its disk may be connected later
                self._covers[key] = cover
                self._bytes += len(cover or b"")
            self._covers.move_to_end(key)
            while len(self._covers) > _MAX_COVERS or self._bytes > _MAX_COVER_BYTES:
                _, oldest = self._covers.popitem(last=False)
                self._bytes -= len(oldest or b"")
            return self._covers.get(key)


class Context:
    """The settings, the hub and the caches.

    Parameters
    ----------
    settings : Settings
    live_path : of the socket of `overheard listen`
    config_path : of the configuration file
    load : reads the settings again, with the origin of each
    """

    def __init__(
        self,
        settings: Settings,
        live_path: Path,
        config_path: Path,
        load: Callable[[], tuple[Settings, dict[str, str]]],
    ) -> None:
        self.settings = settings
        self.load = load
        self.live_path = live_path
        self.config_path = config_path
        self.covers = Covers()
        self.hub = Hub(live_path)
        self.writing = threading.Lock()  # held while packs' state or the configuration is changed
        self._limiter: anyio.CapacityLimiter | None = None

    @property
    def limiter(self) -> anyio.CapacityLimiter:
        """The limit of threads; made on first use, in the event loop."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(_MAX_THREADS)
        return self._limiter
