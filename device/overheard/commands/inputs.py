"""Open the inputs of `listen` from flags and settings: one, or one for each room."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from overheard.errors import SettingsError
from overheard.settings import Settings
from overheard.settings.rooms import Room, parse_rooms
from overheard.text import in_room

if TYPE_CHECKING:
    from overheard.daemon import Listener
    from overheard.hear.source import AudioSource


class Inputs:
    """Opened inputs.

    Parameters
    ----------
    sources : by room; one with the room ``""`` if there are no rooms

    Attributes
    ----------
    rooms : names of the rooms; empty if there are none
    """

    def __init__(self, sources: Mapping[str, AudioSource]) -> None:
        self._sources = sources
        self.rooms = tuple(room for room in sources if room)

    @property
    def live(self) -> bool:
        """Whether all deliver audio in real time."""
        return all(source.live for source in self._sources.values())

    @property
    def name(self) -> str:
        """Name of the only source; empty if there are rooms."""
        return "" if self.rooms else self._sources[""].name

    def announcements(self) -> list[str]:
        """Return the lines that announce the inputs to the user."""
        return [f"listening to {in_room(room, source.name)}" for room, source in self._sources.items()]

    def run(
        self,
        settings: Settings,
        sinks: Any,
        stop_event: Any,
        new_listener: Callable[[str], Listener],
        **others: Any,
    ) -> None:
        """Listen; see `run_listen` and `run_rooms`."""
        from overheard.daemon import run_listen, run_rooms

        if self.rooms:
            run_rooms(settings, self._sources, sinks, stop_event, new_listener, **others)
            return
        run_listen(settings, self._sources[""], sinks, stop_event, lambda: new_listener(""), **others)


def chosen_rooms(args: argparse.Namespace, settings: Settings) -> tuple[Room, ...]:
    """Return the rooms that the flags or the settings select; none if there is one input.

    Raises
    ------
    SettingsError
        If both --input and --room are given, or a room is not valid.
    """
    if args.room and args.input:
        raise SettingsError("--input and --room exclude each other", "give each input a room")
    if args.room:
        return parse_rooms(args.room, "--room")
    return () if args.input else parse_rooms(settings.listen.rooms)


def open_inputs(args: argparse.Namespace, settings: Settings) -> Inputs:
    """Open the inputs. Of several rooms, those whose input is missing are awaited.

    Raises
    ------
    SettingsError
        If a room is not valid.
    AudioError
        If none can be opened.
    """
    from overheard.hear.awaited import AwaitedSource
    from overheard.hear.open import open_room, open_source

    rooms = chosen_rooms(args, settings)
    if not rooms:
        source = open_source(args.input or settings.listen.input, settings, args.realtime, args.raw)
        return Inputs({"": source})
    sources = {}
    for room in rooms:
        open_it = functools.partial(open_room, room, settings, args.realtime)
        sources[room.name] = AwaitedSource(room.input, open_it)
    failures = [source.failure for source in sources.values() if source.failure is not None]
    if len(failures) == len(sources):
        raise failures[0]
    return Inputs(sources)
