"""Sources: blocks of 8 kHz mono from files, pipes and (without a device) the capture queue."""

from __future__ import annotations

import io
import os
import struct
import threading
import types
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overheard.errors import AudioError
from overheard.hear import devices, file, microphone, resampler
from overheard.hear import source as capture
from overheard.hear.file import FileSource
from overheard.hear.microphone import MicrophoneSource, SampleQueue
from overheard.hear.open import open_source
from overheard.hear.resampler import Resampler, to_float
from overheard.hear.source import DeviceLost, Gap
from overheard.hear.stdin import StdinSource, parse_header
from overheard.settings import Settings

RATE = 8000


def tone(seconds: float, rate: int, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def wav_bytes(samples: np.ndarray, rate: int, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.repeat(samples, channels) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def pipe_source(data: bytes) -> StdinSource:
    """Return standard input that holds this and ends, fed by a thread, since pipes are small."""
    read_fd, write_fd = os.pipe()

    def feed() -> None:
        with os.fdopen(write_fd, "wb") as file:
            file.write(data)

    threading.Thread(target=feed, daemon=True).start()
    return StdinSource(read_fd)


def joined(source: capture.AudioSource) -> np.ndarray:
    items = list(source.blocks())
    assert all(isinstance(item, np.ndarray) and item.dtype == np.int16 for item in items)
    return to_float(np.concatenate(items))


@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(0, 22050), max_size=20), rate=st.sampled_from([8000, 11025, 44100, 48000]))
def test_resampling_does_not_depend_on_block_sizes(cuts: list[int], rate: int):
    sound = np.random.default_rng(1).uniform(-0.5, 0.5, 22050).astype(np.float32)
    whole = Resampler(rate, 1).process(sound, last=True)
    cut = Resampler(rate, 1)
    parts = [cut.process(part) for part in np.split(sound, sorted(cuts))]
    parts.append(cut.process(np.zeros(0, np.float32), last=True))
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1)


def test_resampling_keeps_the_tone_averages_channels_and_drops_what_is_too_high():
    left, right = tone(2, 48000), np.zeros(96000, np.float32)
    stereo = np.stack([left, right], axis=1).ravel()
    out = to_float(Resampler(48000, 2).process(stereo, last=True))
    assert np.sqrt(np.mean(out[800:-800] ** 2)) == pytest.approx(0.5 / 2 / np.sqrt(2), rel=0.01)
    high = to_float(Resampler(48000, 1).process(tone(2, 48000, 6000.0), last=True))
    assert np.abs(high[800:-800]).max() < 1e-3


def test_silence_stays_digital_silence():
    assert not Resampler(44100, 2).process(np.zeros(88200, np.int16), last=True).any()


def test_int16_at_8_khz_passes_untouched():
    samples = np.arange(-5, 5, dtype=np.int16)
    np.testing.assert_array_equal(Resampler(RATE, 1).process(samples), samples)


def test_loud_floats_are_clipped():
    np.testing.assert_array_equal(resampler.to_int16(np.array([-2, 2], np.float32)), [-32768, 32767])


def test_a_file_is_read_in_quarter_seconds(tmp_path: Path):
    path = tmp_path / "tone.wav"
    path.write_bytes(wav_bytes(tone(2.1, RATE), RATE))
    blocks = list(open_source(str(path), Settings()).blocks())
    assert [len(block) for block in blocks] == [2000] * 8 + [800]
    np.testing.assert_allclose(to_float(np.concatenate(blocks)), tone(2.1, RATE), atol=1e-4)


def test_a_file_in_real_time_waits_for_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "tone.wav"
    path.write_bytes(wav_bytes(tone(60, RATE), RATE))
    clock = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr(file.time, "monotonic", lambda: clock.now)
    source = FileSource(path, realtime=True)
    monkeypatch.setattr(source._closed, "wait", lambda s: setattr(clock, "now", clock.now + s))
    for n, _ in enumerate(source.blocks(), start=1):
        assert clock.now == pytest.approx(100 + n * 0.25)
    assert clock.now == pytest.approx(160)


def test_a_closed_file_ends(tmp_path: Path):
    path = tmp_path / "tone.wav"
    path.write_bytes(wav_bytes(tone(60, RATE), RATE))
    source = FileSource(path)
    blocks = source.blocks()
    next(blocks)
    source.close()
    assert list(blocks) == []


