"""Measure how size, cost and accuracy depend on the number of tracks in the catalogue.

    python benchmarks/scale.py [--sizes 1000 10000 100000] [--exhaustive 1000 10000] [--quick]
    python benchmarks/scale.py --make 10000

Writes scale.json, scale.png and scale.md into benchmarks/results; with --make only a pack. See
benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overheard.catalogue.pack import Pack, open_pack
from overheard.errors import OverheardError
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import Model, load_model
from overheard.hear.resampler import to_float
from overheard_bench import catalogue, output, scale_packs, scale_report
from overheard_bench import corpus as corpora
from overheard_bench.corpus import DEFAULT_CORPUS, PARTS, SAMPLE_RATE, Corpus
from overheard_bench.distractors import Donors
from overheard_bench.environment import environment, model_facts
from overheard_bench.options import results_folder
from overheard_bench.protocol import CACHE, LENGTHS_S, Query, render_queries
from overheard_bench.render import CONDITIONS
from overheard_bench.scale_accuracy import Questions
from overheard_bench.scale_costs import WARM_UP_S, Sounds, costs
from overheard_bench.scale_paper import on_paper, ratios
from overheard_bench.scale_validation import validate

SIZES = (1_000, 10_000, 100_000)
ALBUM = 12  # tracks
CLIP_S, CLIP_CONDITION, N_CLIPS = 5, "mic5", 6


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    args = parse(argv)
    try:
        corpus, model = Corpus(args.corpus), load_model(args.model)
        if args.pack:
            base = open_pack(args.pack, model.digest)
        else:
            base = scale_packs.starter_catalogue(corpus, model, CACHE)
        catalogue.check_holds(base, corpus, catalogue.catalogue_paths(corpus))
        if args.make is not None:
            print(scale_packs.scale_pack(base, corpus, model, args.make, args.seed, CACHE))
            return 0
        result = measure(args, corpus, model, base)
    except (OverheardError, FileNotFoundError, RuntimeError) as error:
        print(f"scale.py: {error}", file=sys.stderr)
        return 2
    output.publish(args.out, "scale", result, scale_report.scale(result), scale_report.plot)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--corpus", type=Path, default=DEFAULT_CORPUS)
    parser.add_argument("--model", type=Path, help="manifest of a model (default: the shipped model)")
    parser.add_argument(
        "--pack",
        type=Path,
        help="the benchmark's catalogue (default: the starter pack without left-out tracks)",
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="numbers of drawn tracks")
    parser.add_argument(
        "--exhaustive", type=int, nargs="*", default=(0, *SIZES[:2]), help="of these, search all codes too"
    )
    parser.add_argument(
        "--floats",
        type=int,
        nargs="*",
        default=(0, SIZES[0]),
        help="of these, search all float embeddings too",
    )
    parser.add_argument("--part", choices=PARTS, default="report", help="use calibration for development")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--n", type=int, default=10, help="positions per length, each in every condition")
    parser.add_argument("--seconds", type=int, default=20, help="seconds of listening to each scene")
    parser.add_argument("--make", type=int, metavar="N", help="only write a pack with N drawn tracks")
    parser.add_argument(
        "--no-validation", action="store_true", help="do not compare drawn tracks with real ones"
    )
    parser.add_argument(
        "--quick", action="store_true", help="1,000 tracks and few queries, to try the script"
    )
    parser.add_argument("--out", type=Path, help="folder for the results")
    args = parser.parse_args(argv)
    if args.quick:
        args.sizes, args.exhaustive, args.n, args.seconds = SIZES[:1], (), 1, 2
        args.floats, args.no_validation = (), True
    args.out = results_folder(args.out, args.quick)
    return args


def measure(args: argparse.Namespace, corpus: Corpus, model: Model, base: Pack) -> dict[str, Any]:
    """Measure the catalogue alone, and with each number of drawn tracks."""
    queries = [*render(args)]
    questions, sounds = Questions(corpus, model, base, queries), sounds_of(args, corpus, queries)
    sizes = []
    for n_drawn in (0, *sorted(args.sizes)):
        path = scale_packs.scale_pack(base, corpus, model, n_drawn, args.seed, CACHE)
        size = facts(path, n_drawn)
        donors = Donors.of_pack(base, model.quantizer, scale_packs.donor_numbers(base, corpus))
        album = [*scale_packs.drawn(donors, model, ALBUM, args.seed, first=n_drawn)]
        size["costs"] = costs(path, model.path, sounds, album, isolated=not args.quick)
        size["derived_bytes"] = size["costs"].pop("derived_bytes")
        size["accuracy"] = questions.ask(path)
        for search, chosen in (("codes", args.exhaustive), ("floats", args.floats)):
            if n_drawn in chosen:
                size[f"exhaustive_{search}"] = questions.ask(path, search)
        sizes.append(size)
        print(f"{size['tracks']} tracks measured", file=sys.stderr)
    for size in sizes:
        size["ratios"] = ratios(size["costs"], sizes[0]["costs"])
    result: dict[str, Any] = {"sizes": sizes, "paper": on_paper(sizes)}
    if not args.no_validation:
        result["validation"] = validate(questions, base, corpus, model, args.seed, CACHE)
    return result | {
        "model": model_facts(model),
        "environment": environment(),
        "protocol": {"part": args.part, "seed": args.seed, "n_per_length": args.n},
        "quick": args.quick,
    }


def render(args: argparse.Namespace) -> list[Query]:
    """Return the queries; a quick run has one condition."""
    conditions = (CLIP_CONDITION,) if args.quick else tuple(CONDITIONS)
    return [
        *render_queries(
            args.part, args.seed, args.n, args.n, LENGTHS_S, conditions, args.corpus, not args.quick
        )
    ]


def sounds_of(args: argparse.Namespace, corpus: Corpus, queries: Sequence[Query]) -> Sounds:
    """Return clips among the queries, and sounds to listen to."""
    clips = [
        query.waveform
        for query in queries
        if (query.length_s, query.condition) == (CLIP_S, CLIP_CONDITION) and query.track is not None
    ]
    lists, n = corpora.load_part(args.part), (WARM_UP_S + args.seconds) * SAMPLE_RATE
    tracks = {"catalogue music": lists.known, "unknown music": lists.left_out}
    return Sounds(clips[:N_CLIPS], {scene: joined(corpus, paths, n) for scene, paths in tracks.items()})


def joined(corpus: Corpus, paths: Sequence[str], n_samples: int) -> FloatArray:
    """Return the beginning of tracks that follow each other, (n_samples,) float32."""
    parts: list[FloatArray] = []
    for path in itertools.cycle(paths):
        parts.append(to_float(corpus.load(path)))
        if sum(map(len, parts)) >= n_samples:
            break
    return np.concatenate(parts)[:n_samples]


def facts(path: Path, n_drawn: int) -> dict[str, Any]:
    """Return numbers and bytes of a pack."""
    pack = open_pack(path)
    return {
        "drawn": n_drawn,
        "tracks": pack.n_tracks,
        "hours": round(pack.hours, 1),
        "segments": pack.n_segments,
        "pack_bytes": pack.bytes,
    }


if __name__ == "__main__":
    raise SystemExit(main())
