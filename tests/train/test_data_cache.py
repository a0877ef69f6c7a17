"""The cache of decoded recordings: reuse, damage, interruption, several processes."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from crashing_loader import load_or_crash

import audio_files
import train_corpus
from overheard.errors import AudioError
from overheard_train.data import decode, open_data
from overheard_train.data.cache import Clips, Listing, cached_clips, default_cache_dir
from overheard_train.data.decode import Decoded, decode_files, load
from overheard_train.data.journal import Journal

ROOT = Path(__file__).parents[2]
N_FILES = 6


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return train_corpus.write_corpus(tmp_path / "corpus")


@pytest.fixture
def listing(tmp_path: Path) -> Listing:
    """Six files, a second of music each."""
    names = tuple(f"{number}.wav" for number in range(N_FILES))
    for number, name in enumerate(names):
        audio_files.encode(tmp_path / name, audio_files.music(1.0, number), 8000, "pcm_s16le", "mono")
    return Listing(names, tuple(tmp_path / name for name in names))


class Counting:
    """Loads files and records their names; fails after some of them."""

    def __init__(self, fail_after: int = 1000) -> None:
        self.names: list[str] = []
        self.fail_after = fail_after

    def __call__(self, path: Path, sample_rate: int) -> np.ndarray:
        if len(self.names) == self.fail_after:
            raise KeyboardInterrupt
        self.names.append(path.name)
        return load(path, sample_rate)


def assert_same(one: Clips, other: Clips) -> None:
    assert one.paths == other.paths
    assert one.unreadable == other.unreadable
    np.testing.assert_array_equal(one.starts, other.starts)
    np.testing.assert_array_equal(one.samples, other.samples)


def test_recordings_have_the_order_of_the_manifest(corpus: Path, tmp_path: Path) -> None:
    clips = open_data([corpus], tmp_path / "cache").clips(["music"], "train")
    assert clips.paths == tuple(f"music/train-{n}.{'ogg' if n == 0 else 'wav'}" for n in range(len(clips)))
    assert len(clips) == train_corpus.N_MUSIC
    assert clips.samples.dtype == np.int16
    assert isinstance(clips.samples, np.memmap)
    assert clips.starts[-1] == len(clips.samples)
    for index in range(len(clips)):
        assert len(clips.clip(index)) == pytest.approx(7 * 8000, rel=0.03)
        assert clips.clip(index).std() > 500
    assert clips.unreadable == ()


def test_responses_are_resampled_and_peak_at_one(corpus: Path, tmp_path: Path) -> None:
    responses = open_data([corpus], tmp_path / "cache").responses(["ir_room", "ir_room_synth"], "train")
    assert [len(response) for response in responses] == pytest.approx([4000, 2400], rel=0.2)
    assert all(np.abs(response).max() == 1 and response.dtype == np.float32 for response in responses)


def test_a_quiet_response_keeps_its_tail(tmp_path: Path) -> None:
    response = np.zeros((1, 2304), dtype=np.float32)
    response[0, 40], response[0, 400] = 2e-3, 2e-6
    audio_files.encode(tmp_path / "quiet.wav", response, 8000, "pcm_f32le", "mono")
    (found,) = open_data([f"ir_mic={tmp_path}"], tmp_path / "cache").responses(["ir_mic"], "train")
    assert found[400] == pytest.approx(1e-3, rel=0.05)


def test_silent_responses_are_skipped(tmp_path: Path) -> None:
    audio_files.encode(tmp_path / "no.wav", np.zeros((1, 2304), np.float32), 8000, "pcm_s16le", "mono")
    with pytest.raises(AudioError, match="the ir_mic of the split train are all silent"):
        open_data([f"ir_mic={tmp_path}"], tmp_path / "cache").responses(["ir_mic"], "train")


def test_the_cache_is_reused(listing: Listing, tmp_path: Path) -> None:
    counting = Counting()
    first = cached_clips(tmp_path / "cache" / "x", listing, 1, counting)
    again = cached_clips(tmp_path / "cache" / "x", listing, 1, counting)
    assert len(counting.names) == N_FILES
    assert_same(first, again)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["x.json", "x.s16"]


def test_only_new_and_changed_files_are_decoded(listing: Listing, tmp_path: Path) -> None:
    cached_clips(tmp_path / "x", listing, 1)
    listing.files[2].write_bytes(listing.files[5].read_bytes())
    listing.files[3].write_bytes(b"")
    counting = Counting()
    changed = Listing(listing.names[1:][::-1], listing.files[1:][::-1])
    clips = cached_clips(tmp_path / "x", changed, 1, counting)
    assert counting.names == ["3.wav", "2.wav"]
    assert clips.paths == ("5.wav", "4.wav", "2.wav", "1.wav")
    assert [p for p, _ in clips.unreadable] == ["3.wav"]
    np.testing.assert_array_equal(clips.clip(0), clips.clip(2))
    assert_same(clips, cached_clips(tmp_path / "again", changed, 1))


@pytest.mark.parametrize(
    "damage", ["half an index", "no samples", "short samples", "no stamps", "no paths", "old format"]
)
def test_a_damaged_cache_is_filled_again(listing: Listing, tmp_path: Path, damage: str) -> None:
    whole = cached_clips(tmp_path / "x", listing, 1)
    kept = Clips(whole.samples.copy(), whole.starts, whole.paths)
    index, samples = tmp_path / "x.json", tmp_path / "x.s16"
    if damage == "half an index":
        index.write_text(index.read_text()[:40])
    elif damage == "no samples":
        samples.unlink()
    elif damage == "short samples":
        samples.write_bytes(samples.read_bytes()[:1000])
    else:
        values = json.loads(index.read_text())
        values.pop({"no stamps": "stamps", "no paths": "paths", "old format": "format"}[damage])
        index.write_text(json.dumps(values))
    counting = Counting()
    assert_same(cached_clips(tmp_path / "x", listing, 1, counting), kept)
    assert len(counting.names) == N_FILES


def test_undecodable_files_are_skipped_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "music" / "album"
    folder.mkdir(parents=True)
    for number in range(2):
        audio_files.write_music(folder / f"good{number}.mp3", 2.0, number)
    (folder / "cut.flac").write_bytes(audio_files.write_music(tmp_path / "x.flac", 2.0).read_bytes()[:40])
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.ogg").write_text("no audio at all")
    (folder / "lost.mp3").symlink_to(tmp_path / "nowhere.mp3")
    data = open_data([tmp_path / "music"], tmp_path / "cache")
    clips = data.clips(["music"], "train")
    assert clips.paths == ("album/good0.mp3", "album/good1.mp3")
    assert clips.clip(1).std() > 500
    reasons = {Path(path).name: reason for path, reason in clips.unreadable}
    assert sorted(reasons) == ["cut.flac", "empty.wav", "lost.mp3", "text.ogg"]
    assert "empty" in reasons["empty.wav"]
    assert "no such file" in reasons["lost.mp3"]
    assert not any(str(tmp_path) in reason for reason in reasons.values())
    assert caplog.text.count("is ignored, because it cannot be decoded") == 4
    caplog.clear()
    assert data.clips(["music"], "train").unreadable == clips.unreadable  # not reported again
    assert caplog.text == ""


def test_no_decodable_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    (tmp_path / "b.wav").write_text("text")
    with pytest.raises(
        AudioError,
        match=r"noise of the split train: none of 1 recordings can be decoded; the first is [ab]\.wav: ",
    ):
        open_data([f"noise={tmp_path}"], tmp_path / "cache").clips(["noise"], "train")
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_interrupted_run_is_continued(listing: Listing, tmp_path: Path) -> None:
    listing.files[1].write_text("text")
    with pytest.raises(KeyboardInterrupt):
        cached_clips(tmp_path / "x", listing, 1, Counting(fail_after=4))
    assert sorted(path.name for path in tmp_path.glob("x.*")) == ["x.journal", "x.s16.partial"]
    counting = Counting()
    clips = cached_clips(tmp_path / "x", listing, 1, counting)
    assert counting.names == ["4.wav", "5.wav"]
    assert_same(clips, cached_clips(tmp_path / "again", listing, 1))


@pytest.mark.parametrize("damage", ["torn line", "lost samples", "torn sample", "other files", "no journal"])
def test_recordings_damaged_by_a_crash_are_decoded_again(
    listing: Listing, tmp_path: Path, damage: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        cached_clips(tmp_path / "x", listing, 1, Counting(fail_after=4))
    journal, samples = tmp_path / "x.journal", tmp_path / "x.s16.partial"
    if damage == "torn line":
        journal.write_bytes(journal.read_bytes()[:-4])
    elif damage == "lost samples":
        os.truncate(samples, 2 * 8000 * 3 + 100)
    elif damage == "torn sample":
        samples.write_bytes(samples.read_bytes() + b"\1\2\3")
    elif damage == "other files":
        listing.files[5].write_bytes(listing.files[0].read_bytes())
    else:
        journal.unlink()
    counting = Counting()
    clips = cached_clips(tmp_path / "x", listing, 1, counting)
    first = {"torn line": 3, "lost samples": 3, "torn sample": 4, "other files": 0, "no journal": 0}[damage]
    assert counting.names == list(listing.names[first:])
    assert_same(clips, cached_clips(tmp_path / "again", listing, 1))


KILLED = """
import sys, time
from pathlib import Path
from overheard_train.data import decode, journal
from overheard_train.data.cache import Listing, cached_clips

