"""Open the outputs of `listen` besides terminal and history: enabled sinks, and the live socket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from overheard.errors import OverheardError
from overheard.process import tell
from overheard.settings import Settings
from overheard.text import one_line

if TYPE_CHECKING:
    from overheard.daemon import Pause
    from overheard.daemon.session import Listener
    from overheard.events import Track
    from overheard.live.picture_listener import Listener as StatusListener
    from overheard.live.server import LiveServer
    from overheard.recognize.recognizer import Recognizer
    from overheard.sinks.context import Context
    from overheard.sinks.runner import Sink

_COVER_PIXELS = 600  # longest side


def unknown_forgetter(settings: Settings, recognizer: Recognizer) -> Callable[[float], object]:
    """Return a function that deletes the unknown music that was last heard before a Unix time."""
    from overheard.recognize.unknown_store import UnknownStore

    def forget(before: float) -> None:
        # Listening has a store of its own, in another thread.
        store = UnknownStore(settings.unknown_path, recognizer.model, settings.unknown.max_pieces)
        store.remove([piece.unknown_id for piece in store.pieces() if piece.last_heard < before])

    return forget


def add_live(
    sinks: list[Sink],
    settings: Settings,
    pause: Pause,
    new_listener: Callable[[], StatusListener],
    rooms: Sequence[str] = (),
) -> Callable[[str], Listener]:
    """Add the live socket to the sinks; return a function that makes listeners with a log-mel picture."""
    from overheard.live.picture_listener import PictureListener

    live = open_live(settings, pause, rooms)
    if live is None:
        return lambda _room: new_listener()
    sinks.append(live)
    return lambda room: PictureListener(new_listener(), live, room)


def open_live(settings: Settings, pause: Pause, rooms: Sequence[str] = ()) -> LiveServer | None:
    """Open the live socket, unless the settings say otherwise; report if it cannot be opened, and go on."""
    from overheard.live.address import socket_path
    from overheard.live.server import LiveServer
    from overheard.version import version

    if not settings.listen.live:
        return None
    try:
        return LiveServer(socket_path(settings), version(), pause, rooms)
    except (OverheardError, OSError) as error:
        tell(
            f"overheard: `overheard status` and the web page do not see this process: {one_line(str(error))}"
        )
        return None


def open_enabled_sinks(
    settings: Settings, pause: Pause | None = None, rooms: Sequence[str] = ()
) -> list[Sink]:
    """Open the sinks that are off by default, as far as the settings enable them."""
    from overheard.sinks.registry import open_enabled

    return open_enabled(settings, sink_context(pause, rooms))


def sink_context(pause: Pause | None = None, rooms: Sequence[str] = ()) -> Context:
    """Return the functions of the program that sinks may call."""
    from overheard.sinks.context import Context

    return Context(pause=pause, rooms=tuple(rooms), cover=_cover, recording_id=_recording_id)


# Imported on use: ffmpeg's libraries take 16 MB, and most sinks never need them.
def _cover(track: Track) -> bytes | None:
    from overheard.hear.cover_art import read_cover

    return read_cover(track.path, _COVER_PIXELS)


def _recording_id(track: Track) -> str:
    from overheard.hear.recording_id import read_recording_id

    return read_recording_id(track.path)
