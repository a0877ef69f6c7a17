"""Measure how size, cost and accuracy depend on the number of tracks in the catalogue.

    python benchmarks/scale.py [--sizes 1000 10000 100000] [--exhaustive 1000 10000] [--quick]
    python benchmarks/scale.py --make 10000

Writes scale.json, scale.png and scale.md into benchmarks/results; with --make only a pack. See
benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overheard.catalogue.pack import Pack, open_pack
from overheard.errors import OverheardError
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import Model, load_model
from overheard.hear.resampler import to_float
from overheard_bench import album, catalogue, output, report, scale_packs, scale_report
from overheard_bench import corpus as corpora
from overheard_bench.corpus import DEFAULT_CORPUS, PARTS, SAMPLE_RATE, Corpus
from overheard_bench.distractors import Donors
from overheard_bench.environment import environment, model_facts
from overheard_bench.options import results_folder
from overheard_bench.pieces import Pieces
from overheard_bench.protocol import CACHE, LENGTHS_S, Query, render_queries
from overheard_bench.render import CONDITIONS
from overheard_bench.scale_accuracy import Questions
from overheard_bench.scale_costs import call_directly, costs, in_process
from overheard_bench.scale_paper import on_paper, ratios
from overheard_bench.scale_targets import targets
from overheard_bench.scale_times import Sounds, own_speed_only, times
from overheard_bench.scale_validation import validate
from overheard_train.checkout import commit

SIZES = (1_000, 10_000, 100_000)
ALBUM = 12  # tracks
UNCHANGED = 10_000  # files that are scanned
CLIP_S, CLIP_CONDITION = 5, "mic5"
LONG_S, LONG_CONDITION = 10, "mic10"  # of more queries, for a comparison with a study
LONG = f"{LONG_CONDITION}_{LONG_S}s"
EXHAUSTIVE = {"codes": "exhaustive", "floats": "floats"}  # searches, and the options with their sizes
HEARD_S = 30  # of each track of a scene


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
    table = f"{scale_report.scale(result)}\n{report.targets(result)}"
    output.publish(args.out, "scale", result, table, scale_report.plot)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--corpus", type=Path, default=DEFAULT_CORPUS)
    parser.add_argument("--model", type=Path, help="manifest of a model (default: the shipped model)")
    parser.add_argument("--pack", type=Path, help="catalogue (default: starter pack without left-out tracks)")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="numbers of drawn tracks")
    parser.add_argument(
        "--exhaustive", type=int, nargs="*", default=(0, *SIZES), help="of these, search all codes too"
    )
    parser.add_argument(
        "--floats", type=int, nargs="*", default=(0, SIZES[0]), help="of these, search all float embeddings"
    )
    parser.add_argument("--part", choices=PARTS, default="report", help="use calibration for development")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--n", type=int, default=10, help="positions per length, each in every condition")
    parser.add_argument("--long", type=int, default=200, help="positions of 10 s, each in mic10 only")
    parser.add_argument("--seconds", type=int, default=240, help="seconds of listening to each scene")
    parser.add_argument("--make", type=int, metavar="N", help="only write a pack with N drawn tracks")
    parser.add_argument(
        "--validation",
        type=int,
        default=25,
        help="positions per length to compare drawn tracks with real; 0: none",
    )
    parser.add_argument(
        "--quick", action="store_true", help="1,000 tracks and few queries, to try the script"
    )
    parser.add_argument("--out", type=Path, help="folder for the results")
    args = parser.parse_args(argv)
    if args.quick:
        args.sizes, args.exhaustive, args.n, args.seconds = SIZES[:1], (), 1, 2
        args.floats, args.validation, args.long = (), 0, 1
    args.out = results_folder(args.out, args.quick)
    return args


def measure(args: argparse.Namespace, corpus: Corpus, model: Model, base: Pack) -> dict[str, Any]:
    """Measure the catalogue alone, and with each number of drawn tracks."""
    queries = [*render(args, args.n)]
    questions, long = (Questions(corpus, model, base, each) for each in (queries, [*render_long(args)]))
    sounds = sounds_of(args, corpus, queries)
    pieces = Pieces(CACHE / "scale", commit(), model.digest, model.network_digest, base.path, vars(args))
    drawn = [0, *sorted(args.sizes)]
    paths = [scale_packs.scale_pack(base, corpus, model, n, args.seed, CACHE) for n in drawn]
    sizes = [facts(path, n) for path, n in zip(paths, drawn, strict=True)]
    call = call_directly if args.quick else in_process
    timed = pieces.get("times", lambda: call(times, paths, model.path, sounds))
    for size, path, size_times in zip(sizes, paths, timed, strict=True):
        n = size["drawn"]
        size["compared"] = compared(args, questions, path, n, pieces)
        donors = Donors.of_pack(base, model.quantizer, scale_packs.donor_numbers(base, corpus))
        more = [*scale_packs.drawn(donors, model, ALBUM, args.seed, first=n)]
        measure_costs = functools.partial(costs, path, model.path, sounds, more, call)
        size["costs"] = pieces.get(f"costs {n}", measure_costs) | size_times
        size["derived_bytes"] = size["costs"].pop("derived_bytes")
    for size, path in zip(sizes, paths, strict=True):
        ask = functools.partial(questions.ask, path)
        size["accuracy"] = pieces.get(f"accuracy {size['drawn']}", ask)
        size[LONG] = pieces.get(f"{LONG} {size['drawn']}", functools.partial(long.recall, path))
    for size in sizes:
        size["ratios"] = ratios(size["costs"], sizes[0]["costs"])
    result: dict[str, Any] = {"sizes": sizes, "paper": on_paper(sizes)}
    if not args.quick:
        result["index"] = pieces.get("index", functools.partial(indexing, paths[-1], model))
    if args.validation:
        asked = Questions(corpus, model, base, [*render(args, args.validation)])
        compare = functools.partial(validate, asked, base, corpus, model, args.seed, CACHE)
        result["validation"] = pieces.get("validation", compare)
    return result | {
        "targets": targets(sizes, result.get("index")),
        "model": model_facts(model),
        "environment": environment(),
        "protocol": {"part": args.part, "seed": args.seed, "n_per_length": args.n},
        "quick": args.quick,
    }


def render(args: argparse.Namespace, n: int) -> list[Query]:
    """Return the queries of `n` positions per length; a quick run has one condition."""
    conditions = (CLIP_CONDITION,) if args.quick else tuple(CONDITIONS)
    return [*render_queries(args.part, args.seed, n, n, LENGTHS_S, conditions, args.corpus, not args.quick)]


def render_long(args: argparse.Namespace) -> Iterator[Query]:
    """Return the queries of 10 s in one condition, all of known tracks."""
    return render_queries(args.part, args.seed, args.long, 0, (LONG_S,), (LONG_CONDITION,), args.corpus)


def compared(
    args: argparse.Namespace, questions: Questions, path: Path, n_drawn: int, pieces: Pieces
) -> dict[str, Any]:
    """Return the accuracy with a pack of different searches, which are compared at the tracks' own speed."""
    searches = ["own", "listen"]
    searches += [name for name in ("codes", "floats") if n_drawn in getattr(args, EXHAUSTIVE[name])]
    with own_speed_only():
        asks = {name: functools.partial(questions.ask, path, name) for name in searches}
        return {name: pieces.get(f"{name} {n_drawn}", ask) for name, ask in asks.items()}


