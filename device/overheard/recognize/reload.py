"""Search new packs while a listener runs: a thread opens them, so that no sound is lost meanwhile."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

from overheard.catalogue.watch import PackWatcher
from overheard.recognize.recognizer import Recognizer
from overheard.settings import Settings

CHECK_S = 3.0
_STOP_S = 5.0  # how long a pack that is being opened delays the end of the program


@contextlib.contextmanager
def watching_packs(
    recognizer: Recognizer,
    settings: Settings,
    pack_names: Sequence[str] | None = None,
    check_s: float = CHECK_S,
) -> Iterator[None]:
    """Let a recognizer search packs that are added, replaced or removed during the `with` block.

    Parameters
    ----------
    recognizer : Recognizer
    settings, pack_names : as for `open_recognizer`
    check_s : seconds between two checks of the files; a new pack is in use after two, and the time to open it
    """
    watcher = PackWatcher(settings, recognizer.model, pack_names, recognizer.packs)
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(check_s):
            packs = watcher.changed()
            if packs is not None and not stop.is_set():
                recognizer.search(packs)

    thread = threading.Thread(target=watch, name="packs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_STOP_S)