@pytest.mark.parametrize("name", ["/nowhere/music.flac", "folder/none.wav"])
def test_a_missing_file_is_said_in_one_line(name: str):
    with pytest.raises(AudioError, match="no such sound file"):
        open_source(name, Settings())


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44100, 2), (48000, 1)])
def test_wav_on_standard_input(rate: int, channels: int):
    out = joined(pipe_source(wav_bytes(tone(3, rate), rate, channels)))
    assert out.size == pytest.approx(3 * RATE, abs=2)
    np.testing.assert_allclose(out[800:-800], tone(3, RATE)[800 : out.size - 800], atol=0.01)


def test_raw_standard_input_is_16_bit_mono_at_8_khz():
    samples = (tone(2, RATE) * 32767).astype("<i2")
    np.testing.assert_allclose(joined(pipe_source(samples.tobytes() + b"\0")), tone(2, RATE), atol=1e-3)


def test_a_wav_of_unknown_length_is_read_to_its_end():
    data = bytearray(wav_bytes(tone(1, RATE), RATE))
    data[40:44] = struct.pack("<I", 0xFFFFFFFF)
    assert joined(pipe_source(bytes(data))).size == RATE


def test_what_follows_the_sound_in_a_wav_is_left_out():
    data = wav_bytes(tone(1, RATE), RATE) + b"LIST" + struct.pack("<I", 4000) + bytes(range(250)) * 16
    assert joined(pipe_source(data)).size == RATE


@pytest.mark.parametrize(("tag", "bits", "kind"), [(1, 8, "u1"), (1, 24, ""), (1, 32, "<i4"), (3, 32, "<f4")])
def test_sample_formats(tag: int, bits: int, kind: str):
    sound = tone(1, RATE)
    if bits == 24:
        raw = (sound * 8388607).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    elif bits == 8:
        raw = np.rint(sound * 127 + 128).astype("u1").tobytes()
    else:
        raw = (sound * (2147483520 if tag == 1 else 1)).astype(kind).tobytes()
    form = struct.pack("<HHIIHH", tag, 1, RATE, 0, 0, bits)
    data = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", 16) + form + b"data\0\0\0\0" + raw
    np.testing.assert_allclose(joined(pipe_source(data)), sound, atol=0.01)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"fLaC" + bytes(100), "FLAC"),
        (b"OggS" + bytes(100), "Ogg"),
        (b"RIFF" + bytes(20), "no WAV"),
        (wav_bytes(np.zeros(10, np.float32), 8000)[:30], "cut off"),
    ],
)
def test_what_is_no_wav_is_refused(data: bytes, words: str):
    with pytest.raises(AudioError, match=words):
        joined(pipe_source(data))


def test_a_header_comes_in_pieces():
    data = wav_bytes(tone(0.1, RATE), RATE)
    assert all(parse_header(data[:n]) is None for n in range(44))
    assert parse_header(data[:44]) is not None


def test_a_waiting_pipe_lets_its_reader_stop():
    read_fd, write_fd = os.pipe()
    source = StdinSource(read_fd)
    blocks = source.blocks()
    assert next(blocks).size == 0
    source.close()
    assert list(blocks) == []
    os.close(write_fd)
    os.close(read_fd)


# The queue behind the capture callback


def test_the_queue_joins_what_belongs_together():
    queue = SampleQueue(100)
    queue.put(b"aa", 1)
    queue.put(b"bb", 1)
    queue.put(b"cc", 1, lost_before=7)
    queue.put(b"dd", 1)
    assert queue.drain() == [(0, b"aabb"), (7, b"ccdd")]
    assert queue.drain() == []


