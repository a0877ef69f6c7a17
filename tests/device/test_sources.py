"""Audio sources that need no device: resampling, files and standard input."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
import types
import warnings
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import audio_files
from overheard.errors import AudioError
from overheard.hear import file
from overheard.hear.decode import load
from overheard.hear.file import FileSource
from overheard.hear.open import open_source
from overheard.hear.resampler import Resampler, to_float, to_int16
from overheard.hear.source import AudioSource, Block, Gap
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


def pipe_source(data: bytes, raw: bool = False) -> StdinSource:
    """Return a source that reads `data` from a pipe. A thread writes it, since a pipe's buffer is small."""
    read_fd, write_fd = os.pipe()

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(write_fd, "wb") as file:
            file.write(data)

    threading.Thread(target=feed, daemon=True).start()
    return StdinSource(read_fd, raw)


def blocks_of(source: AudioSource) -> list[Block]:
    """Read a source to its end; it must have no gaps."""
    items = list(source.blocks())
    blocks = [item for item in items if isinstance(item, np.ndarray)]
    assert len(blocks) == len(items)
    assert all(block.dtype == np.int16 for block in blocks)
    return blocks


def joined(source: AudioSource) -> np.ndarray:
    return to_float(np.concatenate(blocks_of(source)))


@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(0, 22050), max_size=20), rate=st.sampled_from([8000, 11025, 44100, 48000]))
def test_resampling_does_not_depend_on_block_sizes(cuts: list[int], rate: int):
    sound = np.random.default_rng(1).uniform(-0.5, 0.5, 22050).astype(np.float32)
    at_once = Resampler(rate, 1).process(sound, last=True)
    in_blocks = Resampler(rate, 1)
    parts = [in_blocks.process(part) for part in np.split(sound, sorted(cuts))]
    parts.append(in_blocks.process(np.zeros(0, np.float32), last=True))
    np.testing.assert_allclose(np.concatenate(parts), at_once, atol=1)


def test_resampling_averages_channels_and_removes_frequencies_above_nyquist():
    left, right = tone(2, 48000), np.zeros(96000, np.float32)
    stereo = np.stack([left, right], axis=1).ravel()
    out = to_float(Resampler(48000, 2).process(stereo, last=True))
    assert np.sqrt(np.mean(out[800:-800] ** 2)) == pytest.approx(0.5 / 2 / np.sqrt(2), rel=0.01)
    high = to_float(Resampler(48000, 1).process(tone(2, 48000, 6000.0), last=True))
    assert np.abs(high[800:-800]).max() < 1e-3


def test_digital_silence_is_resampled_to_digital_silence():
    assert not Resampler(44100, 2).process(np.zeros(88200, np.int16), last=True).any()


def test_int16_mono_at_8_khz_is_unchanged():
    samples = np.arange(-5, 5, dtype=np.int16)
    np.testing.assert_array_equal(Resampler(RATE, 1).process(samples), samples)


def test_floats_beyond_full_scale_are_clipped():
    np.testing.assert_array_equal(to_int16(np.array([-2, 2], np.float32)), [-32768, 32767])


def test_a_file_is_read_in_blocks_of_a_quarter_second(tmp_path: Path):
    path = tmp_path / "tone.wav"
    path.write_bytes(wav_bytes(tone(2.1, RATE), RATE))
    blocks = blocks_of(open_source(str(path), Settings()))
    assert [len(block) for block in blocks] == [2000] * 8 + [800]
    np.testing.assert_allclose(to_float(np.concatenate(blocks)), tone(2.1, RATE), atol=1e-4)


def test_realtime_plays_a_file_at_normal_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "tone.wav"
    path.write_bytes(wav_bytes(tone(60, RATE), RATE))
    clock = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr(file.time, "monotonic", lambda: clock.now)
    source = FileSource(path, realtime=True)
    monkeypatch.setattr(threading.Event, "wait", lambda _, s: setattr(clock, "now", clock.now + s))
    for n, _ in enumerate(source.blocks(), start=1):
        assert clock.now == pytest.approx(100 + n * 0.25)
    assert clock.now == pytest.approx(160)


def test_closing_a_file_source_ends_it(tmp_path: Path):
    path = tmp_path / "tone.wav"
    path.write_bytes(wav_bytes(tone(60, RATE), RATE))
    source = FileSource(path)
    blocks = source.blocks()
    next(blocks)
    source.close()
    assert list(blocks) == []


@pytest.mark.parametrize("name", ["/nowhere/music.flac", "folder/none.wav"])
def test_a_missing_file_raises_an_error(name: str):
    with pytest.raises(AudioError, match="no such audio file"):
        open_source(name, Settings())


def test_a_folder_is_not_said_to_be_missing(tmp_path: Path):
    with pytest.raises(AudioError, match=r"is a folder; identify the files in it: `overheard identify "):
        open_source(str(tmp_path), Settings())


def test_a_fifo_as_input_raises_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    os.mkfifo(tmp_path / "y.mp3")
    monkeypatch.chdir(tmp_path)
    for name in ("y.mp3", str(tmp_path / "y.mp3")):
        with pytest.raises(AudioError, match="not a regular file"):
            open_source(name, Settings())


def test_raw_is_for_standard_input(tmp_path: Path):
    with pytest.raises(AudioError, match="--raw is for standard input"):
        open_source("default", Settings(), raw=True)


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44100, 2), (48000, 1)])
def test_standard_input_reads_wav(rate: int, channels: int):
    out = joined(pipe_source(wav_bytes(tone(3, rate), rate, channels)))
    assert out.size == pytest.approx(3 * RATE, abs=2)
    np.testing.assert_allclose(out[800:-800], tone(3, RATE)[800 : out.size - 800], atol=0.01)


