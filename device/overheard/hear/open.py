"""Create the audio source for a user's input setting: microphone, monitor, file or standard input."""

from __future__ import annotations

from pathlib import Path

from overheard.errors import AudioError
from overheard.hear.file import FileSource
from overheard.hear.source import AudioSource
from overheard.settings import Settings


def open_source(spec: str, settings: Settings, realtime: bool = False) -> AudioSource:
    """Create an audio source.

    Parameters
    ----------
    spec : str
        One of these, checked in this order:

        - ``-``: standard input, WAV or raw 16-bit mono at 8 kHz
        - ``default``: the system's default microphone
        - ``monitor``: the computer's own audio output
        - ``pulse:NAME``: a source of PulseAudio or PipeWire
        - the path of an audio file
        - the number of a device or part of its name, as `overheard devices` lists them
    settings : Settings
        `settings.listen.queue_s` is the length of a microphone's queue in seconds.
    realtime : bool
        Whether to read a file at normal speed instead of as fast as possible.

    Raises
    ------
    AudioError
        If there is no such file or device.
    """
    if spec == "-":
        from overheard.hear.stdin import StdinSource

        return StdinSource()
    if spec not in ("default", "monitor") and Path(spec).is_file():
        return FileSource(Path(spec), realtime)
    if "/" in spec and not spec.startswith("pulse:"):
        raise AudioError(f"{spec}: no such audio file")
    from overheard.hear.microphone import MicrophoneSource

    return MicrophoneSource(spec, settings.listen.queue_s)
