"""Compare a Raspberry Pi's embeddings and answers with this machine's; `script/test-pi` runs this.

usage: test-pi.py versions | make FOLDER | network FOLDER CPU | embeddings FOLDER | identified FOLDER
`make` runs on this machine, the other commands on the Pi.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from overheard.demo.room import cafe
from overheard.demo.synth import synthesize, write_wav
from overheard.fingerprint.embedder import Embedder, embed_waveform
from overheard.fingerprint.frontend import log_mel, slice_segments
from overheard.fingerprint.model import default_model
from overheard.fingerprint.runtime import available_runtimes
from overheard.hear import decode as audio

PIECES = 8
PIECE_S = 45.0
CLIP_S = 8.0
FILE_SAMPLE_RATE = 22050  # not the model's, so that the resampler is compared too
STEP_FRAMES = 16
MIN_COSINE = 0.999
MAX_OFFSET_S = 0.5


def versions() -> int:
    """Print the versions of the installed packages."""
    names = ["numpy", "scipy", "av", "soxr", "sounddevice", "annoy", *available_runtimes()]
    print(
        f"Python {sys.version.split()[0]}:", ", ".join(f"{n} {importlib.metadata.version(n)}" for n in names)
    )
    return 0


def make(folder: Path) -> int:
    """Write a collection, clips of it in cafe noise, and this machine's outputs for the collection."""
    rng = np.random.default_rng(2026)
    truth: dict[str, dict[str, object]] = {}
    for name in ("music", "queries"):
        (folder / name).mkdir()
    for seed in range(PIECES + 1):  # the last one is not in the collection
        piece = synthesize(700 + seed, PIECE_S, FILE_SAMPLE_RATE)
        if seed < PIECES:
            write_wav(folder / "music" / f"{seed}.wav", piece.waveform, FILE_SAMPLE_RATE)
        start_s = float(rng.uniform(2, PIECE_S - CLIP_S - 2))
        clip = piece.waveform[int(start_s * FILE_SAMPLE_RATE) :][: int(CLIP_S * FILE_SAMPLE_RATE)]
        noise = cafe(rng, len(clip), FILE_SAMPLE_RATE)
        mixed = clip + noise * np.sqrt(np.mean(clip**2) / np.mean(noise**2)) * 10 ** (-10 / 20)
        write_wav(
            folder / "queries" / f"{seed}.wav",
            (0.5 * mixed / np.abs(mixed).max()).astype(np.float32),
            FILE_SAMPLE_RATE,
        )
        truth[f"{seed}.wav"] = {"in_collection": seed < PIECES, "offset_s": start_s}
    (folder / "truth.json").write_text(json.dumps(truth))
    embedder = Embedder(default_model())
    inputs, outputs, embedded = [], [], []
    for path in sorted((folder / "music").iterdir()):
        waveform = audio.load(path)
        values = embedder.quantize(slice_segments(log_mel(waveform), STEP_FRAMES))
        inputs.append(values)
        outputs.append(run(embedder, values))
        embedded.append(embed_waveform(embedder, waveform, STEP_FRAMES))
    np.savez(
        folder / "reference.npz",
        inputs=np.concatenate(inputs),
        outputs=np.concatenate(outputs),
        embeddings=np.concatenate(embedded),
    )
    runtimes = ", ".join(f"{name} {version}" for name, version in available_runtimes().items())
    print(f"model {default_model().digest}, this machine's runtime: {runtimes}")
    return 0


def run(embedder: Embedder, inputs: np.ndarray) -> np.ndarray:
    """Return the network's int8 outputs, ``(n, dim)``."""
    return np.stack([embedder.network.invoke(values[None, :, :, None])[0] for values in inputs])


def network(folder: Path, cpu: str) -> int:
    """Compare the network's outputs for the same inputs, bit for bit."""
    with np.load(folder / "reference.npz") as reference:
        inputs, expected = reference["inputs"], reference["outputs"]
    embedder = Embedder(default_model())
    begin = time.perf_counter()
    outputs = run(embedder, inputs)
    each_ms = (time.perf_counter() - begin) / len(inputs) * 1000
    different = int((outputs != expected).sum())
    print(
        f"network on {cpu + ':':<12} {len(inputs)} segments, {outputs.size - different} of {outputs.size}"
        f" int8 outputs are equal ({each_ms:.0f} ms a segment)"
    )
    return int(different > 0)


def embeddings(folder: Path) -> int:
    """Compare embeddings from the same files: decoder, resampler, front-end, network."""
    with np.load(folder / "reference.npz") as reference:
        inputs, expected = reference["inputs"], reference["embeddings"]
    embedder = Embedder(default_model())
    waveforms = [audio.load(path) for path in sorted((folder / "music").iterdir())]
    values = np.concatenate(
        [embedder.quantize(slice_segments(log_mel(waveform), STEP_FRAMES)) for waveform in waveforms]
    )
    embedded = np.concatenate([embed_waveform(embedder, waveform, STEP_FRAMES) for waveform in waveforms])
    cosines = (embedded * expected).sum(axis=1)
    print(
        f"embeddings of the same files: {len(cosines)} segments, cosine {cosines.min():.6f} at least,"
        f" {cosines.mean():.6f} on average; {(values != inputs).mean():.1e} of the int8 inputs differ"
    )
    return int(not cosines.min() > MIN_COSINE)


def identified(folder: Path) -> int:
    """Compare the lines of `overheard identify --json` with the truth."""
    truth = json.loads((folder / "truth.json").read_text())
    correct = incorrect = 0
    lines = (folder / "identified.jsonl").read_text().splitlines()
    for line in lines:
        answer = json.loads(line)
        name = Path(answer["file"]).name
        plays = answer["plays"]
        if truth[name]["in_collection"]:
            correct += len(plays) == 1 and is_correct(plays[0], name, truth[name]["offset_s"])
        else:
            correct += not plays
        incorrect += any(Path(play["track"]["path"]).name != name for play in plays)
        description = "; ".join(f"{play['track']['title']} at {play['offset_s']:.1f} s" for play in plays)
        print(f"{name}: {description or answer['verdict']}")
    print(
        f"identify: {correct} of {len(truth)} clips of {CLIP_S:.0f} s in cafe noise correct,"
        f" {incorrect} incorrect"
    )
    return int(correct < len(truth) - 1 or incorrect > 0 or len(lines) != len(truth))


def is_correct(play: dict[str, Any], name: str, offset_s: float) -> bool:
    """Return whether a play is the clip's piece at its offset."""
    play_offset_s = play["offset_s"] - play["start_s"]
    return Path(play["track"]["path"]).name == name and abs(play_offset_s - offset_s) < MAX_OFFSET_S


def main(arguments: list[str]) -> int:
    """Run one step."""
    step, *rest = arguments
    if step == "versions":
        return versions()
    folder = Path(rest[0])
    if step == "network":
        return network(folder, rest[1])
    return {"make": make, "embeddings": embeddings, "identified": identified}[step](folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
