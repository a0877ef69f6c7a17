"""Test the queries that play too fast or too slow, and how their answers are counted."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from overheard.events import Play, Track
from overheard.recognize.recognizer import Identification
from overheard_bench import report, speeds
from overheard_bench.catalogue import OpenCatalogue
from overheard_bench.corpus import SAMPLE_RATE, Corpus
from overheard_bench.protocol import Query

TRACK = Track("id", "Alpha", "Ann", "", "music/alpha.ogg", "pack", 200.0)
QUERY = Query("q", "mic10", 10, "music/alpha.ogg", 40.0, "music/alpha.ogg", np.zeros(8, np.float32))


def renderer(music: np.ndarray) -> speeds.ChangedRenderer:
    found = speeds.ChangedRenderer.__new__(speeds.ChangedRenderer)
    found.corpus = cast(Corpus, SimpleNamespace(load=lambda _: music))
    return found


def pitch_hz(music: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(music * np.hanning(len(music))))) * SAMPLE_RATE / len(music))


@pytest.mark.parametrize("change", speeds.CHANGES)
def test_a_change_keeps_the_start_and_changes_what_it_should(change: speeds.Change) -> None:
    kind, by = change
    seconds = np.arange(30 * SAMPLE_RATE) / SAMPLE_RATE
    tone = 0.3 * np.sin(2 * np.pi * 500 * seconds) * np.where(seconds < 15, 1.0, 0.1)
    ours = renderer((tone * 32767).astype(np.int16))
    ours.change = change
    start, preroll, n = 10 * SAMPLE_RATE, SAMPLE_RATE, 10 * SAMPLE_RATE
    changed = ours._music("any", start, preroll, n, 1.0)
    assert len(changed) == preroll + n
    factor = 1 + by / 100
    assert pitch_hz(changed[preroll : preroll + 16_000]) == pytest.approx(
        500 * (factor if kind == speeds.SPEED else 1), abs=2
    )
    levels = np.sqrt(np.mean(changed[: len(changed) // 80 * 80].reshape(-1, 80) ** 2, axis=1))
    softer_s = np.flatnonzero(levels < 0.1)[0] / 100 - preroll / SAMPLE_RATE
    assert softer_s == pytest.approx(5 / factor, abs=0.08)


def test_an_answer_has_errors_of_speed_and_position() -> None:
    opened = cast(
        OpenCatalogue,
        SimpleNamespace(judge=lambda query, found: SimpleNamespace(outcome="right", in_catalogue=True)),
    )
    play = Play(TRACK, 0.5, 10.0, 40.7, 9.0, 0.99, speed=1.031)
    found = Identification("recognized", 10.0, (play,), None)
    heard = speeds.judge(opened, QUERY, (speeds.SPEED, 3), found)
    assert heard.speed_error == pytest.approx(0.001)
    assert heard.position_error_s == pytest.approx(0.7 - 0.5 * 1.031)


def test_answers_are_counted_by_change_and_compared_with_the_targets() -> None:
    heard = [
        speeds.SpeedAnswer(change, True, outcome, 0.002 if outcome == "right" else None, 0.1)
        for change in speeds.CHANGES
        for outcome in (["right"] * 9 + ["none" if change == (speeds.SPEED, -8) else "right"] * 3)
    ]
    heard += [speeds.SpeedAnswer(change, False, "none") for change in speeds.CHANGES]
    heard.append(dataclasses.replace(heard[-1], outcome="wrong"))
    result: dict[str, Any] = speeds.tables(heard)
    rows = {(row["kind"], row["percent"]): row for row in result["rows"]}
    assert rows[speeds.SPEED, -8]["right_percent"] == 75.0
    assert rows[speeds.SPEED, 3]["speed_error_percent"] == pytest.approx(0.2)
    assert (result["out_n"], result["false_positives"]) == (len(speeds.CHANGES) + 1, 1)
    met = {target["target"]: target["met"] for target in speeds.targets(result)}
    assert list(met.values()) == [True, True, True, False]
    assert "| speed -8% | 75 (" in report.speeds(result)
