"""Open the audio source that a user named: microphone, monitor, file or standard input."""

from __future__ import annotations

from pathlib import Path

from overheard.errors import AudioError
from overheard.hear.file import FileSource
from overheard.hear.source import AudioSource
from overheard.settings import Settings


def open_source(spec: str, settings: Settings, realtime: bool = False) -> AudioSource:
    """Make the source that a user named.

    Parameters
    ----------
    spec
        ``default``: the microphone that the system prefers. ``monitor``: what the computer itself plays.
        ``pulse:NAME``: a source of PulseAudio or PipeWire. ``-``: standard input, WAV or raw 16-bit mono at
        8 kHz. A file. A device's number or part of its name, as `overheard devices` lists them.
    settings
        The queue's length is `settings.listen.queue_s`.
    realtime
        Whether a file is read as fast as it would play, not as fast as possible.

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
        raise AudioError(f"{spec}: no such sound file")
    from overheard.hear.microphone import MicrophoneSource

    return MicrophoneSource(spec, settings.listen.queue_s)
