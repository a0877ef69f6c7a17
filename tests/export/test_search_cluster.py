"""`overheard-export search` on this machine and on a real Dask cluster gives the same results."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import audio_files
import dask_cluster
from overheard.catalogue.pack import open_pack, shipped_packs_dir, write_pack
from overheard.fingerprint.model import Model, load_model
from overheard.hear.decode import load
from overheard.recognize.matching.scoring import FIELDS
from overheard.recognize.pack_kinds import PackKinds
from overheard.settings import MODELS_DIR
from overheard_export import cli, search, shards

CORPUS = Path(os.environ.get("OVERHEARD_CORPUS", "nowhere"))


@pytest.fixture(scope="module")
def model() -> Model:
    if not list(MODELS_DIR.glob("*.tflite")):
        pytest.skip("no model is packaged")
    return load_model()


@pytest.fixture(scope="module")
def packs(model: Model, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three packs with the starter pack's music; tracks of the first are in the last one, too."""
    folder = tmp_path_factory.mktemp("packs")
    entries = list(open_pack(shipped_packs_dir() / "starter.pack", model.digest).entries())
    groups = [entries[:200], entries[200:400], entries[400:] + entries[:100]]
    paths = [folder / f"{number}.pack" for number in range(len(groups))]
    for path, group in zip(paths, groups, strict=True):
        write_pack(path, path.stem, model.digest, model.spec, group)
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Five seconds of music that is in several packs, in one, and in none."""
    folder = tmp_path_factory.mktemp("recordings")
    tracks = open_pack(shipped_packs_dir() / "starter.pack").tracks
    paths = []
    for number in (20, 150, 300, 500):
        music = CORPUS / tracks[number].path
        if not music.is_file():
            pytest.skip("needs OVERHEARD_CORPUS")
        wave = load(music)
        start = len(wave) // 3
        noise = 0.02 * np.random.default_rng(number).standard_normal(40000).astype(np.float32)
        part = (wave[start : start + 40000] + noise)[None]
        paths.append(audio_files.encode(folder / f"{number}.wav", part, 8000, "pcm_f32le", "mono"))
    paths.append(audio_files.encode(folder / "x.wav", audio_files.music(5.0), 8000, "pcm_f32le", "mono"))
    return [str(path) for path in paths]


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[dask_cluster.DaskCluster]:
    pytest.importorskip("distributed", reason="Dask is not installed")
    with dask_cluster.running(tmp_path) as started:
        yield started


def results(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert cli.main(["search", "--json", *arguments]) == 1
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def assert_same(found: Any, wanted: Any) -> None:
    """Compare JSON values; numbers may differ by rounding."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            assert_same(found[name], value)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for each, other in zip(found, wanted, strict=True):
            assert_same(each, other)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-6, abs=5e-6)
    else:
        assert found == wanted


def test_a_cluster_that_loses_a_worker_gives_the_results_of_one_machine(
    dask: dask_cluster.DaskCluster,
    packs: list[str],
    recordings: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("--packs", *packs, *recordings)
    wanted = results(capsys, *arguments)
    assert [each["verdict"] for each in wanted] == ["recognized"] * 4 + ["unknown"]
    with dask.workers(2, "--no-nanny") as (first, second):
        n_done = []
        to_json = search.to_json

        def kill_and_convert(*values: Any) -> dict[str, Any]:
            n_done.append(1)
            if len(n_done) == 2:
                os.kill(first.pid, signal.SIGKILL)
            return to_json(*values)

        monkeypatch.setattr(search, "to_json", kill_and_convert)
        found = results(capsys, "--executor", dask.url, *arguments)
        assert first.wait(dask_cluster.LIMIT_S) == -signal.SIGKILL
        assert second.poll() is None
        assert_same(found, wanted)
        lost = str(Path(packs[0]).with_name("lost.pack"))
        assert cli.main(["search", "--executor", dask.url, "--packs", *packs, lost, recordings[0]]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"overheard-export: the Dask worker on {os.uname().nodename}: {lost}: ")
    assert err.count("\n") == 1


def test_the_table_has_a_line_for_each_play(
    packs: list[str], recordings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged.wav"
    damaged.write_bytes(b"RIFF")
    assert cli.main(["search", recordings[0], recordings[-1], str(damaged), "--packs", *packs]) == 2
    head, recognized, unknown, unreadable = capsys.readouterr().out.splitlines()
    assert head.split() == ["FILE", *search.HEADER]
    assert recognized.endswith("(0)")
    assert unknown.endswith("not recognized")
    assert unreadable.endswith("cannot be read")
    assert len({line.index("  ", len(recordings[0])) for line in (head, recognized)}) == 1


def test_packs_are_divided_by_size_in_their_order(tmp_path: Path) -> None:
    paths = []
    for number, size in enumerate((10, 10, 10, 30, 30, 1)):
        paths.append(tmp_path / f"{number}.pack")
        paths[-1].write_bytes(bytes(size))
    for n_workers in range(1, 9):
        groups = shards.divide(paths, n_workers)
        assert [path for group in groups for path in group] == paths
        assert len(groups) == min(n_workers, len(paths))
    assert [len(group) for group in shards.divide(paths, 3)] == [3, 1, 2]
    assert [len(group) for group in shards.divide([Path("a"), Path("b"), Path("c")], 2)] == [2, 1]


def test_without_packs_or_recordings_it_is_a_usage_error(packs: list[str]) -> None:
    for arguments in (["x.wav", "--packs", "y.wav"], ["--packs", *packs]):
        with pytest.raises(SystemExit) as caught:
            cli.main(["search", *arguments])
        assert caught.value.code == 2


def test_the_calibration_is_that_of_all_packs_together(
    model: Model, packs: list[str], tmp_path: Path
) -> None:
    """Of a network that joined a space, the workers report the packs that it indexed itself."""
    own, other = tmp_path / "own.pack", tmp_path / "other.pack"
    first = list(open_pack(Path(packs[0])).entries())[:3]
    write_pack(own, "own", model.digest, model.spec, first, networks=[model.network_digest])
    write_pack(other, "other", model.digest, model.spec, first, networks=["0" * 16])
    scoring = {name: dict(model.manifest["scoring"], threshold=number) for number, name in enumerate(FIELDS)}
    joined = dataclasses.replace(model, manifest={**model.manifest, **scoring})

    def threshold(*groups: list[Path]) -> float:
        kinds = [shards._kinds(tmp_path.name, tuple(group), None, model.digest) for group in groups]
        together = PackKinds.joined(kinds)
        assert together == PackKinds.of([open_pack(path) for group in groups for path in group])
        return together.scoring(joined).threshold

    assert threshold([other], [own]) == FIELDS.index("own_scoring")
    assert threshold([other]) == FIELDS.index("scoring")
    shards._close(tmp_path.name)
