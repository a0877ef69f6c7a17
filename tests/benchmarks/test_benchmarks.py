"""Test what the benchmarks count, compare and read from meters, without measuring anything."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

import identify_cost
import listening
import near_duplicates
import schedule
from corpus_fakes import MemoryCorpus
from overheard.events import Match, MusicUnknown, Play, PlayEnded, PlayStarted, Track
from overheard.recognize.listener import Listener
from overheard.recognize.recognizer import Recognizer
from overheard_bench import (
    BENCHMARKS,
    catalogue,
    meters,
    plots,
    protocol,
    reference,
    report,
    score,
    shares,
    stopwatch,
)
from overheard_bench import corpus as corpora
from overheard_bench.listening import summary_known, summary_unknown


def query(track: str | None, source: str = "music/a.ogg", condition: str = "clean", length_s: int = 5):
    return protocol.Query(
        f"{source}/{condition}", condition, length_s, track, 30.0, source, np.zeros(8, np.float32)
    )


def identification(*paths: str, offset_s: float = 30.0, best: str = "music/a.ogg", score_: float = 5.0):
    tracks = [Track("0" * 12, "t", "a", "", path, "p", 60.0) for path in (*paths, best)]
    plays = tuple(Play(track, 0.0, 5.0, offset_s, score_, 0.9) for track in tracks[:-1])
    match = Match(tracks[-1], 0.0, 5.0, offset_s, score_, 3.0, 0.9, 0.1)
    return SimpleNamespace(verdict="recognized" if plays else "unknown", plays=plays, best=match)


def judge(asked, answer, duplicates=None, aliases=None):
    return score.judge(asked, answer, lambda track: track.path, duplicates or {}, aliases or {})


@pytest.mark.parametrize(
    ("track", "recognized", "outcome"),
    [
        ("music/a.ogg", ["music/a.ogg"], "right"),
        ("music/a.ogg", ["music/b.ogg"], "wrong"),
        ("music/a.ogg", ["music/a.ogg", "music/b.ogg"], "wrong"),
        ("music/a.ogg", [], "none"),
        (None, ["music/b.ogg"], "false positive"),
        (None, ["music/a.ogg"], "false positive"),
        (None, [], "none"),
    ],
)
def test_outcomes(track, recognized, outcome):
    assert judge(query(track), identification(*recognized)).outcome == outcome


def test_a_wrong_position_in_the_right_track_is_counted_separately():
    near, far = (judge(query("music/a.ogg"), identification("music/a.ogg", offset_s=s)) for s in (30.9, 31.1))
    assert near.outcome == far.outcome == "right"
    assert near.right_offset
    assert not far.right_offset


def test_a_near_duplicate_is_wrong_but_an_exact_copy_is_not():
    duplicates = {"music/a.ogg": frozenset({"music/b.ogg"})}
    other = judge(query("music/a.ogg"), identification("music/b.ogg"), duplicates=duplicates)
    assert (other.outcome, other.near_duplicate) == ("wrong", True)
    copy = judge(query("music/a.ogg"), identification("music/b.ogg"), aliases={"music/a.ogg": "music/b.ogg"})
    assert copy.outcome == "right"


def test_wilson_intervals():
    assert score.wilson(0, 0) == (0.0, 100.0)
    assert score.wilson(0, 100) == pytest.approx((0.0, 3.70), abs=0.01)
    assert score.wilson(50, 100) == pytest.approx((40.38, 59.62), abs=0.01)
    assert score.wilson(100, 100) == pytest.approx((96.30, 100.0), abs=0.01)


def answers():
    asked = [
        (query("music/a.ogg", "music/a.ogg", c, s), identification(*recognized, score_=9.0))
        for c in ("clean", "mic0")
        for s in (2, 5)
        for recognized in (["music/a.ogg"], ["music/a.ogg"], ["music/b.ogg"], [])
    ]
    asked += [
        (query(None, "music/o.ogg", c, 2), identification(*recognized, score_=value))
        for c in ("clean", "mic0")
        for recognized, value in ((["music/b.ogg"], 4.0), ([], 1.0))
    ]
    return [judge(q, answer) for q, answer in asked]


def result():
    tables = score.tables(answers())
    tables["catalogue"] = {"tracks": 1, "hours": 1.0, "bytes": 1, "bytes_per_min": 1500.0}
    tables["exhaustive"] = score.exhaustive_tables(answers())
    tables["targets"] = score.targets(tables)
    return tables


def test_rows_have_exactly_the_published_fields():
    tables = result()
    assert [set(row) for row in tables["rows"]] == [
        {"condition", "length_s", "n", "right", "wrong", "none"}
    ] * 4
    assert tables["rows"][0] == {
        "condition": "clean", "length_s": 2, "n": 4, "right": 2, "wrong": 1, "none": 1,
    }  # fmt: skip
    assert tables["out_of_catalogue"] == {"n": 4, "recognized": 2}
    assert tables["overall"]["right_percent"] == 50.0
    assert tables["by_length"]["5"]["n"] == 8


def test_moving_the_threshold_counts_best_candidates():
    at_none, at_two = (score.at_false_positives(answers(), n) for n in (0, 2))
    assert at_none["excess"] == 1.0
    assert at_two["excess"] == -2.0
    assert at_none["right_percent"] == at_two["right_percent"] == 100.0


def test_targets_are_met_or_missed():
    met = {target["target"]: target["met"] for target in result()["targets"]}
    assert met["bytes per minute"]
    assert not met["clean, right %"]
    assert not met["false positives, %"]
    assert met["points below exhaustive search"]
    assert "3 s, right %" not in met  # there are no queries of that length


def test_compact_packs_only_have_targets_for_false_positives_and_size():
    assert [target["target"] for target in score.targets(result(), compact=True)] == [
        "false positives, %",
        "bytes per minute",
    ]


def test_exhaustive_search_may_be_better_by_two_points():
    tables = result()
    coded = tables["at_one_percent"]["right_percent"]
    for better, met in ((1.99, True), (2.01, False)):
        tables["exhaustive"]["at_one_percent"]["right_percent"] = coded + better
        targets = {target["target"]: target["met"] for target in score.targets(tables)}
        assert targets["points below exhaustive search"] is met


def test_the_cost_of_a_clip_is_relative_to_15_seconds():
    rows = identify_cost.clips({15: 1.5, 30: 6.0})
    assert rows[1] == {"length_s": 30, "cpu_s": 6.0, "cpu_s_per_s": 0.2, "ratio": 2.0}
    unknown = identify_cost.clips({15: 1.5, 30: 3.0})
    table = report.identify_cost({"clips": rows, "unknown_clips": unknown, "reference_s": 15})
    assert "| 30 s | 6.000 | 0.2000 | 2.00 | 3.000 | 0.1000 | 1.00 |" in table


def test_the_cost_of_listening_is_relative_to_listening_without_a_schedule():
    stages = dict.fromkeys(("gate", "frontend", "detector", "network", "search", "match"), 1.25)
    each = {"cpu_s_per_hour": 8.0, "stages": stages, "plays": 1, "unknown": 0}
    scene = {"ratio": 0.25, schedule.WITH: each, schedule.WITHOUT: {**each, "cpu_s_per_hour": 32.0}}
    table = report.schedule({"scenes": {"talk": None, "unknown music": scene}})
    assert "| unknown music, with the schedule | 8.0 | 0.25 | 1.2 " in table
    assert "| unknown music, without it | 32.0 |  | 1.2 " in table
    assert "talk" not in table


def test_the_reference_job_is_the_median_of_its_runs(monkeypatch):
    job = reference.ReferenceJob()
    job.run()
    assert 0 < job.facts()["cpu_ms"] < 1000
    clock = iter(np.cumsum([0.0, 0.01, 0.0, 0.01, 0.0, 0.03, 0.0, 0.02, 0.0, 0.9]))
    monkeypatch.setattr(time, "process_time", lambda: next(clock))
    job = reference.ReferenceJob()
    job.run()
    assert job.facts()["cpu_ms"] == 20.0


def test_the_cost_of_a_clip_is_measured_with_one_blas_thread():
    """NumPy reads the number of threads when it is imported for the first time."""
    program = """