def test_standard_input_reads_raw_16_bit_mono_at_8_khz():
    samples = (tone(2, RATE) * 32767).astype("<i2")
    piped = joined(pipe_source(samples.tobytes() + b"\0", raw=True))
    np.testing.assert_allclose(piped, tone(2, RATE), atol=1e-3)


def test_a_wav_of_unknown_length_is_read_to_the_end():
    data = bytearray(wav_bytes(tone(1, RATE), RATE))
    data[40:44] = struct.pack("<I", 0xFFFFFFFF)
    assert joined(pipe_source(bytes(data))).size == RATE


def test_chunks_after_the_audio_of_a_wav_are_ignored():
    data = wav_bytes(tone(1, RATE), RATE) + b"LIST" + struct.pack("<I", 4000) + bytes(range(250)) * 16
    assert joined(pipe_source(data)).size == RATE


@pytest.mark.parametrize(("tag", "bits", "kind"), [(1, 8, "u1"), (1, 24, ""), (1, 32, "<i4"), (3, 32, "<f4")])
def test_every_wav_sample_format_is_read(tag: int, bits: int, kind: str):
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


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".ogg", ".opus", ".aac", ".wma", ".aiff"])
def test_standard_input_reads_every_format_that_streams(tmp_path: Path, suffix: str):
    path = audio_files.write_music(tmp_path / f"piece{suffix}")
    piped = joined(pipe_source(path.read_bytes()))
    inner = slice(0, piped.size - 200)  # the length of an MP3 is not known when it starts
    np.testing.assert_allclose(piped[inner], load(path)[inner], atol=1e-4)
    assert piped.size == pytest.approx(4 * RATE, rel=0.05)


def test_standard_input_reads_an_m4a_whose_index_is_at_its_start_only(tmp_path: Path):
    path = audio_files.write_music(tmp_path / "piece.m4a")
    with pytest.raises(AudioError, match="index is at its end; name the file"):
        joined(pipe_source(path.read_bytes()))
    with (
        av.open(str(path)) as old,
        av.open(str(tmp_path / "fast.m4a"), "w", format="ipod", options={"movflags": "faststart"}) as new,
    ):
        stream = new.add_stream_from_template(old.streams.audio[0])
        for packet in old.demux(old.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    piped = joined(pipe_source((tmp_path / "fast.m4a").read_bytes()))
    np.testing.assert_allclose(piped, load(path), atol=1e-4)


@pytest.mark.parametrize("codec", ["pcm_alaw", "pcm_mulaw"])
def test_standard_input_reads_wav_that_needs_a_decoder(tmp_path: Path, codec: str):
    sound = audio_files.music(4.608)
    path = audio_files.encode(tmp_path / "piece.wav", sound, RATE, codec, "mono")
    piped = joined(pipe_source(path.read_bytes()))
    np.testing.assert_allclose(piped, sound[0][: piped.size], atol=0.02)


NOISE = np.random.default_rng(0).integers(-9000, 9000, 60 * RATE, np.int16)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"fLaC" + bytes(100), "cannot be read as audio"),
        (b"OggS" + bytes(100), "cannot be read as audio"),
        (b"RIFF" + bytes(20), "not WAV"),
        (b"words " * 50_000, "cannot be read as audio.*--raw"),
        (NOISE.tobytes(), "cannot be read as audio.*--raw"),
        ((tone(60, RATE) * 32767).astype("<i2").tobytes(), "cannot be read as audio.*--raw"),
        (wav_bytes(np.zeros(10, np.float32), 8000)[:30], "incomplete"),
        (b"RIFF\0\0\0\0WAVEfmt \xf0\xff\xff\xff" + bytes(1_000_000), "format in the WAV header is invalid"),
        (b"RIFF\0\0\0\0WAVEjunk\xf0\xff\xff\xff" + bytes(3_000_000), "no audio in the first megabyte"),
    ],
)
def test_what_is_not_audio_on_standard_input_raises_an_error(data: bytes, problem: str):
    with pytest.raises(AudioError, match=problem):
        joined(pipe_source(data))


def test_a_live_stream_arrives_while_it_is_written_and_can_be_closed(tmp_path: Path):
    path = audio_files.write_music(tmp_path / "piece.mp3", 20.0)
    read_fd, write_fd = os.pipe()
    os.write(write_fd, path.read_bytes()[:60_000])  # less than a pipe holds: 3.7 s
    source = StdinSource(read_fd)
    n_samples = 0
    for block in source.blocks():
        assert not isinstance(block, Gap)
        n_samples += block.size
        if n_samples > 2 * RATE:
            source.close()
    assert n_samples > 2 * RATE
    os.close(write_fd)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_are_not_audio_cause_no_warning(value: float):
    raw = np.full(2 * RATE, value, "<f8").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, RATE, 0, 0, 64)
    data = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", 16) + form + b"data\0\0\0\0" + raw
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert joined(pipe_source(data)).size == 2 * RATE


def test_an_incomplete_header_is_not_parsed():
    data = wav_bytes(tone(0.1, RATE), RATE)
    assert all(parse_header(data[:n]) is None for n in range(44))
    assert parse_header(data[:44]) is not None


def test_a_source_that_waits_for_a_pipe_can_be_closed():
    read_fd, write_fd = os.pipe()
    source = StdinSource(read_fd)
    blocks = source.blocks()
    first = next(blocks)
    assert not isinstance(first, Gap)
    assert first.size == 0
    source.close()
    assert list(blocks) == []
    os.close(write_fd)
    os.close(read_fd)
