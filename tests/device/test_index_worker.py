"""Fingerprinting of one file in chunks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import audio_files
from overheard.fingerprint.embedder import Embedder, fingerprint
from overheard.fingerprint.model import load_model
from overheard.fingerprint.spec import SPEC
from overheard.hear.decode import load
from overheard.index.stream import chunks
from overheard.index.worker import ModelFingerprinter, fingerprint_file
from overheard.settings import MODELS_DIR

SEGMENT = SPEC.segment_samples
HOP = SPEC.hop_frames * SPEC.frontend.hop_length


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 60 * 8000),
    n_segments=st.integers(1, 9),
    cuts=st.lists(st.integers(0, 60 * 8000), max_size=20),
)
def test_chunks_contain_every_segment_of_the_stream_once(n: int, n_segments: int, cuts: list[int]) -> None:
    wave = np.arange(n, dtype=np.float32)
    blocks = np.split(wave, sorted(min(cut, n) for cut in cuts))
    result = list(chunks(blocks, SPEC, n_segments))
    if n < SEGMENT:
        assert [len(chunk) for chunk in result] == ([n] if n else [])
        return
    starts = [chunk[start] for chunk in result for start in range(0, len(chunk) - SEGMENT + 1, HOP)]
    assert starts == list(range(0, n - SEGMENT + 1, HOP))
    for chunk in result:
        np.testing.assert_array_equal(np.diff(chunk), 1)


def test_a_file_in_chunks_has_the_fingerprint_of_the_file_at_once(tmp_path: Path) -> None:
    if not list(MODELS_DIR.glob("*.tflite")):
        pytest.skip("no model is packaged")
    wave = audio_files.music(150.3)
    path = audio_files.encode(tmp_path / "long.wav", wave, 8000, "pcm_f32le", "mono")
    entry = fingerprint_file(path, ModelFingerprinter())
    model = load_model()
    embeddings = fingerprint(Embedder(model), load(path))
    packed_cells, codes = model.encode_track(embeddings)
    np.testing.assert_array_equal(entry.packed_cells, packed_cells)
    np.testing.assert_array_equal(entry.codes, codes)


def test_a_fingerprinter_may_be_used_by_several_threads_at_once() -> None:
    if not list(MODELS_DIR.glob("*.tflite")):
        pytest.skip("no model is packaged")
    waves = [audio_files.music(8.0, seed)[0] for seed in range(6)]
    fingerprinter = ModelFingerprinter()
    wanted = [fingerprinter.embed(wave) for wave in waves]
    with ThreadPoolExecutor(3) as threads:
        for embeddings, expected in zip(threads.map(fingerprinter.embed, waves), wanted, strict=True):
            np.testing.assert_array_equal(embeddings, expected)
