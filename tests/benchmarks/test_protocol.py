"""Test the queries of the benchmarks: split, seeds, positions and conditions."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from overheard_bench import corpus as corpora
from overheard_bench import protocol, render

needs_corpus = pytest.mark.skipif(
    not (corpora.DEFAULT_CORPUS / "manifest.csv").is_file(), reason=f"no corpus at {corpora.DEFAULT_CORPUS}"
)
SPLIT = json.loads(corpora.SPLIT_FILE.read_text())


@pytest.fixture(scope="module")
def corpus():
    return corpora.Corpus()


def noise(seed: int, n: int = 40_000) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, n).astype(np.float32)


@pytest.mark.parametrize("kind", corpora.KINDS)
def test_parts_are_disjoint_and_a_third_calibrates(kind):
    calibration, report = set(SPLIT["calibration"][kind]), set(SPLIT["report"][kind])
    assert not calibration & report
    assert len(calibration) == pytest.approx(len(calibration | report) / 3, abs=1)


@pytest.mark.parametrize("part", corpora.PARTS)
def test_a_fifth_of_each_parts_music_is_left_out(part):
    music, left_out = set(SPLIT[part]["music"]), set(SPLIT[part]["left_out"])
    assert left_out < music
    assert len(left_out) == pytest.approx(len(music) / 5, abs=1)
    lists = corpora.load_part(part)
    assert not set(lists.known) & left_out
    assert set(lists.left_out) <= left_out


@needs_corpus
def test_the_split_holds_all_of_valid_and_nothing_of_train(corpus):
    for kind in corpora.KINDS:
        listed = {path for part in corpora.PARTS for path in SPLIT[part][kind]}
        assert listed == {item.path for item in corpus.of(kind, "valid")}
    assert corpora.make_split(corpus, corpora.SPLIT_SEED) == SPLIT


def test_a_left_out_track_with_a_near_duplicate_in_the_catalogue_is_not_queried(tmp_path, monkeypatch):
    out, known = SPLIT["report"]["left_out"][:2], SPLIT["report"]["music"][0]
    path = tmp_path / "near_duplicates.json"
    path.write_text(json.dumps({"pairs": [[out[0], known], [out[1], SPLIT["calibration"]["left_out"][0]]]}))
    monkeypatch.setattr(corpora, "NEAR_DUPLICATES_FILE", path)
    lists = corpora.load_part("report")
    assert out[0] not in lists.left_out
    assert out[1] in lists.left_out


@needs_corpus
def test_the_same_seed_gives_the_same_queries_and_a_larger_number_extends_them():
    def run(seed: int, n: int):
        queries = protocol.render_queries("report", seed, n, 1, lengths_s=(2,), cache=False)
        return {q.id: q for q in queries}

    few, again, more, other = run(1, 1), run(1, 1), run(1, 2), run(2, 1)
    assert few.keys() == again.keys() < more.keys()
    assert len(few) == 2 * len(render.CONDITIONS)
    for name, query in few.items():
        assert np.array_equal(query.waveform, again[name].waveform)
        assert np.array_equal(query.waveform, more[name].waveform)
    assert any(not np.array_equal(q.waveform, other[name].waveform) for name, q in few.items())


@needs_corpus
def test_queries_match_their_metadata(corpus):
    queries = list(protocol.render_queries("calibration", 3, 2, 1, lengths_s=(2, 3), cache=False))
    left_out = set(corpora.left_out_of_index())
    assert len({q.id for q in queries}) == len(queries) == (2 + 1) * 2 * len(render.CONDITIONS)
    for query in queries:
        assert query.waveform.shape == (query.length_s * 8000,)
        assert query.waveform.dtype == np.float32
        assert 0.01 < np.max(np.abs(query.waveform)) <= 1
        assert (query.track is None) == (query.source in left_out)
        assert round(query.offset_s * 8000) % 250
    clean = next(q for q in queries if q.condition == "clean")
    start = round(clean.offset_s * 8000)
    source = corpus.load(clean.source)[start : start + len(clean.waveform)] / 32768
    assert np.array_equal(clean.waveform, source)


@needs_corpus
def test_every_position_is_rendered_in_every_condition():
    queries = protocol.render_queries("report", 1, 2, 0, lengths_s=(2,), cache=False)
    for _, group in itertools.groupby(queries, key=lambda q: (q.source, q.offset_s)):
        assert [q.condition for q in group] == list(render.CONDITIONS)


@needs_corpus
def test_cached_queries_have_the_same_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(protocol, "CACHE", tmp_path / "cache")
    options: dict[str, Any] = {"seed": 1, "n_per_length": 1, "lengths_s": (2,), "conditions": ("mic0",)}
    rendered = list(protocol.render_queries(**options, cache=False))
    first, second = (list(protocol.render_queries(**options)) for _ in range(2))
    assert len(list((tmp_path / "cache").iterdir())) == 1
    for a, b, c in zip(rendered, first, second, strict=True):
        assert a == b == c
        assert np.array_equal(a.waveform, b.waveform)
        assert np.array_equal(a.waveform, c.waveform)


def test_two_programs_may_render_the_same_queries_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(protocol, "CACHE", tmp_path)
    jobs = [(protocol.Position("a", "a.ogg", True, 0, 2), "clean")]
    samples = np.arange(2 * corpora.SAMPLE_RATE, dtype=np.int16)

    def render_while_another_program_does(position: protocol.Position, condition: str) -> np.ndarray:
        monkeypatch.setattr("os.getpid", lambda: 0)
        next(protocol._cached(jobs, lambda *_: samples, "key"))
        monkeypatch.undo()
        monkeypatch.setattr(protocol, "CACHE", tmp_path)
        return samples

    (query,) = protocol._cached(jobs, render_while_another_program_does, "key")
    assert len(query.waveform) == len(samples)
    assert [path.name for path in tmp_path.iterdir()] == ["queries-key.i16"]


@needs_corpus
def test_a_speed_change_keeps_the_start(corpus):
    lists = corpora.load_part("report")
    renderer = render.Renderer(corpus, lists)
    start, preroll = 100_003, 12_000
    as_it_is = renderer._music(lists.known[0], start, preroll, 16_000, 1.0)
    faster = renderer._music(lists.known[0], start, preroll, 16_000, 1.005)
    assert len(faster) == len(as_it_is)
    assert np.corrcoef(faster[preroll : preroll + 100], as_it_is[preroll : preroll + 100])[0, 1] > 0.9


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0])
def test_the_snr_counts_only_active_frames_of_the_query(snr_db):
    music, hiss = noise(1), noise(2)
    music[:12_000] *= 10  # the pre-roll must not count
    hiss[20_000:30_000] = 0  # nor a pause
    mixed = render.add_at_snr(music, hiss, snr_db, 12_000)
    added = (mixed - music)[30_000:]
    ratio_db = 10 * np.log10(np.mean(music[30_000:] ** 2) / np.mean(added**2))
    assert ratio_db == pytest.approx(snr_db, abs=0.5)


@pytest.mark.parametrize("direct_db", [-15.0, 0.0, 10.0])
def test_a_room_gets_its_direct_ratio_and_a_short_decay(direct_db):
    t = np.arange(16_000) / 8000
    response = (noise(3, 16_000) * 10 ** (-3 * t / 2.5)).astype(np.float32)
    response[100] = 1.0
    shaped = render.shape_room(response, direct_db)
    direct, tail = shaped[:28], shaped[28:]
    assert 10 * np.log10(np.sum(direct**2) / np.sum(tail**2)) == pytest.approx(direct_db, abs=0.1)
    assert render.decay_s(tail) <= render.MAX_DECAY_S
    assert np.sum(shaped**2) == pytest.approx(1, abs=1e-3)


def test_a_short_noise_repeats_without_a_gap():
    bed = render.loop(noise(4, 8000), 50_000, np.random.default_rng(0))
    assert bed.shape == (50_000,)
    assert render.frame_powers(bed).min() > 0.3 * render.frame_powers(bed).mean()


def test_near_silence_is_detected():
    loud = noise(5, 16_000)
    assert not render.near_silence(loud)
    assert render.near_silence(np.zeros(16_000, np.float32))
    assert render.near_silence(loud * np.float32(1e-3))
    loud[:12_000] = 0
    assert render.near_silence(loud)


def corpus_of(folder, rows):
    (folder / "manifest.csv").write_text("kind,split,path,title,artist,source,seconds\n" + rows)
    return folder


def test_a_manifest_is_read(tmp_path):
    items = corpora.Corpus(corpus_of(tmp_path, "music,valid,a.ogg,Title,Artist,somewhere,12.5\n")).items
    assert items == (corpora.Item("music", "valid", "a.ogg", 12.5, "Title", "Artist", "somewhere"),)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("music,valid,a.ogg,T,A,s,long\n", "line 2: could not convert"),
        ("music,valid\n", "line 2: the row has too few columns"),
    ],
)
def test_an_invalid_manifest_is_an_error(tmp_path, rows, problem):
    with pytest.raises(RuntimeError, match=problem):
        corpora.Corpus(corpus_of(tmp_path, rows))


def test_a_manifest_without_a_column_is_an_error(tmp_path):
    (tmp_path / "manifest.csv").write_text("kind,path\nmusic,a.ogg\n")
    with pytest.raises(RuntimeError, match="lacks the columns artist, seconds, source, split, title"):
        corpora.Corpus(tmp_path)
