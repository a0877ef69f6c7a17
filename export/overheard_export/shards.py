"""Spread packs over the workers of a Dask cluster, so that together they answer as one catalogue."""

from __future__ import annotations

import contextlib
import functools
import threading
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import ParamSpec, TypeVar

from overheard.catalogue.search import Catalogue
from overheard.catalogue.selection import open_for_model
from overheard.catalogue.sharded import Shard, ShardedIndex
from overheard.fingerprint.model import Model, load_model
from overheard.index.scan import file_size
from overheard.recognize.pack_kinds import PackKinds
from overheard_export.cluster import POLL_S, Cluster, check_model, located

MAX_OPEN = 16  # shards in one worker process; more are of clients that did not end well

_P = ParamSpec("_P")
_T = TypeVar("_T")


@contextlib.contextmanager
def sharded(
    cluster: Cluster, paths: Sequence[Path], model: Model, model_path: Path | None
) -> Iterator[tuple[ShardedIndex, PackKinds]]:
    """Open packs on the workers of a cluster.

    Parameters
    ----------
    paths : of the packs, absolute; the same on all workers
    model : that made the packs
    model_path : its manifest, for the workers; None for the one that they have

    Yields
    ------
    The index, and what the packs are for the calibration.

    Raises
    ------
    ClusterError, ModelError, PackError
        If the workers are lost, have another model, or cannot use a pack.
    """
    run = uuid.uuid4().hex
    while not cluster.workers():
        threading.Event().wait(POLL_S)
    groups = divide(paths, len(cluster.workers()))
    placement = Placement(cluster)
    shards, kinds = [], []
    try:
        for number, group in enumerate(groups):
            executor = PlacedExecutor(placement, number)
            open_index = functools.partial(_open_index, run, group, model_path, model.digest)
            kinds.append(executor.submit(_kinds, run, group, model_path, model.digest))
            shards.append(functools.partial(Shard, executor, open_index, cluster.wait))
        joined = PackKinds.joined(map(cluster.wait, kinds))  # opens all shards at once
        yield ShardedIndex([make() for make in shards], model.quantizer), joined
    finally:
        if cluster.client.status == "running":
            cluster.client.run(_close, run, on_error="ignore")


def divide(paths: Sequence[Path], n_workers: int) -> list[tuple[Path, ...]]:
    """Divide packs into groups of similar size, at most one for each worker, without changing their order."""
    sizes = [max(1, file_size(path)) for path in paths]  # 1 where only the workers can see the file
    n_groups = min(len(paths), n_workers)
    groups: list[list[Path]] = [[] for _ in range(n_groups)]
    total, done, which = sum(sizes), 0, 0
    for i, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        is_full = groups[which] and done + size / 2 > total * (which + 1) / n_groups
        if which + 1 < n_groups and (is_full or len(paths) - i < n_groups - which):
            which += 1
        groups[which].append(path)
        done += size
    return [tuple(group) for group in groups if group]


class Placement:
    """Which worker has which shard. The shards of a lost worker move to those with the fewest."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._worker: dict[int, str] = {}

    def worker_of(self, shard: int) -> str | None:
        """Return the address of the worker that has a shard; None if there are no workers now."""
        workers = self.cluster.workers()
        if self._worker.get(shard) not in workers:
            self._worker.pop(shard, None)
            load = Counter(self._worker.values())
            if not workers:
                return None
            self._worker[shard] = min(sorted(workers), key=lambda address: load[address])
        return self._worker[shard]


class PlacedExecutor(Executor):
    """Runs the tasks of one shard on its worker, or, while this one is lost, on any other.

    Parameters
    ----------
    placement : where the shards are
    shard : number of this one
    """

    def __init__(self, placement: Placement, shard: int) -> None:
        self._placement, self._shard = placement, shard

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Schedule a call."""
        address = self._placement.worker_of(self._shard)
        where = {} if address is None else {"workers": [address], "allow_other_workers": True}
        executor = self._placement.cluster.client.get_executor(pure=False, **where)
        future: Future[_T] = executor.submit(fn, *args, **kwargs)
        return future


# State of a worker process: open shards by run and paths, and the kinds of their packs.
_open: OrderedDict[tuple[str, tuple[Path, ...]], tuple[Catalogue, PackKinds]] = OrderedDict()
_opening = threading.Lock()


def _opened(
    run: str, paths: tuple[Path, ...], model_path: Path | None, digest: str
) -> tuple[Catalogue, PackKinds]:
    """Return the catalogue of some packs, opened once in this process. Raises ModelError or PackError."""
    with _opening:
        if (run, paths) not in _open:
            with located():
                model = load_model(model_path)
                check_model(model.digest, digest)
                packs = [open_for_model(path, model) for path in paths]
            catalogue = Catalogue(packs, model.quantizer, model.cohort)
            _open[run, paths] = catalogue, PackKinds.of(packs)
            while len(_open) > MAX_OPEN:
                _open.popitem(last=False)
        return _open[run, paths]


def _open_index(run: str, paths: tuple[Path, ...], model_path: Path | None, digest: str) -> Catalogue:
    return _opened(run, paths, model_path, digest)[0]


def _kinds(run: str, paths: tuple[Path, ...], model_path: Path | None, digest: str) -> PackKinds:
    return _opened(run, paths, model_path, digest)[1]


def _close(run: str) -> None:
    """Forget the packs of a run, in a worker process."""
    with _opening:
        for key in [key for key in _open if key[0] == run]:
            del _open[key]
