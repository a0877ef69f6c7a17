"""Retrieval of degraded queries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras", reason="training needs requirements-train.txt")

import train_corpus
from overheard.fingerprint.spec import SPEC
from overheard_train import cli
from overheard_train.checkpoints import Progress, save_checkpoint
from overheard_train.data import open_data
from overheard_train.encoders import build_encoder
from overheard_train.evaluate import (
    LENGTHS_S,
    Retrieval,
    best_position,
    embed_tracks,
    load_encoder,
    make_queries,
    table,
)
from overheard_train.recipes import RECIPES

TRIAL = RECIPES["trial"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of a network that has not been trained."""
    path = tmp_path_factory.mktemp("evaluate") / "trial.npz"
    save_checkpoint(build_encoder(TRIAL.encoder, TRIAL.spec).get_weights(), Progress("trial", 3), path)
    return path


def test_evaluate_measures_a_checkpoint(
    checkpoint: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "figures.json"
    arguments = ("evaluate", checkpoint, "--data", corpus, "--queries", 10, "--json", figures)
    assert cli.main([str(argument) for argument in arguments]) == 0
    assert "| float | track |" in capsys.readouterr().out
    results = json.loads(figures.read_text())
    assert [result["length_s"] for result in results] == list(LENGTHS_S)
    for result in results:
        assert result["n_queries"] == 10
        assert 0 <= result["exact"] <= result["near"] <= result["track"] <= 1
        assert result["n_catalogue"] == pytest.approx(train_corpus.N_MUSIC * 11, abs=6)  # half seconds of 7 s
    encoder, recipe, progress = load_encoder(checkpoint)
    assert recipe is TRIAL
    assert progress.step == 3
    embeddings = encoder.predict_on_batch(np.random.default_rng(0).normal(size=(3, 48, 96, 1)))
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


def test_a_sequence_is_found_at_its_position_and_not_across_two_tracks() -> None:
    catalogue = np.eye(8, dtype=np.float32)
    tracks = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert best_position(catalogue[5:7], catalogue, tracks) == 5
    assert best_position(catalogue[[3, 4]], catalogue, tracks) != 3
    assert best_position(catalogue[[6]], catalogue, tracks) == 6


def test_any_network_finds_a_clean_query(corpus: Path) -> None:
    data = open_data([corpus])
    music = data.clips(["music"], "valid")

    def embed(segments: np.ndarray) -> np.ndarray:  # the spectrogram itself, at a lower resolution
        flat = segments[:, ::4, ::4].reshape(len(segments), -1)
        flat = flat - flat.mean(axis=1, keepdims=True)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    catalogue, tracks = embed_tracks(embed, SPEC, music)
    for number, start in ((0, 2), (3, 5)):
        first = int(np.searchsorted(tracks, number))
        assert best_position(catalogue[first + start : first + start + 4], catalogue, tracks) == first + start
    some, track_of = embed_tracks(embed, SPEC, music, hours=1.5 * music.hours_of([0]))
    assert len(np.unique(track_of)) == 1
    np.testing.assert_array_equal(some, catalogue[tracks == track_of[0]])
    faster, _ = embed_tracks(embed, SPEC, music, speed=2.0)
    assert len(faster) == pytest.approx(len(catalogue) / 2, abs=2 * len(music))


def test_queries_do_not_depend_on_the_network_and_cover_all_tracks(corpus: Path) -> None:
    data = open_data([corpus])
    ones, others = (make_queries(SPEC, data, "valid", 2, 7, seed=5) for _ in range(2))
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_array_equal(one.mel, other.mel)
        assert one.position_steps == other.position_steps
    assert [query.track for query in ones] == [0, 1, 2, 3, 4, 0, 1]
    assert not np.array_equal(ones[0].mel, make_queries(SPEC, data, "valid", 2, 1, seed=6)[0].mel)


def test_the_table_has_one_row_per_variant_and_measure() -> None:
    rows = [
        Retrieval(variant, length, 10, 100, 0.5, 0.25, 0.375)
        for variant in ("float", "int8")
        for length in (1, 10)
    ]
    lines = table(rows).splitlines()
    assert lines[0] == "| | | 1 s | 10 s |"
    assert len(lines) == 2 + 6
    assert lines[2:4] == ["| float | track | 50.0 | 50.0 |", "| float | near | 37.5 | 37.5 |"]
    assert lines[-1] == "| int8 | exact | 25.0 | 25.0 |"
