"""Find the tracks of the corpus that hold the same music as a `valid` track, and list the pairs.

    python benchmarks/near_duplicates.py

Two things make a pair, neither of them the model's opinion, so that no likeness that it merely imagines is
excused as a copy: the manifest gives both tracks one artist and one title (versions of one piece, at another
tempo even), or their waveforms correlate where the model proposes that they might.

Writes near_duplicates.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overheard_bench import catalogue, output
from overheard_bench.corpus import DEFAULT_CORPUS, NEAR_DUPLICATES_FILE, SAMPLE_RATE, Corpus, Item
from overheard_bench.render import to_float
from protocol import CACHE

WINDOW_S, STEP_S = 5, 7.3
MIN_SIMILARITY = 0.3  # far below any match: the waveforms decide
MIN_CORRELATION = 0.18  # unrelated pieces reach 0.14 by a shared drum or note, versions of one 0.2


def main(argv: Sequence[str] | None = None) -> int:
    """Look for pairs and write them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--corpus", type=Path, default=DEFAULT_CORPUS)
    parser.add_argument("--model", type=Path, help="manifest of a model other than the shipped one")
    args = parser.parse_args(argv)
    from overheard.fingerprint.model import load_model

    corpus, best = Corpus(args.corpus), {}
    for first, second, correlation in proposals(corpus, load_model(args.model)):
        pair = tuple(sorted((first, second)))
        best[pair] = max(best.get(pair, 0.0), correlation)
    versions = same_names(corpus)
    ranked = sorted(best.items(), key=lambda item: -item[1])
    for pair, correlation in ranked[:20]:
        print(f"{correlation:.2f} {pair[0]} ~ {pair[1]}")
    about = json.loads(NEAR_DUPLICATES_FILE.read_text(encoding="utf-8"))["about"]
    copies = {pair for pair, correlation in ranked if correlation >= MIN_CORRELATION}
    pairs = sorted(list(pair) for pair in copies | versions)
    output.write_json(NEAR_DUPLICATES_FILE, {"about": about, "pairs": pairs})
    return 0


def same_names(corpus: Corpus) -> set[tuple[str, ...]]:
    """Return the pairs with a `valid` track that the manifest gives one artist and one title."""
    named = [item for item in corpus.of("music") if item.artist and item.title]
    return {
        tuple(sorted((one.path, other.path)))
        for one, other in itertools.combinations(named, 2)
        if name_of(one) == name_of(other) and "valid" in (one.split, other.split)
    }


def name_of(item: Item) -> tuple[str, str]:
    """Return artist and title, to compare."""
    return item.artist.casefold(), item.title.casefold()


def proposals(corpus: Corpus, model: Any) -> Iterator[tuple[str, str, float]]:
    """Yield a `valid` track, another that seems to hold a stretch of it, and how their waveforms agree."""
    from overheard.recognize.pipeline import Recognizer
    from overheard_train.data.copies import correlation_at

    music = [item.path for item in corpus.of("music")]
    pack = catalogue.build_pack(corpus, model, music, CACHE, None)
    find = catalogue.path_finder(music)
    recognizer = Recognizer(model, [pack])
    paths = [find(track) for track in pack.tracks]
    for item in corpus.of("music", "valid"):
        waveform = to_float(corpus.load(item.path))
        own = [number for number, path in enumerate(paths) if path == item.path]
        for start_s in np.arange(0.0, len(waveform) / SAMPLE_RATE - WINDOW_S, STEP_S):
            window = waveform[int(start_s * SAMPLE_RATE) :][: WINDOW_S * SAMPLE_RATE]
            queries, found, rows = recognizer.window_candidates(window, own)
            evidence = recognizer.matcher.weigh(queries, found, rows, recognizer.clip_step_frames)
            if evidence is not None and evidence.similarity >= MIN_SIMILARITY:
                other = paths[evidence.track]
                place_s = evidence.offset_frames / model.spec.frontend.frames_per_s
                yield item.path, other, correlation_at(window, corpus.load(other), place_s)


if __name__ == "__main__":
    raise SystemExit(main())
