"""Finding the audio files in folders."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import audio_files
from overheard.errors import AudioError
from overheard.hear.decode import load
from overheard.hear.tags import read_tags
from overheard.index.scan import find_audio

RATE = 8000


def test_files_with_unusual_names_are_found_and_decoded(tmp_path: Path) -> None:
    names = ["Ünïcode — 音楽.wav", "a:b.wav", "http:x.wav", "per%cent %d.wav", "-dash.wav", "  spaces .wav"]
    if sys.platform.startswith("linux"):
        names.append(os.fsdecode(b"caf\xe9.wav"))  # Latin-1, not valid UTF-8
    for name in names:
        audio_files.write_music(tmp_path / "plain.wav", 1.0).rename(tmp_path / name)
    paths = find_audio([tmp_path])
    assert {path.name for path in paths} == set(names)
    for path in paths:
        assert len(load(path)) > RATE * 0.9
        read_tags(path).title.encode()  # the title is valid text even if the file name is not


def test_find_audio_lists_each_audio_file_once(tmp_path: Path) -> None:
    deep = tmp_path / "b" / "c"
    deep.mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    audio = [tmp_path / "a.MP3", deep / "z.flac", deep / "é.ogg"]
    for path in [*audio, deep / "cover.jpg", deep / "._z.flac", tmp_path / ".hidden" / "x.mp3"]:
        path.write_bytes(b"x")
    (deep / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again.flac").symlink_to(deep / "z.flac")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.wav")  # opening a FIFO would block
    paths = find_audio([tmp_path, deep, deep / "z.flac", str(tmp_path / "b")])
    assert len(paths) == 3
    assert paths == sorted(paths)
    assert {os.path.realpath(path) for path in paths} == {str(path) for path in audio}
    with pytest.raises(AudioError, match="no such file or folder"):
        find_audio([tmp_path / "nowhere"])
