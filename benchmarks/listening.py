"""Measure a day of listening: known and unknown tracks in rooms and noise, then talk and noise alone.

    python benchmarks/listening.py [--part report] [--quick]

Writes listening.json, listening.png and listening.md into benchmarks/results. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overheard.catalogue.pack import Pack, open_pack
from overheard.errors import OverheardError
from overheard.events import MusicUnknown, Play, PlayEnded, PlayStarted, Track
from overheard.fingerprint.model import Model, load_model
from overheard.hear.resampler import to_float
from overheard.recognize.recognizer import Recognizer
from overheard_bench import catalogue, output, plots, report
from overheard_bench import corpus as corpora
from overheard_bench.corpus import PARTS, SAMPLE_RATE, Corpus, seeded
from overheard_bench.detector import first_audible_s
from overheard_bench.environment import environment, model_facts
from overheard_bench.listening import Outcome, by_condition
from overheard_bench.options import catalogue_parser, results_folder
from overheard_bench.protocol import CACHE
from overheard_bench.render import CONDITIONS, PREROLL_S, FloatArray, Renderer, loop, unit_power
from overheard_bench.shares import on_every_core

SEED = 1
PLAYED_AS = ("clean", "mic5", "mic-5", "far10")
BLOCK = SAMPLE_RATE // 4
MIN_TRACK_S = 15.0  # shorter tracks are effects and jingles
WITHOUT_MUSIC = ("noise", "talk", "babble")
STRETCH_S = 120  # length of one piece of noise or talk
TALKERS = 5  # of babble
LEVEL = np.float32(0.1)  # RMS of noise and talk: -20 dBFS


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    args = parse(argv)
    try:
        result = measure(args, Corpus(args.corpus), load_model(args.model))
    except (OverheardError, FileNotFoundError, RuntimeError) as error:
        print(f"listening.py: {error}", file=sys.stderr)
        return 2
    output.publish(args.out, "listening", result, report.listening(result), plots.listening)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = catalogue_parser(__doc__)
    parser.add_argument(
        "--part", choices=PARTS, default="report", help="use calibration to select the rules of plays"
    )
    parser.add_argument("--jobs", type=int, help="indexing processes (default: one per core)")
    parser.add_argument(
        "--conditions", nargs="+", choices=PLAYED_AS, default=list(PLAYED_AS), help="default: all"
    )
    parser.add_argument("--quick", action="store_true", help="two tracks, to try the script")
    parser.add_argument("--out", type=Path, help="folder for the results")
    args = parser.parse_args(argv)
    args.out = results_folder(args.out, args.quick)
    return args


def measure(args: argparse.Namespace, corpus: Corpus, model: Model) -> dict[str, Any]:
    """Play every track of the part to a catalogue that contains it, and to one without the part's tracks."""
    part = corpora.load_part(args.part)
    tracks = [path for path in part.known if len(corpus.load(path)) >= MIN_TRACK_S * SAMPLE_RATE]
    tracks = tracks[:2] if args.quick else tracks
    packs = with_and_without(args, corpus, model, with_near_duplicates(part.known))
    share = functools.partial(
        play_share,
        args.corpus,
        args.part,
        model.path,
        [pack.path for pack in packs],
        tracks,
        args.conditions,
        args.quick,
    )
    played = on_every_core(share)
    return {
        **{name: by_condition(played, name, args.conditions) for name in ("known", "unknown")},
        "without_music": by_condition(played, "without_music", WITHOUT_MUSIC),
        "tracks": len(tracks),
        "part": args.part,
        "seed": SEED,
        "model": model_facts(model),
        "environment": environment(),
        "quick": args.quick,
    }


def with_and_without(
    args: argparse.Namespace, corpus: Corpus, model: Model, paths: Collection[str]
) -> list[Pack]:
    """Return a pack of the catalogue, and one without these tracks."""
    everything = catalogue.catalogue_paths(corpus)
    others = sorted(set(everything) - set(paths))
    if args.pack is None:
        return [catalogue.build_pack(corpus, model, part, CACHE, args.jobs) for part in (everything, others)]
    whole = open_pack(args.pack, model.digest)
    catalogue.check_holds(whole, corpus, everything)
    return [whole, catalogue.without(whole, corpus, model, paths, CACHE / f"listening-{args.part}.pack")]


def with_near_duplicates(paths: Collection[str]) -> set[str]:
    """Return the tracks and their near-duplicates."""
    duplicates = corpora.near_duplicates()
    return set(paths).union(*(duplicates.get(path, frozenset()) for path in paths))


