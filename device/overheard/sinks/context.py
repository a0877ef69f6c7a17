"""What a sink can ask of the rest of the program, without importing it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Protocol

from overheard.events import Track


class PauseControl(Protocol):
    """Stops listening for a while."""

    @property
    def is_paused(self) -> bool:
        """Whether nothing is heard at the moment."""

    def pause(self, for_s: float | None = None) -> None:
        """Stop listening, for some seconds or until `resume`."""

    def resume(self) -> None:
        """Listen again."""


@dataclasses.dataclass(frozen=True)
class Context:
    """Functions of the rest of the program.

    Attributes
    ----------
    pause : None if listening cannot be paused
    cover : returns the picture of a track, JPEG or PNG, or None
    recording_id : returns the MusicBrainz id of a track's recording, or ""
    queues : the length of each sink's queue, by the name of the sink
    rooms : names of the rooms; empty if there is one input without a name
    """

    pause: PauseControl | None = None
    cover: Callable[[Track], bytes | None] = lambda _track: None
    recording_id: Callable[[Track], str] = lambda _track: ""
    rooms: tuple[str, ...] = ()
    queues: Mapping[str, Callable[[], int]] = dataclasses.field(default_factory=dict)
