"""Indexing after files moved, changed their tags, or were not visible."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import audio_files
from indexing_fakes import FakeFingerprinter
from overheard.catalogue.pack import open_pack
from overheard.demo.synth import synthesize
from overheard.errors import AudioError, SettingsError
from overheard.hear.packets import audio_packets
from overheard.index.file_hashes import hashes_path
from overheard.index.report import IndexReport
from overheard.index.run import index
from overheard.index.scan import find_audio
from overheard.index.worker import process_file


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Create a folder with one track, and another three in a folder that could be a drive."""
    folder = tmp_path / "lib"
    (folder / "usb").mkdir(parents=True)
    for seed, name in enumerate(["here.flac", "usb/a.flac", "usb/b.mp3", "usb/c.ogg"]):
        audio_files.write_music(folder / name, 3.0, seed)
    return folder


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return tmp_path / "packs" / "music.pack"


def run(
    folder: Path, pack: Path, prune: bool = False, digest: str = "feed" * 4, **options: Any
) -> IndexReport:
    return index(
        [folder],
        pack,
        lambda: FakeFingerprinter(digest, crash_level=1e9, bug_level=1e9),
        0,
        prune=prune,
        **options,
    )


def ids(pack: Path) -> dict[str, str]:
    """Return the fingerprint of each file, without its folder."""
    names = {}
    for track in open_pack(pack).tracks:
        for path in (track.path, *(copy[0] for copy in track.also)):
            names[Path(path).name] = track.id
    return names


# Files that are not visible


@pytest.mark.parametrize("folder_stays", [True, False])
def test_an_unmounted_drive_below_the_folder_loses_no_track(
    music: Path, pack: Path, tmp_path: Path, folder_stays: bool
) -> None:
    run(music, pack)
    before = pack.read_bytes()
    (music / "usb").rename(tmp_path / "unplugged")
    if folder_stays:
        (music / "usb").mkdir()
    report = run(music, pack)
    assert (report.tracks, report.missing, report.removed, report.unchanged) == (4, 3, 0, 1)
    (note,) = report.notes
    assert note.startswith("3 files are missing (such as ")
    assert note.endswith("kept in the pack; `overheard index --prune` removes them")
    assert pack.read_bytes() == before
    shutil.rmtree(music / "usb", ignore_errors=True)
    (tmp_path / "unplugged").rename(music / "usb")
    report = run(music, pack)
    assert (report.tracks, report.missing, report.unchanged, report.audio_s) == (4, 0, 4, 0)
    assert report.notes == ()


def test_prune_removes_missing_files_only(music: Path, pack: Path) -> None:
    run(music, pack)
    (music / "usb" / "a.flac").unlink()
    report = run(music, pack, prune=True)
    assert (report.tracks, report.removed, report.missing, report.notes) == (3, 1, 0, ())
    assert sorted(ids(pack)) == ["b.mp3", "c.ogg", "here.flac"]


def test_prune_waits_for_the_end_of_the_run(music: Path, pack: Path) -> None:
    run(music, pack)
    (music / "usb").rename(music / "moved")
    report = run(music, pack, prune=True, stop=lambda: True)
    assert report.interrupted
    assert (report.tracks, report.removed) == (4, 0)