def test_a_full_queue_drops_the_oldest_counts_it_and_marks_the_gap():
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
def test_no_sample_of_the_queue_is_unaccounted_for(steps: list):
    queue = SampleQueue(50)
    put = taken = 0
    for step in [*steps, (1, 0), "drain"]:
        if step == "drain":
            taken += sum(lost + len(data) // 2 for lost, data in queue.drain())
        else:
            queue.put(bytes(2 * step[0]), *step)
            put += sum(step)
    assert taken == put


# A microphone without one: PortAudio is replaced


class FakeStream:
    def __init__(self, world: FakeWorld, **options):
        if options["samplerate"] not in world.rates:
            raise FakePortAudio.PortAudioError("Error opening RawInputStream: Bad rate [PaErrorCode -9997]")
        self.world, self.samplerate, self.latency = world, options["samplerate"], 0.5
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
    """The devices that are plugged in."""

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
        self.seen = list(self.world.names)  # frozen until the next start

    def query_hostapis(self):
        return [{"name": "ALSA"}]

    def query_devices(self, index=None, kind=None):
        found = [
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
            return found
        inputs = [d for d in found if d["max_input_channels"]]
        if index is None and not inputs:
            raise self.PortAudioError("Error querying device -1")
        return inputs[0] if index is None else found[index]

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
    """Return the next item that is one of this kind and not empty."""
    return next(item for item in blocks if isinstance(item, kind) and (isinstance(item, Gap) or item.size))


def test_a_microphone_is_resampled_from_its_own_rate(world: FakeWorld):
    source = MicrophoneSource("default")
    assert source.live
    assert source.name == "USB Mic: Audio (hw:1,0)"
    blocks = source.blocks()
    assert next(blocks).size == 0
    (stream,) = world.streams
    assert stream.samplerate == 44100
    stream.deliver((tone(2, 44100) * 32767).astype(np.int16))
    assert until(blocks, np.ndarray).size == pytest.approx(2 * RATE, abs=800)  # the resampler holds some back
    source.close()
    assert list(blocks) == []
    assert stream.closed


def test_a_rate_that_is_refused_is_replaced(world: FakeWorld):
    world.rates = {48000}
    next(MicrophoneSource("USB").blocks())
    assert world.streams[0].samplerate == 48000
    world.rates = set()
    with pytest.raises(AudioError, match=r"opened: Bad rate;"):
        next(MicrophoneSource("USB").blocks())


def test_an_overflow_is_a_gap_as_long_as_the_clock_says(world: FakeWorld):
    blocks = MicrophoneSource("default").blocks()
    next(blocks)
    quarter = np.zeros(11025, np.int16)
    world.streams[0].deliver(quarter, at_s=1.0)
    world.streams[0].deliver(quarter, at_s=3.25, overflow=True)
    until(blocks, np.ndarray)
    assert until(blocks, Gap) == Gap(2 * RATE)


def test_dropped_sound_is_told_once_a_minute(world: FakeWorld, caplog: pytest.LogCaptureFixture):
    source = MicrophoneSource("default", queue_s=1)
    blocks = source.blocks()
    next(blocks)
    for _ in range(3):
        for _ in range(8):
            world.streams[0].deliver(np.zeros(11025, np.int16))
        assert until(blocks, Gap) == Gap(RATE)
        until(blocks, np.ndarray)
    assert source.dropped_samples == 3 * 44100
    assert [r.message for r in caplog.records] == ["recognition is too slow: 1.0 s of sound dropped"]


def test_an_unplugged_microphone_is_lost_and_found_again_by_name(world: FakeWorld):
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
    world.names = ["HDMI", "Webcam", "USB Mic: Audio (hw:2,0)"]  # another number everywhere
    blocks = source.blocks()
    next(blocks)
    world.streams[-1].deliver(np.ones(11025, np.int16))
    assert until(blocks, np.ndarray).size


def test_a_microphone_that_falls_silent_without_a_word_is_lost(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch
):
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(microphone.time, "monotonic", lambda: clock.now)
    blocks = MicrophoneSource("default").blocks()
    next(blocks)
    clock.now = 7.0  # the first block may take its time
    next(blocks)
    world.streams[0].deliver(np.ones(11025, np.int16))
    until(blocks, np.ndarray)
    clock.now = 12.0
    with pytest.raises(DeviceLost, match="delivers nothing"):
        list(blocks)


def test_inputs_are_found_by_number_name_and_monitor(world: FakeWorld):
    world.names = ["HDMI", "USB Mic", "Other USB", "pulse"]
    devices.refresh_devices()
    assert devices.find_device("1") == (1, {})
    assert devices.find_device("USB Mic") == (1, {})
    assert devices.find_device("other") == (2, {})
    assert devices.find_device("monitor") == (3, {"PULSE_SOURCE": "@DEFAULT_MONITOR@"})
    assert devices.find_device("pulse:alsa_input.usb") == (3, {"PULSE_SOURCE": "alsa_input.usb"})
    with pytest.raises(AudioError, match="several inputs"):
        devices.find_device("usb")
    for unknown in ("0", "9", "Theremin"):  # 0 has no input
        with pytest.raises(AudioError, match="no sound input"):
            devices.find_device(unknown)


def test_without_any_input_the_error_says_what_to_do(world: FakeWorld):
    world.names = ["HDMI"]
    devices.refresh_devices()
    with pytest.raises(AudioError, match="plug in a microphone"):
        open_source("default", Settings())
    with pytest.raises(AudioError, match="libasound2-plugins"):
        open_source("monitor", Settings())
    assert devices.list_inputs() == []


def test_inputs_are_listed(world: FakeWorld):
    (found,) = devices.list_inputs()
    assert (found.input, found.name, found.default) == ("1", "USB Mic: Audio (hw:1,0)", True)