import os, sys
class Finder:
    def find_spec(name, *_):
        if name == "numpy":
            print(os.environ.get("OPENBLAS_NUM_THREADS"))
sys.meta_path.insert(0, Finder)
import identify_cost
"""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment["PYTHONPATH"] = os.pathsep.join([str(BENCHMARKS), *sys.path])
    command = [sys.executable, "-c", program]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert child.stdout.split() == ["1"]


def test_table_and_picture(tmp_path):
    pytest.importorskip("matplotlib")
    table = report.accuracy(result())
    assert "| the file itself (`clean`) | 50 | 50 | 50.0 (" in table
    assert plots.accuracy(tmp_path / "accuracy.png", result())
    assert (tmp_path / "accuracy.png").stat().st_size > 1000


def test_corpus_paths_of_a_packs_tracks():
    find = catalogue.path_finder(["music/x/a.ogg"])
    assert find(SimpleNamespace(path="/elsewhere/catalogue-1/music/x/a.ogg")) == "music/x/a.ogg"
    assert find(SimpleNamespace(path="/elsewhere/b.ogg")) == "/elsewhere/b.ogg"


PMIC = """   3V7_WL_SW_A current(0)=0.10000000A
   VDD_CORE_A current(7)=2.00000000A
   3V7_WL_SW_V volt(8)=3.70000000V
   VDD_CORE_V volt(15)=0.80000000V
   EXT5V_V volt(24)=5.14000000V
