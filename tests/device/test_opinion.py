"""The second opinion: its file, what it concludes from embeddings, and when it asks for more."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from overheard.demo.room import cafe
from overheard.demo.synth import synthesize
from overheard.errors import ModelError
from overheard.events import Match, Track
from overheard.fingerprint.embedder import Embedder, embed_waveform
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import default_model
from overheard.recognize.opinion import OpinionRules, SecondOpinion, Verdict
from overheard.recognize.opinion_table import N_HEARD, OPINION_PATH, OpinionTable, load_opinion, table_digest
from overheard.recognize.recognizer import Recognizer
from overheard.recognize.window_match import if_music

RULES = OpinionRules()
RATE = 8000


def plain_table() -> OpinionTable:
    """A table whose log-odds are the first component of an embedding."""
    return OpinionTable(
        hidden=np.array([[1.0, -1.0], [0.0, 0.0]], np.float32),
        hidden_bias=np.zeros(2, np.float32),
        output=np.array([1.0, -1.0], np.float32),
        output_bias=0.0,
        gains=np.ones(N_HEARD, np.float32),
        music=2.0,
        no_music=-2.0,
    )


def hear(opinion: SecondOpinion, first_frame: int, *odds: float) -> Verdict:
    starts = first_frame + 24 * np.arange(len(odds))
    opinion.add(starts, np.array([[each, 0.0] for each in odds], np.float32))
    return opinion.verdict


def test_without_embeddings_the_detector_decides():
    opinion = SecondOpinion(plain_table())
    assert opinion.verdict is Verdict.UNSURE
    assert opinion.is_music(True)
    assert not opinion.is_music(False)


def test_a_certain_opinion_overrules_the_detector():
    opinion = SecondOpinion(plain_table())
    assert hear(opinion, 0, -3, -2) is Verdict.NO_MUSIC
    assert not opinion.is_music(True)
    assert hear(opinion, 480, 3, 4) is Verdict.MUSIC  # what was heard long ago does not count
    assert opinion.is_music(False)


def test_a_segment_counts_once():
    opinion = SecondOpinion(plain_table())
    hear(opinion, 0, -4, -4)
    assert hear(opinion, 0, 8, 8) is Verdict.NO_MUSIC


def test_frames_that_are_counted_again_are_heard():
    opinion = SecondOpinion(plain_table())
    hear(opinion, 90_000, 4, 4, 4)
    assert hear(opinion, 82_000, -4, -4) is Verdict.NO_MUSIC


def asked(opinion: SecondOpinion, seconds: float, odds: float, *music: tuple[float, float]) -> list[float]:
    """Return when sound with these log-odds is asked about, if the detector hears music in some seconds."""
    moments = []
    for tick in range(int(4 * seconds)):
        now_s = tick / 4
        if opinion.n_due(now_s, any(first <= now_s < end for first, end in music), False):
            moments.append(now_s)
            hear(opinion, 32 * int(now_s), odds)
            opinion.asked(now_s)
    return moments


def test_an_onset_is_asked_about_at_once_and_then_more_rarely():
    moments = asked(SecondOpinion(plain_table()), 100, -4, (10, 50))
    assert [at_s for at_s in moments if 10 <= at_s < 50] == [10, 11, 12, 14, 18, 26, 41]


def test_sound_that_is_surely_no_music_is_asked_about_every_twelve_seconds():
    moments = asked(SecondOpinion(plain_table()), 100, -4)
    assert moments[0] == 0  # sound that begins is asked about at once
    assert set(np.diff(moments[3:])) == {RULES.confirmed_no_music_s[-1]}


def test_doubtful_sound_is_asked_about_again_soon():
    moments = asked(SecondOpinion(plain_table()), 20, 0)
    assert list(np.diff(moments)) == list(RULES.unsure_s[: len(moments) - 1])


def test_a_change_of_the_sound_is_asked_about_soon():
    opinion = SecondOpinion(plain_table())
    asked(opinion, 60, -4)
    now_s = 60.0
    while not opinion.n_due(now_s, False, now_s == 60.0):
        now_s += 0.25
    assert now_s <= 60 + RULES.changed_s


def test_the_shipped_table_tells_music_from_noise():
    model = default_model()
    table = load_opinion(model.space.digest)
    assert table is not None
    embedder = Embedder(model)
    music = embed_waveform(embedder, synthesize(410, 20.0).waveform, 24)
    noise = embed_waveform(embedder, cafe(np.random.default_rng(1), 20 * RATE, RATE), 24)  # has vowels
    hiss = np.random.default_rng(2).standard_normal(20 * RATE, dtype=np.float32) * np.float32(0.05)
    assert table.log_odds(music).mean() > 1
    assert table.log_odds(noise).mean() < table.music
    assert table.log_odds(embed_waveform(embedder, hiss, 24)).mean() < -1


def test_a_clip_of_a_tone_needs_a_better_match_than_one_of_music():
    model = default_model()
    recognizer, embedder = Recognizer(model, []), Embedder(model)
    tone = (0.1 * np.sin(2 * np.pi * 440 * np.arange(5 * RATE) / RATE)).astype(np.float32)
    track = Track("a" * 12, "Alpha", "", "", "", "music", 60.0)
    match = Match(track, 0.0, 5.0, 0.0, score=6.0, threshold=4.0, confidence=0.9, margin=0.1)

    def judged(waveform: FloatArray) -> Match:
        return if_music(match, embed_waveform(embedder, waveform, 24), recognizer.engine)

    assert not judged(tone).accepted
    assert judged(tone).confidence < 0.5
    assert judged(synthesize(410, 5.0).waveform) == match
    assert if_music(match, np.zeros((3, 96), np.float32), recognizer.engine) == match  # silence says nothing


def test_a_model_of_another_space_has_no_second_opinion():
    assert load_opinion("0" * 16) is None


def test_the_numbers_of_a_table_survive_its_file(tmp_path: Path):
    table = plain_table()
    path = tmp_path / "opinion.json"
    path.write_text(json.dumps(contents(table)))
    loaded = load_opinion("1" * 16, path)
    assert loaded is not None
    for field in dataclasses.fields(table):
        assert np.array_equal(getattr(loaded, field.name), getattr(table, field.name))


def contents(table: OpinionTable) -> dict[str, object]:
    fields = table.to_dict()
    space = {"name": "a", "digest": "1" * 16}
    return {"manifest_version": 1, "space": space, "digest": table_digest(fields), "table": fields}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"manifest_version": 2}, "version 1"),
        ({"digest": "0" * 16}, "modified"),
        ({"table": {"gains": [1.0] * (N_HEARD - 1)}}, "do not match"),
        ({"table": {"output": [1.0]}}, "do not match"),
        ({"table": {"music": -3.0}}, "below music"),
        ({"table": {"hidden": "x"}}, "array"),
    ],
)
def test_an_invalid_file_is_refused(tmp_path: Path, change: dict[str, object], problem: str):
    path, made = tmp_path / "opinion.json", contents(plain_table())
    table = change.pop("table", {})
    assert isinstance(table, dict)
    fields = {**plain_table().to_dict(), **table}
    path.write_text(json.dumps({**made, "table": fields, "digest": table_digest(fields), **change}))
    with pytest.raises(ModelError, match=problem):
        load_opinion("1" * 16, path)


def test_a_missing_file_is_an_error(tmp_path: Path):
    with pytest.raises(ModelError, match="cannot read"):
        load_opinion("1" * 16, tmp_path / "none.json")
    assert OPINION_PATH.is_file()
