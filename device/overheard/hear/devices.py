"""The inputs that PortAudio and the sound server know, and how each is asked for."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
import subprocess
from typing import Any

from overheard.errors import AudioError

log = logging.getLogger(__name__)

_MONITOR = "@DEFAULT_MONITOR@"  # what PulseAudio and PipeWire call the monitor of the default sink
_SERVER_DEVICES = ("pulse", "pipewire")  # ALSA's names for the way to a sound server


@dataclasses.dataclass(frozen=True)
class InputDevice:
    """What `overheard devices` says about one input."""

    input: str  # what --input takes
    name: str
    host: str
    channels: int
    sample_rate: int
    default: bool = False


def find_device(spec: str) -> tuple[int | None, dict[str, str]]:
    """Return PortAudio's number for an input (None: its default) and the environment to open it in.

    Raises
    ------
    AudioError
        If there is no such input, or several.
    """
    sd = load_portaudio()
    devices = [(i, d) for i, d in enumerate(sd.query_devices()) if d["max_input_channels"] > 0]
    if spec == "monitor" or spec.startswith("pulse:"):
        wanted = _MONITOR if spec == "monitor" else spec.removeprefix("pulse:")
        return _find_server(devices, wanted)
    if not devices:
        raise AudioError("there is no sound input; plug in a microphone, or see `overheard devices`")
    if spec == "default":
        try:
            sd.query_devices(None, "input")
            return None, {}
        except (sd.PortAudioError, ValueError):
            return devices[0][0], {}
    found = [i for i, d in devices if spec == (str(i) if spec.isdigit() else d["name"])]
    # The number in "(hw:1,0)" is another after the device was plugged in elsewhere.
    stem = spec.split(" (hw:")[0].lower()
    found = found or [i for i, d in devices if stem in d["name"].lower() and not spec.isdigit()]
    if len(found) == 1:
        return found[0], {}
    if found:
        names = ", ".join(f"{i} ({d['name']})" for i, d in devices if i in found)
        raise AudioError(f"several inputs are named like {spec}: take one by its number: {names}")
    raise AudioError(f"no sound input {spec}; `overheard devices` lists them")


def _find_server(devices: list[tuple[int, Any]], wanted: str) -> tuple[int, dict[str, str]]:
    """Find the way to the sound server, and how it is told which source is meant."""
    for server in _SERVER_DEVICES:
        for index, device in devices:
            if device["name"] != server:
                continue
            if server == "pulse":
                return index, {"PULSE_SOURCE": wanted}
            props = "stream.capture.sink = true" if wanted == _MONITOR else f'target.object = "{wanted}"'
            return index, {"PIPEWIRE_ALSA": "{ " + props + " }"}
    raise AudioError(
        "no PulseAudio or PipeWire is within reach; install libasound2-plugins, "
        "and run overheard as the user whose sound it is"
    )


def list_inputs() -> list[InputDevice]:
    """Return every input that `--input` can name.

    Raises
    ------
    AudioError
        If PortAudio is missing.
    """
    sd = load_portaudio()
    try:
        default = int(sd.query_devices(None, "input")["index"])
    except (sd.PortAudioError, ValueError):
        default = -1
    hosts = [str(host["name"]) for host in sd.query_hostapis()]
    found = []
    for i, d in enumerate(sd.query_devices()):
        channels, rate = int(d["max_input_channels"]), round(d["default_samplerate"])
        if channels > 0:
            found.append(InputDevice(str(i), d["name"], hosts[d["hostapi"]], channels, rate, i == default))
    if any(device.name in _SERVER_DEVICES for device in found):
        found += _server_sources()
    return found


def _server_sources() -> list[InputDevice]:
    """Ask the sound server for its sources, where the tool for that is installed."""
    found = [InputDevice("monitor", "what the default output plays", "sound server", 2, 0)]
    if shutil.which("pactl") is None:
        return found
    try:
        command = ["pactl", "list", "short", "sources"]
        out = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("pactl: %s", error)
        return []
    for line in out.splitlines():
        fields = line.split("\t")
        if len(fields) >= 4:
            words = fields[3].split()  # such as "s16le 2ch 44100Hz"
            channels, rate = (int("".join(filter(str.isdigit, word)) or 0) for word in words[1:3])
            found.append(InputDevice(f"pulse:{fields[1]}", fields[1], "sound server", channels, rate))
    return found


def refresh_devices() -> None:
    """Make PortAudio look for devices again: it does so only when it starts. Ends all its streams."""
    sd = load_portaudio()
    # There is no public way; upstream names this one (python-sounddevice issue 125).
    with contextlib.suppress(sd.PortAudioError):  # it is not running if the last try failed half-way
        sd._terminate()
    try:
        sd._initialize()
    except sd.PortAudioError as error:
        raise AudioError(f"PortAudio does not start again: {reason(error)}") from error


def load_portaudio() -> Any:
    """Import sounddevice, which starts PortAudio.

    Raises
    ------
    AudioError
        If PortAudio is missing.
    """
    try:
        import sounddevice
    except OSError as error:
        raise AudioError("PortAudio is missing; install it, as with `apt install libportaudio2`") from error
    return sounddevice


def reason(error: Exception | None) -> str:
    """Return what a PortAudioError says, without its numbers."""
    return str(error).split(" [PaErrorCode")[0].replace("Error opening RawInputStream: ", "")