"""


def test_pmic_sums_volts_times_amperes_over_rails():
    assert meters.pmic_watts(PMIC) == pytest.approx(0.37 + 1.6)
    with pytest.raises(ValueError, match="Raspberry Pi 5"):
        meters.pmic_watts("error=1 error_msg='Command not registered'")


def test_rapl_adds_packages_and_handles_overflow(tmp_path):
    for number in range(2):
        zone = tmp_path / f"intel-rapl:{number}"
        zone.mkdir()
        (zone / "max_energy_range_uj").write_text("1000000\n")
        (zone / "energy_uj").write_text("900000\n")
    (tmp_path / "intel-rapl:0:0").mkdir()  # cores: within the package already
    meter = meters.RaplMeter(tmp_path)
    meter.start()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("950000\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("100000\n")
    assert meter.stop() == pytest.approx(0.05 + 0.2)


def test_a_battery_reports_power_or_current_and_voltage(tmp_path):
    with pytest.raises(ValueError, match="neither"):
        meters.battery_watts(tmp_path)
    (tmp_path / "current_now").write_text("1500000\n")
    (tmp_path / "voltage_now").write_text("12000000\n")
    assert meters.battery_watts(tmp_path) == pytest.approx(18)
    (tmp_path / "power_now").write_text("-7000000\n")
    assert meters.battery_watts(tmp_path) == pytest.approx(7)


def test_a_failed_reading_gives_no_figure(monkeypatch):
    monkeypatch.setattr(meters, "SAMPLE_S", 0.01)
    readings, failed = iter([10.0, 10.0]), threading.Event()

    def watts():
        for reading in readings:
            return reading
        failed.set()
        raise OSError("no answer")

    meter = meters.SampledMeter("battery", watts)
    meter.start()
    assert failed.wait(10)
    with pytest.raises(RuntimeError, match=r"battery: a reading failed \(no answer\); measure again"):
        meter.stop()


def test_without_meters_energy_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setattr(meters, "POWERCAP", tmp_path)
    monkeypatch.setattr(meters, "POWER_SUPPLY", tmp_path)
    monkeypatch.setattr(meters.shutil, "which", lambda name: None)
    present, absent = meters.find_meters()
    assert present == []
    assert set(absent) == {"RAPL package", "Pi 5 PMIC", "battery"}
    assert all(reason.startswith("unavailable: ") for reason in absent.values())


def test_a_stopwatch_wraps_counts_and_restores():
    class Worker:
        def outer(self):
            return self.inner() + 1

        def inner(self):
            return 1

    original = Worker.outer
    watch = stopwatch.Stopwatch()
    with watch.watch({"outer": [(Worker, "outer")], "inner": [(Worker, "inner")]}):
        watch.second(Worker().outer)
        watch.second(Worker().inner)
    assert Worker.outer is original
    assert watch.calls == {"outer": 1, "inner": 1}
    table = watch.table(["outer", "inner", "whole path"])
    assert set(table["whole path"]) == {"p50_ms", "p95_ms", "mean_ms"}


def test_versions_by_title_need_an_artist_a_title_and_a_valid_track():
    def item(path, split, artist, title):
        return corpora.Item("music", split, path, 60.0, title, artist, "somewhere")

    corpus = MemoryCorpus(
        [
            item("a.ogg", "valid", "Ann", "Song"),
            item("a-2.ogg", "train", "ANN", "song"),
            item("b.ogg", "train", "Ben", "Tune"),
            item("b-2.ogg", "train", "Ben", "Tune"),
            item("c.ogg", "valid", "", "Boss"),
            item("c-2.ogg", "valid", "", "Boss"),
        ]
    )
    assert near_duplicates.same_artist_and_title(corpus) == {("a-2.ogg", "a.ogg")}


def test_a_day_of_listening_counts_seconds_plays_and_the_delay_of_the_first():
    right, wrong = (Track("0" * 12, "t", "a", "", path, "p", 60.0) for path in ("right.ogg", "wrong.ogg"))
    events = {
        8: [
            PlayStarted(Play(wrong, 0.0, 2.0, 0.0, 5.0, 0.9)),
            PlayEnded(Play(wrong, 0.0, 2.0, 0.0, 5.0, 0.9)),
        ],
        12: [PlayStarted(Play(right, 2.5, 3.0, 0.0, 5.0, 0.9))],
    }

    class ListenerFake(Listener):
        def __init__(self):
            self.blocks = 0

        def process(self, block):
            assert len(block) <= listening.BLOCK
            self.blocks += 1
            return events.get(self.blocks, [])

        def finish(self):
            return [
                MusicUnknown(3.0, 4.0),
                PlayEnded(Play(right, 2.5, 4.0, 0.0, 5.0, 0.9)),
                PlayEnded(Play(right, 2.5, 5.0, 0.0, 5.0, 0.9)),  # the same play, which went on
            ]

    class RecognizerFake(Recognizer):
        def __init__(self):
            pass

        def listener(self, windows=None, rules=None):
            return ListenerFake()

    waveform = np.zeros(5 * 8000, np.float32)
    outcome = listening.listen(RecognizerFake(), waveform, "known", "clean", lambda play: play.track is right)
    assert outcome == listening.Outcome("known", "clean", 5.0, 2.5, 1, 2.0, 3.0, 1, 2.0, 1, ("t",))
    outcomes = [dataclasses.replace(outcome, audible_s=audible_s) for audible_s in (1.0, 4.0)]
    known, unknown = summary_known(outcomes), summary_unknown(outcomes)
    assert (known["right_percent"], known["wrong_percent"], known["tracks_recognized"]) == (50.0, 40.0, 2)
    assert (known["tracks_split"], known["tracks_unknown_and_recognized"]) == (0, 2)
    assert known["shortest_play_s"] == 2.0
    assert (known["delay_s_median"], known["after_first_note_s_median"]) == (3.0, 1.0)
    assert (unknown["false_positives"], unknown["false_positive_percent"]) == (2, 40.0)


def every_jobs_th(jobs, job):
    return [(number, os.getpid()) for number in range(job, 10, jobs)]


def test_each_share_runs_in_its_own_process_and_no_piece_is_skipped():
    done = shares.on_every_core(every_jobs_th)
    assert sorted(number for number, _ in done) == list(range(10))
    assert os.getpid() not in {process for _, process in done}


@pytest.mark.parametrize("n_cores", [1, 2, 3, 9])
def test_results_come_in_the_order_of_the_pieces(n_cores, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: n_cores)
    assert shares.on_every_core_in_order(numbers_of_share) == [0, 1, 2, None, 4, 5, 6]


def numbers_of_share(jobs: int, job: int) -> list[int | None]:
    return [0, 1, 2, None, 4, 5, 6][job::jobs]


@pytest.mark.parametrize(("kind", "seconds"), [("noise", 150), ("talk", 300), ("babble", 300)])
def test_noise_and_talk_are_played_completely_and_at_one_level(kind, seconds):
    rng = np.random.default_rng(3)
    levels = {"noise/a": (50, 300), "noise/b": (100, 9000), "speech/a": (200, 3000), "speech/b": (100, 100)}
    files = {
        path: (rng.standard_normal(length * 8000) * rms).astype(np.int16)
        for path, (length, rms) in levels.items()
    }
    none = dict.fromkeys(("known", "left_out", "ir_room", "ir_room_synth", "ir_mic"), ())
    part = corpora.Part(noise=("noise/a", "noise/b"), speech=("speech/a", "speech/b"), **none)
    stretches = list(listening.without_music(MemoryCorpus(audio=files), part, kind))
    assert [len(stretch) / 8000 for stretch in stretches] == [120] * (seconds // 120) + [seconds % 120]
    for stretch in stretches:
        for second in stretch.reshape(-1, 8000):
            assert np.sqrt(np.mean(second**2)) == pytest.approx(0.1, rel=0.2)