@pytest.mark.parametrize("prune", [False, True])
def test_a_file_without_an_answer_from_its_drive_stays(
    music: Path, pack: Path, monkeypatch: pytest.MonkeyPatch, prune: bool
) -> None:
    run(music, pack)
    real = os.stat

    def stat(path: Any, *args: Any, **options: Any) -> os.stat_result:
        if os.fsdecode(path).endswith("b.mp3") if not isinstance(path, int) else False:
            raise OSError(5, "Input/output error", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(os, "stat", stat)
    report = run(music, pack, prune)
    assert (report.tracks, report.removed, report.unchanged) == (4, 0, 3)
    ((path, reason),) = report.failed
    assert (path, reason) == (str(music / "usb" / "b.mp3"), "Input/output error")
    monkeypatch.undo()
    assert run(music, pack).audio_s == 0


def test_the_pack_of_another_model_is_kept_while_files_are_missing(music: Path, pack: Path) -> None:
    run(music, pack)
    before = pack.read_bytes()
    (music / "usb" / "a.flac").unlink()
    report = run(music, pack, digest="beef" * 4)
    assert report.tracks == 3
    (kept,) = pack.parent.glob("music.pack.old-*")
    assert kept.read_bytes() == before
    assert kept.name in report.notes[-1]


# The same audio in another file


def test_a_renamed_folder_is_not_decoded(music: Path, pack: Path) -> None:
    run(music, pack)
    before = ids(pack)
    (music / "usb").rename(music / "albums")
    report = run(music, pack)
    assert (report.moved, report.added, report.missing, report.removed, report.audio_s) == (3, 0, 0, 0, 0)
    assert ids(pack) == before
    assert {Path(track.path).parent.name for track in open_pack(pack).tracks} == {"lib", "albums"}


def test_new_tags_are_read_without_decoding(music: Path, pack: Path) -> None:
    run(music, pack)
    before = ids(pack)
    for name in ("a.flac", "b.mp3", "c.ogg"):
        audio_files.write_tags(music / "usb" / name, f"New {name}", "Artist", "Album " * 500)
    report = run(music, pack)
    assert (report.updated, report.audio_s) == (3, 0)
    assert ids(pack) == before
    assert {track.title for track in open_pack(pack).tracks} == {
        "here",
        "New a.flac",
        "New b.mp3",
        "New c.ogg",
    }


def test_new_audio_at_a_known_path_is_decoded(music: Path, pack: Path) -> None:
    run(music, pack)
    before = ids(pack)
    audio_files.write_music(music / "here.flac", 3.0, 77)
    report = run(music, pack)
    assert (report.updated, report.moved) == (1, 0)
    assert report.audio_s > 2
    assert ids(pack)["here.flac"] != before["here.flac"]


def test_a_copy_is_not_decoded_and_its_original_stays(music: Path, pack: Path) -> None:
    run(music, pack)
    shutil.copy(music / "here.flac", music / "copy.flac")
    report = run(music, pack)
    assert (report.added, report.moved, report.duplicates, report.audio_s) == (1, 0, 1, 0)


def test_without_the_hashes_everything_still_works(music: Path, pack: Path) -> None:
    run(music, pack)
    hashes_path(pack).unlink()
    (music / "here.flac").touch()
    report = run(music, pack)
    assert (report.updated, report.unchanged) == (1, 3)
    assert report.audio_s > 2


def test_the_hashes_of_an_interrupted_run_are_kept(music: Path, pack: Path) -> None:
    done: list[int] = []
    run(
        music, pack, progress=lambda state: done.append(state.done), stop=lambda: bool(done) and done[-1] >= 4
    )
    for path in find_audio([music]):
        path.touch()
    assert run(music, pack).audio_s == 0


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".ogg", ".opus", ".m4a", ".wma", ".wav", ".aiff"])
def test_the_hash_depends_on_the_audio_alone(tmp_path: Path, suffix: str) -> None:
    path = audio_files.write_music(tmp_path / f"x{suffix}", 3.0)
    before = audio_packets(path)
    audio_files.write_tags(path, "Title", "Artist " * 300, "Album")
    after = audio_packets(path)
    assert before is not None
    assert after is not None
    assert after.hash == before.hash
    other = audio_packets(audio_files.write_music(tmp_path / f"y{suffix}", 3.0, 1))
    assert other is not None
    assert other.hash != before.hash


# Damaged files, more formats


def mp3_frames(content: bytes) -> tuple[bytes, list[bytes]]:
    """Return what is before the first frame of an MP3 file of 44.1 kHz, and its frames."""
    rates = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    at = start = content.find(b"\xff\xfb")
    frames = []
    while content[at : at + 2] == b"\xff\xfb":
        length = 144_000 * rates[content[at + 2] >> 4] // 44100 + (content[at + 2] >> 1 & 1)
        frames.append(content[at : at + length])
        at += length
    return content[:start], frames


@pytest.mark.parametrize("damage", ["removed", "zeroed", "truncated"])
def test_an_mp3_without_half_of_its_packets_is_indexed_with_a_warning(
    tmp_path: Path, pack: Path, damage: str
) -> None:
    path = audio_files.write_music(tmp_path / "lib.mp3", 20.0)
    before, frames = mp3_frames(path.read_bytes())
    lost = {"removed": lambda f: b"", "zeroed": lambda f: bytes(len(f)), "truncated": lambda f: f}[damage]
    kept = [frame if i % 2 == 0 else lost(frame) for i, frame in enumerate(frames)]
    path.write_bytes(before + b"".join(kept[: len(kept) // 2] if damage == "truncated" else kept))
    report = run(path, pack)
    assert report.tracks == 1
    ((warned, reason),) = report.warnings
    assert warned == str(path)
    assert reason == "only 0:10 of 0:19 can be read; the file is damaged or incomplete" or "0:09 of" in reason


def headerless_mp3(path: Path) -> list[bytes]:
    """Encode 10 s of music without the header that states the duration; return the frames."""
    music = synthesize(4, 10.0, 44100).waveform[None]
    audio_files.encode(path, music, 44100, "libmp3lame", "mono", "mp3", {"write_xing": "0"})
    return mp3_frames(path.read_bytes())[1]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda frame: b"", "parts between the packets are missing"),
        (lambda frame: bytes(len(frame)), "can be read"),
        (lambda frame: np.random.default_rng(0).bytes(len(frame)), "can be read"),
    ],
    ids=["removed", "zeroed", "overwritten"],
)
def test_an_mp3_without_a_header_that_lost_packets_has_a_warning(
    tmp_path: Path, damage: Callable[[bytes], bytes], reason: str
) -> None:
    path = tmp_path / "x.mp3"
    frames = headerless_mp3(path)
    assert process_file(path, FakeFingerprinter(crash_level=1e9, bug_level=1e9)).warning == ""
    path.write_bytes(b"".join(frame if i % 3 else damage(frame) for i, frame in enumerate(frames)))
    assert reason in process_file(path, FakeFingerprinter(crash_level=1e9, bug_level=1e9)).warning


