"""Tags of audio files."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import audio_files
from overheard.hear.decode import load
from overheard.hear.tag_text import decode_text, encoding_of, legacy_bytes
from overheard.hear.tags import read_tags

RATE = 8000


@pytest.mark.parametrize("suffix", sorted(audio_files.FORMATS))
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


def riff_info(**texts: bytes) -> bytes:
    chunks = (
        name.encode() + struct.pack("<I", len(text)) + text + bytes(len(text) % 2)
        for name, text in texts.items()
    )
    content = b"INFO" + b"".join(chunks)
    return b"LIST" + struct.pack("<I", len(content)) + content


def insert_chunk(path: Path, chunk: bytes, order: str) -> Path:
    """Insert a chunk after the header of a WAV or AIFF file."""
    content = path.read_bytes()
    size = struct.pack(f"{order}I", len(content) - 8 + len(chunk))
    path.write_bytes(content[:4] + size + content[8:12] + chunk + content[12:])
    return path


def id3_chunk(order: str, **texts: bytes) -> bytes:
    tag = audio_files.id3_frames(0, **texts)
    name = b"id3 " if order == "<" else b"ID3 "
    return name + struct.pack(f"{order}I", len(tag)) + tag + bytes(len(tag) % 2)


def test_a_wav_with_info_and_an_aiff_with_name_are_read(tmp_path: Path) -> None:
    path = audio_files.write_music(tmp_path / "piece.wav")
    chunk = riff_info(INAM="Größe".encode(), IART=b"Somebody", IPRD=b"Album")
    tags = read_tags(insert_chunk(path, chunk, "<"))
    assert (tags.title, tags.artist, tags.album) == ("Größe", "Somebody", "Album")
    assert tags.duration_s == pytest.approx(4, abs=0.1)
    path = audio_files.write_music(tmp_path / "piece.aiff")
    chunk = b"NAME" + struct.pack(">I", 4) + b"Song" + b"AUTH" + struct.pack(">I", 4) + b"Someone\0"[:4]
    assert (read_tags(insert_chunk(path, chunk, ">")).title, read_tags(path).artist) == ("Song", "Some")


LEGACY = [
    ("cp1251", "Группа крови", "Кино", "Звезда по имени Солнце"),
    ("koi8_r", "Что такое осень", "ДДТ", "Актриса Весна"),
    ("cp932", "いとしのエリー", "サザンオールスターズ", "東京事変 教育"),
    ("gbk", "青花瓷", "周杰伦", "月亮代表我的心"),
    ("big5", "青花瓷", "周杰倫", "月亮代表我的心"),
    ("cp949", "단발머리", "조용필", "킬리만자로의 표범"),
    ("cp1253", "Ζορμπάς", "Μίκης Θεοδωράκης", "Άξιον Εστί"),
    ("utf-8", "Größe 音楽", "Björk", "Été"),
    ("cp1252", "Don\u2019t café", "Björk", "Été à Nîmes"),
]


@pytest.mark.parametrize(("encoding", "title", "artist", "album"), LEGACY)
@pytest.mark.parametrize("suffix", [".mp3", ".wav", ".aiff", ".aac", "v1.mp3"])
def test_text_of_an_undeclared_encoding_is_decoded(
    tmp_path: Path, suffix: str, encoding: str, title: str, artist: str, album: str
) -> None:
    texts = [text.encode(encoding) for text in (title, artist, album)]
    path = audio_files.write_music(tmp_path / f"piece{suffix}")
    frames = dict(zip(("TIT2", "TPE1", "TALB"), texts, strict=True))
    if suffix == "v1.mp3":
        with path.open("ab") as file:
            file.write(b"TAG" + b"".join(text.ljust(30, b"\0") for text in texts) + bytes(35))
    elif suffix in (".wav", ".aiff"):
        order = "<" if suffix == ".wav" else ">"
        insert_chunk(path, id3_chunk(order, **frames), order)
    else:
        path.write_bytes(audio_files.id3_frames(0, **frames) + path.read_bytes())
    read = read_tags(path)
    assert (read.title, read.artist, read.album) == (title, artist, album)


def test_a_character_that_id3v1_cuts_off_is_left_out(tmp_path: Path) -> None:
    path = audio_files.write_music(tmp_path / "piece.mp3")
    title = "Aいとしのエリーサザンオールスターズ"
    with path.open("ab") as file:
        file.write(b"TAG" + title.encode("cp932")[:30] + bytes(95))
    assert read_tags(path).title == title[:15]


def test_a_short_title_is_decoded_as_the_rest_of_its_album(tmp_path: Path) -> None:
    plain = audio_files.write_music(tmp_path / "plain.aac", 1.0).read_bytes()
    for number, title in enumerate(["Мы", "Звезда по имени Солнце", "Группа крови"]):
        frames = {"TIT2": title.encode("cp1251"), "TALB": b"1988"}
        (tmp_path / f"{number}.mp3").write_bytes(audio_files.id3_frames(0, **frames) + plain)
    (tmp_path / "cafe.mp3").write_bytes(audio_files.id3_frames(0, TIT2=b"\xc9t\xe9", TALB=b"Autre") + plain)
    assert read_tags(tmp_path / "0.mp3").title == "Мы"
    assert read_tags(tmp_path / "cafe.mp3").title == "Été"


@pytest.mark.parametrize("title", ["ÅÄÖ", "À la française", "Ágætis byrjun", "naïve", "Ænima", "Où", "¿Qué?"])
def test_western_text_stays_as_it_is(title: str) -> None:
    assert decode_text(title.encode("cp1252"), encoding_of([title.encode("cp1252")])) == title


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_any_bytes_become_text(texts: list[bytes]) -> None:
    encoding = encoding_of(texts)
    assert all(isinstance(decode_text(text, encoding), str) for text in texts)
    assert all(legacy_bytes(text.decode("utf-8", "surrogateescape"), True) in (text, None) for text in texts)