def slow(path, rate):
    time.sleep(0.05)
    print(path.name, flush=True)
    return decode.load(path, rate)

journal.SYNC_INTERVAL_S = 0.0
decode.MIN_POOL_BYTES = 0
folder = Path(sys.argv[1])
files = tuple(folder / f"{number % 6}.wav" for number in range(400))
names = tuple(f"{number}.wav" for number in range(400))
cached_clips(folder / "x", Listing(names, files), *((1, slow) if sys.argv[2] == "1" else (2,)))
"""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_killed_run_is_continued_and_leaves_no_process(listing: Listing, tmp_path: Path, jobs: str) -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in ("device", "train"))}
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), jobs],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    journal = tmp_path / "x.journal"
    while killed.poll() is None and (not journal.exists() or journal.read_text().count("\n") < 4):
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)  # returns only when its workers, which share the pipes, are gone too
    n_done = journal.read_text().count("\n") - 1
    assert 3 <= n_done < 400
    assert not (tmp_path / "x.s16").exists()
    names = tuple(f"{number}.wav" for number in range(400))
    long = Listing(names, tuple(listing.files[number % N_FILES] for number in range(400)))
    counting = Counting()
    clips = cached_clips(tmp_path / "x", long, 1, counting)
    assert 400 - n_done - 1 <= len(counting.names) <= 400 - n_done
    assert_same(clips, cached_clips(tmp_path / "again", long, 1))


def test_a_second_process_waits_and_uses_the_first_ones_cache(listing: Listing, tmp_path: Path) -> None:
    made = cached_clips(tmp_path / "made", listing, 1)
    counting, found = Counting(), []
    first = Journal(tmp_path / "x", "some key")
    second = threading.Thread(
        target=lambda: found.append(cached_clips(tmp_path / "x", listing, 1, counting)), daemon=True
    )
    second.start()
    for index in range(len(made)):
        first.add(Decoded(made.clip(index), ""))
    second.join(timeout=0.3)
    assert second.is_alive()
    assert not counting.names
    first.finish(json.loads((tmp_path / "made.json").read_text()))
    second.join(timeout=30)
    assert counting.names == []
    assert_same(found[0], made)


def test_a_full_disk_keeps_the_recordings_decoded_so_far(
    listing: Listing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Journal.add

    def full(self: Journal, decoded: Decoded) -> None:
        if len(self.lengths) == 3:
            raise OSError(28, "No space left on device")
        add(self, decoded)

    monkeypatch.setattr(Journal, "add", full)
    with pytest.raises(OSError, match="No space left"):
        cached_clips(tmp_path / "x", listing, 1)
    monkeypatch.undo()
    counting = Counting()
    cached_clips(tmp_path / "x", listing, 1, counting)
    assert counting.names == ["3.wav", "4.wav", "5.wav"]


def test_processes_decode_identically_and_in_order(
    listing: Listing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing.files[3].write_text("text")
    here = list(decode_files(listing.files, jobs=1))
    monkeypatch.setattr(decode, "MIN_POOL_BYTES", 0)
    there = list(decode_files(listing.files, jobs=2))
    assert [d.reason for d in here] == [d.reason for d in there]
    assert here[3].samples is None
    for one, other in zip(here, there, strict=True):
        if one.samples is not None:
            np.testing.assert_array_equal(one.samples, other.samples)


@pytest.mark.parametrize("pause_s", [0.0, 0.4])  # it dies while the caller waits for a result, or uses one
def test_a_file_that_crashes_its_process_is_the_only_one_lost(
    listing: Listing, monkeypatch: pytest.MonkeyPatch, pause_s: float
) -> None:
    monkeypatch.setattr(decode, "MIN_POOL_BYTES", 0)
    found = []
    for decoded in decode_files(listing.files, jobs=2, loader=load_or_crash):
        found.append(decoded)
        time.sleep(pause_s)
    assert [d.samples is None for d in found] == [False, True, False, False, True, False]
    assert "crashed" in found[1].reason
    assert found[4].reason == found[1].reason


def test_each_set_of_sources_has_its_own_cache(corpus: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    alone = open_data([corpus], cache).clips(["noise"], "train")
    both = open_data([corpus, f"noise={corpus / 'speech'}"], cache).clips(["noise"], "train")
    other = open_data([f"noise={corpus / 'noise'}"], cache).clips(["noise"], "train")
    assert len(list(cache.glob("*.s16"))) == 3
    assert (cache / "noise-train-8000.s16").exists()
    assert both.paths[: len(alone)] == alone.paths  # so lists of the corpus's files stay valid
    assert len(both) > len(alone)
    assert all(Path(path).is_absolute() for path in both.paths[len(alone) :])
    assert set(other.paths) <= {"train-0.wav", "train-1.wav", "valid-0.wav", "valid-1.wav"}
    for number, path in enumerate(alone.paths):
        np.testing.assert_array_equal(alone.clip(number), both.clip(both.paths.index(path)))


def test_decoding_logs_its_progress(
    listing: Listing, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overheard_train.data.cache.REPORT_INTERVAL_S", 0.0)
    with caplog.at_level(logging.INFO):
        cached_clips(tmp_path / "x", listing, 1)
    assert f"decoding {N_FILES} recordings into {tmp_path / 'x'}" in caplog.text
    assert "5 of 6" in caplog.text


def test_the_environment_sets_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OVERHEARD_CACHE_DIR", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.delenv("OVERHEARD_CACHE_DIR")
    assert default_cache_dir() == Path.home() / ".cache" / "overheard"
