"""Cue sheets, playlists and track lists of what was recognized."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from overheard.cli import main
from overheard.commands import formats
from overheard.commands.formats import Entry
from overheard.events import Play, PlayEnded, PlayStarted, Track
from overheard.hear.cue import parse_cue
from overheard.history.writer import HistorySink


def track(title: str, artist: str = "Ann", path: str | None = None) -> Track:
    return Track(title.ljust(12, "x")[:12], title, artist, "", path or f"/music/{title}.flac", "music", 200.0)


def play(track: Track, start_s: float, end_s: float) -> Play:
    return Play(track, start_s, end_s, 0.0, 5.0, 0.9)


PLAYS = [
    play(track("Alpha"), 3.0, 200.0),
    play(track('Be"ta\n'), 200.5, 6000.0),
    play(track("Gamma", ""), 6030.04, 6100.0),
]


def test_a_cue_sheet_divides_the_recording():
    assert list(formats.cue('m"ix.mp3', PLAYS, 6200.0)) == [
        'REM GENERATOR "overheard"',
        'FILE "m\'ix.mp3" MP3',
        "  TRACK 01 AUDIO",
        '    TITLE "Alpha"',
        '    PERFORMER "Ann"',
        "    INDEX 01 00:00:00",
        "  TRACK 02 AUDIO",
        '    TITLE "Be\'ta"',
        '    PERFORMER "Ann"',
        "    INDEX 01 03:20:38",
        "  TRACK 03 AUDIO",
        '    TITLE "Unknown"',
        "    INDEX 01 100:00:00",
        "  TRACK 04 AUDIO",
        '    TITLE "Gamma"',
        "    INDEX 01 100:30:03",
        "  TRACK 05 AUDIO",
        '    TITLE "Unknown"',
        "    INDEX 01 101:40:00",
    ]


def test_a_playlist_lists_files_and_nothing_else():
    tracks = [
        Entry(0, "Alpha", "Ann", "/music/a.flac", 62.4),
        Entry(0, "From elsewhere"),
        Entry(0, "Odd\n#EXTINF:1,x", "Ann", "/music/a\nb.flac"),
        Entry(0, "Hash", "", "#1.mp3", 1),
    ]
    assert list(formats.m3u8(tracks)) == [
        "#EXTM3U",
        "#EXTINF:62,Ann - Alpha",
        "/music/a.flac",
        "# no file: From elsewhere",
        "# no file: Ann - Odd #EXTINF:1,x",
        "#EXTINF:1,Hash",
        "./#1.mp3",
    ]


def test_a_track_list_has_times():
    assert list(formats.tracklist(PLAYS, 6105.0)) == [
        "0:00:03 Ann - Alpha",
        '0:03:20 Ann - Be"ta',
        "1:40:00 Unknown",
        "1:40:30 Gamma",
    ]
    assert list(formats.tracklist([], 100.0)) == ["0:00:00 Unknown"]


def test_a_cue_sheet_has_speeds_that_differ():
    faster = dataclasses.replace(PLAYS[0], speed=1.032)
    lines = list(formats.cue("mix.wav", [faster, PLAYS[1]], 6000.0))
    assert lines[3:6] == ['    TITLE "Alpha"', '    PERFORMER "Ann"', "    REM SPEED +3.2%"]
    assert sum("SPEED" in line for line in lines) == 1
    (sheet,) = parse_cue("\n".join(lines).encode())
    assert [track.title for track in sheet.tracks] == ["Alpha", "Be'ta"]


def test_overheard_reads_the_cue_sheets_that_it_writes():
    text = "\n".join(formats.cue("mix.wav", PLAYS, 6105.0))
    (sheet,) = parse_cue(text.encode())
    assert sheet.file == "mix.wav"
    assert [track.title for track in sheet.tracks] == ["Alpha", "Be'ta", "Unknown", "Gamma"]
    assert sheet.tracks[3].start_s == pytest.approx(6030.04)


class Recording:
    verdict, plays, duration_s, best, loudest_db = "recognized", PLAYS, 6105.0, None, -10.0


@pytest.fixture
def recognizer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Recognizer:
        def identify_blocks(self, blocks: object) -> type[Recording]:
            return Recording

    monkeypatch.setattr("overheard.recognize.open.open_recognizer", lambda settings, packs: Recognizer())


@pytest.mark.usefixtures("recognizer")
@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("cue", 'FILE "mix.wav" WAVE'),
        ("m3u8", "#EXTINF:197,Ann - Alpha"),
        ("tracklist", "1:40:30 Gamma"),
    ],
)
def test_identify_prints_the_format(form: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["identify", str(tmp_path / "mix.wav"), "--format", form]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert line in shown
    assert ("Unknown" in "".join(shown)) == (form != "m3u8")


@pytest.mark.usefixtures("recognizer")
def test_a_format_is_for_one_file(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["identify", "a.wav", "b.wav", "--format", "cue"])
    assert "--format is for one FILE" in capsys.readouterr().err


def test_history_prints_a_playlist(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sink = HistorySink(tmp_path / "history.sqlite", "mic")
    for event in (PlayStarted(PLAYS[0]), PlayEnded(PLAYS[0])):
        sink.handle(event, 1e9)
    sink.close()
    assert main(["--data-dir", str(tmp_path), "history", "--m3u8"]) == 0
    assert capsys.readouterr().out == "#EXTM3U\n#EXTINF:197,Ann - Alpha\n/music/Alpha.flac\n"
