"""Ask the calibration queries with and without their own track, and write the trials for the calibration.

Queries of left-out tracks, which are asked too, are unknown in the way that users hear unknown music: their
sound never was in the catalogue, nor in the training.

    python benchmarks/trials.py TRIALS.json [--model FILE.json] [--n 60]
    overheard-export calibrate TRIALS.json [--model FILE.json]

Queries are from the calibration part of the `valid` lists and from training tracks; rooms, noises and
microphones are from the calibration part. Nothing of the report part is used.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from overheard.catalogue.pack import open_pack
from overheard.errors import OverheardError
from overheard.files import atomic_write
from overheard.fingerprint.model import Model, load_model
from overheard.recognize.recognizer import Recognizer
from overheard_bench import CHECKOUT, catalogue
from overheard_bench import corpus as corpora
from overheard_bench.corpus import Corpus
from overheard_bench.options import catalogue_parser
from overheard_bench.protocol import CACHE, LENGTHS_S, Query, render_queries
from overheard_bench.shares import on_every_core

SEED = 3  # not accuracy.py's seed: other positions
TRAINING_DUPLICATES = CHECKOUT / "train" / "near_duplicates.json"
Trial = tuple[
    int, bool, bool, tuple[float, ...]
]  # length in s, own track in the catalogue?, right?, features


def main(argv: Sequence[str] | None = None) -> int:
    """Ask and write."""
    parser = catalogue_parser(__doc__)
    parser.add_argument("trials", type=Path, metavar="TRIALS.json", help="the file to write")
    parser.add_argument("--n", type=int, default=60, help="positions per length, each in every condition")
    codes = parser.add_mutually_exclusive_group()
    codes.add_argument("--full-only", action="store_true", help="skip compact codes")
    codes.add_argument("--compact-only", action="store_true", help="skip full codes; --pack is a compact one")
    codes.add_argument(
        "--own",
        action="store_true",
        help="for a network that joined a space: --pack is one that it indexed, and calibrates own_scoring",
    )
    args = parser.parse_args(argv)
    if args.pack and not (args.full_only or args.compact_only or args.own):
        parser.error("--pack has codes of one width; add --full-only, --compact-only or --own")
    try:
        model, corpus = load_model(args.model), Corpus(args.corpus)
        trials = {}
        if not args.compact_only:
            name = "own_scoring" if args.own else "scoring"
            trials[name] = collect(corpus, model, args.n, compact=False, given=args.pack)
        if len(model.quantizer.widths) > 1 and not (args.full_only or args.own):
            given = args.pack if args.compact_only else None
            trials["compact_scoring"] = collect(corpus, model, args.n, compact=True, given=given)
        with atomic_write(args.trials) as file:
            facts = {"digest": model.digest, "network": model.network_digest}
            file.write((json.dumps({**facts, "trials": trials}) + "\n").encode())
    except (OverheardError, OSError, RuntimeError) as error:
        print(f"trials.py: {error}", file=sys.stderr)
        return 2
    for name, each in trials.items():
        print(f"{name}: {len(each)} trials")
    return 0


def collect(corpus: Corpus, model: Model, n: int, compact: bool, given: Path | None = None) -> list[Trial]:
    """Ask all calibration queries, on every core."""
    paths = catalogue.catalogue_paths(corpus)
    if given:
        pack = open_pack(given, model.digest)
        catalogue.check_holds(pack, corpus, paths)
    else:
        pack = catalogue.build_pack(corpus, model, paths, CACHE, None, compact)
    for _ in queries(corpus, n):
        pass  # renders into the cache before several processes read it
    return on_every_core(functools.partial(ask_share, corpus.root, model.path, pack.path, n))


def ask_share(root: Path, model_path: Path, pack_path: Path, n: int, jobs: int, job: int) -> list[Trial]:
    """Ask every `jobs`-th query, beginning with number `job`."""
    corpus = Corpus(root)
    opened = catalogue.open_catalogue(corpus, model_path, pack_path)
    numbers = {opened.corpus_path(track): number for number, track in enumerate(opened.pack.tracks)}
    numbers |= {copy: numbers[kept] for copy, kept in opened.aliases.items()}
    trials = []
    for query in itertools.islice(queries(corpus, n), job, None, jobs):
        copies = [numbers[path] for path in opened.duplicates.get(query.source, ()) if path in numbers]
        trials += ask(opened.recognizer, query, numbers.get(query.source), copies)
    return trials


def queries(corpus: Corpus, n: int) -> Iterator[Query]:
    """Yield queries of the calibration part, and as many of training tracks without near-duplicates.

    Half as many are queries of left-out tracks of the calibration part.
    """
    duplicates = corpora.near_duplicates(TRAINING_DUPLICATES).keys() | corpora.near_duplicates().keys()
    training = [item.path for item in corpus.of("music", "train") if item.path not in duplicates]
    for music in (None, training):
        yield from render_queries("calibration", SEED, n, 0, LENGTHS_S, corpus=corpus.root, music=music)
    yield from render_queries("calibration", SEED, 0, n // 2, LENGTHS_S, corpus=corpus.root)


def ask(recognizer: Recognizer, query: Query, own: int | None, copies: Collection[int]) -> list[Trial]:
    """Return the trial with the query's own track in the catalogue, and the one without it and its copies.

    A query whose own track is in no catalogue has one trial.
    """
    window, embed = recognizer.window(query.waveform)
    windows = [(own is not None, window)]
    if own is not None:
        searched = window.queries.embeddings[window.rows]
        others = recognizer.index.candidates(searched, {own, *copies})
        windows.append((False, dataclasses.replace(window, candidates=others)))
    trials: list[Trial] = []
    for in_catalogue, each in windows:
        evidence = recognizer.matcher.weigh(each, embed)
        if evidence is not None:
            features: Any = evidence.features()
            trials.append((query.length_s, in_catalogue, evidence.track == own, tuple(map(float, features))))
    return trials


if __name__ == "__main__":
    raise SystemExit(main())
