"""Students: the loss that pulls them to a teacher, their pairs, and how they begin."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="training needs requirements-train.txt")

import keras
from batches_here import BatchesHere

import train_corpus
from overheard.errors import ModelError, OverheardError
from overheard.fingerprint.embedder import embed_normalized
from overheard.fingerprint.model import default_model
from overheard.fingerprint.runtime import Network
from overheard.fingerprint.spec import SPEC
from overheard_train import fit
from overheard_train.checkpoints import Progress, load_checkpoint, save_checkpoint
from overheard_train.encoders import build_encoder
from overheard_train.encoders.cost import multiply_adds
from overheard_train.fit import Options
from overheard_train.initial import AT_ONCE, _deviations, copy_channels, fit_projection
from overheard_train.losses import make_loss
from overheard_train.losses.distil import Distil
from overheard_train.pairs import make_pairs, taught
from overheard_train.pairs.taught import Moments
from overheard_train.recipes import RECIPES
from overheard_train.registry import Part
from overheard_train.schedule import Budget

STUDENT = dataclasses.replace(
    RECIPES["trial"],
    loss=Part("distil"),
    pairs=Part("taught", {"n_moments": 20, "n_rooms": (4, 4)}),
    n_pairs=8,
)
SHAPE = (SPEC.n_frames, SPEC.frontend.n_mels)


def unit(seed: int, n: int, dim: int = 16) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    result: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return result


def labels(targets: np.ndarray, tracks: list[int] | None = None, views: int = 2) -> np.ndarray:
    numbers = np.arange(len(targets))
    of_pair = np.stack([numbers, tracks or numbers], axis=1)
    return np.tile(np.concatenate([of_pair, targets], axis=1).astype(np.float32), (views, 1))


def with_others(of: np.ndarray, others: np.ndarray, tracks: list[int]) -> np.ndarray:
    """Add the others to the labels, equally many for each pair."""
    columns = np.concatenate([np.array(tracks)[:, None], others], axis=1).reshape(len(of) // 2, -1)
    return np.concatenate([of, np.tile(columns, (2, 1))], axis=1).astype(np.float32)


def test_other_segments_are_negatives_of_every_row() -> None:
    """A batch of 8 pairs, and one of 4 pairs with 4 others: equal for the rows of the 4 pairs."""
    targets = unit(0, 8)
    embeddings, of = unit(1, 16), labels(targets, [0, 1, 2, 3, 4, 5, 1, 7])
    loss = Distil(temperature=0.2, pull=3.0, shared=0.0)
    rows = [0, 1, 2, 3, 8, 9, 10, 11]
    few = with_others(of[rows], targets[4:], [4, 5, 1, 7])
    expected = np.mean([plain_row(embeddings[row], of[row], of, 0.2, 3.0) for row in rows])
    assert float(loss(embeddings[rows], few)[0]) == pytest.approx(expected, rel=1e-5)
    assert float(loss(embeddings[rows], of[rows])[0]) < expected - 0.01


def plain(embeddings: np.ndarray, of: np.ndarray, temperature: float, pull: float) -> float:
    """The cross entropy among the teacher's embeddings and the distance, term by term in float64."""
    rows = zip(embeddings, of, strict=True)
    return float(np.mean([plain_row(row, label, of, temperature, pull) for row, label in rows]))


