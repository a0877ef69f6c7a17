"""Compares what a Raspberry Pi makes of audio with what this machine makes of it; `script/test-pi` runs this.

usage: test-pi.py versions | make FOLDER | network FOLDER CPU | embeddings FOLDER | named FOLDER
`make` runs on this machine, the others on the Pi.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from pathlib import Path

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
RATE = 22050  # of the files, so that the resampler is compared too
STEP_FRAMES = 16
MIN_COSINE = 0.999
MAX_OFFSET_S = 0.5


def versions() -> int:
    """Print what pip installed."""
    names = ["numpy", "scipy", "av", "soxr", "sounddevice", "mutagen", "annoy", *available_runtimes()]
    print(
        f"Python {sys.version.split()[0]}:", ", ".join(f"{n} {importlib.metadata.version(n)}" for n in names)
    )
    return 0


def make(folder: Path) -> int:
    """Write a collection, clips of it in cafe noise, and what this machine makes of the collection."""
    rng = np.random.default_rng(2026)
    truth: dict[str, dict[str, object]] = {}
    for name in ("music", "queries"):
        (folder / name).mkdir()
    for seed in range(PIECES + 1):  # the last is in no pack
        piece = synthesize(700 + seed, PIECE_S, RATE)
        if seed < PIECES:
            write_wav(folder / "music" / f"{seed}.wav", piece.waveform, RATE)
        start_s = float(rng.uniform(2, PIECE_S - CLIP_S - 2))
        clip = piece.waveform[int(start_s * RATE) :][: int(CLIP_S * RATE)]
        noise = cafe(rng, len(clip), RATE)
        mixed = clip + noise * np.sqrt(np.mean(clip**2) / np.mean(noise**2)) * 10 ** (-10 / 20)
        write_wav(
            folder / "queries" / f"{seed}.wav", (0.5 * mixed / np.abs(mixed).max()).astype(np.float32), RATE
        )
        truth[f"{seed}.wav"] = {"in_pack": seed < PIECES, "offset_s": start_s}
    (folder / "truth.json").write_text(json.dumps(truth))
    embedder = Embedder(default_model())
    inputs, outputs, embeddings = [], [], []
    for path in sorted((folder / "music").iterdir()):
        waveform = audio.load(path)
        values = embedder.quantize(slice_segments(log_mel(waveform), STEP_FRAMES))
        inputs.append(values)
        outputs.append(run(embedder, values))
        embeddings.append(embed_waveform(embedder, waveform, STEP_FRAMES))
    np.savez(
        folder / "there.npz",
        inputs=np.concatenate(inputs),
        outputs=np.concatenate(outputs),
        embeddings=np.concatenate(embeddings),
    )
    runtimes = ", ".join(f"{name} {version}" for name, version in available_runtimes().items())
    print(f"model {default_model().digest}, this machine's runtime: {runtimes}")
    return 0


def run(embedder: Embedder, inputs: np.ndarray) -> np.ndarray:
    """Return the network's int8 outputs, ``(n, dim)``."""
    return np.stack([embedder.network.invoke(values[None, :, :, None])[0] for values in inputs])


def network(folder: Path, cpu: str) -> int:
    """Compare outputs of equal inputs, bit for bit."""
    with np.load(folder / "there.npz") as there:
        inputs, wanted = there["inputs"], there["outputs"]
    embedder = Embedder(default_model())
    begin = time.perf_counter()
    outputs = run(embedder, inputs)
    each_ms = (time.perf_counter() - begin) / len(inputs) * 1000
    different = int((outputs != wanted).sum())
    print(
        f"network on {cpu + ':':<12} {len(inputs)} segments, {outputs.size - different} of {outputs.size}"
        f" int8 outputs are this machine's ({each_ms:.0f} ms a segment)"
    )
    return int(different > 0)


def embeddings(folder: Path) -> int:
    """Compare embeddings from the same files: decoder, resampler, front-end, network."""
    with np.load(folder / "there.npz") as there:
        inputs, wanted = there["inputs"], there["embeddings"]
    embedder = Embedder(default_model())
    waveforms = [audio.load(path) for path in sorted((folder / "music").iterdir())]
    values = np.concatenate(
        [embedder.quantize(slice_segments(log_mel(waveform), STEP_FRAMES)) for waveform in waveforms]
    )
    ours = np.concatenate([embed_waveform(embedder, waveform, STEP_FRAMES) for waveform in waveforms])
    cosines = (ours * wanted).sum(axis=1)
    print(
        f"embeddings of the same files: {len(cosines)} segments, cosine {cosines.min():.6f} at least,"
        f" {cosines.mean():.6f} on average; {(values != inputs).mean():.1e} of the int8 inputs differ"
    )
    return int(not cosines.min() > MIN_COSINE)


def named(folder: Path) -> int:
    """Judge the lines of `overheard identify --json`."""
    truth = json.loads((folder / "truth.json").read_text())
    right = wrong = 0
    lines = (folder / "identified.jsonl").read_text().splitlines()
    for line in lines:
        found = json.loads(line)
        name = Path(found["file"]).name
        plays = found["plays"]
        if truth[name]["in_pack"]:
            right += len(plays) == 1 and is_right(plays[0], name, truth[name]["offset_s"])
        else:
            right += not plays
        wrong += any(Path(play["track"]["path"]).name != name for play in plays)
        said = "; ".join(f"{play['track']['title']} at {play['offset_s']:.1f} s" for play in plays)
        print(f"{name}: {said or found['verdict']}")
    print(f"identify: {right} of {len(truth)} clips of {CLIP_S:.0f} s in cafe noise right, {wrong} wrong")
    return int(right < len(truth) - 1 or wrong > 0 or len(lines) != len(truth))


def is_right(play: dict[str, object], name: str, offset_s: float) -> bool:
    """Say whether a play names the clip's piece at its place."""
    track = play["track"]
    assert isinstance(track, dict)
    offset = float(str(play["offset_s"])) - float(str(play["start_s"]))
    return Path(track["path"]).name == name and abs(offset - offset_s) < MAX_OFFSET_S


def main(arguments: list[str]) -> int:
    """Run one step."""
    step, *rest = arguments
    if step == "versions":
        return versions()
    folder = Path(rest[0])
    if step == "network":
        return network(folder, rest[1])
    return {"make": make, "embeddings": embeddings, "named": named}[step](folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
