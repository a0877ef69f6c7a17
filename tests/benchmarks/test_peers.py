"""peers.py and its library, run with programs that print what the real peers print."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import audio_files
import peer_fakes
import peers
from overheard_bench import corpus as corpora
from overheard_bench import protocol
from overheard_bench.peers import base, chromaprint, report, results, trial
from overheard_bench.peers.audfprint import Audfprint
from overheard_bench.peers.chromaprint import Chromaprint
from overheard_bench.peers.command import find_command
from overheard_bench.peers.olaf import Olaf
from overheard_bench.peers.panako import Panako

N_QUERIES = len(protocol.CONDITIONS) * len(protocol.LENGTHS_S)  # of one position per length
KNOWN = [f"music/{name}.wav" for name in ("a", "b", "copy-of-a")]  # stored as t00000, t00001 and not at all
PLOT = report.plot
STEMS = {"music/a.wav": "t00000", "music/b.wav": "t00001", "music/copy-of-a.wav": "t00000"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Write two known tracks, a copy of one, an unknown track for each part, noise, speech and responses."""
    folder = tmp_path_factory.mktemp("corpus")
    names = [*KNOWN, "music/out-c.wav", "music/out-r.wav"]
    sounds = {name: audio_files.music(14.0, number) for number, name in enumerate(names)}
    sounds["music/copy-of-a.wav"] = sounds["music/a.wav"]
    rng = np.random.default_rng(0)
    for kind in ("noise", "speech", "ir_room", "ir_room_synth", "ir_mic"):
        decay = np.exp(-np.arange(8000) / 400) if kind.startswith("ir") else np.ones(8000)
        for number in range(8):  # babble has up to eight voices
            noise = 0.1 * rng.standard_normal((1, 8000)) * decay
            sounds[f"{kind}/{number}.wav"] = noise.astype(np.float32)
    for name, samples in sounds.items():
        (folder / name).parent.mkdir(exist_ok=True)
        audio_files.encode(folder / name, samples, 8000, "pcm_s16le", "mono")
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        header = ["kind", "split", "path", "seconds", "title", "artist", "source"]
        csv.writer(file).writerows([header, *[[n.split("/")[0], "valid", n, 14, n, "", "s"] for n in sounds]])
    others = {
        kind: [name for name in sounds if name.startswith(f"{kind}/")]
        for kind in corpora.KINDS
        if kind != "music"
    }
    parts = {
        "calibration": {"music": ["music/out-c.wav"], "left_out": ["music/out-c.wav"], **others},
        "report": {"music": [*KNOWN, "music/out-r.wav"], "left_out": ["music/out-r.wav"], **others},
    }
    (folder / "split.json").write_text(json.dumps(parts))
    return folder


@dataclasses.dataclass(frozen=True)
class Bench:
    """Run peers.py on a corpus; return its exit status and the contents of peers.json, None if missing."""

    corpus: Path
    programs: Path
    out: Path
    plan: Path

    def __call__(self, *options, plan=None):
        self.plan.write_text(json.dumps(plan or {}))
        fixed = ["--corpus", str(self.corpus), "--n", "1", "--out", str(self.out)]
        code = peers.main([*fixed, *options])
        path = self.out / "peers.json"
        return code, json.loads(path.read_text()) if path.is_file() else None


