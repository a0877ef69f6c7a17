"""A catalogue in shards gives the results of one catalogue over the same packs."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from overheard.catalogue import search_plan
from overheard.catalogue.pack import Pack, open_pack, shipped_packs_dir, write_pack
from overheard.catalogue.search import N_DECODED, SHORT_LIST, Catalogue
from overheard.catalogue.sharded import Shard, ShardedIndex
from overheard.fingerprint.model import Model, load_model
from overheard.hear.decode import load
from overheard.recognize.recognizer import Recognizer
from overheard.settings import MODELS_DIR

CORPUS = Path(os.environ.get("OVERHEARD_CORPUS", "nowhere"))
N_PACKS = 4


@pytest.fixture(autouse=True, params=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Search as in a small catalogue, or as in a large one."""
    if request.param == "large":
        monkeypatch.setattr(search_plan, "SMALL_CATALOGUE", 0)
        monkeypatch.setattr(search_plan, "MIN_VISITED", 3000)


@pytest.fixture(scope="module")
def model() -> Model:
    if not list(MODELS_DIR.glob("*.tflite")):
        pytest.skip("no model is packaged")
    return load_model()


@pytest.fixture(scope="module")
def packs(model: Model, tmp_path_factory: pytest.TempPathFactory) -> list[Pack]:
    """Four packs with the starter pack's music; the last one also has copies of tracks of the others."""
    folder = tmp_path_factory.mktemp("packs")
    entries = list(open_pack(shipped_packs_dir() / "starter.pack", model.digest).entries())
    groups = [entries[number::N_PACKS] for number in range(N_PACKS)]
    groups[-1] += entries[: len(entries) // 2 : N_PACKS]
    for number, group in enumerate(groups):
        write_pack(folder / f"{number}.pack", str(number), model.digest, model.spec, group)
    return [open_pack(path) for path in sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as threads:  # a catalogue is used by one thread at a time
        yield threads


def divided(packs: Sequence[Pack], sizes: Sequence[int]) -> list[Sequence[Pack]]:
    """Return groups of so many consecutive packs."""
    bounds = itertools.accumulate(sizes, initial=0)
    return [packs[start:end] for start, end in itertools.pairwise(bounds)]


def sharded(model: Model, groups: Sequence[Sequence[Pack]], executor: Executor) -> ShardedIndex:
    catalogues = [Catalogue(group, model.quantizer, model.cohort) for group in groups]
    return ShardedIndex([Shard(executor, opener(each)) for each in catalogues], model.quantizer)


def opener(index: Catalogue) -> Callable[[], Catalogue]:
    return lambda: index


def queries(model: Model, packs: Sequence[Pack], n: int) -> np.ndarray:
    """Return noisy copies of segments of all packs."""
    whole = Catalogue(packs, model.quantizer, model.cohort)
    rng = np.random.default_rng(3)
    vectors = whole.vectors(rng.integers(0, whole.n_segments, n))
    noise = rng.standard_normal(vectors.shape)
    noisy = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) + 0.07 * noise
    return (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (2, 2), (3, 1), (4,)])
def test_shards_propose_the_candidates_of_one_catalogue(
    model: Model, packs: list[Pack], executor: Executor, sizes: tuple[int, ...]
) -> None:
    whole = Catalogue(packs, model.quantizer, model.cohort)
    groups = divided(packs, sizes)
    parts = sharded(model, groups, executor)
    np.testing.assert_array_equal(parts.first_segment, whole.first_segment)
    asked = queries(model, packs, 24)
    for without in ((), (0, 3, len(whole.first_segment) - 2)):
        wanted, found = whole.candidates(asked, without), parts.candidates(asked, without)
        np.testing.assert_allclose(found.similarities, wanted.similarities, atol=2e-6)
        np.testing.assert_array_equal(found.cohort, wanted.cohort)
        # Rounding may exchange neighbours in the order, and which of two copies is the last.
        rows = zip(found.segments, wanted.segments, strict=True)
        same = np.mean([np.isin(row, other) for row, other in rows])
        assert same > 0.995
    # Otherwise the whole would drop nothing that a shard proposes, and any merge would do.
    length = SHORT_LIST if whole.planner.is_small else N_DECODED
    assert whole.short_lists(asked).lengths == [length] * len(asked)


def test_vectors_similarities_and_tracks_are_those_of_one_catalogue(
    model: Model, packs: list[Pack], executor: Executor
) -> None:
    whole = Catalogue(packs, model.quantizer, model.cohort)
    parts = sharded(model, [packs[:1], packs[1:]], executor)
    rng = np.random.default_rng(4)
    asked = queries(model, packs, 5)
    for n in (300, 0, 1, 9000, 300):  # more than the cache holds
        segments = rng.permutation(whole.n_segments)[:n]
        np.testing.assert_allclose(parts.vectors(segments), whole.vectors(segments), atol=1e-5)
        wanted = whole.similarities(asked, segments)
        np.testing.assert_allclose(parts.similarities(asked, segments), wanted, atol=1e-5)
    for number in rng.integers(0, len(whole.first_segment) - 1, 20):
        assert parts.track(int(number)) == whole.track(int(number))


def recordings(n: int, length_s: int) -> Iterator[np.ndarray]:
    """Yield parts of the corpus's music in its noise."""
    music = sorted((CORPUS / "music").rglob("*.ogg"))
    noises = sorted((CORPUS / "noise").rglob("*.*"))
    if not music or not noises:
        pytest.skip("needs OVERHEARD_CORPUS")
    rng = np.random.default_rng(5)
    for number in range(n):
        wave = load(music[int(rng.integers(len(music)))])
        noise = load(noises[int(rng.integers(len(noises)))])
        start = int(rng.integers(max(1, len(wave) - 8000 * length_s)))
        part = wave[start : start + 8000 * length_s]
        added = np.resize(noise, len(part))
        level = 10 ** (-(number % 3) * 5 / 20)  # 10, 5 and 0 dB above the noise
        scale = level * np.std(part) / (np.std(added) + 1e-6)
        yield (0.5 * part + 0.5 * scale * added).astype(np.float32)


@pytest.mark.slow
def test_real_recordings_have_the_same_result_in_shards(
    model: Model, packs: list[Pack], executor: Executor
) -> None:
    groups = divided(packs, (1, 2, 1))
    one = Recognizer(model, packs)
    many = Recognizer(model, (), index=sharded(model, groups, executor))
    verdicts = []
    for wave in [*recordings(8, 5), *recordings(1, 20)]:
        wanted, found = one.identify(wave), many.identify(wave)
        assert found.verdict == wanted.verdict
        assert len(found.plays) == len(wanted.plays)
        for play, other in zip(found.plays, wanted.plays, strict=True):
            assert (play.track, play.start_s, play.end_s, play.offset_s) == (
                other.track,
                other.start_s,
                other.end_s,
                other.offset_s,
            )
        assert found.best is not None
        assert wanted.best is not None
        assert (found.best.track, found.best.offset_s) == (wanted.best.track, wanted.best.offset_s)
        # The score weighs a similarity, whose rounding depends on what was decoded together, by 36.
        assert found.best.score == pytest.approx(wanted.best.score, rel=1e-6, abs=4e-6)
        verdicts.append(wanted.verdict)
    assert verdicts.count("recognized") >= 5
