"""Test the drawn tracks, the packs made of them, and what scale.py measures of them."""

from __future__ import annotations

import itertools
import json
import sys

import numpy as np
import pytest

import scale
import scale_fakes
from overheard.catalogue.pack import open_pack, write_pack
from overheard.catalogue.search import Catalogue
from overheard.fingerprint.embedder import Embedder
from overheard.fingerprint.model import load_model
from overheard_bench import (
    album,
    scale_accuracy,
    scale_packs,
    scale_paper,
    scale_report,
    scale_targets,
    scenes,
)
from overheard_bench.corpus import DEFAULT_CORPUS
from overheard_bench.distractors import WORD_GROUPS, Donors, draw_track
from overheard_bench.pieces import Pieces


@pytest.fixture(scope="module")
def model():
    return load_model()


@pytest.fixture(scope="module")
def real():
    starter = scenes.starter_pack()
    if starter is None:
        pytest.skip("the checkout has no starter pack")
    return open_pack(starter)


@pytest.fixture(scope="module")
def donors(real, model):
    return Donors.of_pack(real, model.quantizer, range(40))


def test_a_drawn_track_depends_only_on_the_seed_and_its_number(donors):
    first, again, other, later = (draw_track(donors, *of, 239) for of in ((1, 5), (1, 5), (2, 5), (1, 6)))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])
    assert not np.array_equal(first[1], later[1])


def test_a_drawn_track_is_made_of_real_words_in_the_order_of_time(donors):
    cells, codes = draw_track(donors, 1, 0, 239)
    assert (cells.shape, codes.shape) == ((239,), (239, donors.codes.shape[1]))
    groups = [*WORD_GROUPS, donors.codes.shape[1]]
    for first, end in itertools.pairwise(groups[2:]):  # three words or more identify a segment
        rows = {row.tobytes(): number for number, row in enumerate(donors.codes[:, first:end])}
        numbers = np.array([rows[row.tobytes()] for row in codes[:, first:end]])
        assert np.mean(np.diff(numbers) == 1) > 0.8
    known = {row.tobytes() for row in donors.codes}
    assert not any(row.tobytes() in known for row in codes)


