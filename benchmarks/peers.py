"""Measure audfprint, Chromaprint, Olaf and Panako on the queries of accuracy.py, if they are installed.

    python benchmarks/peers.py                                     # the peers on the PATH
    python benchmarks/peers.py --audfprint ~/venv/bin/audfprint    # and one elsewhere
    python benchmarks/peers.py --tables                            # only write tables and chart again

Writes peers.json, peers.md and peers.png to benchmarks/results. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from overheard_bench import catalogue, output
from overheard_bench import corpus as corpora
from overheard_bench.corpus import DEFAULT_CORPUS, Corpus
from overheard_bench.options import results_folder
from overheard_bench.peers import PEERS, report, results, trial
from overheard_bench.peers.base import Peer, PeerError
from overheard_bench.peers.command import find_command
from overheard_bench.protocol import LENGTHS_S, VERSION, Query, render_queries


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the results; return 2 if no peer is installed, a peer failed, or data is missing."""
    args = parse(argv)
    try:
        earlier = results.read(args.out / "peers.json")
        if args.tables and earlier is None:
            raise FileNotFoundError(f"no peers.json in {args.out}: run peers.py without --tables")
        result = earlier if args.tables else measure(args, earlier)
        if result is None:  # every peer failed
            return 2
        publish(args.out, result)
    except (FileNotFoundError, RuntimeError) as error:
        print(f"peers.py: {error}", file=sys.stderr)
        return 2
    return 2 if result["failed"] and not args.tables else 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    for peer in PEERS:
        text = f"its command or file (default: ${peer.variable}, or {peer.commands[0]} on the PATH)"
        parser.add_argument(f"--{peer.name.lower()}", dest=peer.name, metavar="COMMAND", help=text)
    parser.add_argument(
        "--only", action="append", choices=results.ORDER, help="setting to measure; can be repeated"
    )
    parser.add_argument(
        "--corpus",
        type=Path,
        default=DEFAULT_CORPUS,
        help="folder of the corpus (default: $OVERHEARD_CORPUS, or corpus)",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of all random choices (default: 1)")
    parser.add_argument("--n", type=int, default=50, help="positions per length, each in every condition")
    parser.add_argument("--n-out", type=int, help="the same for tracks not in the catalogue (default: --n)")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes or threads of a peer"
    )
    parser.add_argument("--timeout", type=float, default=14_400, help="time limit of one run of a peer, in s")
    parser.add_argument(
        "--quick", action="store_true", help="two positions and a small catalogue, to try the script"
    )
    parser.add_argument("--tables", action="store_true", help="measure nothing; write tables and chart again")
    parser.add_argument("--out", type=Path, help="folder for the results")
    args = parser.parse_args(argv)
    if args.quick:
        args.n = 2
    args.n_out = args.n if args.n_out is None else args.n_out
    args.out = results_folder(args.out, args.quick)
    return args


def find_peers(args: argparse.Namespace) -> tuple[list[Peer], dict[str, str]]:
    """Return the installed peers, and how to install the others."""
    present: list[Peer] = []
    absent: dict[str, str] = {}
    for peer in PEERS:
        command = find_command(peer, getattr(args, peer.name))
        if command is None:
            absent[peer.name] = f"not installed: {peer.how_to_install}"
        else:
            present.append(peer(command, args.jobs, args.timeout))
    return present, absent


def measure(args: argparse.Namespace, earlier: dict[str, Any] | None) -> dict[str, Any] | None:
    """Run the installed peers in the chosen settings; return the result, None if every run failed.

    A peer that fails is reported, and the others continue. Settings that only `earlier` has are kept.
    """
    present, absent = find_peers(args)
    runs = [(peer, s) for peer in present for s in peer.settings if not args.only or s.name in args.only]
    if not runs:
        ways = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
        raise FileNotFoundError(f"no peer is installed ({ways})")
    measured, failed = [], {}
    with tempfile.TemporaryDirectory(prefix="overheard-peers-") as name:
        folder = Path(name).resolve()  # Olaf prints paths with symbolic links resolved
        task = prepare(args, folder)
        n_tracks, n_queries = len(task.catalogue.files), len(task.calibration) + len(task.report)
        for number, (peer, setting) in enumerate(runs):
            print(f"{setting.name}: {n_tracks} tracks, {n_queries} queries ...", file=sys.stderr)
            try:
                measured.append(trial.run(peer, setting, task, folder / f"peer{number}"))
            except PeerError as error:
                print(f"peers.py: {error}", file=sys.stderr)
                failed[setting.name] = f"failed: {error}"
    result = {"settings": measured, "failed": failed, "not_installed": absent, **conditions(args, task)}
    return results.merge(earlier, result) if measured else None


def conditions(args: argparse.Namespace, task: trial.Task) -> dict[str, Any]:
    """Return the catalogue and the protocol: what results must share to be comparable."""
    catalogue_facts = {
        "tracks": len(task.catalogue.files),
        "hours": round(task.catalogue.duration_s / 3600, 3),
    }
    protocol = {"seed": args.seed, "n_per_length": args.n, "n_out": args.n_out, "quick": args.quick}
    return {"catalogue": catalogue_facts, "protocol": {"version": VERSION, **protocol}}


def prepare(args: argparse.Namespace, folder: Path) -> trial.Task:
    """Write the catalogue and the queries of both parts as files."""
    corpus = Corpus(args.corpus)
    only = set(corpora.load_part("report").known) if args.quick else None
    return trial.Task(
        trial.write_tracks(corpus, catalogue.catalogue_paths(corpus, only), folder / "tracks"),
        trial.write_queries(queries(args, "calibration", 0), folder / "queries", "c"),
        trial.write_queries(queries(args, "report", args.n), folder / "queries", "r"),
    )


def queries(args: argparse.Namespace, part: str, n_known: int) -> Iterator[Query]:
    """Return the queries of a part, the same as those of accuracy.py."""
    return render_queries(part, args.seed, n_known, args.n_out, LENGTHS_S, corpus=args.corpus)


def publish(folder: Path, result: dict[str, Any]) -> None:
    """Write the result, and the tables and the chart with the results of overheard from accuracy.json."""
    ours = results.of_overheard(results.read(folder / "accuracy.json"), result)
    if ours is None:
        print(f"peers.py: {folder} has no accuracy.json for the same queries and tracks", file=sys.stderr)
    plot = functools.partial(report.plot, ours=ours)
    output.publish(folder, "peers", result, report.tables(result, ours), plot)


if __name__ == "__main__":
    raise SystemExit(main())
