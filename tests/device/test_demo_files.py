"""The files of the demonstration, and the commands that it prints; test_demo.py runs all of it."""

from __future__ import annotations

import io
import shlex
import sys
from pathlib import Path

import pytest
from rich.console import Console

from overheard import cli
from overheard.demo import run
from overheard.demo.synth import Piece, synthesize
from overheard.errors import ModelError, OverheardError
from overheard.hear.decode import load
from overheard.hear.tags import read_tags
from overheard.settings import Settings


@pytest.fixture(scope="module")
def pieces() -> list[Piece]:
    return [synthesize(seed, 4.0) for seed in range(2)]


def test_pieces_are_written_with_their_tags_and_the_earlier_ones_removed(
    pieces: list[Piece], tmp_path: Path
) -> None:
    names = ("music/old.wav", "packs/demo.pack", "history.sqlite-wal")
    earlier = [tmp_path / name for name in names]
    kept = tmp_path / "packs" / "mine.pack"
    for path in (*earlier, kept):
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    written = run.write_collection(tmp_path, pieces, 7)
    assert [piece for piece, _ in written] == pieces
    assert sorted(path for _, path in written) == sorted((tmp_path / "music").iterdir())
    assert not any(path.exists() for path in earlier)
    assert kept.exists()
    tags = read_tags(written[0][1])
    assert (tags.title, tags.artist, tags.album) == (pieces[0].title, pieces[0].artist, "Demonstration 7")
    assert len(load(written[0][1], 8000)) == len(pieces[0].waveform)


def test_a_folder_that_cannot_be_written_is_an_error_with_a_remedy(
    pieces: list[Piece], tmp_path: Path
) -> None:
    (tmp_path / "demo").write_text("a file")
    with pytest.raises(OverheardError, match=r"demo: cannot write the demonstration: .*--data-dir FOLDER"):
        run.write_collection(tmp_path / "demo", pieces, 7)


def test_the_printed_command_shows_the_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my data" / "demo"
    folder.mkdir(parents=True)
    out = io.StringIO()
    monkeypatch.setattr(run.shutil, "which", lambda _: "/usr/bin/overheard")
    run.print_links(Console(file=out, width=40), folder, folder / "history.sqlite")
    assert str(folder / "history.sqlite") in out.getvalue()
    (line,) = [line for line in out.getvalue().splitlines() if "show it" in line]
    program, *arguments = shlex.split(line.removeprefix("  show it"))
    assert program == "overheard"
    assert cli.main(arguments) == 0
    assert "no plays" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("started_as", "expected"),
    [
        ("/my venv/bin/overheard", ["../../my venv/bin/overheard"]),
        ("/x/overheard/__main__.py", [sys.executable, "-m", "overheard"]),
    ],
)
def test_without_an_installed_command_the_one_that_runs_is_printed(
    monkeypatch: pytest.MonkeyPatch, started_as: str, expected: list[str]
) -> None:
    monkeypatch.setattr(run.shutil, "which", lambda _: None)
    monkeypatch.setattr(sys, "argv", [started_as, "demo"])
    monkeypatch.setattr(run.os.path, "relpath", lambda path: f"../..{path}")
    assert shlex.split(run.program()) == expected


def test_a_misspelled_model_is_an_error_before_anything_is_composed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "compose_collection", lambda _seed: pytest.fail("composed"))
    with pytest.raises(ModelError, match="there is no model 'smal'"):
        run.run_demo(Settings(data_dir=tmp_path, model="smal"), 7, False)