@pytest.fixture
def bench(corpus, tmp_path, monkeypatch):
    """Return a bench of that corpus with only the stand-ins on the PATH; its charts would take long."""
    for function in (corpora.load_part, corpora.left_out_of_index):
        monkeypatch.setattr(function, "__defaults__", (corpus / "split.json",))
    monkeypatch.setattr(corpora, "NEAR_DUPLICATES_FILE", tmp_path / "near_duplicates.json")
    monkeypatch.setattr(protocol, "CACHE", corpus / "cache")
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("FAKE_PLAN", str(tmp_path / "plan.json"))
    peer_fakes.install(programs)
    for name in ("AUDFPRINT", "FPCALC", "OLAF", "PANAKO", "FAKE_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(report, "plot", lambda *_, **__: False)
    return Bench(corpus, programs, tmp_path / "out", tmp_path / "plan.json")


@pytest.fixture
def charts(bench, monkeypatch):
    """Return that bench, with charts."""
    monkeypatch.setattr(report, "plot", PLOT)
    return bench


def right_plan(corpus, score=20):
    """Return the correct answers to the report part's queries of known tracks."""
    queries = protocol.render_queries("report", 1, 1, 1, corpus=corpus)
    return {
        f"r{number:06d}": [STEMS[query.track], score, query.offset_s]
        for number, query in enumerate(queries)
        if query.track
    }


def test_each_peer_answers_and_is_judged(bench):
    code, result = bench(plan=right_plan(bench.corpus))
    assert code == 0
    names = ["audfprint", "audfprint, dense", "Olaf", "Panako"]
    assert [setting["name"] for setting in result["settings"]] == names
    for setting in result["settings"]:
        overall = setting["overall"]
        assert (overall["n"], overall["right"], overall["out_n"]) == (N_QUERIES, N_QUERIES, N_QUERIES)
        assert overall["right_offset"] == N_QUERIES
        assert overall["false_positives"] == 0
        assert setting["environment"]["date"]
        assert setting["features"].keys() == {"offline", "own_music", "always_on"}
    assert result["catalogue"]["tracks"] == 2  # the copy is the same track
    sizes = [setting["database"]["bytes"] for setting in result["settings"]]
    assert sizes == [2800, 2800, 1400, 700]
    assert result["settings"][0]["database"]["bytes_per_min"] == pytest.approx(2800 / (28 / 60), rel=0.01)
    assert result["settings"][0]["version"] == "20150406"


def test_the_tables_and_the_chart_compare_accuracy_storage_and_features(charts):
    pytest.importorskip("matplotlib")
    charts(plan=right_plan(charts.corpus))
    assert (charts.out / "peers.png").stat().st_size > 1000
    table = (charts.out / "peers.md").read_text()
    assert table.splitlines()[0] == (
        "| % correctly identified | clean | 0 dB | mic, 10 dB | mic, 5 dB | mic, 0 dB | mic, -5 dB "
        "| far mic, 10 dB | mic, 10 dB, other speed | all | % false positives | bytes per minute "
        "| offline | own music | always on |"
    )
    hundred = " | ".join(["100.0"] * 9)
    assert f"| audfprint | {hundred} | 0.0 | 6,014 | yes | yes | no |" in table
    assert f"| Olaf | {hundred} | 0.0 | 3,007 | yes | yes | yes |" in table
    assert f"0/{N_QUERIES} | 100.0 | built in |" in table
    assert "**audfprint, dense** (20150406, `--density 70 --shifts 4`)" in table
    assert "| mic10_spd | 100 | 100 | 100 | 100 | 100.0% [" in table


def accuracy_of(result: dict[str, Any], **protocol_values: Any) -> dict[str, Any]:
    """Return an accuracy.json with the counts of the first peer, measured on the same queries."""
    measured = result["settings"][0]
    shared = {key: measured[key] for key in ("by_condition", "by_length", "overall", "at_one_percent")}
    protocol_keys = {"part": "report", "seed": 1, "n_per_length": 1, "quick": False}
    return {
        **shared,
        "catalogue": {"tracks": result["catalogue"]["tracks"], "bytes_per_min": 1448.3},
        "protocol": protocol_keys | protocol_values,
    }


def test_tables_adds_overheard_to_an_existing_result(charts, capsys):
    _, result = charts(plan=right_plan(charts.corpus))
    assert "no accuracy.json for the same queries" in capsys.readouterr().err
    (charts.out / "accuracy.json").write_text(json.dumps(accuracy_of(result)))
    shutil.rmtree(charts.programs)
    assert charts("--tables") == (0, result)
    table = (charts.out / "peers.md").read_text()
    assert table.splitlines()[2].startswith("| **overheard** | 100.0 |")
    assert table.splitlines()[2].endswith(" | 0.0 | 1,448 | yes | yes | yes |")
    assert capsys.readouterr().err == ""


def test_tables_without_a_result_is_an_error(bench, capsys):
    assert bench("--tables") == (2, None)
    assert capsys.readouterr().err.endswith(": run peers.py without --tables\n")


@pytest.mark.parametrize(
    "other", [{"part": "calibration"}, {"seed": 2}, {"n_per_length": 50}, {"quick": True}]
)
def test_overheard_is_left_out_if_its_queries_differ(bench, other):
    _, result = bench("--only", "Olaf")
    assert results.of_overheard(accuracy_of(result), result) is not None
    assert results.of_overheard(accuracy_of(result, **other), result) is None
    fewer_tracks = accuracy_of(result) | {"catalogue": {"tracks": 1, "bytes_per_min": 1448.3}}
    assert results.of_overheard(fewer_tracks, result) is None


def names(result):
    return [setting["name"] for setting in result["settings"]]


def test_only_measures_the_given_settings_and_keeps_the_others(bench):
    (bench.programs / "panako").unlink()
    _, first = bench("--only", "Olaf")
    assert names(first) == ["Olaf"]
    assert first["not_installed"].keys() == {"Chromaprint", "Panako"}
    code, second = bench("--only", "audfprint, dense")
    assert code == 0
    assert names(second) == ["audfprint, dense", "Olaf"]
    assert second["settings"][1] == first["settings"][0]
    _, other_queries = bench("--only", "Olaf", "--seed", "2")
    assert names(other_queries) == ["Olaf"]


def test_a_setting_that_is_not_installed_is_an_error(bench, capsys):
    assert bench("--only", "Chromaprint") == (2, None)
    assert "no peer is installed (Chromaprint: not installed: apt-get install" in capsys.readouterr().err


def test_chromaprint_is_run_once_per_file_and_searched_here(bench):
    peer_fakes.install(bench.programs, ["fpcalc"])
    plan = right_plan(bench.corpus)
    unanswered = next(iter(plan))
    del plan[unanswered]
    code, result = bench("--only", "Chromaprint", plan=plan)
    assert code == 0
    (setting,) = result["settings"]
    assert setting["version"].startswith("fpcalc version 1.5.1")
    counts = setting["overall"]
    assert (counts["right"], counts["right_offset"], counts["none"]) == (N_QUERIES - 1, N_QUERIES - 1, 1)
    n_items = 2 * int(14 / chromaprint.ITEM_S)
    assert setting["database"]["bytes"] == pytest.approx(4 * n_items, abs=1000)  # and the arrays' headers


def test_an_invalid_earlier_result_is_an_error(bench, capsys):
    bench.out.mkdir()
    (bench.out / "peers.json").write_text("[]")
    with pytest.raises(RuntimeError, match="does not contain an object"):
        results.read(bench.out / "peers.json")
    (bench.out / "peers.json").write_text("{")
    assert peers.main(["--out", str(bench.out)]) == 2
    assert "peers.json is not a result" in capsys.readouterr().err


def test_the_threshold_comes_from_the_calibration_part_alone(bench):
    plan = right_plan(bench.corpus, score=9)
    for stem in list(plan)[::2]:
        plan[stem][1] = 8
    plan |= {f"c{number:06d}": ["t00001", 3, 0.0] for number in range(N_QUERIES)}
    plan["c000007"][1] = 8  # the highest score of an unknown query: one in 32 is more than 1%
    plan |= {f"r{number:06d}": ["t00001", 20, 0.0] for number in range(N_QUERIES, 2 * N_QUERIES)}
    _, result = bench(plan=plan)
    for setting in result["settings"]:
        assert setting["threshold"] == 9
        assert setting["threshold_chosen_on"] == {
            "part": "calibration",
            "out_n": N_QUERIES,
            "false_positives": 0,
        }
        assert setting["overall"]["right"] == N_QUERIES // 2
        assert setting["overall"]["false_positives"] == N_QUERIES
        assert setting["at_one_percent"]["right_percent"] == 0.0  # all unknown queries score above 9


@pytest.mark.parametrize(
    ("scores", "threshold"),
    [([], 1), ([5.0], 6), ([-np.inf] * 3, 1), ([7.0] * 2 + [4.0] * 198, 5), ([7.0] * 3 + [4.0] * 197, 8)],
)
def test_at_most_one_percent_reach_the_threshold(scores, threshold):
    assert trial.choose_threshold(scores) == threshold


def test_a_near_duplicate_is_incorrect_and_counted_separately(bench, tmp_path):
    pairs = [["music/a.wav", "music/b.wav"], ["music/copy-of-a.wav", "music/b.wav"]]
    (tmp_path / "near_duplicates.json").write_text(json.dumps({"pairs": pairs}))
    plan = {stem: ["t00001", score, at] for stem, (_, score, at) in right_plan(bench.corpus).items()}
    _, result = bench(plan=plan)
    overall = result["settings"][0]["overall"]
    of_a = sum(track == "t00000" for track, _, _ in right_plan(bench.corpus).values())
    assert (overall["wrong"], overall["wrong_near_duplicate"]) == (of_a, of_a)


def test_a_missing_peer_is_reported_with_its_installation(charts, capsys):
    for name in ("olaf", "panako"):
        (charts.programs / name).unlink()
    code, result = charts()
    assert code == 0
    assert set(result["not_installed"]) == {"Chromaprint", "Olaf", "Panako"}
    assert "\nOlaf: not installed: ffmpeg, zig, a clone of https://" in capsys.readouterr().out


def test_no_peer_at_all_is_a_one_line_error(bench, capsys):
    shutil.rmtree(bench.programs)
    assert bench() == (2, None)
    error = capsys.readouterr().err
    assert error.startswith("peers.py: no peer is installed (audfprint: not installed: ")
    assert error.count("\n") == 1


def test_the_fork_of_audfprint_reports_in_its_log(bench, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "fork audfprint")
    code, result = bench(plan=right_plan(bench.corpus))
    assert code == 0
    assert result["settings"][0]["version"] == "audfprint2-enhanced 20251119"
    assert result["settings"][1]["overall"]["right"] == N_QUERIES


def test_a_command_that_does_not_exist_is_an_error(bench, capsys):
    assert bench("--audfprint", "/nowhere/audfprint.py") == (2, None)
    assert capsys.readouterr().err == "peers.py: audfprint: command '/nowhere/audfprint.py' not found\n"


def test_a_script_runs_in_this_python_and_a_command_line_unchanged(bench, monkeypatch):
    script = bench.programs / "audfprint.py"
    (bench.programs / "audfprint").rename(script)
    assert find_command(Audfprint, None) == (sys.executable, str(script))
    python = bench.programs / "python-of-an-environment"
    python.symlink_to(sys.executable)
    monkeypatch.setenv("AUDFPRINT", f"{python} {script}")
    assert find_command(Audfprint, None) == (str(python), str(script))
    assert bench("--audfprint", str(script))[0] == 0


@pytest.mark.parametrize(
    ("mode", "options", "line"),
    [
        ("crash olaf", (), "Olaf store failed (exit code 139): reading | Segmentation fault"),
        ("hang panako", ("--timeout", "1"), "Panako store took more than 1 s (--timeout): waiting"),
        ("garbage audfprint", (), "audfprint printed an unexpected line: '!! out of cheese'"),
        ("garbage panako", (), "Panako printed an unexpected line: '!! out of cheese'"),
        ("crash fpcalc", (), "Chromaprint -raw failed (exit code 139): reading | Segmentation fault"),
        ("forget olaf", (), "Olaf did not answer 1 of 96 queries, the first is r000063"),
    ],
)
def test_a_failing_peer_is_a_one_line_error_and_the_others_continue(
    bench, monkeypatch, capsys, mode, options, line
):
    monkeypatch.setenv("FAKE_MODE", mode)
    if "fpcalc" in mode:
        peer_fakes.install(bench.programs, ["fpcalc"])
    code, result = bench(*options)
    assert code == 2
    stderr = capsys.readouterr().err.splitlines()
    errors = [text for text in stderr if text.startswith("peers.py") and "accuracy.json" not in text]
    assert set(errors) == {f"peers.py: {line}"}
    assert set(result["failed"].values()) == {f"failed: {line}"}
    n_settings = 5 if "fpcalc" in mode else 4
    assert len(result["settings"]) == n_settings - len(errors)


def test_an_answer_outside_the_catalogue_is_an_error(bench, capsys):
    assert bench(plan={"r000000": ["t00099", 20, 0.0]}) == (2, None)
    assert "Olaf answered with a file that it did not index: 't00099'" in capsys.readouterr().err


def parsed(peer, text):
    return list(peer(["x"], 1, 1.0).parse(text.splitlines()))


def test_audfprints_lines():
    # from the README (2014), audfprint_match.py (2015) and audfprint2
    assert parsed(
        Audfprint,
        "Tue Nov 24 16:05:01 2026 Reading hash table fpdbase.pklz\n"
        "Matched query.mp3 5.573 sec 204 raw hashes as Nine_Lives/05-Full_Circle.mp3 at 50.085 s "
        "with 8 of 9 hashes\n"
        "Matched /tmp/q 1.wav 4.8 sec 154 raw hashes as /tmp/a.wav at   -0.1 s "
        "with    18 of    19 common hashes at rank  0\n"
        "NOMATCH /tmp/b.wav 1.8 sec 20 raw hashes\n"
        "NOMATCH: /tmp/c.wav 1.8 sec 20 raw hashes\n",
    ) == [
        ("query", base.Candidate("05-Full_Circle", 8.0, 50.085)),
        ("q 1", base.Candidate("a", 18.0, -0.1)),
        ("b", None),
        ("c", None),
    ]


def near(value: float) -> Any:  # as a field of a Candidate
    return pytest.approx(value)


def test_olafs_rows():
    # tests/golden/output_snapshot.txt and the comments of cli/olaf_cli_output.zig
    assert parsed(
        Olaf,
        "query_index, total_queries, query_path, query_offset, match_count, query_start, query_stop, path, "
        "match_identifier, reference_start, reference_stop\n"
        "2 ,2 ,/d/173050_86s.mp3, 0.000, 111 ,0.240 ,18.184, ref-b, 3824301295, 86.160, 104.104\n"
        '1 ,2 ,"/d/a, b.mp3", 0.000, 12 ,1.936 ,19.304,"/r/x, y.mp3", 3517681762, 70.864, 88.232\n'
        "2 ,2 ,/d/c.wav, 0.000, 0 ,0.000 ,0.000, , 0, 0.000, 0.000\n",
    ) == [
        ("173050_86s", base.Candidate("ref-b", 111.0, near(85.92))),
        ("a, b", base.Candidate("x, y", 12.0, near(68.928))),
        ("c", None),
    ]


def test_panakos_rows():
    # printQueryResult and printQueryResultHeader of cli/Panako.java
    assert parsed(
        Panako,
        "Processing 2 queries on 2 seperate threads.\n"
        "Index; total ; Query path;Query start (s);Query stop (s); Match path;Match id; Match start (s); "
        "Match stop (s); Match score; Time factor (%); Frequency factor(%), Seconds without match (%)\n"
        "1 ; 2 ; /q/a.wav ; 1.000 ; 9.500 ; /r/t.wav ; 9 ; 31.000 ; 39.500 ; 57 ; 1.002 % ; 1.000 %; 1.00\n"
        "2 ; 2 ; /q/b.wav ; 0.000 ; 0.000 ; null ; null ; -1.000 ; -1.000 ; -1 ; -1.000 % ; -1.000 %; 0.00\n",
    ) == [("a", base.Candidate("t", 57.0, 30.0)), ("b", None)]


@pytest.mark.parametrize(
    ("peer", "line"),
    [
        (Audfprint, "Matched q.wav as t.wav"),
        (Olaf, "1 ,2 ,q.wav, 0.000, many ,0.0 ,1.0, t.wav, 1, 0.0, 1.0"),
        (Olaf, "1/2 q.wav 12 matches"),
        (Chromaprint, "FINGERPRINT=AQADtEmUaEkSRZEG"),
        (Chromaprint, "fpcalc: command not found"),
        (Panako, "1 ; 2 ; q.wav ; 0.000"),
        (Panako, "The Panako jar file could not be found at ~/.panako/panako.jar."),
    ],
)
def test_an_unexpected_line_is_an_error_and_not_a_miss(peer, line):
    with pytest.raises(base.PeerError, match="unexpected line") as caught:
        parsed(peer, line)
    assert line in str(caught.value)


def test_chromaprints_lines():
    (items,) = parsed(Chromaprint, "DURATION=3\nFINGERPRINT=1356137101,4294967295,0\n")
    assert items.dtype == np.uint32
    assert items.tolist() == [1356137101, 4294967295, 0]


@pytest.fixture
def search():
    rng = np.random.default_rng(0)
    lengths = np.array([40, 60, 10], np.uint32)
    items = rng.integers(0, 2**32, int(lengths.sum()), np.uint32)
    return chromaprint.Search(["a", "b", "c"], lengths, items)


@pytest.mark.parametrize(("start", "track"), [(0, "a"), (30, "a"), (40, "b"), (90, "b"), (100, "c")])
def test_the_search_finds_the_position_with_the_fewest_bit_errors(search, start, track):
    query = search.items[start : start + 10].copy()
    query[3] ^= np.uint32(0b1011)
    match = search.best(query)
    first = {"a": 0, "b": 40, "c": 100}[track]
    assert (match.track, match.offset_s) == (track, pytest.approx((start - first) * chromaprint.ITEM_S))
    assert match.score == round(100 * chromaprint.deviations(10, 3))


def test_a_match_does_not_span_two_tracks(search):
    match = search.best(search.items[35:45])
    assert match.score < 100 * chromaprint.deviations(10, 100)


def test_a_query_without_items_or_longer_than_the_catalogue_has_no_match(search):
    assert search.best(search.items[:0]) is None
    assert search.best(np.zeros(111, np.uint32)) is None


def test_unrelated_items_score_zero_and_longer_matches_score_higher():
    assert chromaprint.deviations(10, 160) == 0
    assert chromaprint.deviations(1, 0) == pytest.approx(np.sqrt(32))
    assert chromaprint.deviations(59, 59) > chromaprint.deviations(3, 3)
