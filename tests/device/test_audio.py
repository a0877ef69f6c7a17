from __future__ import annotations

import os
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

import audio_files
from overheard.errors import AudioError
from overheard.hear import decode as audio
from overheard.hear import tags
from overheard.index import scan

RATE = 8000


def similarity(found: np.ndarray, wanted: np.ndarray) -> float:
    """Correlation at the best delay: codecs add or, as ffmpeg's WMA does, swallow one frame at the start."""
    n = min(len(found), len(wanted)) - 1000
    delays = range(int(audio_files.MAX_DELAY_S * RATE))
    late = (np.corrcoef(found[d : d + n], wanted[:n])[0, 1] for d in delays)
    early = (np.corrcoef(found[:n], wanted[d : d + n])[0, 1] for d in delays)
    return float(max(*late, *early))


@pytest.mark.parametrize("suffix", sorted(audio_files.FORMATS))
def test_every_format_is_decoded_to_mono_8_khz(tmp_path: Path, suffix: str) -> None:
    path = audio_files.write_music(tmp_path / f"piece{suffix}")
    blocks = list(audio.decode(path))
    assert all(block.dtype == np.float32 and block.ndim == 1 and len(block) for block in blocks)
    found = np.concatenate(blocks)
    assert len(found) / RATE == pytest.approx(4.0, abs=0.15)
    # A delay need not be a whole number of 8 kHz samples, so that it costs some likeness.
    assert similarity(found, audio_files.music(4.0)[0]) > (0.8 if suffix in (".wma", ".aac") else 0.97)
    np.testing.assert_array_equal(found, audio.load(path))


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
def test_every_sample_format_and_channel_count_has_the_same_level(
    tmp_path: Path, codec: str, layout: str
) -> None:
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    samples = audio_files.music(2.304, rate=RATE, channels=channels)
    path = audio_files.encode(tmp_path / "piece.wav", samples, RATE, codec, layout)
    found = audio.load(path)
    np.testing.assert_allclose(found, samples[0][: len(found)], atol=0.01 if codec == "pcm_u8" else 1e-4)


def test_downmix_is_the_mean_of_the_channels(tmp_path: Path) -> None:
    left = audio_files.music(1.152, seed=1)[0]
    path = audio_files.encode(
        tmp_path / "piece.wav", np.stack([left, -left * 0.5]), RATE, "pcm_f32le", "stereo"
    )
    np.testing.assert_allclose(audio.load(path), left[: len(audio.load(path))] * 0.25, atol=1e-6)


def test_streaming_in_blocks_equals_resampling_at_once(tmp_path: Path) -> None:
    soxr = pytest.importorskip("soxr")
    samples = audio_files.music(23.0, rate=44100)
    path = audio_files.encode(tmp_path / "piece.wav", samples, 44100, "pcm_f32le", "mono")
    assert len(list(audio.decode(path))) > 3  # bounded memory: it comes in pieces
    found = audio.load(path)
    wanted = soxr.resample(samples[0], 44100, RATE, quality="HQ")
    inner = slice(0, len(found) - 100)  # the file ends a little earlier, with a whole frame
    np.testing.assert_allclose(found[inner], wanted[inner], atol=1e-3)


def test_a_handful_of_samples_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "click.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 44100, 0, "NONE", ""))
        file.writeframes(b"\1\0")
    found = audio.load(path)
    assert found.dtype == np.float32
    assert len(found) <= 1


def test_what_has_no_square_is_held_down(tmp_path: Path) -> None:
    samples = np.full((1, 11520), 1e30, np.float32)
    found = audio.load(audio_files.encode(tmp_path / "loud.wav", samples, RATE, "pcm_f32le", "mono"))
    assert np.isfinite(found**2).all()


