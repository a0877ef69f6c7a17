from __future__ import annotations

import dataclasses
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import audio_files
import indexing_fakes
from overheard import cli
from overheard.catalogue.names import valid_pack_name
from overheard.catalogue.pack import open_pack, write_pack
from overheard.catalogue.track_list import TrackEntry
from overheard.commands import packs as packs_command
from overheard.errors import SettingsError
from overheard.fingerprint.spec import SPEC
from overheard.index import worker as index_worker


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVERHEARD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(index_worker, "ModelFingerprinter", indexing_fakes.SlowFake)
    quantizer = SimpleNamespace(widths=(4,), cells=range(16))
    model = SimpleNamespace(digest="feed" * 4, spec=SPEC, quantizer=quantizer)
    monkeypatch.setattr(packs_command, "_model", lambda settings: model)
    monkeypatch.setattr("overheard.catalogue.selection.pack_paths", own_packs)
    return tmp_path / "data"


def own_packs(settings: Any) -> dict[str, Path]:
    return {path.stem: path for path in sorted(settings.packs_dir.glob("*.pack"))}


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    folder.mkdir()
    for seed in range(3):
        audio_files.write_music(folder / f"{seed}.flac", 60.0, seed)
    (folder / "words.mp3").write_text("no music " * 300)
    return folder


def test_the_summary_has_counts_speed_and_size(
    music: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["index", str(music), "--jobs", "2"]) == 0
    out, err = capsys.readouterr()
    pack = data / "packs" / "music.pack"
    size = pack.stat().st_size
    assert out.startswith("music: 3 tracks, 3.0 minutes (3 new)\n")
    assert "x real time" in out
    sizes = re.search(r"(\d+) bytes per track, (\d+) per minute", out)
    assert sizes is not None
    per_track, per_minute = sizes.groups()
    assert int(per_track) == round(size / 3)
    assert int(per_minute) == pytest.approx(size / 3, abs=2)
    assert out.endswith(f"; {pack}\n")
    assert (
        err
        == f"1 file could not be indexed:\n  {music / 'words.mp3'}: cannot be read as audio ({reason(err)})\n"
    )


def reason(err: str) -> str:
    return err.rpartition("(")[2].partition(")")[0]


