"""Decoding of audio files: formats, levels, damage, and files that are not audio."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import av
import numpy as np
import pytest
import soxr

import audio_files
from overheard.errors import AudioError
from overheard.hear.decode import decode, load

RATE = 8000


def similarity(decoded: np.ndarray, original: np.ndarray) -> float:
    """Correlation at the best delay: codecs add a frame at the start or, like ffmpeg's WMA, remove one."""
    n = min(len(decoded), len(original)) - 1000
    delays = range(int(audio_files.MAX_DELAY_S * RATE))
    late = (np.corrcoef(decoded[d : d + n], original[:n])[0, 1] for d in delays)
    early = (np.corrcoef(decoded[:n], original[d : d + n])[0, 1] for d in delays)
    return float(max(*late, *early))


@pytest.mark.parametrize("suffix", sorted(audio_files.FORMATS))
def test_every_format_is_decoded_to_mono_8_khz(tmp_path: Path, suffix: str) -> None:
    path = audio_files.write_music(tmp_path / f"piece{suffix}")
    blocks = list(decode(path))
    assert all(block.dtype == np.float32 and block.ndim == 1 and len(block) for block in blocks)
    decoded = np.concatenate(blocks)
    assert len(decoded) / RATE == pytest.approx(4.0, abs=0.15)
    # A delay of a fraction of an 8 kHz sample lowers the correlation.
    assert similarity(decoded, audio_files.music(4.0)[0]) > (0.8 if suffix in (".wma", ".aac") else 0.97)
    np.testing.assert_array_equal(decoded, load(path))


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
def test_every_sample_format_and_channel_count_has_the_same_level(
    tmp_path: Path, codec: str, layout: str
) -> None:
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    samples = audio_files.music(2.304, rate=RATE, channels=channels)
    path = audio_files.encode(tmp_path / "piece.wav", samples, RATE, codec, layout)
    decoded = load(path)
    np.testing.assert_allclose(decoded, samples[0][: len(decoded)], atol=0.01 if codec == "pcm_u8" else 1e-4)


def test_downmix_is_the_mean_of_the_channels(tmp_path: Path) -> None:
    left = audio_files.music(1.152, seed=1)[0]
    path = audio_files.encode(
        tmp_path / "piece.wav", np.stack([left, -left * 0.5]), RATE, "pcm_f32le", "stereo"
    )
    np.testing.assert_allclose(load(path), left[: len(load(path))] * 0.25, atol=1e-6)


def test_streaming_equals_resampling_the_whole_file_at_once(tmp_path: Path) -> None:
    samples = audio_files.music(23.0, rate=44100)
    path = audio_files.encode(tmp_path / "piece.wav", samples, 44100, "pcm_f32le", "mono")
    assert len(list(decode(path))) > 3  # memory is bounded, so there are several blocks
    decoded = load(path)
    expected = soxr.resample(samples[0], 44100, RATE, quality="HQ")
    inner = slice(0, len(decoded) - 100)  # the encoder writes complete frames only, so the file is shorter
    np.testing.assert_allclose(decoded[inner], expected[inner], atol=1e-3)


def test_a_file_of_one_sample_is_not_an_error(tmp_path: Path) -> None:
    path = tmp_path / "click.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 44100, 0, "NONE", ""))
        file.writeframes(b"\1\0")
    decoded = load(path)
    assert decoded.dtype == np.float32
    assert len(decoded) <= 1


def test_samples_whose_square_overflows_are_clipped(tmp_path: Path) -> None:
    samples = np.full((1, 11520), 1e30, np.float32)
    decoded = load(audio_files.encode(tmp_path / "loud.wav", samples, RATE, "pcm_f32le", "mono"))
    assert np.isfinite(decoded**2).all()


