"""The shipped network gives the same bits on every machine, so that packs can be exchanged."""

from __future__ import annotations

import platform

import numpy as np
import pytest

from golden import renew
from overheard.fingerprint.model import default_model
from overheard.fingerprint.runtime import RUNTIMES, Network, available_runtimes
from overheard.settings import MODELS_DIR

# Each runtime's arithmetic: XNNPACK's, which export's round_alike makes the same on x86 and ARM, and that of
# TensorFlow Lite's own kernels (on x86), a unit apart here and there. tflite-runtime lacks XNNPACK's int8.
ARITHMETIC = {"ai-edge-litert": "xnnpack", "tflite-runtime": "builtin"}
ON_X86 = platform.machine() in ("x86_64", "AMD64")
WHY_X86 = "TensorFlow Lite's builtin kernels round differently on ARM"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(renew.HERE / "network.npz") as arrays:
        return dict(arrays)


def outputs_of(network: Network, inputs: np.ndarray) -> np.ndarray:
    return np.stack([network.invoke(values[None, :, :, None])[0] for values in inputs])


def test_golden_outputs_are_of_the_shipped_model(golden: dict[str, np.ndarray]) -> None:
    renewing = "the model changed: python tests/golden/renew.py"
    assert str(golden["digest"]) == default_model().digest, renewing
    assert (len(golden["inputs"]), default_model().spec.dim) == golden["xnnpack"].shape, renewing


def test_a_runtime_is_installed() -> None:
    assert set(RUNTIMES.values()) == set(ARITHMETIC)
    assert available_runtimes()


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("runtime", RUNTIMES.values())
def test_outputs_are_golden_bit_for_bit(runtime: str, n_threads: int, golden: dict[str, np.ndarray]) -> None:
    if runtime not in available_runtimes():
        pytest.skip(f"{runtime} is not installed here")
    if ARITHMETIC[runtime] == "builtin" and not ON_X86:
        pytest.skip(WHY_X86)
    outputs = outputs_of(Network(default_model().tflite, n_threads, runtime), golden["inputs"])
    assert outputs.dtype == np.int8
    np.testing.assert_array_equal(outputs, golden[ARITHMETIC[runtime]])


def test_outputs_do_not_depend_on_what_ran_before(golden: dict[str, np.ndarray]) -> None:
    network = Network(default_model().tflite)
    forwards, backwards = (outputs_of(network, golden["inputs"][::step]) for step in (1, -1))
    np.testing.assert_array_equal(forwards, backwards[::-1])


def test_both_runtimes_have_the_same_builtin_kernels(golden: dict[str, np.ndarray]) -> None:
    if "ai-edge-litert" not in available_runtimes():
        pytest.skip("ai-edge-litert is not installed here")
    if not ON_X86:
        pytest.skip(WHY_X86)
    np.testing.assert_array_equal(renew.builtin_outputs(default_model(), golden["inputs"]), golden["builtin"])


def test_embeddings_of_both_runtimes_are_similar_enough_to_match(golden: dict[str, np.ndarray]) -> None:
    ours, theirs = golden["xnnpack"].astype(int), golden["builtin"].astype(int)
    product = (ours * theirs).sum(axis=1)
    cosines = product / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.min() > 0.99


@pytest.mark.parametrize(
    ("name", "n_bytes"),
    [("overheard", 4_000_000), ("small", 1_200_000), ("tiny", 350_000), ("overheard-tiny", 350_000)],
)
def test_networks_stay_small(name: str, n_bytes: int) -> None:
    assert (MODELS_DIR / f"{name}.tflite").stat().st_size < n_bytes