def test_json(music: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["index", str(music), "--json", "--pack", "mine", "--jobs", "1"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    report = json.loads(line)
    assert (report["pack"], report["path"]) == ("mine", str(data / "packs" / "mine.pack"))
    assert (report["tracks"], report["added"], report["interrupted"]) == (3, 3, False)
    assert report["failed"][0]["path"] == str(music / "words.mp3")
    assert report["failed"][0]["reason"]
    assert report["bytes_per_minute"] == pytest.approx(Path(report["path"]).stat().st_size / 3, abs=1)
    assert report["duration_s"] == pytest.approx(180, abs=0.1)
    assert report["times_real_time"] > 0


def test_an_error_is_one_line(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none").mkdir()
    for argv in (
        ["index", str(tmp_path / "nowhere")],
        ["index", str(tmp_path / "none")],
        ["index", str(tmp_path), "--pack", "../up"],
    ):
        assert cli.main(argv) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("overheard: ")
        assert err.count("\n") == 1
    assert not (data / "packs").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".hidden", "a\nb", "a\\b", "\udce9"])
def test_invalid_pack_names(name: str) -> None:
    with pytest.raises(SettingsError, match="invalid pack name"):
        valid_pack_name(name)


def test_valid_pack_names() -> None:
    assert [valid_pack_name(name) for name in ("music", "Ünï 1", "x.pack")] == ["music", "Ünï 1", "x"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_the_finished_files(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    for seed in range(6):
        wave = audio_files.music(3.0, seed)
        audio_files.encode(folder / f"{seed}.wav", wave, 8000, "pcm_s16le", "mono")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OVERHEARD_DATA_DIR": str(tmp_path / "data"),
        "FAKE_DELAY_S": "0.5",
        "TERM": "xterm",
        "COLUMNS": "80",
    }
    terminal, child_end = pty.openpty()  # the progress bar, which a terminal gets, says when a file is done
    process = subprocess.Popen(
        [sys.executable, indexing_fakes.__file__, "cli", "index", str(folder), "--jobs", "1", "--json"],
        stdout=subprocess.PIPE,
        stderr=child_end,
        text=True,
        env=environment,
        start_new_session=True,
    )
    os.close(child_end)
    shown = b""
    while b"2/6" not in shown:
        shown += os.read(terminal, 4096)
    os.killpg(process.pid, number)  # the whole group, as a terminal does
    shown += drained(terminal)
    out, _ = process.communicate()
    assert process.returncode == 130
    report = json.loads(out)
    assert report["interrupted"]
    assert 2 <= report["tracks"] < 6
    assert b"interrupted; to continue, run the same command again" in shown
    assert b"Traceback" not in shown
    assert sorted(os.listdir(tmp_path / "data" / "packs")) == ["music.index.sqlite", "music.pack"]
    assert len(open_pack(tmp_path / "data" / "packs" / "music.pack").tracks) == report["tracks"]


def drained(terminal: int) -> bytes:
    shown = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # Linux raises this when the other side is closed
            return shown
        if not part:
            return shown
        shown += part


def some_pack(data: Path, name: str, digest: str = "feed" * 4) -> Path:
    (data / "packs").mkdir(parents=True, exist_ok=True)
    path = data / "packs" / f"{name}.pack"
    rng = index_worker.np.random.default_rng(0)
    entry = TrackEntry(
        title="T",
        path="/t.flac",
        duration_s=7200.0,
        packed_cells=rng.integers(0, 9, 100, dtype="u2"),
        codes=rng.integers(0, 9, (100, 4), dtype="u1"),
    )
    write_pack(path, name, digest, SPEC, [entry])
    return path


def test_packs_lists_usable_and_unusable(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["packs"]) == 0
    assert "no packs yet" in capsys.readouterr().out
    good, other_model, torn = (some_pack(data, name) for name in ("good", "other", "torn"))
    some_pack(data, "other", "beef" * 4)
    torn.write_bytes(torn.read_bytes()[:-7])
    assert cli.main(["packs", "--json"]) == 0
    packs = {row["name"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert (packs["good"]["tracks"], packs["good"]["hours"], packs["good"]["usable"]) == (1, 2.0, True)
    assert packs["good"]["bytes"] == good.stat().st_size
    assert packs["good"]["path"] == str(good)
    assert not packs["other"]["usable"]
    assert "another model" in packs["other"]["problem"]
    assert not packs["torn"]["usable"]
    assert "bytes instead of" in packs["torn"]["problem"]
    assert other_model.exists()
    assert cli.main(["packs"]) == 0
    out = capsys.readouterr().out
    assert out.count("cannot be used: ") == 2
    assert "2.0" in out


def test_one_strange_pack_does_not_hide_the_others(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A FIFO, a folder, and a pack whose codes the model cannot have written."""
    some_pack(data, "good")
    os.mkfifo(data / "packs" / "fifo.pack")
    (data / "packs" / "folder.pack").mkdir()
    path = some_pack(data, "wide")
    entries = [dataclasses.replace(entry, codes=entry.codes[:, :3]) for entry in open_pack(path).entries()]
    write_pack(path, "wide", "feed" * 4, SPEC, entries)
    assert cli.main(["packs", "--json"]) == 0
    problems = {row["name"]: row["problem"] for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert problems["good"] is None
    assert "not a regular file" in problems["fifo"]
    assert "Is a directory" in problems["folder"]
    assert "codes have 3 bytes; those of its model have 4" in problems["wide"]
    assert cli.main(["packs"]) == 0
    assert capsys.readouterr().out.count("cannot be used: ") == 3


def test_packs_remove(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = some_pack(data, "old")
    (data / "packs" / "old.indexing.sqlite").touch()
    (data / "packs" / "old.index.sqlite").touch()
    assert cli.main(["packs", "remove", "old"]) == 0
    assert str(path) in capsys.readouterr().out
    assert os.listdir(data / "packs") == []
    assert cli.main(["packs", "remove", "old"]) == 2
    assert "you have no pack named old" in capsys.readouterr().err
    assert cli.main(["packs", "remove", "../../etc/passwd"]) == 2
    with pytest.raises(SystemExit):
        cli.main(["packs", "remove"])
