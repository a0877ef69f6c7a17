from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

import audio_files
import indexing_fakes
from overheard.catalogue.pack import open_pack
from overheard.errors import AudioError, PackError
from overheard_export import catalogue, cli


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with three pieces of music, credits of two of them, and something else."""
    monkeypatch.setattr(catalogue, "ModelFingerprinter", indexing_fakes.SlowFake)
    root = tmp_path / "corpus"
    for seed, name in enumerate(["music/a/one.flac", "music/b/zwei.ogg", "music/b/three.wav"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        audio_files.write_music(root / name, 4.0, seed)
    audio_files.write_tags(root / "music/a/one.flac", "Tagged", "Tagger", "The Album")
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "path", "title", "artist", "source", "licence"])
        writer.writerow(["music", "music/a/one.flac", "One, or Eins", "Ärtist", "some/repo", "CC-BY 4.0"])
        writer.writerow(["music", "music/b/zwei.ogg", "", "", "other/repo", "CC0"])
        writer.writerow(["noise", "noise/rain.ogg", "Rain", "", "", ""])
    return root


def test_credits_win_and_nothing_of_the_machine_is_left(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = tmp_path / "out" / "starter.pack"
    argv = [
        str(corpus / "music"),
        "--pack",
        str(pack),
        "--credits",
        str(corpus / "manifest.csv"),
        "--jobs",
        "1",
    ]
    assert cli.main(["catalogue", *argv]) == 1
    out, err = capsys.readouterr()
    assert f"left out: {corpus / 'music/b/three.wav'}: it has no row in the credits" in err
    assert "2 tracks" in out
    one, two = open_pack(pack, "feed" * 4).tracks
    assert (one.title, one.artist, one.album) == ("One, or Eins", "Ärtist", "The Album")
    assert (one.path, one.extras) == ("music/a/one.flac", {"licence": "CC-BY 4.0", "source": "some/repo"})
    assert (two.title, two.artist, two.path) == ("zwei", "", "music/b/zwei.ogg")
    assert (one.size, one.mtime_ns) == (0, 0)
    assert str(tmp_path).encode() not in pack.read_bytes()


def test_without_credits_tags_count_and_paths_begin_at_the_folder(corpus: Path, tmp_path: Path) -> None:
    pack = tmp_path / "mine.pack"
    assert cli.main(["catalogue", str(corpus / "music"), "--pack", str(pack), "--jobs", "1"]) == 0
    tracks = open_pack(pack).tracks
    assert [track.path for track in tracks] == ["a/one.flac", "b/three.wav", "b/zwei.ogg"]
    assert [track.title for track in tracks] == ["Tagged", "three", "zwei"]


def test_the_pack_records_the_networks_of_an_interrupted_run_too(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = tmp_path / "mine.pack"
    argv = ["catalogue", str(corpus / "music"), "--pack", str(pack), "--jobs", "1"]
    broken = corpus / "music" / "broken.wav"
    broken.write_bytes(b"RIFF")
    monkeypatch.setenv("FAKE_NETWORK", "1" * 16)
    assert cli.main(argv) == 1  # the fingerprints stay, because a file failed
    assert open_pack(pack).networks == ("1" * 16,)
    audio_files.write_music(broken, 4.0, 7)
    monkeypatch.setenv("FAKE_NETWORK", "2" * 16)
    assert cli.main(argv) == 0
    assert open_pack(pack).networks == ("1" * 16, "2" * 16)


def test_the_tracks_of_a_cue_sheet_have_their_own_titles_and_the_credits_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "ModelFingerprinter", indexing_fakes.SlowFake)
    audio_files.write_music(tmp_path / "album.flac", 9.0)
    sheet = 'FILE "album.flac" WAVE\n'
    for number, title in enumerate(["First", "Second"], 1):
        sheet += f'TRACK {number:02} AUDIO\nTITLE "{title}"\nINDEX 01 00:0{5 * (number - 1)}:00\n'
    (tmp_path / "album.cue").write_text(sheet)
    (tmp_path / "credits.csv").write_text("path,title,artist,licence\nalbum.flac,Album,Ann,CC0\n")
    pack = tmp_path / "out" / "x.pack"
    argv = [str(tmp_path), "--pack", str(pack), "--credits", str(tmp_path / "credits.csv"), "--jobs", "1"]
    assert cli.main(["catalogue", *argv]) == 0
    tracks = open_pack(pack).tracks
    assert [(track.title, track.artist, track.path) for track in tracks] == [
        ("First", "Ann", "album.flac"),
        ("Second", "Ann", "album.flac"),
    ]
    assert [track.extras["licence"] for track in tracks] == ["CC0", "CC0"]


def test_a_link_to_nowhere_is_left_out_by_name(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (corpus / "music/lost.mp3").symlink_to(tmp_path / "nowhere.mp3")
    pack = tmp_path / "mine.pack"
    assert cli.main(["catalogue", str(corpus / "music"), "--pack", str(pack), "--jobs", "1"]) == 1
    assert "lost.mp3: " in capsys.readouterr().err
    assert len(open_pack(pack).tracks) == 3


def test_equal_calls_write_equal_packs(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    contents = []
    for jobs in ("1", "2"):
        pack = tmp_path / jobs / "x.pack"
        assert cli.main(["catalogue", str(corpus / "music"), "--pack", str(pack), "--jobs", jobs]) == 0
        contents.append(pack.read_bytes())
    assert contents[0] == contents[1]


def test_errors_are_one_line(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = str(tmp_path / "x.pack")
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    (tmp_path / "none").mkdir()
    for argv in (
        [str(tmp_path / "nowhere"), "--pack", pack],
        [str(tmp_path / "none"), "--pack", pack],
        [str(corpus), "--pack", pack, "--credits", str(tmp_path / "odd.csv")],
        [str(corpus), "--pack", pack, "--credits", str(tmp_path / "nowhere.csv")],
        [str(corpus), "--pack", pack, "--jobs", "-1"],
        [str(corpus), "--pack", str(tmp_path / "none")],
        [str(corpus), "--pack", str(tmp_path / "odd.csv" / "x.pack")],
    ):
        assert cli.main(["catalogue", *argv]) == 2
        err = capsys.readouterr().err
        assert err.startswith("overheard-export: ")
        assert err.count("\n") == 1
    assert not Path(pack).exists()


def test_credits_from_elsewhere_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="is outside"):
        catalogue.select([corpus], root=tmp_path / "other", credits={})
    (tmp_path / "empty.csv").touch()
    with pytest.raises(PackError, match="column 'path'"):
        catalogue.read_credits(tmp_path / "empty.csv")


def test_credits_that_are_a_named_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "credits.csv")
    with pytest.raises(PackError, match="not a regular file"):
        catalogue.read_credits(tmp_path / "credits.csv")


def test_unknown_command_is_refused() -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["nonsense"])
    assert caught.value.code == 2


def test_the_catalogue_needs_no_tensorflow() -> None:
    program = (
        "import sys, overheard_export.cli, overheard_export.catalogue; "
        "print([m for m in ('tensorflow', 'keras', 'overheard_train') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", program]
    out = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert out.stdout.strip() == "[]"