def indexing(path: Path, model: Model) -> dict[str, Any]:
    """Measure `overheard index` with an album more in a pack, and with files that are all unchanged."""
    with tempfile.TemporaryDirectory(prefix="overheard-scale-") as folder:
        return {
            "album": album.add_album(path, Path(folder, "album")),
            "scan": album.scan_unchanged(Path(folder, "scan"), model, UNCHANGED),
        }


def sounds_of(args: argparse.Namespace, corpus: Corpus, queries: Sequence[Query]) -> Sounds:
    """Return clips among the queries, and sounds to listen to."""
    clips = [each for each in queries if (each.length_s, each.condition) == (CLIP_S, CLIP_CONDITION)]
    lists = corpora.load_part(args.part)
    scenes = {"catalogue music": lists.known, "unknown music": lists.left_out}
    return Sounds(
        [each.waveform for each in clips if each.track is not None],
        [each.waveform for each in clips if each.track is None],
        {scene: joined(corpus, paths, args.seconds) for scene, paths in scenes.items()},
    )


def joined(corpus: Corpus, paths: Sequence[str], seconds: int) -> FloatArray:
    """Return the beginnings of tracks, one after the other, (n_samples,) float32."""
    parts: list[FloatArray] = []
    for path in itertools.cycle(paths):
        parts.append(to_float(corpus.load(path)[: HEARD_S * SAMPLE_RATE]))
        if sum(map(len, parts)) >= seconds * SAMPLE_RATE:
            break
    return np.concatenate(parts)[: seconds * SAMPLE_RATE]


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
