"""Cue sheets: parsing, finding them, and indexing a file as several tracks."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import audio_files
from indexing_fakes import FakeFingerprinter
from overheard.catalogue.pack import PackTrack, open_pack
from overheard.hear.cue import MAX_CUE_BYTES, CueError, parse_cue
from overheard.index.report import IndexReport
from overheard.index.run import index
from overheard.index.scan import scan_files

SHEET = """REM DATE 1999
PERFORMER "The Band"
TITLE "The Album"
FILE "album.flac" WAVE
  TRACK 01 AUDIO
    TITLE "First"
    INDEX 01 00:01:00
  TRACK 02 AUDIO
    TITLE "Second"
    PERFORMER "A Guest"
    INDEX 00 00:09:00
    INDEX 01 00:10:37
  TRACK 03 AUDIO
    TITLE "Third"
    INDEX 01 00:15:00
"""
STARTS = (1.0, 10 + 37 / 75, 15.0)


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    folder.mkdir()
    audio_files.write_music(folder / "album.flac", 20.0, 1)
    (folder / "album.cue").write_text(SHEET)
    return folder


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return tmp_path / "packs" / "music.pack"


def run(folder: Path, pack: Path, **options: Any) -> IndexReport:
    return index([folder], pack, FakeFingerprinter, 0, **options)


def tracks(pack: Path) -> list[PackTrack]:
    return sorted(open_pack(pack).tracks, key=lambda track: float(track.extras.get("start_s", 0)))


# Parsing


def test_a_sheet_has_tags_and_times() -> None:
    (sheet,) = parse_cue(SHEET.encode())
    assert (sheet.file, sheet.album, sheet.artist) == ("album.flac", "The Album", "The Band")
    assert [(t.number, t.title, t.artist) for t in sheet.tracks] == [
        (1, "First", ""),
        (2, "Second", "A Guest"),
        (3, "Third", ""),
    ]
    assert [track.start_s for track in sheet.tracks] == pytest.approx(STARTS)


@pytest.mark.parametrize(
    ("title", "encoding"),
    [
        ("Größenwahn", "utf-8"),
        ("Größenwahn", "utf-8-sig"),
        ("Größenwahn", "utf-16"),
        ("Größenwahn", "cp1252"),
        ("Группа крови на рукаве", "cp1251"),
        ("夜に駆ける、こころ", "cp932"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_encoding_is_found(title: str, encoding: str, newline: str) -> None:
    text = SHEET.replace("First", title).replace("\n", newline)
    (sheet,) = parse_cue(text.encode(encoding))
    assert sheet.tracks[0].title == title


def test_texts_without_quotes_and_data_tracks() -> None:
    text = (
        "FILE my album.bin BINARY\nTRACK 01 MODE1/2352\nINDEX 01 00:00:00\n"
        'TRACK 02 AUDIO\nTITLE Two Words\nINDEX 01 01:00:00\nTRACK 03 AUDIO\nTITLE ""\nINDEX 01 120:00:00\n'
    )
    (sheet,) = parse_cue(text.encode())
    assert sheet.file == "my album.bin"
    assert [(t.number, t.title, t.start_s) for t in sheet.tracks] == [(2, "Two Words", 60), (3, "", 7200)]


BROKEN = {
    "no tracks": b"FILE x WAVE\n",
    "empty": b"",
    "no index": b"FILE x WAVE\nTRACK 01 AUDIO\n",
    "no file": b"TRACK 01 AUDIO\nINDEX 01 00:00:00\n",
    "time": SHEET.replace("00:15:00", "quarter past").encode(),
    "order": SHEET.replace("00:15:00", "00:02:00").encode(),
    "number": SHEET.replace("TRACK 03", "TRACK III").encode(),
    "huge number": SHEET.replace("TRACK 03", "TRACK " + "9" * 5000).encode(),
    "UTF-16 cut off": SHEET.encode("utf-16")[:-1],
    "too large": SHEET.encode() + b"REM " + b"x" * MAX_CUE_BYTES,
    "too many": b"FILE x WAVE\n" + b"TRACK 01 AUDIO\n" * 2000,
    "binary": bytes(range(256)) * 100,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_sheet_raises_an_error(content: bytes) -> None:
    with pytest.raises(CueError):
        parse_cue(content)


@pytest.mark.parametrize("filler", [b" ", b'"', b"\t \t", b"TITLE ", b"A \n", b"TRACK 01 AUDIO"])
def test_parsing_takes_time_in_proportion_to_the_size(filler: bytes) -> None:
    content = b"FILE x WAVE\nTITLE " + (filler * MAX_CUE_BYTES)[: MAX_CUE_BYTES - 100] + b"x"
    begun = time.process_time()
    with pytest.raises(CueError):
        parse_cue(content)
    assert time.process_time() - begun < 10  # seconds; quadratic would be hours


def test_random_changes_of_a_sheet_raise_nothing_else() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        content = bytearray(SHEET.encode())
        for position in rng.integers(0, len(content), rng.integers(1, 30)):
            content[position] = int(rng.integers(256))
        with contextlib.suppress(CueError):
            parse_cue(bytes(content))


# Indexing


def test_one_file_becomes_several_tracks(music: Path, pack: Path) -> None:
    report = run(music, pack)
    assert (report.tracks, report.added, report.duplicates, report.failed) == (3, 1, 0, ())
    assert report.warnings == ()
    found = tracks(pack)
    assert [(t.title, t.artist, t.album) for t in found] == [
        ("First", "The Band", "The Album"),
        ("Second", "A Guest", "The Album"),
        ("Third", "The Band", "The Album"),
    ]
    assert {track.path for track in found} == {str(music / "album.flac")}
    lengths = [STARTS[1] - STARTS[0], STARTS[2] - STARTS[1], 20 - STARTS[2]]
    assert [track.duration_s for track in found] == pytest.approx(lengths, abs=0.1)
    again = run(music, pack)
    assert (again.tracks, again.unchanged, again.updated, again.audio_s) == (3, 1, 0, 0)


def test_each_track_has_the_fingerprint_of_its_own_audio(music: Path, pack: Path, tmp_path: Path) -> None:
    wave = audio_files.music(20.0, 1)
    audio_files.encode(music / "album.wav", wave, 8000, "pcm_s16le", "mono")
    (music / "album.flac").unlink()
    run(music, pack)
    alone = tmp_path / "alone"
    alone.mkdir()
    start, end = round(STARTS[1] * 8000), round(STARTS[2] * 8000)
    audio_files.encode(alone / "second.wav", wave[:, start:end], 8000, "pcm_s16le", "mono")
    run(alone, tmp_path / "alone.pack")
    assert tracks(pack)[1].id == open_pack(tmp_path / "alone.pack").tracks[0].id


def test_new_titles_in_a_sheet_are_read_without_decoding(music: Path, pack: Path) -> None:
    run(music, pack)
    before = [track.id for track in tracks(pack)]
    (music / "album.cue").write_text(SHEET.replace("Second", "Zweites"))
    report = run(music, pack)
    assert (report.updated, report.audio_s, report.tracks) == (1, 0, 3)
    assert [track.title for track in tracks(pack)] == ["First", "Zweites", "Third"]
    assert [track.id for track in tracks(pack)] == before


def test_new_boundaries_are_fingerprinted_again(music: Path, pack: Path) -> None:
    run(music, pack)
    (music / "album.cue").write_text(SHEET.replace("00:15:00", "00:16:00"))
    report = run(music, pack)
    assert (report.updated, report.tracks) == (1, 3)
    assert report.audio_s > 15
    assert [t.duration_s for t in tracks(pack)] == pytest.approx([9.49, 5.51, 4.0], abs=0.1)


def test_without_its_sheet_a_file_is_one_track_again(music: Path, pack: Path) -> None:
    run(music, pack)
    (music / "album.cue").unlink()
    report = run(music, pack)
    assert (report.updated, report.tracks) == (1, 1)
    (track,) = open_pack(pack).tracks
    assert track.extras == {}
    assert track.duration_s == pytest.approx(20, abs=0.1)


def test_a_moved_album_keeps_its_fingerprints(music: Path, pack: Path) -> None:
    run(music, pack)
    before = [(track.id, track.title) for track in tracks(pack)]
    (music / "moved").mkdir()
    for name in ("album.flac", "album.cue"):
        (music / name).rename(music / "moved" / name)
    report = run(music, pack)
    assert (report.moved, report.added, report.audio_s, report.tracks) == (1, 0, 0, 3)
    assert [(track.id, track.title) for track in tracks(pack)] == before
    assert {track.path for track in tracks(pack)} == {str(music / "moved" / "album.flac")}


def test_a_copy_of_an_album_shares_its_tracks(music: Path, pack: Path) -> None:
    shutil.copytree(music, music / "copy")
    for audio_s in (True, False):
        report = run(music, pack)
        assert (report.tracks, report.duplicates, report.audio_s > 0) == (3, 3, audio_s)
    assert [len(track.also) for track in tracks(pack)] == [1, 1, 1]
    shutil.rmtree(music / "copy")
    run(music, pack, prune=True)
    assert [track.also for track in tracks(pack)] == [()] * 3


def test_an_interrupted_run_keeps_all_tracks_of_a_file(music: Path, pack: Path) -> None:
    def pull_the_plug(state: Any) -> None:
        if state.done:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run(music, pack, progress=pull_the_plug)
    report = run(music, pack)
    assert (report.tracks, report.audio_s) == (3, 0)


@pytest.mark.parametrize("name", ["Album.CUE", "album.flac.cue", "other.cue"])
def test_which_sheet_belongs_to_a_file(music: Path, pack: Path, name: str) -> None:
    """That of its name, or that which mentions it."""
    (music / "album.cue").rename(music / name)
    audio_files.write_music(music / "single.flac", 4.0, 2)
    assert run(music, pack).tracks == 4


def test_a_sheet_may_mention_the_file_before_it_was_converted(music: Path, pack: Path) -> None:
    sheet = (music / "album.cue").read_text()
    (music / "album.cue").unlink()
    (music / "other.cue").write_text(sheet.replace("album.flac", "album.wav"))
    assert run(music, pack).tracks == 3
    assert run(music, pack).unchanged == 1  # the scan and the worker find the same sheet
    (music / "other.cue").write_text(f'{sheet}FILE "disc 2.wav" WAVE\nTRACK 04 AUDIO\nINDEX 01 00:00:00\n')
    assert run(music, pack).tracks == 3


def test_a_sheet_for_single_files_divides_none(music: Path, pack: Path) -> None:
    audio_files.write_music(music / "second.flac", 5.0, 2)
    (music / "album.cue").write_text(
        'FILE "album.flac" WAVE\nTRACK 01 AUDIO\nINDEX 01 00:00:00\n'
        'FILE "second.flac" WAVE\nTRACK 02 AUDIO\nINDEX 01 00:00:00\n'
    )
    report = run(music, pack)
    assert (report.tracks, report.warnings) == (2, ())


def test_a_broken_sheet_leaves_one_track_and_a_warning(music: Path, pack: Path) -> None:
    (music / "album.cue").write_bytes(BROKEN["time"])
    report = run(music, pack)
    assert report.tracks == 1
    ((path, reason),) = report.warnings
    assert path == str(music / "album.flac")
    assert "cue sheet cannot be used (a time is not minutes:seconds:frames)" in reason
    (music / "album.cue").write_text(SHEET)
    assert run(music, pack).tracks == 3


def test_tracks_after_the_end_of_the_audio_are_reported(music: Path, pack: Path) -> None:
    (music / "album.cue").write_text(SHEET.replace("00:15:00", "55:00:00"))
    report = run(music, pack)
    assert report.tracks == 2
    ((_, reason),) = report.warnings
    assert reason == "track 3 is too short (0.0 s)"


def test_a_fifo_as_a_sheet_is_not_read(music: Path, pack: Path) -> None:
    (music / "album.cue").unlink()
    os.mkfifo(music / "album.cue")
    report = run(music, pack)
    assert report.tracks == 1
    assert "not a regular file" in report.warnings[0][1]


def embed(sheet: str, path: Path) -> None:
    """Write a cue sheet into the tags of a file, without changing its audio packets."""
    tagged = path.with_name("tagged.flac")
    with av.open(path) as source, av.open(tagged, "w") as target:
        target.metadata["CUESHEET"] = sheet
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    tagged.replace(path)


def test_an_embedded_sheet_counts_if_there_is_no_file(music: Path, pack: Path) -> None:
    embed(SHEET.replace("First", "Embedded").replace("\n", "\r\n"), music / "album.flac")
    run(music, pack)
    assert tracks(pack)[0].title == "First"
    (music / "album.cue").unlink()
    report = run(music, pack)
    assert (report.tracks, report.audio_s) == (3, 0)  # the boundaries are the same
    assert tracks(pack)[0].title == "Embedded"


def test_the_facts_of_a_file_change_with_its_sheet(music: Path) -> None:
    before, _ = scan_files([music])
    os.utime(music / "album.cue", ns=(5, 5))
    after, _ = scan_files([music])
    alone, _ = scan_files([music / "album.flac"])
    assert before.keys() == after.keys() == {str(music / "album.flac")}
    assert before != after == alone
