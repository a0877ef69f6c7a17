"""What a day of listening names: whole tracks, known and unknown, in rooms and noise; talk and noise alone.

    python benchmarks/listening.py [--part report] [--quick]

Writes listening.json, listening.png and listening.md under benchmarks/results. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from overheard_bench import RESULTS, catalogue, output
from overheard_bench import corpus as corpora
from overheard_bench.corpus import DEFAULT_CORPUS, PARTS, SAMPLE_RATE, Corpus, seeded
from overheard_bench.environment import environment, model_facts
from overheard_bench.render import CONDITIONS, PREROLL_S, Renderer, loop, to_float, unit_power
from overheard_bench.shares import on_every_core
from protocol import CACHE

SEED = 1
PLAYED_AS = ("clean", "mic5", "mic-5", "far10")
BLOCK = SAMPLE_RATE // 4
SHORTEST_S = 15.0  # of a track that is played: below, there is no day
WITHOUT_MUSIC = ("noise", "talk", "babble")
STRETCH_S = 120  # of noise or talk, end to end
TALKERS = 5  # of babble
LEVEL = np.float32(0.1)  # of what is no music: -20 dBFS


@dataclass(frozen=True)
class Heard:
    """What became of one track, or stretch of noise or talk, played once from beginning to end.

    `what` is "known" or "unknown" to the catalogue, or "without_music"; `named_after_s` is when its name was
    first printed, None where it never was.
    """

    what: str
    condition: str
    seconds: float
    right_s: float
    n_wrong: int
    wrong_s: float
    named_after_s: float | None


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    args = parse(argv)
    from overheard.errors import OverheardError
    from overheard.fingerprint.model import load_model

    try:
        result = measure(args, Corpus(args.corpus), load_model(args.model))
    except (OverheardError, FileNotFoundError, RuntimeError) as error:
        print(f"listening.py: {error}", file=sys.stderr)
        return 2
    output.publish(args.out, "listening", result, output.listening_table(result), output.listening_plot)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--corpus", type=Path, default=DEFAULT_CORPUS)
    parser.add_argument("--model", type=Path, help="a model file other than the shipped one")
    parser.add_argument("--part", choices=PARTS, default="report", help="calibration: to choose the rules")
    parser.add_argument("--jobs", type=int, help="processes that index (all cores)")
    parser.add_argument("--quick", action="store_true", help="two tracks: only to try it")
    parser.add_argument("--out", type=Path, help="folder of the results")
    args = parser.parse_args(argv)
    args.out = args.out or (CACHE / "quick" if args.quick else RESULTS)
    return args


def measure(args: argparse.Namespace, corpus: Corpus, model: Any) -> dict[str, Any]:
    """Play every track of the part to a catalogue that holds it, and to one that holds all but the part."""
    part = corpora.load_part(args.part)
    tracks = [path for path in part.known if len(corpus.load(path)) >= SHORTEST_S * SAMPLE_RATE]
    tracks = tracks[:2] if args.quick else tracks
    everything = catalogue.catalogue_paths(corpus)
    others = sorted(set(everything) - with_twins(part.known))
    packs = [catalogue.build_pack(corpus, model, paths, CACHE, args.jobs) for paths in (everything, others)]
    share = functools.partial(
        play_share, args.corpus, args.part, model.path, [pack.path for pack in packs], tracks, args.quick
    )
    played = on_every_core(share)
    return {
        **{name: by_condition(played, name, PLAYED_AS) for name in ("known", "unknown")},
        "without_music": by_condition(played, "without_music", WITHOUT_MUSIC),
        "tracks": len(tracks),
        "part": args.part,
        "seed": SEED,
        "model": model_facts(model),
        "environment": environment(),
        "quick": args.quick,
    }


def with_twins(paths: Collection[str]) -> set[str]:
    """Return the tracks and whatever holds the same music."""
    twins = corpora.near_duplicates()
    return set(paths).union(*(twins.get(path, frozenset()) for path in paths))


def play_share(
    root: Path,
    part_name: str,
    model_path: Path,
    pack_paths: Sequence[Path],
    tracks: Sequence[str],
    quick: bool,
    jobs: int,
    job: int,
) -> list[Heard]:
    """Play every `jobs`-th track, and stretch of noise or talk, the first of them number `job`."""
    from overheard.catalogue.pack import open_pack
    from overheard.fingerprint.model import load_model
    from overheard.recognize.pipeline import Recognizer

    part, model = corpora.load_part(part_name), load_model(model_path)
    renderer = Renderer(Corpus(root), part)
    packs = [open_pack(path, model.digest) for path in pack_paths]
    recognizers = [Recognizer(model, [pack]) for pack in packs]
    find = catalogue.corpus_path_finder(renderer.corpus)
    aliases = catalogue.aliases(packs[0], find)
    heard = []
    for track in tracks[job::jobs]:
        heard += play(renderer, recognizers, find, aliases.get(track, track), track)
    for kind in WITHOUT_MUSIC:
        stretches = list(without_music(renderer.corpus, part, kind))[job::jobs]
        for waveform in stretches[:1] if quick else stretches:
            heard.append(listen(recognizers[0], waveform, "without_music", kind, lambda play: False))
    return heard


def play(
    renderer: Renderer, recognizers: Sequence[Any], find: Callable[[Any], str], kept: str, track: str
) -> list[Heard]:
    """Play a track, in each condition, to a new listener of the pack that holds it and of the other."""
    right = {kept, *corpora.near_duplicates().get(track, ())}
    start = int(PREROLL_S * SAMPLE_RATE)
    n_samples = len(renderer.corpus.load(track)) - start
    knowing, unknowing = recognizers
    heard = []
    for condition in PLAYED_AS:
        rng = seeded(SEED, "listening", track, condition)
        waveform = to_float(renderer.render(track, start, n_samples, CONDITIONS[condition], rng))
        heard.append(listen(knowing, waveform, "known", condition, lambda play: find(play.track) in right))
        heard.append(listen(unknowing, waveform, "unknown", condition, lambda play: False))
    return heard


def without_music(corpus: Corpus, part: corpora.Part, kind: str) -> Iterator[np.ndarray]:
    """Yield stretches of a part's noises end to end, of its talk, or of that talk several times at once."""
    paths = part.noise if kind == "noise" else part.speech
    rng = seeded(SEED, "without music", kind)
    sounds = [to_float(corpus.load(paths[i])) for i in rng.permutation(len(paths))]
    joined = np.concatenate([unit_power(sound) for sound in sounds])
    if kind == "babble":
        joined = unit_power(np.sum([loop(joined, len(joined), rng) for _ in range(TALKERS)], axis=0))
    length = STRETCH_S * SAMPLE_RATE
    for begin in range(0, len(joined), length):
        yield np.clip(joined[begin : begin + length] * LEVEL, -1, 1)


