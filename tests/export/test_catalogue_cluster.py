"""`overheard-export catalogue --executor` on a real Dask scheduler with real workers."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import audio_files
import dask_cluster
import indexing_fakes
from overheard.catalogue.pack import open_pack
from overheard.errors import ModelError
from overheard.index.pool import Outcome, fingerprint_with
from overheard.index.report import Progress
from overheard_export import catalogue, cli, cluster

LOUD = 2.0  # amplitude of a file that ends its worker


@pytest.fixture(autouse=True)
def without_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "ModelFingerprinter", indexing_fakes.SlowFake)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for seed in range(10):
        audio_files.encode(folder / f"{seed}.wav", audio_files.music(3.0, seed), 8000, "pcm_s16le", "mono")
    return folder


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dask_cluster.DaskCluster]:
    pytest.importorskip("distributed", reason="Dask is not installed")
    folder = tmp_path_factory.mktemp("cluster")
    environment = {"FAKE_DELAY_S": "0.2", "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    with dask_cluster.running(folder, environment) as started:
        yield started


def at_progress(monkeypatch: pytest.MonkeyPatch, n_done: int, act: Callable[[], None]) -> None:
    """Call `act` when `n_done` files are done."""

    def show(state: Progress) -> None:
        if state.done == n_done:
            act()

    @contextlib.contextmanager
    def progress_bar() -> Iterator[Callable[[Progress], None]]:
        yield show

    monkeypatch.setattr(catalogue, "progress_bar", progress_bar)


def build(music: Path, pack: Path, *options: str) -> int:
    return cli.main(["catalogue", str(music), "--pack", str(pack), *options])


def test_a_lost_worker_loses_nothing(
    dask: dask_cluster.DaskCluster, music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert build(music, tmp_path / "local" / "x.pack", "--jobs", "1") == 0
    pack = tmp_path / "cluster" / "x.pack"
    with dask.workers(2, "--no-nanny") as (first, second):
        at_progress(monkeypatch, 3, lambda: os.kill(first.pid, signal.SIGKILL))
        assert build(music, pack, "--executor", dask.url) == 0
        assert first.wait(dask_cluster.LIMIT_S) == -signal.SIGKILL
        assert second.poll() is None
    assert pack.read_bytes() == (tmp_path / "local" / "x.pack").read_bytes()
    assert not pack.with_name("x.catalogue.sqlite").exists()


def test_files_that_end_their_worker_or_cannot_be_read_are_reported(
    dask: dask_cluster.DaskCluster, music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    for path in sorted(music.iterdir())[:4]:
        (folder / path.name).symlink_to(path)
    audio_files.encode(folder / "loud.wav", LOUD * audio_files.music(3.0, 20), 8000, "pcm_f32le", "mono")
    (folder / "lost.wav").symlink_to(tmp_path / "nowhere.wav")
    make = functools.partial(indexing_fakes.FakeFingerprinter, crash_level=LOUD / 3)
    found: dict[str, Outcome] = {}
    address = cluster.scheduler_address(dask.url)
    with dask.workers(2), cluster.connect(address) as connected:  # a nanny replaces a worker that ended
        open_workers = connected.open_workers(make, make().digest)
        for outcome in fingerprint_with(open_workers, sorted(folder.iterdir()), lambda: False):
            assert outcome.path.name not in found
            found[outcome.path.name] = outcome
    assert {name for name, outcome in found.items() if outcome.entry is None} == {"loud.wav", "lost.wav"}
    assert found.keys() == {path.name for path in folder.iterdir()}
    assert "crashed" in found["loud.wav"].reason
    assert "No such file" in found["lost.wav"].reason
    assert os.uname().nodename in found["lost.wav"].reason


def test_an_interrupted_run_continues_on_the_cluster(
    dask: dask_cluster.DaskCluster,
    music: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pack = tmp_path / "x.pack"
    with dask.workers(1, "--no-nanny"):
        at_progress(monkeypatch, 6, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert build(music, pack, "--executor", dask.url) == catalogue.INTERRUPTED
        assert "run the same command again" in capsys.readouterr().err
        assert not pack.exists()
        at_progress(monkeypatch, 5, lambda: pytest.fail("more than the four remaining files"))
        assert build(music, pack, "--executor", dask.url) == 0
    assert len(open_pack(pack).tracks) == 10


def test_without_workers_the_run_ends_after_a_while(
    dask: dask_cluster.DaskCluster,
    music: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cluster, "WORKERS_S", 1.0)
    assert build(music, tmp_path / "x.pack", "--executor", dask.url) == 2
    assert "has had no workers for 1 s; start some with `dask worker" in capsys.readouterr().err


def test_a_lost_scheduler_is_one_line_and_the_finished_files_are_saved(
    dask: dask_cluster.DaskCluster,
    music: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    at_progress(monkeypatch, 3, dask.scheduler.kill)  # so no later test can use it
    with dask.workers(1, "--no-nanny"):
        assert build(music, tmp_path / "x.pack", "--executor", dask.url) == 2
    err = capsys.readouterr().err
    assert err.startswith("overheard-export: the connection to the Dask scheduler is lost; ")
    assert err.count("\n") == 1
    at_progress(monkeypatch, 8, lambda: pytest.fail("more than the remaining files"))
    assert build(music, tmp_path / "x.pack", "--jobs", "1") == 0
    assert len(open_pack(tmp_path / "x.pack").tracks) == 10


def test_a_worker_with_another_model_is_an_error(music: Path) -> None:
    with pytest.raises(ModelError, match="another model"):
        cluster._work("a run", indexing_fakes.FakeFingerprinter, "beef" * 4, music / "0.wav")


def test_a_worker_loads_the_model_once(music: Path) -> None:
    made = []

    def make() -> indexing_fakes.FakeFingerprinter:
        made.append(1)
        return indexing_fakes.FakeFingerprinter()

    for name in ("0.wav", "1.wav"):
        outcome = cluster._work("another run", make, make().digest, music / name)
        assert outcome is not None
        assert outcome.entry is not None
    assert len(made) == 3  # two of them above, for the digest


def test_without_dask_the_error_is_one_line_with_the_command(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert build(music, tmp_path / "x.pack", "--executor", "dask://127.0.0.1:8786") == 2
    err = capsys.readouterr().err
    assert err == "overheard-export: Dask is not installed; in a clone of overheard: pip install '.[dask]'\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8786", "dask://", "dask://host", "dask://h:x", "tcp://h:1", "dask://h:1/p"]
)
def test_an_address_that_is_not_one_is_a_usage_error(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        build(tmp_path, tmp_path / "x.pack", "--executor", url)
    assert caught.value.code == 2
    assert "dask://HOST:PORT" in capsys.readouterr().err
