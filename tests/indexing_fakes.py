"""Fingerprinter without a model, for tests of indexing. As a program, it indexes in a process of its own."""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from overheard.errors import ModelError
from overheard.fingerprint.spec import SPEC, FingerprintSpec

CODE_BYTES = 6


class FakeFingerprinter:
    """Fake whose codes depend on the spectrum of each segment.

    Parameters
    ----------
    digest, network_digest : of the model that it replaces
    log : file that gets one line per chunk
    delay_s : time that each chunk takes
    crash_level : amplitude above which it ends its process, as a broken decoder would
    bug_level : amplitude above which it raises ZeroDivisionError, as a bug would
    """

    spec: FingerprintSpec = SPEC
    code_bytes = CODE_BYTES

    def __init__(
        self,
        digest: str = "feed" * 4,
        log: Path | None = None,
        delay_s: float = 0.0,
        crash_level: float = 9.0,
        bug_level: float = 9.0,
        network_digest: str = "0" * 16,
    ) -> None:
        self.digest, self._log, self._delay_s = digest, log, delay_s
        self.network_digest = network_digest
        self._crash_level, self._bug_level = crash_level, bug_level

    def embed(self, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        time.sleep(self._delay_s)
        if self._log is not None:
            with self._log.open("a") as file:
                file.write(f"{len(waveform)}\n")
        if np.abs(waveform).max() > self._crash_level:
            os._exit(42)
        if np.abs(waveform).max() > self._bug_level:
            raise ZeroDivisionError("a bug")
        size, hop = self.spec.segment_samples, self.spec.hop_frames * self.spec.frontend.hop_length
        if len(waveform) < size:
            waveform = np.pad(waveform, (0, size - len(waveform)))
        segments = np.lib.stride_tricks.sliding_window_view(waveform, size)[::hop]
        return np.abs(np.fft.rfft(segments, axis=1)).astype(np.float32)

    def encode(
        self, spectra: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        codes = np.stack(
            [part.argmax(axis=1) for part in np.array_split(spectra, CODE_BYTES, axis=1)], axis=1
        )
        return spectra.argmax(axis=1).astype(np.uint16), codes.astype(np.uint8)


class WithoutNetwork(FakeFingerprinter):
    """Fake of a model whose network cannot be run, or of a machine without a runtime."""

    def embed(self, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        raise ModelError("no TensorFlow Lite runtime is installed", "pip install it")


def main(folder: str, pack: str, jobs: str, delay_s: str) -> int:
    """Index, and print a line after each file."""
    from overheard.index.run import index

    make = functools.partial(FakeFingerprinter, delay_s=float(delay_s))
    index([folder], Path(pack), make, int(jobs), lambda state: print(state.done, state.total, flush=True))
    return 0


class SlowFake(FakeFingerprinter):
    """Replaces the model in the command line; environment variables set its delay, bug level and network."""

    def __init__(self, _model_path: Path | None = None, _compact: bool = False) -> None:
        super().__init__(
            delay_s=float(os.environ.get("FAKE_DELAY_S", "0")),
            bug_level=float(os.environ.get("FAKE_BUG_LEVEL", "9")),
            network_digest=os.environ.get("FAKE_NETWORK", "0" * 16),
        )


def command_line(argv: list[str]) -> int:
    """Run the command line without a model."""
    from overheard import cli
    from overheard.index import worker as index_worker

    index_worker.ModelFingerprinter = SlowFake  # type: ignore[assignment,misc]
    return cli.main(argv)


if __name__ == "__main__":
    # A shell starts background jobs with SIGINT ignored, and child processes inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(command_line(sys.argv[2:]) if sys.argv[1] == "cli" else main(*sys.argv[1:]))
