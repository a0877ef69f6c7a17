"""Share PortAudio among the streams of this process: one opens at a time, and a restart waits for all.

PortAudio lists the devices only when it starts, and its restart ends every stream. A stream that was lost may
need one, so the others close for a moment, but only if devices were plugged in or removed meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from overheard.hear.devices import PACTL_TIMEOUT_S, refresh_devices

log = logging.getLogger(__name__)

_CARDS = Path("/proc/asound/cards")
_CLOSE_TIMEOUT_S = 10.0  # for the other streams, whose readers may be busy


def inputs_there() -> str:
    """Return a text that changes when a sound card appears or disappears, or the sound server starts."""
    try:
        cards = _CARDS.read_text(errors="replace")
    except OSError:
        cards = ""
    return f"{cards}{_server_answers()}"


def _server_answers() -> bool:
    if shutil.which("pactl") is None:
        return False
    try:
        return not subprocess.run(
            ["pactl", "info"], capture_output=True, timeout=PACTL_TIMEOUT_S, check=False
        ).returncode
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("pactl: %s", error)
        return False


class SharedPortAudio:
    """Count the open streams, and restart PortAudio between them. Any thread may use it.

    Parameters
    ----------
    restart : restarts PortAudio
    inputs : see `inputs_there`
    """

    def __init__(
        self,
        restart: Callable[[], None] = refresh_devices,
        inputs: Callable[[], str] = inputs_there,
    ) -> None:
        self._restart, self._inputs = restart, inputs
        self._changed = threading.Condition()
        self._n_open = 0
        self._restarting = False
        self._known: str | None = None  # the inputs when PortAudio started

    @property
    def restarting(self) -> bool:
        """Whether streams are to close now; `opening` waits until they may open again."""
        return self._restarting

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        """Let this thread alone find and open a device; if the block succeeds, the stream counts as open."""
        with self._changed:
            self._changed.wait_for(lambda: not self._restarting)
            if self._known is None:
                self._known = self._inputs()
            yield
            self._n_open += 1

    @contextlib.contextmanager
    def closing(self) -> Iterator[None]:
        """Let this thread alone close its stream."""
        with self._changed:
            try:
                yield
            finally:
                self._n_open -= 1
                self._changed.notify_all()

    def refresh(self) -> None:
        """Let PortAudio list the devices again; if other streams are open, only if that can change anything.

        Raises
        ------
        AudioError
            If PortAudio does not start again.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._restarting)
            inputs = self._inputs() if self._n_open else None
            if self._n_open and inputs == self._known:
                return
            self._restarting = True
            try:
                if self._changed.wait_for(lambda: not self._n_open, _CLOSE_TIMEOUT_S):
                    self._restart()
                    self._known = self._inputs() if inputs is None else inputs
                else:
                    log.debug("PortAudio is not restarted: another stream does not close")
            finally:
                self._restarting = False
                self._changed.notify_all()


PORTAUDIO = SharedPortAudio(lambda: refresh_devices())
