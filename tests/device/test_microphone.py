"""Microphone capture with a fake PortAudio: the queue, lost devices, and finding inputs."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overheard import cli
from overheard.errors import AudioError
from overheard.hear import awaited, devices, microphone
from overheard.hear.microphone import MicrophoneSource, SampleQueue
from overheard.hear.open import open_source
from overheard.hear.portaudio import SharedPortAudio
from overheard.hear.source import EMPTY_BLOCK, DeviceLost, Gap
from overheard.settings import Settings

RATE = 8000


def tone(seconds: float, rate: int, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


# The queue between the capture callback and the reader


def test_the_queue_joins_data_without_a_gap_between():
    queue = SampleQueue(100)
    queue.put(b"aa", 1)
    queue.put(b"bb", 1)
    queue.put(b"cc", 1, lost_before=7)
    queue.put(b"dd", 1)
    assert queue.drain() == [(0, b"aabb"), (7, b"ccdd")]
    assert queue.drain() == []


def test_a_full_queue_drops_and_counts_the_oldest_samples_and_marks_the_gap():
    queue = SampleQueue(10)
    for n in range(7):
        queue.put(bytes([n]) * 4, 2)
    assert queue.dropped_samples == 4
    assert queue.drain() == [(4, b"".join(bytes([n]) * 4 for n in range(2, 7)))]


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(st.tuples(st.integers(1, 30), st.sampled_from([0, 0, 0, 5])), st.just("drain")), max_size=60
    )
)
def test_the_queue_delivers_or_counts_every_sample(steps: list):
    queue = SampleQueue(50)
    n_put = n_delivered = 0
    for step in [*steps, (1, 0), "drain"]:
        if step == "drain":
            n_delivered += sum(lost + len(data) // 2 for lost, data in queue.drain())
        else:
            queue.put(bytes(2 * step[0]), *step)
            n_put += sum(step)
    assert n_delivered == n_put


# The microphone, with a fake PortAudio


class FakeStream:
    def __init__(self, world: FakeWorld, **options):
        if options["samplerate"] not in world.rates:
            raise FakePortAudio.PortAudioError("Error opening RawInputStream: Bad rate [PaErrorCode -9997]")
        self.world, self.samplerate, self.latency = world, options["samplerate"], 0.5
        self.channels = options["channels"]
        self.callback, self.active, self.closed = options["callback"], False, False
        world.streams.append(self)

    def start(self) -> None:
        self.active = True

    def abort(self, ignore_errors: bool = True) -> None:
        self.active = False

    def close(self, ignore_errors: bool = True) -> None:
        self.closed = True

    def deliver(self, samples: np.ndarray, at_s: float = 0.0, overflow: bool = False) -> None:
        times = types.SimpleNamespace(inputBufferAdcTime=at_s)
        self.callback(samples.tobytes(), len(samples), times, types.SimpleNamespace(input_overflow=overflow))


class FakeWorld:
    """Devices that are plugged in."""

    def __init__(self) -> None:
        self.names = ["HDMI", "USB Mic: Audio (hw:1,0)"]
        self.rates = {48000, 44100}
        self.streams: list[FakeStream] = []


class FakePortAudio:
    class PortAudioError(Exception):
        pass

    def __init__(self, world: FakeWorld) -> None:
        self.world = world
        self.started = 0
        self._initialize()

    def _terminate(self) -> None:
        self.started -= 1

    def _initialize(self) -> None:
        self.started += 1
        self.seen = list(self.world.names)  # as in PortAudio, this list changes only at the next start

    def query_hostapis(self):
        return [{"name": "ALSA"}]

    def query_devices(self, index=None, kind=None):
        rows = [
            {
                "index": i,
                "name": name,
                "hostapi": 0,
                "max_input_channels": 0 if name == "HDMI" else 2,
                "default_samplerate": 44100.0,
            }
            for i, name in enumerate(self.seen)
        ]
        if kind is None:
            return rows
        inputs = [d for d in rows if d["max_input_channels"]]
        if index is None and not inputs:
            raise self.PortAudioError("Error querying device -1")
        return inputs[0] if index is None else rows[index]

    def RawInputStream(self, **options):
        return FakeStream(self.world, **options)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> FakeWorld:
    world = FakeWorld()
    fake = FakePortAudio(world)
    for module in (devices, microphone):
        monkeypatch.setattr(module, "load_portaudio", lambda: fake)
    monkeypatch.setattr(microphone, "_POLL_S", 0.0)
    return world


def until(blocks, kind):
    """Return the next item of this type that is not empty."""
    return next(item for item in blocks if isinstance(item, kind) and (isinstance(item, Gap) or item.size))


def test_a_microphone_is_resampled_from_its_own_rate(world: FakeWorld):
    source = MicrophoneSource("default")
    assert source.live
    assert source.name == "USB Mic: Audio (hw:1,0)"
    blocks = source.blocks()
    assert next(blocks) is EMPTY_BLOCK
    (stream,) = world.streams
    assert stream.samplerate == 44100
    stream.deliver((tone(2, 44100) * 32767).astype(np.int16))
    # The resampler delays some samples.
    assert until(blocks, np.ndarray).size == pytest.approx(2 * RATE, abs=800)
    source.close()
    assert list(blocks) == []
    assert stream.closed


def test_a_sample_rate_that_does_not_work_is_replaced_by_another(world: FakeWorld):
    world.rates = {48000}
    next(MicrophoneSource("USB").blocks())
    assert world.streams[0].samplerate == 48000
    world.rates = set()
    with pytest.raises(AudioError, match=r"opened: Bad rate;"):
        next(MicrophoneSource("USB").blocks())


def test_an_overflow_becomes_a_gap_of_the_length_in_the_time_stamps(world: FakeWorld):
    blocks = MicrophoneSource("default").blocks()
    next(blocks)
    quarter = np.zeros(11025, np.int16)
    world.streams[0].deliver(quarter, at_s=1.0)
    world.streams[0].deliver(quarter, at_s=3.25, overflow=True)
    until(blocks, np.ndarray)
    assert until(blocks, Gap) == Gap(2 * RATE)


def test_dropped_audio_becomes_a_gap(world: FakeWorld):
    blocks = MicrophoneSource("default", queue_s=1).blocks()
    next(blocks)
    for _ in range(3):
        for _ in range(8):
            world.streams[0].deliver(np.zeros(11025, np.int16))
        assert until(blocks, Gap) == Gap(RATE)
        until(blocks, np.ndarray)


def test_an_unplugged_microphone_is_reopened_by_name(world: FakeWorld):
    source = MicrophoneSource("1")
    blocks = source.blocks()
    next(blocks)
    world.names = ["HDMI"]
    world.streams[0].active = False
    with pytest.raises(DeviceLost):
        list(blocks)
    assert world.streams[0].closed
    for _ in range(2):
        with pytest.raises(DeviceLost):
            next(source.blocks())
    world.names = ["HDMI", "Webcam", "USB Mic: Audio (hw:2,0)"]  # every device number changed
    blocks = source.blocks()
    next(blocks)
    world.streams[-1].deliver(np.ones(11025, np.int16))
    assert until(blocks, np.ndarray).size


def test_a_microphone_that_stops_delivering_audio_is_lost(world: FakeWorld, monkeypatch: pytest.MonkeyPatch):
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(microphone.time, "monotonic", lambda: clock.now)
    blocks = MicrophoneSource("default").blocks()
    next(blocks)
    clock.now = 7.0  # the first block may take longer
    next(blocks)
    world.streams[0].deliver(np.ones(11025, np.int16))
    until(blocks, np.ndarray)
    clock.now = 12.0
    with pytest.raises(DeviceLost, match="no longer delivers audio"):
        list(blocks)


def test_inputs_are_found_by_number_name_and_as_a_monitor(world: FakeWorld):
    world.names = ["HDMI", "USB Mic", "Other USB", "pulse"]
    devices.refresh_devices()
    assert devices.find_device("1") == (1, {})
    assert devices.find_device("USB Mic") == (1, {})
    assert devices.find_device("other") == (2, {})
    assert devices.find_device("monitor") == (3, {"PULSE_SOURCE": "@DEFAULT_MONITOR@"})
    assert devices.find_device("pulse:alsa_input.usb") == (3, {"PULSE_SOURCE": "alsa_input.usb"})
    with pytest.raises(AudioError, match="matches several inputs"):
        devices.find_device("usb")
    for unknown in ("0", "9", "Theremin"):  # device 0 is an output
        with pytest.raises(AudioError, match="no audio input matches"):
            devices.find_device(unknown)


def test_the_command_lists_the_inputs_and_marks_the_default(
    world: FakeWorld, capsys: pytest.CaptureFixture[str]
):
    world.names = ["HDMI", "USB Mic", "Evil \x1b[31m Mic"]
    devices.refresh_devices()
    assert cli.main(["devices"]) == 0
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split() == ["INPUT", "CHANNELS", "RATE", "API", "NAME"]
    assert first.split() == ["1", "2", "44100", "Hz", "ALSA", "USB", "Mic", "(default)"]
    assert "\x1b" not in second
    assert heading.index("NAME") == first.index("USB Mic") == second.index("Evil")
    assert cli.main(["devices", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["input"], row["name"], row["default"]) for row in rows] == [
        ("1", "USB Mic", True),
        ("2", "Evil \x1b[31m Mic", False),
    ]


def test_the_command_says_what_to_do_without_an_input(world: FakeWorld, capsys: pytest.CaptureFixture[str]):
    world.names = ["HDMI"]
    devices.refresh_devices()
    assert cli.main(["devices"]) == 1
    assert capsys.readouterr().out.startswith("no audio input; connect a microphone")
    assert cli.main(["devices", "--json"]) == 1
    assert capsys.readouterr().out == ""


def test_the_error_without_any_input_contains_the_remedy(world: FakeWorld):
    world.names = ["HDMI"]
    devices.refresh_devices()
    with pytest.raises(AudioError, match="connect a microphone"):
        open_source("default", Settings())
    with pytest.raises(AudioError, match="libasound2-plugins"):
        open_source("monitor", Settings())
    assert devices.list_inputs() == []


def test_a_missing_file_is_reported_as_such_without_any_input(world: FakeWorld):
    for names in (["HDMI"], ["HDMI", "USB Mic"]):
        world.names = names
        devices.refresh_devices()
        with pytest.raises(AudioError, match=r"missing\.wav: no such audio file"):
            open_source("missing.wav", Settings())


def test_a_source_that_the_sound_server_does_not_have_is_reported_by_name(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch
):
    world.names = ["pulse"]
    devices.refresh_devices()
    row = devices.InputDevice("pulse:mic", "mic", "sound server", 1, 48000)
    monkeypatch.setattr(devices, "_server_sources", lambda: [row])
    assert devices.find_device("pulse:mic") == (0, {"PULSE_SOURCE": "mic"})
    with pytest.raises(AudioError, match="the sound server has no source nosuch"):
        devices.find_device("pulse:nosuch")


def test_the_error_of_a_driver_is_shown():
    class PortAudioError(Exception):
        pass

    error = PortAudioError(
        "Error opening RawInputStream: Unanticipated host error", -9999, (0, -2, "No entity")
    )
    assert devices.error_text(error) == "No entity"


def test_a_monitor_is_opened_in_stereo_and_a_microphone_in_mono(world: FakeWorld):
    world.names = ["pulse", "USB Mic"]
    devices.refresh_devices()
    for spec in ("monitor", "USB Mic"):
        next(MicrophoneSource(spec).blocks())
    assert [stream.channels for stream in world.streams] == [2, 1]


def test_inputs_are_listed(world: FakeWorld):
    (device,) = devices.list_inputs()
    assert (device.input, device.name, device.default) == ("1", "USB Mic: Audio (hw:1,0)", True)


@pytest.mark.parametrize(
    ("program", "remedy"),
    [
        ("dnf", "sudo dnf install portaudio"),
        ("apt-get", "sudo apt-get install libportaudio2"),
        ("", "package manager"),
    ],
)
def test_a_missing_portaudio_can_be_installed_with_the_package_manager(
    monkeypatch: pytest.MonkeyPatch, program: str, remedy: str
) -> None:
    class Missing:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name == program else None)
    with pytest.raises(AudioError, match=f"PortAudio is missing; install it.*{remedy}"):
        devices.load_portaudio()


# Channel and sample rate as the user chooses


def opened(world: FakeWorld, **options) -> FakeStream:
    blocks = MicrophoneSource("USB", **options).blocks()
    next(blocks)
    blocks.close()
    return world.streams[-1]


def test_the_chosen_channel_and_rate_are_opened(world: FakeWorld):
    assert (opened(world).channels, opened(world).samplerate) == (1, 44100)
    for channel in ("mix", "left", "right", "difference"):
        assert opened(world, channel=channel).channels == 2
    assert opened(world, sample_rate=48000).samplerate == 48000
    with pytest.raises(AudioError, match=r"Bad rate \(at 22050 Hz\); set listen.sample_rate = 0"):
        opened(world, sample_rate=22050)
    assert all(stream.samplerate != 16000 for stream in world.streams), "no other rate is tried"


def test_one_channel_alone_reaches_recognition(world: FakeWorld):
    source = MicrophoneSource("USB", channel="right")
    blocks = source.blocks()
    next(blocks)
    stereo = np.stack([np.full(44100, 8000, np.int16), np.full(44100, 2000, np.int16)], axis=1)
    world.streams[-1].deliver(stereo.ravel())
    assert abs(int(np.median(until(blocks, np.ndarray))) - 2000) < 20
    blocks.close()


def test_a_device_with_one_channel_has_no_right_one(world: FakeWorld, monkeypatch: pytest.MonkeyPatch):
    fake = devices.load_portaudio()
    info = fake.query_devices

    def one_channel(*args):
        found = info(*args)
        rows = found if isinstance(found, list) else [found]
        for row in rows:
            row["max_input_channels"] = min(1, row["max_input_channels"])
        return found

    monkeypatch.setattr(fake, "query_devices", one_channel)
    with pytest.raises(AudioError, match="one channel only"):
        opened(world, channel="difference")


# Several microphones share PortAudio


def test_a_microphone_that_is_plugged_in_again_costs_the_other_one_a_moment(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch
):
    """PortAudio sees new devices only after a restart, which ends all its streams."""
    shared = SharedPortAudio(lambda: devices.refresh_devices(), lambda: str(world.names))
    for module in (microphone, awaited):
        monkeypatch.setattr(module, "PORTAUDIO", shared)
    world.names = ["Webcam (hw:0,0)", "USB Mic: Audio (hw:1,0)"]
    devices.refresh_devices()
    webcam, usb = MicrophoneSource("Webcam"), MicrophoneSource("USB Mic: Audio (hw:1,0)")
    of_webcam, of_usb = webcam.blocks(), usb.blocks()
    next(of_webcam)
    next(of_usb)
    of_usb_stream, of_webcam_stream = world.streams[1], world.streams[0]
    world.names = ["Webcam (hw:0,0)"]
    of_usb_stream.active = False
    with pytest.raises(DeviceLost):
        list(of_usb)
    assert of_webcam_stream.active
    world.names = ["Other: Audio (hw:1,0)", "Webcam (hw:0,0)", "USB Mic: Audio (hw:2,0)"]
    heard: list[object] = []

    def read_webcam() -> None:
        for item in of_webcam:
            heard.append(item)
            if isinstance(item, Gap):
                return

    reader = threading.Thread(target=read_webcam)
    reader.start()
    again = usb.blocks()
    next(again)
    reader.join(20)
    assert not reader.is_alive()
    (gap,) = [item for item in heard if isinstance(item, Gap)]
    assert not gap.slow
    assert of_webcam_stream.closed
    assert not world.streams[2].closed
    assert not world.streams[3].closed
    assert len(world.streams) == 4, "both are open again"
    again.close()
    of_webcam.close()


def test_a_microphone_that_is_missing_at_first_needs_no_restart_while_nothing_is_plugged_in(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch
):
    restarts: list[int] = []
    shared = SharedPortAudio(lambda: restarts.append(1), lambda: str(world.names))
    for module in (microphone, awaited):
        monkeypatch.setattr(module, "PORTAUDIO", shared)
    blocks = MicrophoneSource("USB").blocks()
    next(blocks)
    missing = awaited.AwaitedSource("Theremin", lambda: MicrophoneSource("Theremin"))
    for _ in range(3):
        with pytest.raises(DeviceLost):
            next(missing.blocks())
    assert restarts == []
    blocks.close()
