"""The check that `train` and `valid` have nothing in common."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import pytest

import audio_files
import train_corpus
from overheard.hear.decode import load
from overheard_train.data import check_parser, open_data, run_check
from overheard_train.data.copies import correlation_at
from overheard_train.data.duplicate_responses import duplicate_responses
from overheard_train.data.splits import Finding, SplitReport, check_splits

RATE = 8000


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a corpus whose splits have nothing in common."""
    return train_corpus.write_corpus(tmp_path_factory.mktemp("splits") / "clean")


@pytest.fixture(scope="module")
def planted(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the corpus with one pair of files of each kind in both splits, each for another reason."""
    corpus = tmp_path_factory.mktemp("splits") / "planted"
    shutil.copytree(clean, corpus)
    music = load(corpus / "music/train-1.wav", RATE)
    write(corpus / "music/quiet.mp3", 0.2 * music[4000:])
    write(corpus / "noise/part.mp3", 0.3 * load(corpus / "noise/train-1.wav", RATE)[8000:36000])
    shutil.copy(corpus / "speech/train-1.wav", corpus / "speech/renamed.wav")
    response = load(corpus / "ir_room/train.flac", 16000)
    late = np.concatenate([np.zeros(160, np.float32), -0.4 * response[: len(response) // 2]])
    write(corpus / "ir_room/late.flac", late, 16000)
    noise = np.random.default_rng(7).standard_normal((2, 24000), dtype=np.float32)
    for name, samples in zip(("1-4711-a.wav", "3-4711-b.wav"), noise, strict=True):
        write(corpus / "noise" / name, 0.1 * samples)
    new = [("music", "valid", "music/quiet.mp3"), ("noise", "valid", "noise/part.mp3")]
    new += [("speech", "valid", "speech/renamed.wav"), ("ir_room", "valid", "ir_room/late.flac")]
    new += [("noise", "train", "noise/1-4711-a.wav"), ("noise", "valid", "noise/3-4711-b.wav")]
    new += [("ir_mic", "valid", "ir_mic/train.flac")]
    with (corpus / "manifest.csv").open("a", encoding="utf-8") as file:
        file.writelines(",".join(row) + "\n" for row in new)
    return corpus


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> None:
    codec = {".wav": "pcm_s16le", ".flac": "flac", ".mp3": "libmp3lame"}[path.suffix]
    samples = np.pad(samples, (0, -len(samples) % 1152)).astype(np.float32)
    audio_files.encode(path, samples[None], rate, codec, "mono")


def test_disjoint_splits_have_no_findings(clean: Path, tmp_path: Path) -> None:
    report = check_splits(open_data([clean], tmp_path), jobs=0)
    assert report == SplitReport((), report.counts)
    assert report.disjoint
    assert report.table() == ""
    assert report.counts["music"] == (train_corpus.N_MUSIC, train_corpus.N_MUSIC)
    assert report.counts["ir_mic"] == (1, 1)


def test_files_in_both_splits_are_found(planted: Path, tmp_path: Path) -> None:
    data = open_data([planted], tmp_path)
    report = check_splits(data, jobs=0)
    found = {(f.reason, f.kind, f.train.name, f.valid.name): f.strength for f in report.findings}
    assert set(found) == {
        ("copy", "music", "train-1.wav", "quiet.mp3"),
        ("copy", "noise", "train-1.wav", "part.mp3"),
        ("sound", "speech", "train-1.wav", "renamed.wav"),
        ("response", "ir_room", "train.flac", "late.flac"),
        ("group", "noise", "1-4711-a.wav", "3-4711-b.wav"),
        ("file", "ir_mic", "train.flac", "train.flac"),
    }
    assert found["copy", "music", "train-1.wav", "quiet.mp3"] > 0.18
    assert found["response", "ir_room", "train.flac", "late.flac"] > 0.98
    assert not report.disjoint
    assert len(report.table().splitlines()) == 6
    assert check_splits(data, jobs=0) == report  # from the existing caches and catalogue


def test_the_exit_code_reports_the_result(
    clean: Path,
    planted: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OVERHEARD_CACHE_DIR", str(tmp_path))
    parser = argparse.ArgumentParser()
    check_parser(parser.add_subparsers(dest="command", required=True))
    assert run_check(parser.parse_args(["data", "--data", str(clean), "--check", "--jobs", "1"])) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1].split() == ["music", "train", "5", "0.01", "0", "5"]
    assert out[-1] == "train and valid have nothing in common"
    assert run_check(parser.parse_args(["data", "--data", str(planted)])) == 0
    assert "in both splits" not in capsys.readouterr().out
    assert run_check(parser.parse_args(["data", "--data", str(planted), "--check", "--jobs", "1"])) == 1
    text = capsys.readouterr().out
    assert text.splitlines()[-1] == "in both splits: 6"
    assert f"{planted}/music/quiet.mp3 (valid) and {planted}/music/train-1.wav (train)" in text


def test_the_command_lists_undecodable_files(
    clean: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OVERHEARD_CACHE_DIR", str(tmp_path / "cache"))
    for number in range(25):
        (tmp_path / f"bad {number:02d}.wav").write_text("text")
    parser = argparse.ArgumentParser()
    check_parser(parser.add_subparsers(dest="command", required=True))
    assert run_check(parser.parse_args(["data", "--data", str(clean), "--data", f"noise={tmp_path}"])) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["noise", "train", "2", "0.00", "25", "2"] in [line.split() for line in lines]
    listed = [line for line in lines if line.startswith("unreadable: ")]
    assert len(listed) == 21
    assert listed[-1] == "unreadable: 5 more"
    assert "bad 00.wav: " in listed[0]


def test_findings_are_sorted_by_kind_and_strength() -> None:
    a, b = Path("a.wav"), Path("b.wav")
    findings = [Finding("copy", "noise", a, b, 0.3), Finding("version", "music", a, b, 0.6)]
    findings += [Finding("copy", "music", a, b, 0.4), Finding("copy", "music", b, a, 0.9)]
    lines = SplitReport(tuple(findings), {}).table().splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["copy", "music", "0.90"],
        ["copy", "music", "0.40"],
        ["version", "music", "0.60"],
        ["copy", "noise", "0.30"],
    ]


def test_a_window_correlates_only_at_its_own_position() -> None:
    rng = np.random.default_rng(0)
    samples = (3000 * rng.standard_normal(20 * RATE)).astype(np.int16)
    window = samples[9 * RATE : 14 * RATE].astype(np.float32) / np.float32(99999)
    assert correlation_at(window, samples, 8.2) > 0.5
    assert correlation_at(window, samples, 2.0) < 0.1
    assert correlation_at(window, samples, 40.0) == 0


def test_responses_match_despite_gain_sign_delay_and_length() -> None:
    rng = np.random.default_rng(1)
    decay = np.exp(-np.arange(4000) / 600)
    train = [(rng.standard_normal(4000) * decay).astype(np.float32) for _ in range(9)]
    valid = [
        np.concatenate([np.zeros(700), -5e3 * train[4][:3000]]).astype(np.float32),
        np.zeros(10, np.float32),
    ]
    ((number, other, correlation),) = duplicate_responses(train, valid)
    assert (number, other) == (4, 0)
    assert 0.98 < correlation <= 1.001
    assert list(duplicate_responses([], valid)) == list(duplicate_responses(train, [])) == []


def test_the_bands_exclude_no_matching_pair() -> None:
    rng = np.random.default_rng(2)
    shape = np.exp(-np.arange(500) / 40)
    base = rng.standard_normal(500) * shape
    mixed = [base + share * rng.standard_normal(500) * shape for share in np.linspace(0.02, 2, 40)]
    responses = [np.asarray(response, dtype=np.float32) for response in mixed]
    found = {(i, j): c for i, j, c in duplicate_responses(responses, responses, 0.5)}
    for i, one in enumerate(responses):
        for j, other in enumerate(responses):
            best = (
                np.abs(np.correlate(one, other, "full")).max() / np.linalg.norm(one) / np.linalg.norm(other)
            )
            if abs(best - 0.5) > 1e-3:
                assert ((i, j) in found) == (best > 0.5)
                assert best < 0.5 or found[i, j] == pytest.approx(best, abs=1e-3)
