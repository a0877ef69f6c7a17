from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import train_corpus
from overheard.errors import AudioError
from overheard_train import dataset
from overheard_train.dataset import load_clips, load_responses, read_manifest


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return train_corpus.write_corpus(tmp_path / "corpus")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that were decoded."""
    names: list[str] = []
    load = dataset.load

    def counting(path: Path, rate: int) -> np.ndarray:
        names.append(path.name)
        return load(path, rate)

    monkeypatch.setattr(dataset, "load", counting)
    return names


def test_recordings_come_in_the_manifests_order(corpus: Path, tmp_path: Path) -> None:
    clips = load_clips(corpus, ["music"], "train", tmp_path / "cache")
    assert clips.paths == tuple(row["path"] for row in read_manifest(corpus, ["music"], "train"))
    assert len(clips) == train_corpus.N_MUSIC and clips.samples.dtype == np.int16
    assert clips.starts[-1] == len(clips.samples)
    for index in range(len(clips)):
        assert len(clips.clip(index)) == pytest.approx(7 * 8000, rel=0.03)
        assert clips.clip(index).std() > 500
    assert not any("valid" in path for path in clips.paths)


def test_responses_are_resampled_and_peak_at_one(corpus: Path, tmp_path: Path) -> None:
    responses = load_responses(corpus, ["ir_room", "ir_room_synth"], "train", tmp_path / "cache")
    assert [len(response) for response in responses] == pytest.approx([4000, 2400], rel=0.2)
    assert all(np.abs(response).max() == 1 and response.dtype == np.float32 for response in responses)


def test_the_cache_is_taken_again(corpus: Path, tmp_path: Path, decoded: list[str]) -> None:
    first = load_clips(corpus, ["music"], "train", tmp_path / "cache")
    n_decoded = len(decoded)
    again = load_clips(corpus, ["music"], "train", tmp_path / "cache")
    assert n_decoded == len(decoded) == train_corpus.N_MUSIC
    np.testing.assert_array_equal(first.samples, again.samples)
    np.testing.assert_array_equal(first.starts, again.starts)
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_a_changed_manifest_is_noticed(corpus: Path, tmp_path: Path, decoded: list[str]) -> None:
    load_clips(corpus, ["noise"], "train", tmp_path / "cache")
    train_corpus.write_manifest(corpus, [("noise", "train", "noise/valid-1.wav")])
    clips = load_clips(corpus, ["noise"], "train", tmp_path / "cache")
    assert clips.paths == ("noise/valid-1.wav",) and decoded[-1] == "valid-1.wav"


def test_changed_files_and_another_corpus_are_noticed(
    corpus: Path, tmp_path: Path, decoded: list[str]
) -> None:
    before = load_clips(corpus, ["noise"], "train", tmp_path / "cache").samples.copy()
    (corpus / "noise/train-1.wav").write_bytes((corpus / "noise/valid-1.wav").read_bytes())
    after = load_clips(corpus, ["noise"], "train", tmp_path / "cache").samples.copy()
    assert len(decoded) == 4 and before.shape == after.shape and not np.array_equal(before, after)
    other = train_corpus.write_corpus(tmp_path / "other")
    load_clips(other, ["noise"], "train", tmp_path / "cache")
    assert len(decoded) == 6


@pytest.mark.parametrize("damage", ["half an index", "no samples", "short samples", "old index"])
def test_a_damaged_cache_is_made_anew(corpus: Path, tmp_path: Path, decoded: list[str], damage: str) -> None:
    cache = tmp_path / "cache"
    whole = load_clips(corpus, ["noise"], "train", cache).samples.copy()
    index, samples = cache / "noise-train-8000.json", cache / "noise-train-8000.s16"
    if damage == "half an index":
        index.write_text(index.read_text()[:40])
    elif damage == "no samples":
        samples.unlink()
    elif damage == "short samples":
        samples.write_bytes(samples.read_bytes()[:1000])
    else:
        index.write_text('{"paths": ["noise/train-0.wav", "noise/train-1.wav"], "starts": [0, 1, 2]}')
    np.testing.assert_array_equal(load_clips(corpus, ["noise"], "train", cache).samples, whole)
    assert len(decoded) == 4


def test_failing_midway_leaves_no_half_cache(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    (corpus / "noise/train-1.wav").write_bytes(b"no audio")
    with pytest.raises(AudioError, match=r"train-1\.wav"):
        load_clips(corpus, ["noise"], "train", cache)
    assert list(cache.iterdir()) == []


def test_what_is_missing_is_said(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no corpus in .*nowhere"):
        read_manifest(tmp_path / "nowhere", ["music"], "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioError, match=r"no manifest\.csv"):
        read_manifest(tmp_path / "empty", ["music"], "train")
    with pytest.raises(AudioError, match="lists no music of the split test"):
        load_clips(corpus, ["music"], "test", tmp_path / "cache")
    (corpus / "music/train-1.wav").unlink()
    with pytest.raises(AudioError, match=r"train-1\.wav is in the manifest"):
        load_clips(corpus, ["music"], "train", tmp_path / "cache")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a,b\n1,2\n", "columns kind, split and path"),
        (b"kind,split,path\n\xff\xfe", "unreadable"),
        (b"", "lists no"),
    ],
)
def test_a_broken_manifest_is_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(AudioError, match=says) as raised:
        read_manifest(tmp_path, ["music"], "train")
    assert "\n" not in str(raised.value)


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OVERHEARD_CACHE_DIR", str(tmp_path))
    assert dataset.default_cache_dir() == tmp_path
    monkeypatch.delenv("OVERHEARD_CACHE_DIR")
    assert dataset.default_cache_dir() == Path.home() / ".cache" / "overheard"
