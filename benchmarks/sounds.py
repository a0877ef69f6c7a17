"""Measure how often synthetic sounds that are not music are recognized, as clips and by a listener.

    python benchmarks/sounds.py [--quick]

Writes sounds.json and sounds.md into benchmarks/results. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from overheard.catalogue.pack import Pack, open_pack
from overheard.errors import OverheardError
from overheard.events import MusicUnknown, PlayStarted
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import Model, load_model
from overheard_bench import catalogue, output, sounds_report, synthetic
from overheard_bench import corpus as corpora
from overheard_bench.corpus import PARTS, SAMPLE_RATE, Corpus
from overheard_bench.environment import environment, model_facts
from overheard_bench.options import catalogue_parser, results_folder
from overheard_bench.protocol import CACHE
from overheard_bench.render import Renderer
from overheard_bench.shares import on_every_core
from overheard_bench.sounds_report import SoundAnswer

LENGTHS_S = (2, 5, 10)
CLIPS = 36  # of each sound and length
LISTEN_S = 30
LISTENED = 6  # clips of each sound that a listener hears
BLOCK_S = 0.1


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    args = parse(argv)
    try:
        corpus, model = Corpus(args.corpus), load_model(args.model)
        pack = open_catalogue_pack(args, corpus, model)
        heard = on_every_core(functools.partial(hear_share, args, model.path, pack.path))
    except (OverheardError, FileNotFoundError, RuntimeError) as error:
        print(f"sounds.py: {error}", file=sys.stderr)
        return 2
    result = sounds_report.summary(heard) | {
        "catalogue": catalogue.describe(pack),
        "model": model_facts(model),
        "environment": environment(),
        "speech": "espeak-ng" if synthetic.speech_program() else "formant synthesizer",
        "part": args.part,
        "seed": args.seed,
        "quick": args.quick,
    }
    output.publish(args.out, "sounds", result, sounds_report.table(result))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = catalogue_parser(__doc__)
    parser.add_argument(
        "--part", choices=PARTS, default="report", help="whose rooms and microphones are used"
    )
    parser.add_argument("--seed", type=int, default=synthetic.SEED)
    parser.add_argument(
        "--quick", action="store_true", help="two clips and a small catalogue, to try the script"
    )
    parser.add_argument("--out", type=Path, help="folder for the results")
    args = parser.parse_args(argv)
    args.out = results_folder(args.out, args.quick)
    return args


def open_catalogue_pack(args: argparse.Namespace, corpus: Corpus, model: Model) -> Pack:
    """Open the given pack, or index the catalogue."""
    if args.pack:
        return open_pack(args.pack, model.digest)
    only = set(corpora.load_part(args.part).known) if args.quick else None
    return catalogue.build_pack(corpus, model, catalogue.catalogue_paths(corpus, only), CACHE, None)


def hear_share(
    args: argparse.Namespace, model_path: Path, pack_path: Path, jobs: int, job: int
) -> list[SoundAnswer]:
    """Identify every `jobs`-th clip, and listen to every `jobs`-th one."""
    corpus = Corpus(args.corpus)
    opened = catalogue.open_catalogue(corpus, model_path, pack_path)
    renderer = Renderer(corpus, corpora.load_part(args.part))
    heard = []
    for sound, number, length_s, listened in list(clips(args.quick))[job::jobs]:
        waveform = synthetic.clip(renderer, sound, number, length_s, args.seed)
        facts = (sound, number, length_s, listened)
        hear = listen if listened else identify
        heard.append(SoundAnswer(*facts, *hear(opened, waveform)))
    return heard


def clips(quick: bool) -> Iterator[tuple[str, int, int, bool]]:
    """Yield sound, number and length of each clip, and whether a listener hears it."""
    for sound in synthetic.SOUNDS:
        for number in range(2 if quick else CLIPS):
            for length_s in LENGTHS_S:
                yield sound, number, length_s, False
        for number in range(1 if quick else LISTENED):
            yield sound, number, LISTEN_S, True


def identify(opened: catalogue.OpenCatalogue, waveform: FloatArray) -> tuple[str | None, float]:
    """Return the track as which a clip is recognized, and the confidence of its best match."""
    found = opened.recognizer.identify(waveform)
    track = opened.corpus_path(found.plays[0].track) if found.plays else None
    return track, 0.0 if found.best is None else found.best.confidence


def listen(opened: catalogue.OpenCatalogue, waveform: FloatArray) -> tuple[str | None, float, int]:
    """Return the track that a microphone's listener recognizes, its confidence, and the unknown music."""
    listener, events = opened.recognizer.listener(), []
    n = round(BLOCK_S * SAMPLE_RATE)
    for begin in range(0, len(waveform), n):
        events += listener.process(waveform[begin : begin + n])
    events += listener.finish()
    plays = [event.play for event in events if isinstance(event, PlayStarted)]
    unknown = sum(isinstance(event, MusicUnknown) for event in events)
    if not plays:
        return None, 0.0, unknown
    return opened.corpus_path(plays[0].track), plays[0].confidence, unknown


if __name__ == "__main__":
    raise SystemExit(main())
