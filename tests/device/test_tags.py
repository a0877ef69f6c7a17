"""Tags of audio files."""

from __future__ import annotations

from pathlib import Path

import pytest

import audio_files
from overheard.hear.decode import load
from overheard.hear.tags import read_tags

RATE = 8000


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".ogg", ".opus", ".m4a", ".wma", ".aiff", ".wav"])
def test_tags_of_every_format_are_read(tmp_path: Path, suffix: str) -> None:
    path = audio_files.write_music(tmp_path / f"piece{suffix}")
    plain = read_tags(path)
    assert plain.title == "piece"
    assert plain.artist == ""
    assert plain.album == ""
    audio_files.write_tags(path, "Große Fuge", "Берег & 海岸", "Op. 133")
    read = read_tags(path)
    assert (read.title, read.artist, read.album) == ("Große Fuge", "Берег & 海岸", "Op. 133")
    assert read.duration_s == pytest.approx(4.0, abs=0.15)
    assert len(load(path)) / RATE == pytest.approx(4.0, abs=0.15)


def test_control_characters_are_removed_from_tags(tmp_path: Path) -> None:
    path = audio_files.write_music(tmp_path / "piece.flac")
    audio_files.write_tags(path, "  Two\nlines\x1b[31m and a tab\t ", "A\x00B", "")
    read = read_tags(path)
    assert read.title == "Two lines [31m and a tab"
    assert "\x00" not in read.artist
    assert read.artist


@pytest.mark.parametrize(
    "content", [b"", b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" * 9, b"OggS" + bytes(99), b"fLaC\xff"]
)
@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".ogg", ".m4a", ".wma", ".wav", ".aiff"])
def test_damaged_tags_fall_back_to_the_file_name(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"My song{suffix}"
    path.write_bytes(content)
    assert read_tags(path).title == "My song"
    assert read_tags(tmp_path / f"gone{suffix}").title == "gone"
