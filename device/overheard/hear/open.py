"""Create the audio source for a user's input setting: microphone, monitor, file, stream or standard input."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from overheard.errors import AudioError
from overheard.hear.file import FileSource
from overheard.hear.source import AudioSource
from overheard.hear.stream import PREFIX, StreamSource
from overheard.settings import Settings
from overheard.settings.rooms import Room

_FILE_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}")  # names of devices may contain a dot, as in "2.0"


def open_source(spec: str, settings: Settings, realtime: bool = False, raw: bool = False) -> AudioSource:
    """Create an audio source.

    Parameters
    ----------
    spec : str
        One of these, checked in this order:

        - ``-``: standard input, in any format that streams, or raw samples
        - ``default``: the system's default microphone
        - ``monitor``: the computer's own audio output
        - ``stream:URL``: a stream of the network
        - ``pulse:NAME``: a source of PulseAudio or PipeWire
        - the path of an audio file
        - the number of a device or part of its name, as `overheard devices` lists them
    settings : `settings.listen` has the length of a microphone's queue, its channel and its sample rate
    realtime : whether to read a file at normal speed instead of as fast as possible
    raw : whether standard input is 16-bit little-endian mono samples at 8 kHz without a header

    Raises
    ------
    AudioError
        If there is no such file or device.
    """
    if spec == "-":
        from overheard.hear.stdin import StdinSource

        return StdinSource(raw=raw)
    if spec.startswith(PREFIX):
        return StreamSource(spec.removeprefix(PREFIX))
    if raw:
        raise AudioError("--raw is for standard input only", "add `--input -`")
    path = Path(spec)
    if spec not in ("default", "monitor") and path.is_file():
        return FileSource(path, realtime)
    if spec not in ("default", "monitor") and path.exists() and not path.is_dir():
        raise AudioError(f"{spec}: not a regular file", f"pipe it: `overheard listen --input - < {spec}`")
    if "/" in spec and not spec.startswith("pulse:"):
        raise _no_file(path, f"{spec}: no such audio file", "check the path")
    return _open_device(spec, settings)


def open_room(room: Room, settings: Settings, realtime: bool = False) -> AudioSource:
    """Create the audio source of a room; see `open_source`."""
    channel = room.channel or settings.listen.channel
    chosen = dataclasses.replace(settings, listen=dataclasses.replace(settings.listen, channel=channel))
    return open_source(room.input, chosen, realtime)


def _open_device(spec: str, settings: Settings) -> AudioSource:
    """Open a device; if there is none of a name like a file's, say that the file is missing."""
    from overheard.hear.microphone import MicrophoneSource

    try:
        listen = settings.listen
        return MicrophoneSource(spec, listen.queue_s, listen.channel, listen.sample_rate)
    except AudioError as error:
        if _FILE_SUFFIX.fullmatch(Path(spec).suffix) and not spec.startswith("pulse:"):
            problem = f"{spec}: no such audio file, and no audio input of this name"
            raise _no_file(Path(spec), problem, "check the path, or run `overheard devices`") from error
        raise


def _no_file(path: Path, problem: str, remedy: str) -> AudioError:
    """Return the error for a missing file; another one if there is a folder of this name."""
    if path.is_dir():
        return AudioError(f"{path}: is a folder", f"identify the files in it: `overheard identify {path}/*`")
    return AudioError(problem, remedy)
