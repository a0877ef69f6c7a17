"""The properties of a media player that shows the current play and cannot be controlled."""

from __future__ import annotations

import threading
from typing import Any

from overheard.events import Play, Track

OBJECT = "/org/mpris/MediaPlayer2"
ROOT, PLAYER = "org.mpris.MediaPlayer2", "org.mpris.MediaPlayer2.Player"
_NO_TRACK = "/org/mpris/MediaPlayer2/TrackList/NoTrack"
_US = 1_000_000
Variant = tuple[str, Any]
_ROOT_PROPERTIES: dict[str, Variant] = {
    "CanQuit": ("b", False),
    "CanRaise": ("b", False),
    "HasTrackList": ("b", False),
    "Identity": ("s", "overheard"),
    "SupportedUriSchemes": ("as", []),
    "SupportedMimeTypes": ("as", []),
}
_FIXED: dict[str, Variant] = {
    "Rate": ("d", 1.0),
    "MinimumRate": ("d", 1.0),
    "MaximumRate": ("d", 1.0),
    "Volume": ("d", 1.0),
    **{f"Can{name}": ("b", False) for name in ("GoNext", "GoPrevious", "Pause", "Seek", "Control")},
}
_METHODS = ("Next", "Previous", "Pause", "PlayPause", "Stop", "Play")


class Player:
    """What plays now; any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plays: dict[str, tuple[Play, float]] = {}  # by room, in the order of their starts

    def play(self, play: Play, started: float, room: str = "") -> bool:
        """Take the newest state of a play; return whether another track is shown than before."""
        with self._lock:
            before, known = self._shown, self._plays.get(room)
            if known is None or known[0].start_s != play.start_s:
                self._plays.pop(room, None)  # it becomes the last one, which is shown
            self._plays[room] = (play, started)
            return _identity(before) != _identity(self._shown)

    def stop(self, room: str = "") -> bool:
        """Note that nothing plays in a room; return whether that changes what is shown."""
        with self._lock:
            before = self._shown
            self._plays.pop(room, None)
            return _identity(before) != _identity(self._shown)

    @property
    def _shown(self) -> tuple[Play, float] | None:
        """The play that started last, and the Unix time at which the clock of its source was 0."""
        return next(reversed(self._plays.values()), None)

    def properties(self, interface: str, now: float) -> dict[str, Variant]:
        """Return the properties of an interface, at a Unix time."""
        if interface == ROOT:
            return _ROOT_PROPERTIES
        if interface != PLAYER:
            return {}
        with self._lock:
            play, started = self._shown or (None, 0.0)
        position_s = play.position_s(now - started) if play else 0.0
        if play and play.track.duration_s:
            position_s = min(position_s, play.track.duration_s)
        return {
            **_FIXED,
            "PlaybackStatus": ("s", "Playing" if play else "Stopped"),
            "CanPlay": ("b", play is not None),  # playerctl shows nothing of a player without a track
            "Metadata": ("a{sv}", _metadata(play)),
            "Position": ("x", round(_US * max(0.0, position_s))),
        }

    def changing(self, now: float) -> dict[str, Variant]:
        """Return the properties whose change is announced."""
        found = self.properties(PLAYER, now)
        return {name: found[name] for name in ("PlaybackStatus", "CanPlay", "Metadata")}


def _identity(shown: tuple[Play, float] | None) -> tuple[Track, float] | None:
    return None if shown is None else (shown[0].track, shown[0].start_s)


def _metadata(play: Play | None) -> dict[str, Variant]:
    if play is None:
        return {"mpris:trackid": ("o", _NO_TRACK)}
    track = play.track
    name = "".join(
        character if character.isalnum() and character.isascii() else "_" for character in track.id
    )
    values: dict[str, Variant] = {
        "mpris:trackid": ("o", f"/org/overheard/track/{name or '_'}"),
        "xesam:title": ("s", _text(track.title)),
    }
    if track.duration_s:
        values["mpris:length"] = ("x", round(_US * track.duration_s))
    if track.artist:
        values["xesam:artist"] = ("as", [_text(track.artist)])
    if track.album:
        values["xesam:album"] = ("s", _text(track.album))
    return values


def _text(text: str) -> str:
    """Return a text that D-Bus accepts: valid UTF-8 without NUL."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "")


def _interface(name: str, methods: str, properties: dict[str, Variant]) -> str:
    shown = "".join(
        f'<property name="{key}" type="{kind}" access="read"/>' for key, (kind, _) in properties.items()
    )
    return f'<interface name="{name}">{methods}{shown}</interface>'


INTROSPECTION = (
    "<node>"
    + _interface(ROOT, '<method name="Raise"/><method name="Quit"/>', _ROOT_PROPERTIES)
    + _interface(
        PLAYER,
        "".join(f'<method name="{name}"/>' for name in _METHODS),
        Player().properties(PLAYER, 0.0),
    )
    + "</node>"
)
