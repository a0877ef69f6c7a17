"""Compare drawn tracks with real ones: as distractors, both must do the same to the answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from overheard.catalogue.pack import Pack, write_pack
from overheard.fingerprint.model import Model
from overheard_bench.corpus import Corpus
from overheard_bench.distractors import Donors, draw_track
from overheard_bench.scale_accuracy import Questions
from overheard_bench.scale_packs import donor_numbers
from overheard_bench.scale_times import own_speed_only


def validate(
    questions: Questions, base: Pack, corpus: Corpus, model: Model, seed: int, cache: Path
) -> dict[str, Any]:
    """Ask the queries of a catalogue with real distractors, and with as many drawn ones as long as these.

    The other tracks of both catalogues are those that queries come from.
    """
    numbers = donor_numbers(base, corpus)
    entries = [*base.entries()]
    queried = [entry for number, entry in enumerate(entries) if number not in set(numbers)]
    real = [entries[number] for number in numbers]
    donors = Donors.of_pack(base, model.quantizer, numbers)
    drawn = []
    for number, entry in enumerate(real):
        packed_cells, codes = draw_track(donors, seed, number, len(entry.packed_cells))
        path = f"drawn/{number}.ogg"
        drawn.append(dataclasses.replace(entry, path=path, also=(), packed_cells=packed_cells, codes=codes))
    result: dict[str, Any] = {"queried_tracks": len(queried), "distractors": len(real)}
    for name, distractors in {"without": [], "real": real, "drawn": drawn}.items():
        pack = cache / "scale" / f"validation-{name}.pack"
        write_pack(pack, name, model.digest, model.spec, [*queried, *distractors])
        with own_speed_only():
            result[name] = questions.ask(pack)
    rights = [result[name]["by_length"]["all"]["right_percent"] for name in ("real", "drawn")]
    at_one_percent = [result[name]["at_one_percent"] for name in ("real", "drawn")]
    return result | {
        "difference_points": round(rights[1] - rights[0], 2),
        "difference_points_at_one_percent": round(at_one_percent[1] - at_one_percent[0], 2),
    }
