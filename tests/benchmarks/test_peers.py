"""The other programs that peers.py runs: programs that write what the real ones write stand in for them."""

from __future__ import annotations

import csv
import json
import shutil
import sys

import numpy as np
import pytest

import audio_files
import peer_fakes
import peers
from overheard_bench import corpus as corpora
from overheard_bench import protocol
from overheard_bench.peers import base, trial
from overheard_bench.peers.audfprint import Audfprint
from overheard_bench.peers.olaf import Olaf
from overheard_bench.peers.panako import Panako

N_QUERIES = len(protocol.CONDITIONS) * len(protocol.LENGTHS_S)  # of one position per length
KNOWN = [f"music/{name}.wav" for name in ("a", "b", "copy-of-a")]  # stored as t00000, t00001 and not at all
STEMS = {"music/a.wav": "t00000", "music/b.wav": "t00001", "music/copy-of-a.wav": "t00000"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Write two known tracks, a copy of one, an unknown one for each part, and what queries need."""
    folder = tmp_path_factory.mktemp("corpus")
    names = [*KNOWN, "music/out-c.wav", "music/out-r.wav"]
    sounds = {name: audio_files.music(14.0, number) for number, name in enumerate(names)}
    sounds["music/copy-of-a.wav"] = sounds["music/a.wav"]
    rng = np.random.default_rng(0)
    for kind in ("noise", "speech", "ir_room", "ir_room_synth", "ir_mic"):
        decay = np.exp(-np.arange(8000) / 400) if kind.startswith("ir") else np.ones(8000)
        for number in range(8):  # babble is of up to eight voices
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


@pytest.fixture
def bench(corpus, tmp_path, monkeypatch):
    """Return what runs peers.py on that corpus with only the stand-ins on the PATH."""
    for function in (corpora.load_part, corpora.left_out_of_index):
        monkeypatch.setattr(function, "__defaults__", (corpus / "split.json",))
    monkeypatch.setattr(corpora, "NEAR_DUPLICATES_FILE", tmp_path / "near_duplicates.json")
    monkeypatch.setattr(protocol, "CACHE", corpus / "cache")
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("FAKE_PLAN", str(tmp_path / "plan.json"))
    peer_fakes.install(programs)
    for name in ("AUDFPRINT", "OLAF", "PANAKO", "FAKE_MODE"):
        monkeypatch.delenv(name, raising=False)

    def run(*options, plan=None):
        (tmp_path / "plan.json").write_text(json.dumps(plan or {}))
        fixed = ["--corpus", str(corpus), "--n", "1", "--out", str(tmp_path / "out")]
        code = peers.main([*fixed, *options])
        path = tmp_path / "out" / "peers.json"
        return code, json.loads(path.read_text()) if path.is_file() else None

    run.corpus, run.programs, run.table = corpus, programs, tmp_path / "out" / "peers.md"
    return run


def right_plan(corpus, score=20):
    """Return right answers to the report part's queries of known tracks."""
    queries = protocol.render_queries("report", 1, 1, 1, corpus=corpus)
    return {
        f"r{number:06d}": [STEMS[query.track], score, query.offset_s]
        for number, query in enumerate(queries)
        if query.track
    }


def test_each_peer_is_asked_and_judged(bench):
    code, result = bench(plan=right_plan(bench.corpus))
    assert code == 0
    names = ["audfprint", "audfprint, dense", "Olaf", "Panako"]
    assert [setting["name"] for setting in result["settings"]] == names
    for setting in result["settings"]:
        overall = setting["overall"]
        assert (overall["n"], overall["right"], overall["out_n"]) == (N_QUERIES, N_QUERIES, N_QUERIES)
        assert overall["right_offset"] == N_QUERIES
        assert overall["out_named"] == 0
    assert result["catalogue"]["tracks"] == 2  # the copy is the same track
    sizes = [setting["database"]["bytes"] for setting in result["settings"]]
    assert sizes == [2800, 2800, 1400, 700]
    assert result["settings"][0]["database"]["bytes_per_min"] == pytest.approx(2800 / (28 / 60), rel=0.01)
    assert result["settings"][0]["version"] == "20150406"


def test_the_table_has_what_ours_has_and_what_a_database_costs(bench):
    pytest.importorskip("matplotlib")
    bench(plan=right_plan(bench.corpus))
    assert bench.table.with_suffix(".png").stat().st_size > 1000
    table = bench.table.read_text()
    assert table.splitlines()[0] == (
        "| right, % | 2 s | 3 s | 5 s | 10 s | all lengths (95%) | wrong | none | named unknown "
        "| right at 1% | threshold | bytes a minute |"
    )
    assert f"0/{N_QUERIES} | 100.0 | its own | 6014 |" in table
    assert "**audfprint, dense** (20150406, `--density 70 --shifts 4`)" in table
    assert "| mic10_spd | 100 | 100 | 100 | 100 | 100.0% [" in table
    assert "chosen there and applied to the report part" in table


def test_the_threshold_is_chosen_on_the_calibration_part_alone(bench):
    plan = right_plan(bench.corpus, score=9)
    for stem in list(plan)[::2]:
        plan[stem][1] = 8
    plan |= {f"c{number:06d}": ["t00001", 3, 0.0] for number in range(N_QUERIES)}
    plan["c000007"][1] = 8  # the best of the unknown: one in 32 is more than 1%
    plan |= {f"r{number:06d}": ["t00001", 20, 0.0] for number in range(N_QUERIES, 2 * N_QUERIES)}
    _, result = bench(plan=plan)
    for setting in result["settings"]:
        assert setting["threshold"] == 9
        assert setting["threshold_chosen_on"] == {"part": "calibration", "out_n": N_QUERIES, "out_named": 0}
        assert setting["overall"]["right"] == N_QUERIES // 2
        assert setting["overall"]["out_named"] == N_QUERIES
        assert setting["at_one_percent"]["right_percent"] == 0.0  # there all the unknown are above 9


@pytest.mark.parametrize(
    ("scores", "threshold"),
    [([], 1), ([5.0], 6), ([-np.inf] * 3, 1), ([7.0] * 2 + [4.0] * 198, 5), ([7.0] * 3 + [4.0] * 197, 8)],
)
def test_at_most_one_percent_reach_the_threshold(scores, threshold):
    assert trial.choose_threshold(scores) == threshold


def test_a_twin_is_wrong_and_counted_apart(bench, tmp_path):
    pairs = [["music/a.wav", "music/b.wav"], ["music/copy-of-a.wav", "music/b.wav"]]
    (tmp_path / "near_duplicates.json").write_text(json.dumps({"pairs": pairs}))
    plan = {stem: ["t00001", score, at] for stem, (_, score, at) in right_plan(bench.corpus).items()}
    _, result = bench(plan=plan)
    overall = result["settings"][0]["overall"]
    of_a = sum(track == "t00000" for track, _, _ in right_plan(bench.corpus).values())
    assert (overall["wrong"], overall["wrong_twin"]) == (of_a, of_a)


def test_what_is_not_installed_is_named_with_how_to_install_it(bench, capsys):
    for name in ("olaf", "panako"):
        (bench.programs / name).unlink()
    code, result = bench()
    assert code == 0
    assert set(result["not_installed"]) == {"Olaf", "Panako"}
    assert "\nOlaf: not installed: ffmpeg, zig, a clone of https://" in capsys.readouterr().out


def test_without_any_peer_one_line_says_so(bench, capsys):
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


def test_a_command_that_is_given_must_be_there(bench, capsys):
    assert bench("--audfprint", "/nowhere/audfprint.py") == (2, None)
    assert capsys.readouterr().err == "peers.py: audfprint: there is no command '/nowhere/audfprint.py'\n"


def test_a_script_is_run_by_this_python_and_a_command_line_as_it_is(bench, monkeypatch):
    script = bench.programs / "audfprint.py"
    (bench.programs / "audfprint").rename(script)
    assert base.find_command(Audfprint, None) == (sys.executable, str(script))
    python = bench.programs / "python-of-an-environment"
    python.symlink_to(sys.executable)
    monkeypatch.setenv("AUDFPRINT", f"{python} {script}")
    assert base.find_command(Audfprint, None) == (str(python), str(script))
    assert bench("--audfprint", str(script))[0] == 0


@pytest.mark.parametrize(
    ("mode", "options", "line"),
    [
        ("crash olaf", (), "Olaf store failed (exit code 139): reading | Segmentation fault"),
        ("hang panako", ("--timeout", "1"), "Panako store took more than 1 s (--timeout): waiting"),
        ("garbage audfprint", (), "audfprint printed a line that is not understood: '!! out of cheese'"),
        ("garbage panako", (), "Panako printed a line that is not understood: '!! out of cheese'"),
        ("forget olaf", (), "Olaf gave no answer to 1 of 96 queries, the first r000063"),
    ],
)
def test_a_peer_that_fails_is_one_line_and_the_others_go_on(bench, monkeypatch, capsys, mode, options, line):
    monkeypatch.setenv("FAKE_MODE", mode)
    code, result = bench(*options)
    assert code == 2
    errors = [said for said in capsys.readouterr().err.splitlines() if said.startswith("peers.py")]
    assert set(errors) == {f"peers.py: {line}"}
    assert set(result["failed"].values()) == {f"failed: {line}"}
    assert len(result["settings"]) == 4 - len(errors)


def test_a_name_that_was_not_stored_is_an_error(bench, capsys):
    assert bench(plan={"r000000": ["t00099", 20, 0.0]}) == (2, None)
    assert "Olaf named a file that was not stored: 't00099'" in capsys.readouterr().err


def parsed(peer, text):
    return list(peer(["x"], 1, 1.0).parse(text.splitlines()))


def test_audfprints_lines():
    # README (2014), audfprint_match.py (2015) and audfprint2, each as it writes them
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
        ("173050_86s", base.Candidate("ref-b", 111.0, pytest.approx(85.92))),
        ("a, b", base.Candidate("x, y", 12.0, pytest.approx(68.928))),
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
        (Panako, "1 ; 2 ; q.wav ; 0.000"),
        (Panako, "The Panako jar file could not be found at ~/.panako/panako.jar."),
    ],
)
def test_a_line_that_is_not_understood_is_an_error_and_no_miss(peer, line):
    with pytest.raises(base.PeerError, match="not understood") as caught:
        parsed(peer, line)
    assert line in str(caught.value)