def by_condition(heard: Sequence[Heard], what: str, conditions: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Sum up each condition by itself."""
    summary = summary_known if what == "known" else summary_unknown
    return {
        name: summary([one for one in heard if (one.what, one.condition) == (what, name)])
        for name in conditions
    }


def listen(
    recognizer: Any, waveform: np.ndarray, what: str, condition: str, is_right: Callable[[Any], bool]
) -> Heard:
    """Feed a waveform as a microphone would, and count what the plays say of it."""
    from overheard.events import PlayEnded, PlayStarted

    listener = recognizer.listener()
    right_s = wrong_s = 0.0
    n_wrong, named_after_s = 0, None
    for begin in range(0, len(waveform) + BLOCK, BLOCK):
        block = waveform[begin : begin + BLOCK]
        for event in listener.process(block) if len(block) else listener.finish():
            if isinstance(event, PlayStarted) and is_right(event.play) and named_after_s is None:
                named_after_s = min(begin + BLOCK, len(waveform)) / SAMPLE_RATE
            if isinstance(event, PlayEnded):
                length_s = event.play.end_s - event.play.start_s
                right_s += length_s if is_right(event.play) else 0.0
                wrong_s += 0.0 if is_right(event.play) else length_s
                n_wrong += not is_right(event.play)
    return Heard(what, condition, len(waveform) / SAMPLE_RATE, right_s, n_wrong, wrong_s, named_after_s)


def summary_known(heard: Sequence[Heard]) -> dict[str, Any]:
    """Return how much of the time the right name stands, and how soon."""
    seconds = sum(one.seconds for one in heard)
    delays = sorted(one.named_after_s for one in heard if one.named_after_s is not None)
    return {
        "hours": round(seconds / 3600, 3),
        "right_percent": round(100 * sum(one.right_s for one in heard) / seconds, 2),
        "wrong_percent": round(100 * sum(one.wrong_s for one in heard) / seconds, 2),
        "wrong_plays": sum(one.n_wrong for one in heard),
        "tracks": len(heard),
        "tracks_named": len(delays),
        "named_after_s_median": round(statistics.median(delays), 2) if delays else None,
        "named_after_s_p90": round(float(np.quantile(delays, 0.9)), 2) if delays else None,
    }


def summary_unknown(heard: Sequence[Heard]) -> dict[str, Any]:
    """Return how often something is named though nothing is known."""
    hours = sum(one.seconds for one in heard) / 3600
    return {
        "hours": round(hours, 3),
        "named_plays": sum(one.n_wrong for one in heard),
        "named_plays_per_hour": round(sum(one.n_wrong for one in heard) / hours, 3),
        "named_percent": round(100 * sum(one.wrong_s for one in heard) / 3600 / hours, 3),
    }


if __name__ == "__main__":
    raise SystemExit(main())
