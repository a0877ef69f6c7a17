"""The peers audfprint, Olaf and Panako, where they are installed, on the queries that accuracy.py asks.

    python benchmarks/peers.py [--audfprint FILE.py] [--olaf COMMAND] [--panako COMMAND] [--quick]

Writes peers.json, peers.png and peers.md under benchmarks/results. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from overheard_bench import RESULTS, catalogue, output
from overheard_bench import corpus as corpora
from overheard_bench.corpus import DEFAULT_CORPUS, Corpus
from overheard_bench.environment import environment
from overheard_bench.peers import PEERS, report, trial
from overheard_bench.peers.base import Peer, PeerError, find_command
from overheard_bench.protocol import CACHE, LENGTHS_S, Query, render_queries


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write; 0, or 2 if no peer is installed, one failed or there is nothing to ask."""
    args = parse(argv)
    try:
        present, absent = find_peers(args)
        if not present:
            ways = "; ".join(f"{name}: {how}" for name, how in absent.items())
            raise FileNotFoundError(f"no peer is installed ({ways})")
        result = measure(args, present)
    except (FileNotFoundError, RuntimeError) as error:
        print(f"peers.py: {error}", file=sys.stderr)
        return 2
    if not result["settings"]:  # each failure was named: nothing that could replace older results
        return 2
    result["not_installed"] = absent
    output.publish(args.out, "peers", result, report.tables(result), report.plot)
    return 2 if result["failed"] else 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    for peer in PEERS:
        name = f"--{peer.name.lower()}"
        text = f"its command or file (${peer.variable}, or what is on the PATH)"
        parser.add_argument(name, dest=peer.name, metavar="COMMAND", help=text)
    parser.add_argument("--corpus", type=Path, default=DEFAULT_CORPUS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--n", type=int, default=50, help="positions per length, each in every condition")
    parser.add_argument("--n-out", type=int, help="the same for tracks out of the catalogue (as many as --n)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="a peer's processes or threads")
    parser.add_argument("--timeout", type=float, default=14_400, help="seconds for one run of a peer")
    parser.add_argument(
        "--quick", action="store_true", help="two positions, a small catalogue: only to try it"
    )
    parser.add_argument("--out", type=Path, help="folder of the results")
    args = parser.parse_args(argv)
    if args.quick:
        args.n = 2
    args.n_out = args.n if args.n_out is None else args.n_out
    args.out = args.out or (CACHE / "quick" if args.quick else RESULTS)
    return args


def find_peers(args: argparse.Namespace) -> tuple[list[Peer], dict[str, str]]:
    """Return the peers that are installed, and for the others how to install them."""
    present, absent = [], {}
    for peer in PEERS:
        command = find_command(peer, getattr(args, peer.name))
        if command is None:
            absent[peer.name] = f"not installed: {peer.how_to_install}"
        else:
            present.append(peer(command, args.jobs, args.timeout))
    return present, absent


def measure(args: argparse.Namespace, peers: Sequence[Peer]) -> dict[str, Any]:
    """Run each peer in each of its settings; one that fails is named, and the others go on."""
    result: dict[str, Any] = {"settings": [], "failed": {}}
    with tempfile.TemporaryDirectory(prefix="overheard-peers-") as name:
        folder = Path(name).resolve()  # Olaf resolves links, and reports what it found
        task = prepare(args, folder)
        n_tracks, n_queries = len(task.shelf.files), len(task.calibration) + len(task.report)
        for number, (peer, setting) in enumerate((p, s) for p in peers for s in p.settings):
            print(f"{setting.name}: {n_tracks} tracks, {n_queries} queries ...", file=sys.stderr)
            try:
                found = trial.run(peer, setting, task, folder / f"peer{number}")
            except PeerError as error:
                print(f"peers.py: {error}", file=sys.stderr)
                result["failed"][setting.name] = f"failed: {error}"
                continue
            result["settings"].append(found)
    result["catalogue"] = {"tracks": n_tracks, "hours": round(task.shelf.seconds / 3600, 3)}
    result["environment"] = environment()
    result["protocol"] = {"seed": args.seed, "n_per_length": args.n, "n_out": args.n_out, "quick": args.quick}
    return result


def prepare(args: argparse.Namespace, folder: Path) -> trial.Task:
    """Write the catalogue and the queries of both parts."""
    corpus = Corpus(args.corpus)
    only = set(corpora.load_part("report").known) if args.quick else None
    return trial.Task(
        trial.write_shelf(corpus, catalogue.catalogue_paths(corpus, only), folder / "tracks"),
        trial.write_clips(queries(args, "calibration", 0), folder / "queries", "c"),
        trial.write_clips(queries(args, "report", args.n), folder / "queries", "r"),
    )


def queries(args: argparse.Namespace, part: str, n_known: int) -> Iterator[Query]:
    """Return the queries of a part, the same that accuracy.py asks."""
    return render_queries(part, args.seed, n_known, args.n_out, LENGTHS_S, corpus=args.corpus)


if __name__ == "__main__":
    raise SystemExit(main())
