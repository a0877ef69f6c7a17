"""List and find audio inputs of PortAudio and of the sound server (PulseAudio or PipeWire)."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
import subprocess
from typing import Any

from overheard.errors import AudioError

log = logging.getLogger(__name__)

_DEFAULT_MONITOR = "@DEFAULT_MONITOR@"  # PulseAudio's and PipeWire's name for the default sink's monitor
_SERVER_DEVICES = ("pulse", "pipewire")  # ALSA's names for the devices that lead to the sound server
PACTL_TIMEOUT_S = 5.0  # pactl waits forever for a sound server that hangs
_INSTALL_PORTAUDIO = {  # by the program of the package manager
    "apt-get": "sudo apt-get install libportaudio2",
    "dnf": "sudo dnf install portaudio",
    "pacman": "sudo pacman -S portaudio",
    "zypper": "sudo zypper install libportaudio2",
    "apk": "sudo apk add portaudio",
    "brew": "brew install portaudio",
}
_LIST_INPUTS = "run `overheard devices` to list the inputs"


@dataclasses.dataclass(frozen=True)
class InputDevice:
    """One row of `overheard devices`."""

    input: str  # value for --input
    name: str
    host: str  # PortAudio's host API, such as ALSA
    channels: int
    sample_rate: int  # Hz; 0 if unknown
    default: bool = False


def find_device(spec: str) -> tuple[int | None, dict[str, str]]:
    """Find an input.

    Parameters
    ----------
    spec : str
        ``default``, ``monitor``, ``pulse:NAME``, a device number, or part of a device name.

    Returns
    -------
    index : int or None
        PortAudio's device number; None for its default input.
    variables : dict
        Environment variables to set while the device is opened.

    Raises
    ------
    AudioError
        If no input or more than one input matches.
    """
    sd = load_portaudio()
    devices = [(i, d) for i, d in enumerate(sd.query_devices()) if d["max_input_channels"] > 0]
    if spec == "monitor" or spec.startswith("pulse:"):
        source = _DEFAULT_MONITOR if spec == "monitor" else spec.removeprefix("pulse:")
        found = _find_server(devices, source)
        known = [row.name for row in _server_sources() if row.input.startswith("pulse:")]
        if source != _DEFAULT_MONITOR and known and source not in known:
            raise AudioError(f"the sound server has no source {source}", _LIST_INPUTS)
        return found
    if not devices:
        raise AudioError("there is no audio input", "connect a microphone, or start PulseAudio or PipeWire")
    if spec == "default":
        try:
            sd.query_devices(None, "input")
            return None, {}
        except (sd.PortAudioError, ValueError):
            return devices[0][0], {}
    return _find_by_name(devices, spec), {}


def _find_by_name(devices: list[tuple[int, Any]], spec: str) -> int:
    """Find the only device with this number or name, or else with this part of a name."""
    matches = [i for i, d in devices if spec == (str(i) if spec.isdigit() else d["name"])]
    # The ALSA card number in "(hw:1,0)" changes when the device is plugged into another port.
    stem = spec.split(" (hw:")[0].lower()
    matches = matches or [i for i, d in devices if stem in d["name"].lower() and not spec.isdigit()]
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = ", ".join(f"{i} ({d['name']})" for i, d in devices if i in matches)
        raise AudioError(f"{spec} matches several inputs: {names}", "select one by its number")
    raise AudioError(f"no audio input matches {spec}", _LIST_INPUTS)


def _find_server(devices: list[tuple[int, Any]], source: str) -> tuple[int, dict[str, str]]:
    """Find the device that leads to the sound server, and the variables that select one of its sources."""
    for server in _SERVER_DEVICES:
        for index, device in devices:
            if device["name"] != server:
                continue
            if server == "pulse":
                return index, {"PULSE_SOURCE": source}
            monitor = source == _DEFAULT_MONITOR
            props = "stream.capture.sink = true" if monitor else f'target.object = "{source}"'
            return index, {"PIPEWIRE_ALSA": "{ " + props + " }"}
    raise AudioError(
        "neither PulseAudio nor PipeWire can be reached",
        "install libasound2-plugins, and run overheard as the user who is logged in to the desktop",
    )


def reaches_sound_server() -> bool:
    """Return whether PortAudio has a device that leads to PulseAudio or PipeWire.

    Raises
    ------
    AudioError
        If PortAudio is missing.
    """
    devices = load_portaudio().query_devices()
    return any(d["name"] in _SERVER_DEVICES for d in devices if d["max_input_channels"] > 0)


def list_inputs() -> list[InputDevice]:
    """List every input that `--input` accepts.

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
    inputs = []
    for i, d in enumerate(sd.query_devices()):
        channels, rate = int(d["max_input_channels"]), round(d["default_samplerate"])
        if channels > 0:
            inputs.append(InputDevice(str(i), d["name"], hosts[d["hostapi"]], channels, rate, i == default))
    if reaches_sound_server():
        inputs += _server_sources()
    return inputs


def _server_sources() -> list[InputDevice]:
    """List the sources of the sound server, if `pactl` is installed."""
    sources = [InputDevice("monitor", "the computer's own audio output", "sound server", 2, 0)]
    if shutil.which("pactl") is None:
        return sources
    try:
        command = ["pactl", "list", "short", "sources"]
        out = subprocess.run(
            command, capture_output=True, text=True, timeout=PACTL_TIMEOUT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("pactl: %s", error)
        return []
    for line in out.splitlines():
        fields = line.split("\t")
        if len(fields) >= 4:
            words = fields[3].split()  # such as "s16le 2ch 44100Hz"
            channels, rate = (int("".join(filter(str.isdigit, word)) or 0) for word in words[1:3])
            sources.append(InputDevice(f"pulse:{fields[1]}", fields[1], "sound server", channels, rate))
    return sources


def refresh_devices() -> None:
    """Restart PortAudio, which lists devices only when it starts. This ends all its streams.

    Raises
    ------
    AudioError
        If PortAudio does not start again.
    """
    sd = load_portaudio()
    # sounddevice has no public function for this; its author recommends these two (issue 125).
    with contextlib.suppress(sd.PortAudioError):  # PortAudio is not running if the previous restart failed
        sd._terminate()
    try:
        sd._initialize()
    except sd.PortAudioError as error:
        raise AudioError(f"PortAudio cannot be restarted: {error_text(error)}") from error


def load_portaudio() -> Any:
    """Import sounddevice, which starts PortAudio; return the module.

    Raises
    ------
    AudioError
        If PortAudio is missing.
    """
    try:
        import sounddevice
    except OSError as error:
        raise AudioError("the library PortAudio is missing", _how_to_install()) from error
    return sounddevice


def _how_to_install() -> str:
    """Return the command of this computer's package manager that installs PortAudio."""
    for program, command in _INSTALL_PORTAUDIO.items():
        if shutil.which(program):
            return f"install it: `{command}`"
    return "install it with the package manager of your system (portaudio or libportaudio2)"


def error_text(error: Exception | None) -> str:
    """Return the message of a PortAudioError without its error codes; the driver's own where there is one."""
    details = error.args[2] if error is not None and len(error.args) > 2 else None
    if isinstance(details, tuple) and details and isinstance(details[-1], str) and details[-1]:
        return str(details[-1])
    return str(error).split(" [PaErrorCode")[0].replace("Error opening RawInputStream: ", "")
