"""Listen to a day of sound, faster than real time: music, talk, noise and silence, in rooms.

    python benchmarks/day.py [--hours 8] [--quick]

Writes day.json, day.png and day.md into benchmarks/results. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overheard.catalogue.pack import open_pack
from overheard.errors import OverheardError
from overheard.events import MusicUnknown, PlayEnded, PlayStarted, PlayUpdated
from overheard.fingerprint.model import Model, load_model
from overheard.recognize.listener import Listener
from overheard.recognize.recognizer import Recognizer
from overheard_bench import catalogue, day, day_report, output
from overheard_bench import corpus as corpora
from overheard_bench.corpus import PARTS, SAMPLE_RATE, Corpus
from overheard_bench.day import HeardPlay, Outcome, Scene
from overheard_bench.day_mistakes import Mistakes, mistakes, reason
from overheard_bench.detector import WholeTracks
from overheard_bench.environment import environment, model_facts
from overheard_bench.options import catalogue_parser, results_folder
from overheard_bench.protocol import CACHE
from overheard_bench.render import FloatArray
from overheard_bench.shares import on_every_core

BLOCK = SAMPLE_RATE // 4
QUICK_HOURS = 0.05
NO_MUSIC = ("silence", "no music")  # states of the listener


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    args = parse(argv)
    try:
        result = measure(args, Corpus(args.corpus), load_model(args.model))
    except (OverheardError, FileNotFoundError, RuntimeError) as error:
        print(f"day.py: {error}", file=sys.stderr)
        return 2
    output.publish(args.out, "day", result, day_report.table(result), day_report.plot)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = catalogue_parser(__doc__)
    parser.add_argument(
        "--part", choices=PARTS, default="report", help="recordings to play (default: report)"
    )
    parser.add_argument("--hours", type=float, default=8.0, help="length of the day (default: 8)")
    parser.add_argument(
        "--seed", type=int, default=day.SEED, help="seed of the scenes (default: %(default)s)"
    )
    parser.add_argument("--jobs", type=int, help="indexing processes (default: one per core)")
    parser.add_argument("--quick", action="store_true", help="a few minutes, to try the script")
    parser.add_argument("--out", type=Path, help="folder for the results")
    args = parser.parse_args(argv)
    args.hours = QUICK_HOURS if args.quick else args.hours
    args.out = results_folder(args.out, args.quick)
    return args


def measure(args: argparse.Namespace, corpus: Corpus, model: Model) -> dict[str, Any]:
    """Listen to the day in as many parts as there are cores, each by a listener of its own."""
    part = corpora.load_part(args.part)
    paths = [*part.known, *part.left_out] if args.quick else catalogue.catalogue_paths(corpus)
    paths = [path for path in paths if path not in part.left_out]
    if args.pack is None:
        pack = catalogue.build_pack(corpus, model, paths[:6] if args.quick else paths, CACHE, args.jobs)
    else:
        pack = open_pack(args.pack, model.digest)
        catalogue.check_holds(pack, corpus, catalogue.catalogue_paths(corpus))
    began = time.perf_counter()
    share = functools.partial(
        listen_share, args.corpus, args.part, model.path, pack.path, args.hours, args.seed, args.quick
    )
    shares = on_every_core(share)
    outcomes = [outcome for outcomes, _, _ in shares for outcome in outcomes]
    wrong = [play for _, wrong, _ in shares for play in wrong]
    hours = sum(one.scene.seconds for one in outcomes) / 3600
    return {
        "scenes": day.summary(outcomes, wrong),
        "hours": round(hours, 2),
        "false_plays_per_day": round(24 * len(wrong) / hours, 2),
        "mistakes": [found for _, _, found in shares],
        "timelines": [day_report.timeline(outcomes, wrong) for outcomes, wrong, _ in shares],
        "catalogue": {"tracks": len(pack.tracks)},
        "wall_s": round(time.perf_counter() - began),
        "part": args.part,
        "seed": args.seed,
        "model": model_facts(model),
        "environment": environment(),
        "quick": args.quick,
    }


def listen_share(
    root: Path,
    part_name: str,
    model_path: Path,
    pack_path: Path,
    hours: float,
    seed: int,
    quick: bool,
    jobs: int,
    job: int,
) -> list[tuple[list[Outcome], list[tuple[HeardPlay, str]], Mistakes]]:
    """Listen to every `jobs`-th scene, beginning with number `job`, one after the other."""
    corpus, model = Corpus(root), load_model(model_path)
    renderer = WholeTracks(corpus, corpora.load_part(part_name))
    scenes = day.plan(renderer.part, lambda path: len(corpus.load(path)) / SAMPLE_RATE, hours, seed)[
        job::jobs
    ]
    pack = open_pack(pack_path, model.digest)
    corpus_path = catalogue.corpus_path_finder(corpus)
    aliases = catalogue.aliases(pack, corpus_path)
    duplicates = corpora.near_duplicates()
    recognizer = Recognizer(model, [pack])
    run = Run(recognizer.listener())

    def render(scene: Scene) -> FloatArray:
        return day.render(renderer, scene, seed)

    for scene in scenes[:4] if quick else scenes:
        run.listen(scene, render(scene))
    run.finish()

    def right(track: str) -> set[str]:
        return {aliases.get(track, track), *duplicates.get(track, ())}

    outcomes, wrong = day.judge(run.scenes, list(run.plays.values()), run.unknown, right, corpus_path)
    why = reason(recognizer, render, corpus_path)
    return [(outcomes, wrong, mistakes(outcomes, wrong, why, corpus_path))]


class Run:
    """Feed scenes to a listener, and keep what it reports.

    Attributes
    ----------
    scenes : each scene, when it began, for how long there was music for the detector, and processor time
    plays : by when they began, on the day's clock
    unknown : from when to when music was unknown
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.scenes: list[tuple[Scene, float, float, float]] = []
        self.plays: dict[tuple[float, str], HeardPlay] = {}
        self.unknown: list[tuple[float, float]] = []

    def listen(self, scene: Scene, sound: FloatArray) -> None:
        """Feed one scene in blocks."""
        start_s, music_s, cpu_s = self._listener.now_s, 0.0, 0.0
        for block in day.blocks(sound, BLOCK):
            began = time.process_time()
            events = self._listener.process(block)
            cpu_s += time.process_time() - began
            self._keep(events)
            if self._listener.status().state not in NO_MUSIC:
                music_s += len(block) / SAMPLE_RATE
        self.scenes.append((scene, start_s, music_s, cpu_s))

    def finish(self) -> None:
        """End the sound."""
        self._keep(self._listener.finish())

    def _keep(self, events: Sequence[object]) -> None:
        for event in events:
            if isinstance(event, MusicUnknown):
                self.unknown.append((event.start_s, event.end_s))
            elif isinstance(event, PlayStarted | PlayUpdated | PlayEnded):
                play = event.play
                key = next((k for k in self.plays if k[0] == play.start_s), (play.start_s, play.track.id))
                reported_s = self.plays[key].reported_s if key in self.plays else self._listener.now_s
                self.plays[key] = HeardPlay(
                    *(play.track, play.start_s, play.end_s, reported_s, play.score, play.confidence)
                )


if __name__ == "__main__":
    raise SystemExit(main())