def plain_row(
    embedding: np.ndarray, label: np.ndarray, of: np.ndarray, temperature: float, pull: float
) -> float:
    row, (pair, track, *own) = embedding.astype(np.float64), label
    logits = [
        float(row @ other[2:].astype(np.float64)) / temperature
        for number, other in enumerate(of[: len(of) // 2])
        if other[1] != track or number == pair
    ]
    positive = float(row @ np.array(own, dtype=np.float64))
    return float(np.log(np.sum(np.exp(logits))) - positive / temperature + pull * (1 - positive))


@pytest.mark.parametrize("tracks", [None, [0, 1, 1, 2, 3, 3]])
def test_the_loss_is_that_of_the_sources(tracks: list[int] | None) -> None:
    targets = unit(0, 6)
    embeddings, of = unit(1, 12), labels(targets, tracks)
    loss, accuracy = Distil(temperature=0.2, pull=3.0, shared=0.0)(embeddings, of)
    assert float(loss) == pytest.approx(plain(embeddings, of, 0.2, 3.0), rel=1e-5)
    assert 0 <= float(accuracy) <= 1


@pytest.mark.parametrize("shared", [0.0, 0.3])
def test_the_loss_is_lowest_where_the_teacher_is(shared: float) -> None:
    targets = unit(0, 6)
    of, loss = labels(targets), make_loss(Part("distil", {"shared": shared}))
    at_teacher, all_right = loss(np.tile(targets, (2, 1)), of)
    swapped, half_right = loss(np.concatenate([targets, targets[::-1]]), of)
    assert float(all_right) == 1
    assert float(half_right) == 0.5
    assert 0 <= float(at_teacher) < float(swapped)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from overheard_train.data import open_data

    monkeypatch.setenv("OVERHEARD_CACHE_DIR", str(tmp_path / "cache"))
    return open_data([str(train_corpus.write_corpus(tmp_path / "corpus"))])


def test_pairs_come_with_the_teachers_embedding_of_their_clean_segment(data: Any) -> None:
    segments, of = make_pairs(STUDENT, data).batch(np.random.default_rng(0), 8)
    assert segments.shape == (16, *SHAPE)
    assert of.shape == (16, 2 + SPEC.dim)
    np.testing.assert_array_equal(of[:8], of[8:])
    embeddings = embed_normalized(Network(default_model().tflite), segments[:8])
    np.testing.assert_allclose(embeddings, of[:8, 2:], atol=1e-6)
    assert not np.allclose(segments[:8], segments[8:])


def test_pairs_come_with_other_embeddings_of_the_teacher(data: Any) -> None:
    pairs = dataclasses.replace(STUDENT.pairs, options={**STUDENT.pairs.options, "n_others": 6})
    maker: Any = make_pairs(dataclasses.replace(STUDENT, pairs=pairs), data)
    _, of = maker.batch(np.random.default_rng(0), 8)
    others = of[:8, 2 + SPEC.dim :].reshape(8, 6, 1 + SPEC.dim)
    groups = maker.moments.pairs.groups[maker.moments.tracks]
    for row, own in zip(others, of[:8, 2 : 2 + SPEC.dim], strict=True):
        (number,) = np.flatnonzero((maker.embeddings == own).all(axis=1))
        for place, (group, *embedding) in enumerate(row):
            (other,) = np.flatnonzero((maker.embeddings == np.float32(embedding)).all(axis=1))
            assert group == groups[other]
            assert place >= 3 or other in maker.rivals[number]


def test_the_teacher_embeds_once_and_the_music_of_a_moment_stays(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_pairs(STUDENT, data)
    monkeypatch.setattr(taught, "embed_moments", None)
    monkeypatch.setattr(taught, "_rivals_of", None)
    second = make_pairs(STUDENT, data, seed=9)  # other rooms, the same moments
    for number in (0, 7, 19):
        np.testing.assert_array_equal(first.moments.clean(number), second.moments.clean(number))  # type: ignore[attr-defined]
    groups = first.moments.pairs.groups[first.moments.tracks]  # type: ignore[attr-defined]
    assert np.all(groups[first.rivals] != groups[:, None])  # type: ignore[attr-defined]
    cached = sorted((tmp_path / "cache").glob("teacher-train-*.npy"))
    assert len(cached) == 2
    cached[1].write_bytes(b"junk")
    with pytest.raises(OverheardError, match=f"{cached[1]}.*delete it"):
        make_pairs(STUDENT, data)


def test_a_process_that_dies_while_the_teacher_embeds_is_an_error(
    data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Moments, "clean", lambda *_: os._exit(1))  # as if it were killed for its memory
    with pytest.raises(OverheardError, match=r"embeds moments died.*free some memory"):
        make_pairs(STUDENT, data)


def test_a_student_trains_from_its_teachers_channels(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: BatchesHere
) -> None:
    monkeypatch.setitem(RECIPES, "student", dataclasses.replace(STUDENT, name="student"))
    checkpoint, names = tmp_path / "student.npz", [str(tmp_path / "corpus")]
    source = tmp_path / "wide.npz"
    wide = dataclasses.replace(
        STUDENT, name="wide", encoder=Part("residual", {"widths": (12, 20, 40), "blocks": (1, 0, 1)})
    )
    monkeypatch.setitem(RECIPES, "wide", wide)
    save_checkpoint(build_encoder(wide.encoder, SPEC).get_weights(), Progress("wide"), source)
    options = Options(Budget(steps=2), initial=source)
    progress = fit.fit(RECIPES["student"], names, checkpoint, options)
    assert progress.step == 2
    assert progress.settings[0]["initial"] == "wide.npz"
    assert all(np.isfinite(weight).all() for weight in load_checkpoint(checkpoint)[0])
    with pytest.raises(ModelError, match="have no teacher"):
        fit.fit(RECIPES["trial"], names, tmp_path / "x.npz", options)


def smooth(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, *SHAPE)).astype(np.float32)


def float32(values: Any) -> np.ndarray:
    return np.asarray(keras.ops.cast(values, "float32"))


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def precision(request: pytest.FixtureRequest) -> Iterator[str]:
    """The precision of new layers."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def test_statistics_are_exact_in_any_precision(precision: str) -> None:
    encoder = build_encoder(Part("residual", {"widths": (6, 8, 10), "blocks": (0, 0, 0)}), SPEC)
    exact = next(layer for layer in encoder.layers if isinstance(layer, keras.layers.ReLU))
    segments = smooth(64, 0)
    values = float32(keras.Model(encoder.input, exact.output)(segments[..., None]))
    found = _deviations(encoder, segments)[exact.name]
    np.testing.assert_allclose(found, values.std(axis=(0, 1, 2), dtype=np.float64), rtol=1e-3)


def test_the_same_shape_is_copied_and_the_projection_fitted(precision: str) -> None:
    keras.utils.set_random_seed(1)
    recipe = dataclasses.replace(
        STUDENT, encoder=Part("residual", {"widths": (6, 8, 10), "blocks": (1, 1, 1)})
    )
    source, student = (build_encoder(recipe.encoder, SPEC) for _ in range(2))
    segments = smooth(AT_ONCE, 0)
    source(segments[..., None], training=True)
    copy_channels(student, recipe, source, recipe, segments)
    for name in ("projection", "flatten"):
        assert name in {layer.name for layer in student.layers}
    kept = [weight for weight in student.weights if "projection" not in weight.path]
    wanted = [weight for weight in source.weights if "projection" not in weight.path]
    for one, other in zip(kept, wanted, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    targets = float32(source(segments[..., None], training=True))
    fit_projection(student, segments, targets)
    fitted = float32(student(segments[..., None], training=True))
    cosines = np.sum(fitted * targets, axis=1)
    assert cosines.mean() > 0.9


def test_further_blocks_begin_as_the_identity() -> None:
    shallow_recipe, recipe = (
        dataclasses.replace(STUDENT, encoder=Part("residual", {"widths": (4, 4, 6), "blocks": blocks}))
        for blocks in ((1, 0, 1), (1, 1, 3))
    )
    shallow, student = (build_encoder(each.encoder, SPEC) for each in (shallow_recipe, recipe))
    segments = smooth(8, 0)
    copy_channels(student, recipe, shallow, shallow_recipe, segments)
    features = [
        np.asarray(keras.Model(each.input, each.get_layer("flatten").output)(segments[..., None]))
        for each in (shallow, student)
    ]
    assert np.ptp(features[0])
    np.testing.assert_allclose(features[0], features[1], atol=1e-6)


def test_the_channels_that_matter_are_kept() -> None:
    wide_recipe = dataclasses.replace(
        STUDENT, encoder=Part("residual", {"widths": (6, 6, 6), "blocks": (0, 0, 0)})
    )
    recipe = dataclasses.replace(
        STUDENT, encoder=Part("residual", {"widths": (3, 6, 6), "blocks": (0, 0, 0)})
    )
    wide, student = (build_encoder(each.encoder, SPEC) for each in (wide_recipe, recipe))
    reader = [layer for layer in wide.layers if isinstance(layer, keras.layers.Conv2D)][1]
    kernel = np.asarray(reader.kernel).copy()
    kernel[:, :, [1, 2, 4]] = 0  # nobody reads these
    reader.set_weights([kernel])
    copy_channels(student, recipe, wide, wide_recipe, smooth(8, 0))
    stems = [
        np.asarray(next(layer for layer in each.layers if isinstance(layer, keras.layers.Conv2D)).kernel)
        for each in (wide, student)
    ]
    np.testing.assert_array_equal(stems[0][..., [0, 3, 5]], stems[1])
    with pytest.raises(ModelError, match="is smaller than"):
        copy_channels(wide, wide_recipe, student, recipe, smooth(8, 0))


def test_a_student_cannot_begin_from_another_kind_of_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "woo.npz"
    small = Part("woo", {"size": 40, "hidden": 16})
    monkeypatch.setitem(RECIPES, "woo", dataclasses.replace(RECIPES["woo"], encoder=small))
    encoder = build_encoder(small, RECIPES["woo"].spec)
    save_checkpoint(encoder.get_weights(), Progress("woo"), path)
    monkeypatch.setattr(fit, "make_pairs", None)  # the error comes before the long work
    for source, problem in (
        (path, "another kind of network"),
        (tmp_path / "x.npz", "there is no checkpoint"),
    ):
        with pytest.raises(ModelError, match=problem):
            fit.fit(STUDENT, [], tmp_path / "student.npz", Options(initial=source))


@pytest.mark.parametrize(("name", "million", "n_bytes"), [("tiny", 10, 350_000), ("small", 40, 1_200_000)])
def test_students_are_as_small_as_promised(name: str, million: int, n_bytes: int) -> None:
    from overheard_train.encoders.cost import n_kernel_weights

    encoder = build_encoder(RECIPES[name].encoder, SPEC)
    assert multiply_adds(encoder) <= million * 1e6
    assert n_kernel_weights(encoder) < n_bytes
    assert RECIPES[name].space == "overheard"
