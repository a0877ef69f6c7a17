"""A source that may be missing when listening starts, such as the microphone of one room of several."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from overheard.errors import AudioError
from overheard.hear.portaudio import PORTAUDIO
from overheard.hear.source import AudioSource, Block, DeviceLost, Gap, Rerouted


class AwaitedSource(AudioSource):
    """Opens a source as soon as it exists. Until then, `blocks` raises DeviceLost and can be called again.

    Parameters
    ----------
    name : of the source while it is missing
    open_it : returns the source, or raises AudioError
    """

    def __init__(self, name: str, open_it: Callable[[], AudioSource]) -> None:
        super().__init__()
        self.name = name
        self._open = open_it
        self._source: AudioSource | None = None
        self.live = True  # until it is known
        self._again = False
        self.failure: AudioError | None = None  # why it is missing
        try:
            self._find()
        except AudioError as error:
            self.failure = error

    def _find(self) -> AudioSource:
        """Return the source; look for it first if necessary."""
        if self._source is None:
            source = self._open()
            self._source, self.name, self.live, self.failure = source, source.name, source.live, None
        return self._source

    def blocks(self) -> Iterator[Block | Gap | Rerouted]:
        """Open the source and yield its audio. Raise DeviceLost if it is missing or stops working."""
        try:
            if self._source is None and self._again:
                PORTAUDIO.refresh()
            self._again = True
            yield from self._find().blocks()
        except DeviceLost:
            raise
        except AudioError as error:
            if not self.live:
                raise
            raise DeviceLost(error.problem, error.remedy) from error

    def close(self) -> None:
        """Make `blocks` end soon. Any thread may call this."""
        super().close()
        if self._source is not None:
            self._source.close()
