"""Measure every combination of a network that indexes and one that listens, in one space.

    python benchmarks/networks.py [--models overheard small tiny] [--packs FILE ...] [--quick]

Writes networks.json and networks.md into benchmarks/results. The queries are those of accuracy.py, with the
thresholds of the network that listens.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from overheard.catalogue.pack import Pack, open_pack
from overheard.errors import ModelError, OverheardError
from overheard.fingerprint.model import Model, load_model
from overheard.settings import MODELS_DIR
from overheard_bench import catalogue, networks_report, output, score
from overheard_bench.corpus import DEFAULT_CORPUS, PARTS, Corpus
from overheard_bench.environment import environment, model_facts
from overheard_bench.options import results_folder
from overheard_bench.protocol import CACHE, LENGTHS_S, Query, render_queries
from overheard_bench.shares import on_every_core

ORDER = ("overheard", "small", "tiny")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    args = parse(argv)
    try:
        models = [load_model(path) for path in args.models]
        check_space(models)
        result = measure(args, Corpus(args.corpus), models)
    except (OverheardError, FileNotFoundError, RuntimeError) as error:
        print(f"networks.py: {error}", file=sys.stderr)
        return 2
    output.publish(args.out, "networks", result, networks_report.table(result))
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
        "--models", nargs="+", help="names or manifests of models of one space (default: all that ship)"
    )
    parser.add_argument(
        "--indexers", nargs="+", help="names or manifests of the models that index (default: as --models)"
    )
    parser.add_argument(
        "--packs",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="existing packs, one for each that indexes",
    )
    parser.add_argument("--part", choices=PARTS, default="report")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random choices (default: 1)")
    parser.add_argument("--n", type=int, default=50, help="positions per length, each in every condition")
    parser.add_argument("--quick", action="store_true", help="two positions, to try the script")
    parser.add_argument("--out", type=Path, help="folder for the results")
    args = parser.parse_args(argv)
    if args.quick:
        args.n = 2
    args.out = results_folder(args.out, args.quick)
    shipped = [name for name in ORDER if (MODELS_DIR / f"{name}.json").exists()]
    args.models = [_manifest(name) for name in args.models or shipped]
    args.indexers = [_manifest(name) for name in args.indexers] if args.indexers else args.models
    if args.packs and len(args.packs) != len(args.indexers):
        parser.error(f"--packs needs {len(args.indexers)} files, one for each network that indexes")
    return args


def _manifest(name: str) -> Path:
    shipped = MODELS_DIR / f"{name}.json"
    return shipped if shipped.exists() else Path(name)


def check_space(models: Sequence[Model]) -> None:
    """Raise ModelError if the models are not of one space."""
    others = [model.name for model in models if model.space != models[0].space]
    if others:
        raise ModelError(
            f"{', '.join(others)}: not of the space of {models[0].name}", "leave them out of --models"
        )


def measure(args: argparse.Namespace, corpus: Corpus, models: Sequence[Model]) -> dict[str, Any]:
    """Index with each network, and ask each pack with each network."""
    for _ in render(args):
        pass  # renders into the cache before several processes read it
    rows = []
    for indexer, pack in open_packs(args, corpus):
        rows += [
            {"indexed_by": indexer.name, "queried_by": model.name, **ask(args, model, pack)}
            for model in models
        ]
    return {
        "rows": rows,
        "model": model_facts(models[0]),
        "models": {model.name: model_facts(model) for model in models},
        "environment": environment(),
        "protocol": {"part": args.part, "seed": args.seed, "n_per_length": args.n},
    }


def open_packs(args: argparse.Namespace, corpus: Corpus) -> Iterator[tuple[Model, Pack]]:
    """Yield each network that indexes, with its pack of the catalogue."""
    paths = catalogue.catalogue_paths(corpus)
    for number, indexer in enumerate(map(load_model, args.indexers)):
        if args.packs:
            pack = open_pack(args.packs[number], indexer.digest)
            catalogue.check_holds(pack, corpus, paths)
        else:
            pack = catalogue.build_pack(corpus, indexer, paths, CACHE, None)
        yield indexer, pack


def ask(args: argparse.Namespace, model: Model, pack: Pack) -> dict[str, Any]:
    """Ask every query of a pack, and return the counts and the processor time of a query."""
    answered = on_every_core(functools.partial(ask_share, args, model.path, pack.path))
    result = score.tables([answer for answer, _, _ in answered])
    clips = [cpu_s for _, cpu_s, length_s in answered if length_s == 5]
    return {
        "overall": result["overall"],
        "at_one_percent": result["at_one_percent"],
        "right_percent_2_s": result["by_length"]["2"]["right_percent"],
        "cpu_ms": round(1e3 * sum(cpu_s for _, cpu_s, _ in answered) / len(answered), 1),
        "cpu_ms_5_s": round(1e3 * sum(clips) / len(clips), 1) if clips else None,
    }


def ask_share(
    args: argparse.Namespace, model_path: Path, pack_path: Path, jobs: int, job: int
) -> list[tuple[score.Answer, float, int]]:
    """Ask every `jobs`-th query, beginning with number `job`; also return processor time and length."""
    opened = catalogue.open_catalogue(Corpus(args.corpus), model_path, pack_path)
    answers = []
    for query in itertools.islice(render(args), job, None, jobs):
        before_s = time.process_time()
        identification = opened.recognizer.identify(query.waveform)
        cpu_s = time.process_time() - before_s
        answers.append((opened.judge(query, identification), cpu_s, query.length_s))
    return answers


def render(args: argparse.Namespace) -> Iterator[Query]:
    """Return the queries."""
    return render_queries(args.part, args.seed, args.n, None, LENGTHS_S, corpus=args.corpus)


if __name__ == "__main__":
    raise SystemExit(main())