def test_a_pack_of_many_tracks_is_what_write_pack_writes(donors, model, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    entries = [*scale_packs.drawn(donors, model, 30, 1)]
    scale_packs.write_entries(tmp_path / "a.pack", model, iter(entries))
    write_pack(tmp_path / "b.pack", "a", model.digest, model.spec, entries)
    assert (tmp_path / "a.pack").read_bytes() == (tmp_path / "b.pack").read_bytes()
    assert open_pack(tmp_path / "a.pack", model.digest).tracks[29].title == "Drawn track 000029"


def test_exhaustive_search_finds_the_nearest_codes_of_all(real, model, monkeypatch):
    monkeypatch.setattr(scale_accuracy, "SCORED_AT_ONCE", 1000)
    whole = Catalogue([real], model.quantizer, model.cohort)
    queries = model.references[:5]
    exhaustive = scale_accuracy.ExhaustiveCodes(whole, model, queries)
    found = exhaustive.candidates(queries[1:3])
    every = whole.similarities(queries[1:3], np.arange(whole.n_segments))
    nearest = -np.sort(-every, axis=1)[:, : found.similarities.shape[1]]
    chosen = np.take_along_axis(every, found.segments, axis=1)
    assert found.similarities == pytest.approx(nearest, abs=1e-5)
    assert chosen == pytest.approx(nearest, abs=1e-5)
    with pytest.raises(KeyError):
        exhaustive.candidates(model.references[5:6])


def test_a_wrapped_index_searches_a_share_of_what_is_asked_for(real, model):
    class Counting(Catalogue):
        def candidates(self, queries, without=(), share=1.0):
            shares.append(share)
            return super().candidates(queries, without, share)

    shares: list[float] = []
    whole = Counting([real], model.quantizer, model.cohort)
    index = scale_accuracy.WrappedIndex(whole, 0.35)
    queries = model.references[:2]
    assert np.array_equal(index.candidates(queries).segments, whole.candidates(queries).segments)
    index.candidates(queries, share=0.1)
    assert shares == [0.35, 1.0, 0.1]
    assert [len(asked) for asked in index.asked] == [2, 2]


def test_the_network_runs_once_for_the_same_sound(model, monkeypatch):
    embedder, asked = scale_accuracy.RememberingEmbedder(model), []
    query = Embedder.query

    def counted(self, segments):
        asked.append(len(segments))
        return query(self, segments)

    monkeypatch.setattr(Embedder, "query", counted)
    segments = np.zeros((3, model.spec.n_frames, model.spec.frontend.n_mels), np.float32)
    assert embedder.query(segments) is embedder.query(segments.copy())
    assert asked == [3]


def test_ratios_are_relative_to_the_catalogue_alone():
    alone = {"listen": {"music": {"all_ms": 10.0}}, "album": {"cpu_s": 0.0, "written_mb": 1.0}}
    costs = {"listen": {"music": {"all_ms": 15.0}}, "album": {"cpu_s": 0.1, "written_mb": 2.0}}
    assert scale_paper.ratios(costs, alone) == {"listen.music.all_ms": 1.5, "album.cpu_s": None}


def test_larger_catalogues_are_extrapolated_from_the_two_largest():
    million, ten = scale_fakes.result()["paper"]
    assert million["pack_gb"] == 5.0
    assert million["listen_ms"] == pytest.approx(40 + 20 * 8.9)
    assert million["segment_numbers_suffice"]
    assert ten["workers_in_memory"] == 5


def test_the_tables_show_costs_with_their_ratios():
    text = scale_report.scale(scale_fakes.result())
    assert "| known clip of 5 s: all, CPU ms | 10 | 20 (2.0x) | 40 (4.0x) |" in text
    assert "| MB written | 0.3 |  |" in text
    assert "| mapped MB after listening | unknown | unknown | unknown |" in text
    assert "own speed only, exhaustive search of the codes | 91.0 |  |  |" in text
    assert "own speed only, search of `listen` | 89.5 | 89.5 | 89.5 |" in text
    assert "| % best matches right, 200 queries of 10 s in `mic10` | 98.0 | 98.0 | 98.0 |" in text
    assert "| 466 drawn tracks of the same lengths | 90.0 | 89.5 | 1.2 |" in text


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_of_indexing_is_not_that_of_the_process_that_started_it(tmp_path, model):
    ballast = np.ones(400_000_000, np.uint8)
    found = album.scan_unchanged(tmp_path, model, 24)
    assert ballast.all()
    assert found["unchanged"] == 24
    assert 30 < found["peak_resident_mb"] < 300


def test_measured_pieces_are_kept(tmp_path):
    first = Pieces(tmp_path, "commit", {"n": 4})
    assert first.get("a", lambda: {"x": 1.5}) == {"x": 1.5}
    again = Pieces(tmp_path, "commit", {"n": 4})
    assert again.get("a", lambda: pytest.fail("was measured already")) == {"x": 1.5}
    assert Pieces(tmp_path, "commit", {"n": 5}).get("a", lambda: 2) == 2


def test_targets_compare_large_catalogues_with_the_one_alone():
    found = {each["target"]: each for each in scale_targets.targets(scale_fakes.with_large()["sizes"])}
    ratio = found["100,000 tracks: unknown clip of 5 s: search and match, times"]
    assert (ratio["measured"], ratio["limit"], ratio["met"]) == (4.2, 4.0, False)
    assert found["10,000 tracks: `listen`, unknown music: search and match, times"]["met"]
    lost = found["10,000 tracks: search of `listen`: points below exhaustive search"]
    assert (lost["measured"], lost["met"]) == (1.5, False)
    assert found["100,000 tracks: peak resident MB"]["met"]
    assert not found["100,000 tracks: 10 s in mic10, %"]["met"]
    index = {each["target"]: each["met"] for each in scale_targets.targets([], scale_fakes.index())}
    assert index["`overheard index`, an album: written_mb"]
    assert not index["`overheard index`, 10,000 unchanged files: wall_s"]
    assert not any("anonymous" in name for name in found if name.startswith("10,000"))


def test_the_chart_is_drawn_also_without_some_values(tmp_path):
    pytest.importorskip("matplotlib")
    assert scale_report.plot(tmp_path / "scale.png", scale_fakes.result())
    assert (tmp_path / "scale.png").stat().st_size > 10_000


@pytest.mark.skipif(not (DEFAULT_CORPUS / "manifest.csv").is_file(), reason="there is no corpus")
def test_a_quick_run_measures_a_thousand_tracks(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "CACHE", tmp_path / "cache")
    assert scale.main(["--quick", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "scale.json").read_text())
    alone, thousand = result["sizes"]
    assert (thousand["drawn"], thousand["tracks"]) == (1000, alone["tracks"] + 1000)
    assert thousand["pack_bytes"] / thousand["hours"] / 60 < 1500
    assert thousand["costs"]["album"]["written_mb"] < 0.2
    assert thousand["ratios"]["listen.catalogue music.all_ms"] > 0
    assert thousand["ratios"]["unknown_clip.search_match_ms"] > 0
    own, listen = (thousand["compared"][name]["at_one_percent"] for name in ("own", "listen"))
    assert own >= listen - 25
    assert thousand["mic10_10s"]["queries"] == 1
    assert set(thousand["accuracy"]["by_length"]) == {"all", "2", "3", "5", "10"}
    assert not [*(tmp_path / "cache").glob("measured-*")]
    pieces = json.loads(next((tmp_path / "cache" / "scale").glob("pieces-*.json")).read_text())
    assert set(pieces) >= {"times", "own 1000", "listen 1000", "costs 1000", "accuracy 1000"}
    assert "| bytes per track, pack |" in scale_report.scale(result)
