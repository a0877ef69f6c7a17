"""Measure the music detector: tracks in rooms and noise, talk, babble, noise, synthetic sounds, and its cost.

    python benchmarks/detector.py [--quick]

Writes detector.json, detector.png and detector.md into benchmarks/results. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overheard.errors import OverheardError
from overheard.fingerprint.model import load_model
from overheard.hear.detector import DETECTOR_PATH, MusicDetector, load_detector
from overheard_bench import detector, detector_report, output
from overheard_bench.corpus import DEFAULT_CORPUS, Corpus
from overheard_bench.detector import DetectorAnswer
from overheard_bench.detector_sounds import SOUNDS
from overheard_bench.environment import environment, model_facts
from overheard_bench.options import results_folder
from overheard_bench.shares import on_every_core

REPEATS = 8


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    args = parse(argv)
    try:
        result = measure(args, Corpus(args.corpus))
    except (OverheardError, FileNotFoundError, RuntimeError) as error:
        print(f"detector.py: {error}", file=sys.stderr)
        return 2
    output.publish(args.out, "detector", result, detector_report.table(result), detector_report.plot)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--corpus",
        type=Path,
        default=DEFAULT_CORPUS,
        help="folder of the corpus (default: $OVERHEARD_CORPUS, or corpus)",
    )
    parser.add_argument(
        "--detector",
        type=Path,
        default=DETECTOR_PATH,
        help="manifest of a detector (default: the shipped one)",
    )
    parser.add_argument("--every", type=int, default=1, help="play every n-th track only (default: 1)")
    parser.add_argument("--quick", action="store_true", help="a few sounds, to try the script")
    parser.add_argument("--out", type=Path, help="folder for the results")
    args = parser.parse_args(argv)
    args.out = results_folder(args.out, args.quick)
    return args


def measure(args: argparse.Namespace, corpus: Corpus) -> dict[str, Any]:
    """Play everything to the detector, on every core, and then measure its cost alone."""
    model = load_detector(args.detector)
    heard = on_every_core(functools.partial(play_share, args.corpus, args.detector, args.quick, args.every))
    tracks = tracks_of(args.quick, args.every)
    alone, both = (
        [one for one in heard if one.with_opinion == with_opinion] for with_opinion in (False, True)
    )
    return {
        **summaries(alone),
        "with_opinion": summaries(both),
        "places": {
            place: detector.summary_without_music(
                [one for one in alone if one.place == place and one.kind in detector.WITHOUT_MUSIC]
            )
            for place in detector.PLACES
        },
        "delays_s": {kind: [one.delay_s for one in alone if one.kind == kind] for kind in detector.PLAYED_AS},
        "cost": detector.cost(corpus, tracks[0], 2 if args.quick else REPEATS),
        "detector": {"bytes": len(model.tflite), "smoothing": vars(model.smoothing)},
        "seed": detector.SEED,
        "every": args.every,
        "model": model_facts(load_model()),
        "environment": environment(),
        "quick": args.quick,
    }


def summaries(heard: Sequence[DetectorAnswer]) -> dict[str, Any]:
    """Return the summaries of tracks, of sounds without music, and of synthetic sounds."""
    return {
        "tracks": by_kind(heard, detector.PLAYED_AS, detector.summary_of_tracks),
        "without_music": by_kind(heard, detector.WITHOUT_MUSIC, detector.summary_without_music),
        "synthetic": by_kind(heard, tuple(SOUNDS), detector.summary_without_music),
    }


def tracks_of(quick: bool, every: int) -> tuple[str, ...]:
    """Return every n-th track of the split `valid`, known to the catalogue or not."""
    part = detector.whole_valid()
    tracks = sorted({*part.known, *part.left_out})
    return tuple(tracks[:2] if quick else tracks[::every])


def play_share(root: Path, path: Path, quick: bool, every: int, jobs: int, job: int) -> list[DetectorAnswer]:
    """Play every `jobs`-th track, and every `jobs`-th sound without music."""
    renderer = detector.WholeTracks(Corpus(root), detector.whole_valid())
    music_detector = MusicDetector(path)
    both = detector.WithOpinion(load_model())
    heard = [
        one
        for track in tracks_of(quick, every)[job::jobs]
        for played in (detector.play_track(music_detector, renderer, track), both.play(renderer, track))
        for one in played
    ]
    pairs = [(kind, place) for kind in detector.WITHOUT_MUSIC for place in detector.PLACES]
    for kind, place in [] if quick else pairs[job::jobs]:
        waveform = detector.without_music(renderer, kind, place)
        heard += [
            detector.hear(music_detector, waveform, kind, place),
            both.hear(waveform, kind, place),
        ]
    for name in SOUNDS:
        for clip in range(job, 2 if quick else detector.CLIPS, jobs):
            waveform, place = detector.synthetic(renderer, name, clip)
            heard += [
                detector.hear(music_detector, waveform, name, place),
                both.hear(waveform, name, place),
            ]
    return heard


def by_kind(heard: Sequence[DetectorAnswer], kinds: Sequence[str], summary: Any) -> dict[str, dict[str, Any]]:
    """Return the summary of each kind that was played."""
    found = {kind: [one for one in heard if one.kind == kind] for kind in kinds}
    return {kind: summary(ones) for kind, ones in found.items() if ones}


if __name__ == "__main__":
    raise SystemExit(main())