def test_an_mp3_that_ends_in_zeros_has_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "x.mp3"
    content = b"".join(headerless_mp3(path))
    path.write_bytes(content[: len(content) // 2].ljust(len(content), b"\0"))
    assert "only 0:0" in process_file(path, FakeFingerprinter(crash_level=1e9, bug_level=1e9)).warning


@pytest.mark.parametrize("tag", [b"APETAGEX", b"ID3\4\0\0\0\0\0\0"])
def test_tags_and_joints_in_an_mp3_are_no_damage(tmp_path: Path, tag: bytes) -> None:
    path = tmp_path / "x.mp3"
    content = b"".join(headerless_mp3(path))
    picture = np.random.default_rng(0).integers(0, 255, len(content), np.uint8).tobytes()
    path.write_bytes(content + content + tag + picture)
    assert process_file(path, FakeFingerprinter()).warning == ""


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
def test_an_intact_mp3_without_a_header_has_no_warning_at_any_rate(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "x.mp3"
    music = audio_files.music(6.0, 3, rate, 2)
    audio_files.encode(path, music, rate, "libmp3lame", "stereo", "mp3", {"write_xing": "0"})
    packets = audio_packets(path)
    assert packets is not None
    assert packets.declared_s == pytest.approx(6.0, abs=0.3)
    assert packets.gaps == 0
    assert process_file(path, FakeFingerprinter()).warning == ""


def test_a_named_pipe_has_no_packets(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.mp3")
    assert audio_packets(tmp_path / "x.mp3") is None


@pytest.mark.parametrize("suffix", sorted(audio_files.FORMATS))
def test_intact_files_have_no_warning(tmp_path: Path, suffix: str) -> None:
    path = audio_files.write_music(tmp_path / f"x{suffix}", 20.0)
    assert process_file(path, FakeFingerprinter()).warning == ""


MORE = {".mka": ("flac", 44100), ".webm": ("libopus", 48000), ".w64": ("pcm_s16le", 44100)}
MORE |= {".tta": ("tta", 44100), ".wv": ("wavpack", 44100)}


@pytest.mark.parametrize("suffix", sorted(MORE))
def test_more_formats_are_scanned(tmp_path: Path, pack: Path, suffix: str) -> None:
    codec, rate = MORE[suffix]
    path = tmp_path / "lib" / f"x{suffix}"
    path.parent.mkdir()
    audio_files.encode(path, audio_files.music(4.0, 0, rate, 2), rate, codec, "stereo")
    report = run(path.parent, pack)
    assert (report.tracks, report.failed, report.warnings) == (1, (), ())


def test_dsd_files_are_scanned(tmp_path: Path, pack: Path) -> None:
    rate, seconds = 2_822_400, 3
    block = 4096
    n_blocks = rate * seconds // 8 // block
    data = bytes(range(256)) * (n_blocks * block // 256)
    form = struct.pack("<4sQIIIIIIQII", b"fmt ", 52, 1, 0, 1, 1, rate, 1, n_blocks * block * 8, block, 0)
    body = form + struct.pack("<4sQ", b"data", 12 + len(data)) + data
    path = tmp_path / "x.dsf"
    path.write_bytes(struct.pack("<4sQQQ", b"DSD ", 28, 28 + len(body), 0) + body)
    assert find_audio([tmp_path]) == [path]
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.name.startswith("dsd")


# Arguments


@pytest.mark.parametrize("jobs", [10**20, 1025, -1])
def test_an_impossible_number_of_jobs_is_an_error(music: Path, pack: Path, jobs: int) -> None:
    with pytest.raises(SettingsError, match="between 0 and 1024"):
        index([music], pack, FakeFingerprinter, jobs)
    assert not pack.parent.exists()


@pytest.mark.parametrize("value", ["abc", "1e9", "9" * 30, "-" + "9" * 20])
def test_an_invalid_date_is_reported_before_any_work(
    music: Path, pack: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    with pytest.raises(SettingsError, match="SOURCE_DATE_EPOCH is invalid"):
        run(music, pack)
    assert not pack.parent.exists()


def test_a_fifo_is_not_opened(tmp_path: Path, pack: Path) -> None:
    os.mkfifo(tmp_path / "y.mp3")
    with pytest.raises(AudioError, match="not a regular file"):
        run(tmp_path / "y.mp3", pack)