def play_share(
    root: Path,
    part_name: str,
    model_path: Path,
    pack_paths: Sequence[Path],
    tracks: Sequence[str],
    conditions: Sequence[str],
    quick: bool,
    jobs: int,
    job: int,
) -> list[Outcome]:
    """Play every `jobs`-th track and stretch of noise or talk, beginning with number `job`."""
    part, model = corpora.load_part(part_name), load_model(model_path)
    renderer = Renderer(Corpus(root), part)
    packs = [open_pack(path, model.digest) for path in pack_paths]
    recognizers = [Recognizer(model, [pack]) for pack in packs]
    corpus_path = catalogue.corpus_path_finder(renderer.corpus)
    aliases = catalogue.aliases(packs[0], corpus_path)
    outcomes = []
    for track in tracks[job::jobs]:
        kept = aliases.get(track, track)
        outcomes += play(renderer, recognizers, corpus_path, kept, track, conditions)
    for kind in WITHOUT_MUSIC:
        stretches = list(without_music(renderer.corpus, part, kind))[job::jobs]
        for waveform in stretches[:1] if quick else stretches:
            outcomes.append(listen(recognizers[0], waveform, "without_music", kind, lambda play: False))
    return outcomes


def play(
    renderer: Renderer,
    recognizers: Sequence[Recognizer],
    corpus_path: Callable[[Track], str],
    kept: str,
    track: str,
    conditions: Sequence[str],
) -> list[Outcome]:
    """Play a track in these conditions, to a listener whose catalogue contains it and to one without it.

    Parameters
    ----------
    recognizers : with and without the track
    kept : the track of which `track` is an exact copy, or `track` itself
    """
    right = {kept, *corpora.near_duplicates().get(track, ())}
    start = int(PREROLL_S * SAMPLE_RATE)
    n_samples = len(renderer.corpus.load(track)) - start
    with_track, without_track = recognizers
    outcomes = []
    for condition in conditions:
        rng = seeded(SEED, "listening", track, condition)
        waveform = to_float(renderer.render(track, start, n_samples, CONDITIONS[condition], rng))
        outcomes.append(
            listen(with_track, waveform, "known", condition, lambda play: corpus_path(play.track) in right)
        )
        outcomes.append(listen(without_track, waveform, "unknown", condition, lambda play: False))
    audible_s = first_audible_s(to_float(renderer.corpus.load(track)[start:]))
    return [dataclasses.replace(one, track=track, audible_s=audible_s) for one in outcomes]


def without_music(corpus: Corpus, part: corpora.Part, kind: str) -> Iterator[FloatArray]:
    """Yield stretches of a part's noise, its talk, or babble: several voices of its talk at once."""
    paths = part.noise if kind == "noise" else part.speech
    rng = seeded(SEED, "without music", kind)
    sounds = [to_float(corpus.load(paths[i])) for i in rng.permutation(len(paths))]
    joined: FloatArray = np.concatenate([unit_power(sound) for sound in sounds])
    if kind == "babble":
        joined = unit_power(np.sum([loop(joined, len(joined), rng) for _ in range(TALKERS)], axis=0))
    length = STRETCH_S * SAMPLE_RATE
    for begin in range(0, len(joined), length):
        yield np.clip(joined[begin : begin + length] * LEVEL, -1, 1)


def listen(
    recognizer: Recognizer, waveform: FloatArray, kind: str, condition: str, is_right: Callable[[Play], bool]
) -> Outcome:
    """Feed a waveform in blocks to a new listener, and judge its plays."""
    listener = recognizer.listener()
    delay_s, n_unknown = None, 0
    plays: dict[float, Play] = {}  # by their start, which is that of the same play after a pause
    for begin in range(0, len(waveform) + BLOCK, BLOCK):
        block = waveform[begin : begin + BLOCK]
        for event in listener.process(block) if len(block) else listener.finish():
            if isinstance(event, PlayStarted) and is_right(event.play) and delay_s is None:
                delay_s = min(begin + BLOCK, len(waveform)) / SAMPLE_RATE
            n_unknown += isinstance(event, MusicUnknown)
            if isinstance(event, PlayEnded):
                plays[event.play.start_s] = event.play
    lengths = {start_s: play.end_s - start_s for start_s, play in plays.items()}
    right = [lengths[start_s] for start_s, play in plays.items() if is_right(play)]
    return Outcome(
        kind,
        condition,
        len(waveform) / SAMPLE_RATE,
        right_s=sum(right),
        n_wrong=len(plays) - len(right),
        wrong_s=sum(lengths.values()) - sum(right),
        delay_s=delay_s,
        n_right=len(right),
        shortest_s=min(lengths.values(), default=None),
        n_unknown=n_unknown,
        wrong=tuple(play.track.title for play in plays.values() if not is_right(play)),
    )


if __name__ == "__main__":
    raise SystemExit(main())
