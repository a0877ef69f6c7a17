"""Measure what `overheard index` costs on a large collection: an album more, or nothing new at all.

As a program, ``python -m overheard_bench.album FOLDER PACK`` indexes in a process of its own and prints what
it used as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overheard.catalogue.layer_files import layers_folder
from overheard.catalogue.pack import TrackEntry, open_pack, write_pack
from overheard.demo.synth import synthesize, write_wav
from overheard.fingerprint.model import Model
from overheard_bench import CHECKOUT
from overheard_bench.process import memory_kb

SAMPLE_RATE = 8000
N_TRACKS, TRACK_S = 12, 60.0  # of the album
SEED = 700  # of the first synthesized piece
FILES_PER_FOLDER = 12


def add_album(pack: Path, folder: Path) -> dict[str, Any]:
    """Add an album to a copy of a pack, and return what the process used besides decoding and fingerprinting.

    These take place in a worker, whose processor time does not count.

    Parameters
    ----------
    pack : a pack of the shipped model, without layers; the files of its tracks need not exist
    folder : for the copy and the album
    """
    album, copy = folder / "album", folder / "packs" / "music.pack"
    album.mkdir(parents=True, exist_ok=True)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(pack, copy)
    open_pack(copy)  # as the run that made the pack did: it is verified, and its table of tracks is derived
    for number in range(N_TRACKS):
        write_wav(album / f"{number + 1:02}.wav", synthesize(SEED + number, TRACK_S).waveform, SAMPLE_RATE)
    result = run_index(album, copy)
    result["pack_bytes"] = copy.stat().st_size
    result["layer_bytes"] = sum(path.stat().st_size for path in layers_folder(copy).iterdir())
    return result


def scan_unchanged(folder: Path, model: Model, n_files: int) -> dict[str, Any]:
    """Index a folder of files that are all in the pack already, and return what the process used."""
    music, pack = folder / "music", folder / "packs" / "music.pack"
    rng = np.random.default_rng(1)
    width = model.quantizer.widths[-1]
    entries = []
    for number in range(n_files):
        path = music / f"{number // FILES_PER_FOLDER:05}" / f"{number:06}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not read, as it is unchanged")
        status = path.stat()
        entries.append(
            TrackEntry(
                title=path.stem,
                path=str(path),
                duration_s=240.0,
                size=status.st_size,
                mtime_ns=status.st_mtime_ns,
                packed_cells=rng.integers(0, 1 << 16, 4, dtype=np.uint16),
                codes=rng.integers(0, 256, (4, width), dtype=np.uint8),
            )
        )
    write_pack(pack, "music", model.digest, model.spec, entries, width)
    return run_index(music, pack)


def run_index(folder: Path, pack: Path) -> dict[str, Any]:
    """Index in a process of its own. Raises RuntimeError if it fails."""
    roots = [str(CHECKOUT / "device"), str(CHECKOUT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, roots))}
    command = [sys.executable, "-m", "overheard_bench.album", str(folder), str(pack)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"indexing failed: {done.stderr.strip()[-500:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main(argv: Sequence[str]) -> int:
    """Index with one worker; print counts, processor time, memory and bytes written of this process."""
    from overheard.index.run import index
    from overheard.index.worker import ModelFingerprinter

    began = time.perf_counter()
    report = index([argv[0]], Path(argv[1]), ModelFingerprinter, 1)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "tracks": report.tracks,
        "added": report.added,
        "unchanged": report.unchanged,
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "wall_s": round(time.perf_counter() - began, 2),
        "peak_resident_mb": _peak_resident_mb(),
        "written_mb": _written_mb(),
        "pack_layers": len(open_pack(argv[1]).layers),
    }
    print(json.dumps(result))
    return 0


def _peak_resident_mb() -> float | None:
    """Return the largest resident memory of this process, in MB; None without /proc.

    The figure of `getrusage` would begin with that of the process that started this one.
    """
    kb = memory_kb(os.getpid()).get("VmHWM")
    return None if kb is None else round(kb * 1024 / 1e6, 1)


def _written_mb() -> float | None:
    """Return what this process had written to disk, in MB; None without /proc."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return None
    facts = dict(line.split(": ") for line in lines)
    return round(int(facts["write_bytes"]) / 1e6, 3)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
