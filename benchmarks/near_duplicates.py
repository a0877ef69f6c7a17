"""List the pairs of a `valid` track and another track of the corpus that contain the same music.

    python benchmarks/near_duplicates.py

Two tracks are a pair if the corpus manifest gives them the same artist and title, if their waveforms
correlate at a position that the model proposes, or if they are from one source and either have the same
harmony in the same order for much of the shorter one, or contain the same recorded sound for some time. The
model's similarity alone is not enough: its errors must not be excused as near-duplicates. Writes
near_duplicates.json.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Sequence

import numpy as np

from overheard.fingerprint.model import Model, load_model
from overheard.hear.resampler import to_float
from overheard.recognize.recognizer import Recognizer
from overheard_bench import catalogue, output, shared, versions
from overheard_bench.corpus import NEAR_DUPLICATES_FILE, SAMPLE_RATE, Corpus, Item
from overheard_bench.options import corpus_parser
from overheard_bench.protocol import CACHE
from overheard_train.data.copies import correlation_at

WINDOW_S, STEP_S = 5, 7.3
MIN_SIMILARITY = 0.3  # far below that of any match: the waveforms decide
MIN_CORRELATION = 0.18  # measured: up to 0.14 for unrelated pieces, 0.2 and more for versions of one
MIN_COMMON_SHARE = 0.8  # measured: 1.0 for five versions of whole pieces, up to 0.62 for all other pairs
# Measured: 30 to 80 s for versions of a piece and its parts, up to 20 s for all other pairs.
MIN_SHARED_S = 30.0


def main(argv: Sequence[str] | None = None) -> int:
    """Find the pairs and write them."""
    parser = corpus_parser(__doc__)
    args = parser.parse_args(argv)
    corpus = Corpus(args.corpus)
    best: dict[tuple[str, ...], float] = {}
    for first, second, correlation in proposals(corpus, load_model(args.model)):
        pair = tuple(sorted((first, second)))
        best[pair] = max(best.get(pair, 0.0), correlation)
    pairs_by_music = same_artist_and_title(corpus) | same_harmony(corpus) | same_sound(corpus)
    ranked = sorted(best.items(), key=lambda item: -item[1])
    for pair, correlation in ranked[:20]:
        print(f"{correlation:.2f} {pair[0]} ~ {pair[1]}")
    about = json.loads(NEAR_DUPLICATES_FILE.read_text(encoding="utf-8"))["about"]
    copies = {pair for pair, correlation in ranked if correlation >= MIN_CORRELATION}
    pairs = sorted(list(pair) for pair in copies | pairs_by_music)
    output.write_json(NEAR_DUPLICATES_FILE, {"about": about, "pairs": pairs})
    return 0


def same_artist_and_title(corpus: Corpus) -> set[tuple[str, ...]]:
    """Return the pairs of a `valid` and any track with the same artist and title in the manifest."""
    titled = [item for item in corpus.of("music") if item.artist and item.title]
    return {
        tuple(sorted((one.path, other.path)))
        for one, other in itertools.combinations(titled, 2)
        if artist_and_title(one) == artist_and_title(other) and "valid" in (one.split, other.split)
    }


def of_one_source(corpus: Corpus) -> Iterator[tuple[str, ...]]:
    """Yield the pairs of a `valid` and any track of the same source."""
    for one, other in itertools.combinations(corpus.of("music"), 2):
        if one.source == other.source and "valid" in (one.split, other.split):
            yield tuple(sorted((one.path, other.path)))


def same_sound(corpus: Corpus) -> set[tuple[str, ...]]:
    """Return the pairs of one source that contain the same recorded sound, such as a stem.

    A track that shares as much with the second track of such a pair is a near-duplicate of the first one too:
    it is another version of the second one.
    """

    @functools.lru_cache(maxsize=100)
    def recording(path: str) -> shared.Recording:
        return shared.Recording(corpus.load(path))

    def share(pair: tuple[str, ...]) -> bool:
        return shared.shared_s(*map(recording, pair)) >= MIN_SHARED_S

    direct = set(filter(share, of_one_source(corpus)))
    found = set(direct)
    for item in corpus.of("music", "valid"):
        for copy in {path for pair in direct if item.path in pair for path in pair} - {item.path}:
            found |= {
                tuple(sorted((item.path, other.path)))
                for other in corpus.of("music")
                if other.source == item.source and other.path not in (item.path, copy)
                if share((copy, other.path))
            }
    return found


def same_harmony(corpus: Corpus) -> set[tuple[str, ...]]:
    """Return the pairs of one source that are versions of one piece."""
    music = corpus.of("music")
    states = {item.path: versions.states(versions.chroma(corpus.load(item.path))) for item in music}
    shares = {pair: versions.common_share(*(states[path] for path in pair)) for pair in of_one_source(corpus)}
    for pair, share in sorted(shares.items(), key=lambda item: -item[1])[:20]:
        print(f"{share:.0%} of the harmony {pair[0]} ~ {pair[1]}")
    return {pair for pair, share in shares.items() if share >= MIN_COMMON_SHARE}


def artist_and_title(item: Item) -> tuple[str, str]:
    """Return artist and title without upper case, for comparison."""
    return item.artist.casefold(), item.title.casefold()


def proposals(corpus: Corpus, model: Model) -> Iterator[tuple[str, str, float]]:
    """Yield a `valid` track, a track that may contain a part of it, and their waveforms' correlation."""
    music = [item.path for item in corpus.of("music")]
    pack = catalogue.build_pack(corpus, model, music, CACHE, None)
    corpus_path = catalogue.path_finder(music)
    recognizer = Recognizer(model, [pack])
    paths = [corpus_path(track) for track in pack.tracks]
    for item in corpus.of("music", "valid"):
        waveform = to_float(corpus.load(item.path))
        own = [number for number, path in enumerate(paths) if path == item.path]
        for start_s in np.arange(0.0, len(waveform) / SAMPLE_RATE - WINDOW_S, STEP_S):
            window = waveform[int(start_s * SAMPLE_RATE) :][: WINDOW_S * SAMPLE_RATE]
            evidence = recognizer.matcher.weigh(*recognizer.window(window, own))
            if evidence is not None and evidence.similarity >= MIN_SIMILARITY:
                other = paths[evidence.track]
                position_s = evidence.offset_frames / model.spec.frontend.frames_per_s
                yield item.path, other, correlation_at(window, corpus.load(other), position_s)


if __name__ == "__main__":
    raise SystemExit(main())