def test_nan_affects_only_its_own_sample(tmp_path: Path) -> None:
    samples = audio_files.music(10.0, rate=44100)
    samples[0, 22050:22060] = np.nan
    samples[0, 30000] = np.inf
    path = audio_files.encode(tmp_path / "piece.wav", samples, 44100, "pcm_f32le", "mono")
    decoded = load(path)
    assert np.isfinite(decoded).all()
    assert similarity(decoded[RATE:], audio_files.music(10.0)[0][RATE:]) > 0.97


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.mp3", b"", "the file is empty"),
        ("text.ogg", b"These are only words. " * 500, "cannot be read as audio"),
        ("cover.flac", bytes(range(256)) * 400, "cannot be read as audio|no audio"),
        ("playlist.mp3", b"#EXTM3U\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n", "cannot be read as audio"),
    ],
)
def test_files_that_are_not_audio_raise_an_error_with_the_reason(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError, match=reason) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_a_folder_and_an_empty_container_raise_an_error(tmp_path: Path) -> None:
    for missing in (tmp_path / "nowhere.mp3", tmp_path / "nowhere" / "x.mp3"):
        with pytest.raises(AudioError, match="no such file; check the path"):
            load(missing)
    with pytest.raises(AudioError, match=r"is a folder; name the files in it: .*/\*"):
        load(tmp_path)
    path = tmp_path / "none.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
    with pytest.raises(AudioError, match="no audio in this file"):
        load(path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root ignores file permissions")
def test_a_file_without_read_permission_raises_an_error(tmp_path: Path) -> None:
    path = audio_files.write_music(tmp_path / "piece.wav")
    path.chmod(0)
    with pytest.raises(AudioError, match="Permission denied"):
        load(path)


@pytest.mark.parametrize("suffix", [".ogg", ".mp3", ".flac", ".wav"])
def test_a_damaged_part_costs_only_that_part(tmp_path: Path, suffix: str) -> None:
    path = audio_files.write_music(tmp_path / f"piece{suffix}", 20.0)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + len(content) // 40] = np.random.default_rng(0).bytes(len(content) // 40)
    path.write_bytes(content)
    assert len(load(path)) / RATE > 17
    path.write_bytes(content[:middle])  # truncated
    assert len(load(path)) / RATE > 8


def test_a_relative_path_that_looks_like_a_protocol_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio_files.write_music(tmp_path / "x.wav", 1.0).rename(tmp_path / "concat:a.wav")
    monkeypatch.chdir(tmp_path)
    assert len(load("concat:a.wav")) > RATE * 0.9


@pytest.fixture
def non_utf8_tags(tmp_path: Path) -> Path:
    """Write a file whose title contains bytes that are not valid UTF-8, as old taggers wrote them."""
    path = audio_files.write_music(tmp_path / "piece.flac")
    audio_files.write_tags(path, "MARKER", "", "")
    path.write_bytes(path.read_bytes().replace(b"MARKER", b"caf\xe9 \xff"))
    return path


def test_a_file_with_tags_that_are_not_utf8_is_decoded(non_utf8_tags: Path) -> None:
    assert len(load(non_utf8_tags)) / RATE == pytest.approx(4.0, abs=0.15)


def test_pyav_19_which_has_no_metadata_errors_is_supported(
    non_utf8_tags: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_before_19 = av.open

    def open_since_19(file: str, options: dict[str, str], timeout: float | None) -> object:
        return open_before_19(file, options=options, timeout=timeout, metadata_errors="surrogateescape")

    if int(av.__version__.partition(".")[0]) < 19:
        monkeypatch.setattr(av, "open", open_since_19)
        monkeypatch.setattr(av, "__version__", "19.0.1")
    assert len(load(non_utf8_tags)) / RATE == pytest.approx(4.0, abs=0.15)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
def test_a_fifo_or_a_device_raises_an_error_at_once(tmp_path: Path) -> None:
    fifo = tmp_path / "y.mp3"
    os.mkfifo(fifo)
    for path in (fifo, Path("/dev/zero")):
        with pytest.raises(AudioError, match="not a regular file"):
            load(path)


@pytest.mark.parametrize("suffix", [".wav", ".m4a", ".ogg"])
def test_an_open_file_decodes_as_its_path_does(tmp_path: Path, suffix: str) -> None:
    path = audio_files.write_music(tmp_path / f"piece{suffix}")
    with path.open("rb") as file:
        np.testing.assert_array_equal(load(file), load(path))


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le", "pcm_u8"])
def test_channels_of_opposite_phase_are_not_silence(tmp_path: Path, codec: str) -> None:
    left = audio_files.music(23.04)[0]
    samples = np.stack([left, -left])
    decoded = load(audio_files.encode(tmp_path / "piece.wav", samples, RATE, codec, "stereo"))
    np.testing.assert_allclose(decoded, left[: len(decoded)], atol=0.01)


def test_the_remains_of_a_mean_that_cancels_are_not_used(tmp_path: Path) -> None:
    left = audio_files.music(11.52)[0]
    samples = np.stack([0.97 * left, -left])
    decoded = load(audio_files.encode(tmp_path / "piece.wav", samples, RATE, "pcm_f32le", "stereo"))
    np.testing.assert_allclose(decoded, -left[: len(decoded)], atol=1e-4)


@pytest.mark.parametrize("suffix", [".ogg", ".opus", ".flac"])
def test_every_part_of_a_chained_ogg_file_is_decoded(tmp_path: Path, suffix: str) -> None:
    codec, rate = {".ogg": ("vorbis", 22050), ".opus": ("libopus", 48000), ".flac": ("flac", 22050)}[suffix]
    # FFmpeg's Vorbis encoder knows only stereo.
    layouts = ("stereo", "stereo", "stereo") if codec == "vorbis" else ("stereo", "mono", "stereo")
    rates = (rate, 48000 if codec == "libopus" else 44100, rate)
    parts = [
        audio_files.encode(
            tmp_path / f"{number}.ogg",
            audio_files.music(4.0, number, part_rate, 1 if layout == "mono" else 2),
            part_rate,
            codec,
            layout,
            "ogg",
        )
        for number, (part_rate, layout) in enumerate(zip(rates, layouts, strict=True))
    ]
    path = tmp_path / f"chained{suffix}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    decoded, expected = load(path), np.concatenate([load(part) for part in parts])
    assert len(decoded) == pytest.approx(len(expected), abs=100)
    assert similarity(decoded, expected) > 0.97
    with path.open("rb") as file:
        np.testing.assert_array_equal(load(file), decoded)


def test_a_damaged_part_of_a_chained_ogg_file_is_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = audio_files.write_music(tmp_path / "piece.ogg").read_bytes()
    damaged = content[:28] + bytes(4000)
    (tmp_path / "chained.ogg").write_bytes(content + damaged + content)
    assert len(load(tmp_path / "chained.ogg")) / RATE == pytest.approx(8.0, abs=0.3)
    assert "skipped 1 damaged parts of 3" in caplog.text
    (tmp_path / "chained.ogg").write_bytes(damaged * 2)
    with pytest.raises(AudioError, match=r"chained\.ogg: "):
        load(tmp_path / "chained.ogg")