def test_not_a_number_does_not_spread(tmp_path: Path) -> None:
    samples = audio_files.music(10.0, rate=44100)
    samples[0, 22050:22060] = np.nan
    samples[0, 30000] = np.inf
    path = audio_files.encode(tmp_path / "piece.wav", samples, 44100, "pcm_f32le", "mono")
    found = audio.load(path)
    assert np.isfinite(found).all()
    assert similarity(found[RATE:], audio_files.music(10.0)[0][RATE:]) > 0.97


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.mp3", b"", "the file is empty"),
        ("text.ogg", b"These are only words. " * 500, "cannot be read as audio"),
        ("cover.flac", bytes(range(256)) * 400, "cannot be read as audio|no audio"),
        ("playlist.mp3", b"#EXTM3U\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n", "cannot be read as audio"),
    ],
)
def test_what_is_no_audio_is_refused_with_the_reason(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError, match=reason) as caught:
        audio.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_file_folder_and_silent_container_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="No such file"):
        audio.load(tmp_path / "nowhere.mp3")
    with pytest.raises(AudioError, match="cannot be read"):
        audio.load(tmp_path)
    path = tmp_path / "none.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
    with pytest.raises(AudioError, match="no audio in it"):
        audio.load(path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = audio_files.write_music(tmp_path / "piece.wav")
    path.chmod(0)
    with pytest.raises(AudioError, match="Permission denied"):
        audio.load(path)


@pytest.mark.parametrize("suffix", [".ogg", ".mp3", ".flac", ".wav"])
def test_a_hole_costs_only_what_it_hit(tmp_path: Path, suffix: str) -> None:
    path = audio_files.write_music(tmp_path / f"piece{suffix}", 20.0)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + len(content) // 40] = np.random.default_rng(0).bytes(len(content) // 40)
    path.write_bytes(content)
    assert len(audio.load(path)) / RATE > 17
    path.write_bytes(content[:middle])  # cut short
    assert len(audio.load(path)) / RATE > 8


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".ogg", ".opus", ".m4a", ".wma", ".aiff", ".wav"])
def test_tags(tmp_path: Path, suffix: str) -> None:
    path = audio_files.write_music(tmp_path / f"piece{suffix}")
    plain = tags.read_tags(path)
    assert plain.title == "piece"
    assert plain.artist == ""
    assert plain.album == ""
    audio_files.write_tags(path, "Große Fuge", "Берег & 海岸", "Op. 133")
    found = tags.read_tags(path)
    assert (found.title, found.artist, found.album) == ("Große Fuge", "Берег & 海岸", "Op. 133")
    assert found.duration_s == pytest.approx(4.0, abs=0.15)
    assert len(audio.load(path)) / RATE == pytest.approx(4.0, abs=0.15)


def test_tags_are_one_printable_line(tmp_path: Path) -> None:
    path = audio_files.write_music(tmp_path / "piece.flac")
    audio_files.write_tags(path, "  Two\nlines\x1b[31m and a tab\t ", "A\x00B", "")
    found = tags.read_tags(path)
    assert found.title == "Two lines [31m and a tab"
    assert "\x00" not in found.artist
    assert found.artist


@pytest.mark.parametrize(
    "content", [b"", b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" * 9, b"OggS" + bytes(99), b"fLaC\xff"]
)
@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".ogg", ".m4a", ".wma", ".wav", ".aiff"])
def test_damaged_tags_fall_back_to_the_name(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"My song{suffix}"
    path.write_bytes(content)
    assert tags.read_tags(path).title == "My song"
    assert tags.read_tags(tmp_path / f"gone{suffix}").title == "gone"


def test_names_of_any_kind(tmp_path: Path) -> None:
    names = ["Ünïcode – 音楽.wav", "a:b.wav", "http:x.wav", "per%cent %d.wav", "-dash.wav", "  spaces .wav"]
    if sys.platform.startswith("linux"):
        names.append(os.fsdecode(b"caf\xe9.wav"))  # Latin-1, no valid UTF-8
    for name in names:
        audio_files.write_music(tmp_path / "plain.wav", 1.0).rename(tmp_path / name)
    found = scan.find_audio([tmp_path])
    assert {path.name for path in found} == set(names)
    for path in found:
        assert len(audio.load(path)) > RATE * 0.9
        tags.read_tags(path).title.encode()  # printable whatever the name


def test_relative_names_that_look_like_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audio_files.write_music(tmp_path / "x.wav", 1.0).rename(tmp_path / "concat:a.wav")
    monkeypatch.chdir(tmp_path)
    assert len(audio.load("concat:a.wav")) > RATE * 0.9


def test_find_audio_takes_each_real_file_once_and_only_audio(tmp_path: Path) -> None:
    deep = tmp_path / "b" / "c"
    deep.mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    keep = [tmp_path / "a.MP3", deep / "z.flac", deep / "é.ogg"]
    for path in [*keep, deep / "cover.jpg", deep / "._z.flac", tmp_path / ".hidden" / "x.mp3"]:
        path.write_bytes(b"x")
    (deep / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again.flac").symlink_to(deep / "z.flac")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.wav")  # would block whoever opens it
    found = scan.find_audio([tmp_path, deep, deep / "z.flac", str(tmp_path / "b")])
    assert len(found) == 3
    assert found == sorted(found)
    assert {os.path.realpath(path) for path in found} == {str(path) for path in keep}
    with pytest.raises(AudioError, match="no such file or folder"):
        scan.find_audio([tmp_path / "nowhere"])
