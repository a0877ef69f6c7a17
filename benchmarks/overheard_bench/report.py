"""Render results as Markdown tables, for NAME.md beside each result and for the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from overheard_bench.output import Result, markdown

CONDITIONS = {
    "clean": "the file itself",
    "noise0": "noise as loud as the music",
    "mic10": "room, microphone, noise 10 dB below the music",
    "mic5": "room, microphone, noise 5 dB below the music",
    "mic0": "room, microphone, noise as loud as the music",
    "mic-5": "room, microphone, noise 5 dB above the music",
    "far10": "reverberant room, far microphone, noise 10 dB below the music",
    "mic10_spd": "as `mic10`, played 0.2 to 0.5% too fast or too slow",
}


def accuracy(result: Result) -> str:
    """Return the table of correct answers by condition and length, and the false positives."""
    lengths = list(result["by_length"])
    cells = {(cell["condition"], str(cell["length_s"])): cell for cell in result["cells"]}
    rows = [
        [
            f"{CONDITIONS[name]} (`{name}`)",
            *(f"{cells[name, length]['right_percent']:.0f}" for length in lengths),
            *pooled(pool),
        ]
        for name, pool in result["by_condition"].items()
    ]
    rows.append(["**all**", *right_by_length(result), *pooled(result["overall"])])
    header = [
        "% correctly identified",
        *(f"{length} s" for length in lengths),
        "all lengths (95% interval)",
        "% incorrectly identified",
    ]
    overall, catalogue = result["overall"], result["catalogue"]
    low, high = overall["false_positive_interval"]
    text = markdown(header, rows) + (
        f"\nKnown music: {overall['n']:,} queries. Unknown music: {overall['out_n']:,} queries, with "
        f"{overall['false_positives']} false positives ({overall['false_positive_percent']:.1f}%, "
        f"95% interval {low:.1f}-{high:.1f}). Catalogue: {catalogue['tracks']} tracks, "
        f"{catalogue['hours']:.1f} hours, {catalogue['bytes']:,} bytes, which is "
        f"{catalogue['bytes_per_min']:,.0f} bytes per minute.\n"
    )
    if "exhaustive" in result:
        exact, coded = (r["at_one_percent"]["right_percent"] for r in (result["exhaustive"], result))
        text += (
            f"\nAt 1% false positives, the pack has {coded:.1f}% correct answers. Exhaustive search over "
            f"uncompressed embeddings has {exact:.1f}%.\n"
        )
    return text


def sizes(results: Mapping[str, Result], notes: Sequence[str]) -> str:
    """Return the table of accuracy and size for each model and length of code.

    Parameters
    ----------
    results : accuracy results by label
    notes : for each result, a note after its commit
    """
    rows = []
    for (label, result), note in zip(results.items(), notes, strict=True):
        overall, machine = result["overall"], result["environment"]
        rows.append(
            [
                label,
                *right_by_length(result),
                pooled(overall)[0],
                f"{overall['false_positive_percent']:.1f}",
                f"{result['catalogue']['bytes_per_min']:,.0f}",
                f"{result['model']['network_bytes'] / 1e6:.1f} MB",
                f"{machine['date'][:10]}, {machine['commit'] or 'unknown'}{note}",
            ]
        )
    lengths = [f"{length} s" for length in next(iter(results.values()))["by_length"]]
    header = ["% correctly identified", *lengths, "all (95% interval)", "% false positives"]
    return markdown([*header, "bytes per minute", "network", "measured, commit"], rows)


def right_by_length(result: Result) -> list[str]:
    """Return the share of correct answers for each length, over all conditions."""
    return [f"{pool['right_percent']:.1f}" for pool in result["by_length"].values()]


def pooled(counts: Result) -> list[str]:
    """Return the cells for all lengths: the percentages of correct and of incorrect answers."""
    low, high = counts["right_interval"]
    return [f"{counts['right_percent']:.1f} ({low:.0f}-{high:.0f})", f"{counts['wrong_percent']:.1f}"]


def targets(result: Result) -> str:
    """Return the table of the targets; it is for developers, and not in the documentation."""
    rows = [
        [t["target"], f"{t['kind']} {t['limit']:g}", f"{t['measured']:g}", "yes" if t["met"] else "no"]
        for t in result["targets"]
    ]
    return markdown(["target", "limit", "measured", "met"], rows)


def listening(result: Result) -> str:
    """Return the tables of a day of listening: known music, and false positives without music."""
    rows: list[list[object]] = []
    for condition, known in result["known"].items():
        unknown = result["unknown"][condition]
        names = ("delay_s_median", "delay_s_p90", "after_first_note_s_p90")
        delays = [known.get(name, "not measured") for name in names]
        rows.append(
            [
                condition,
                f"{known['right_percent']:.1f}",
                f"{known['wrong_percent']:.1f}",
                f"{known['tracks_recognized']} of {known['tracks']}",
                *(_delay(delay) for delay in delays),
                *(str(known.get(name, "not counted")) for name in ("tracks_split", "shortest_play_s")),
                f"{unknown['false_positives']} in {unknown['hours']:.1f} h",
            ]
        )
    header = [
        "complete tracks",
        "% of time correctly identified",
        "% of time incorrectly",
        "tracks identified",
        "delay, median (s)",
        "delay, 90th percentile (s)",
        "delay after the first note, 90th percentile (s)",
        "tracks in several plays",
        "shortest play (s)",
        "false positives, unknown music",
    ]
    without_music = [
        [kind, f"{counts['false_positives']} in {counts['hours']:.1f} h"]
        for kind, counts in result["without_music"].items()
    ]
    return f"{markdown(header, rows)}\n{markdown(['no music', 'false positives'], without_music)}"


def _delay(seconds: float | str | None) -> str:
    if isinstance(seconds, str):
        return seconds
    return "never" if seconds is None else f"{seconds:.1f}"


def identify_cost(result: Result) -> str:
    """Return the table of the cost of identifying one clip of known or of unknown music, by its length."""
    rows = [
        [
            f"{known['length_s']} s",
            *(
                text
                for row in (known, unknown)
                for text in (f"{row['cpu_s']:.3f}", f"{row['cpu_s_per_s']:.4f}", f"{row['ratio']:.2f}")
            ),
        ]
        for known, unknown in zip(result["clips"], result["unknown_clips"], strict=True)
    ]
    columns = ["CPU s", "per second of audio", f"relative to {result['reference_s']} s"]
    header = ["clip", *columns, *(f"unknown music: {column}" for column in columns)]
    return markdown(header, rows)


def schedule(result: Result) -> str:
    """Return the table of the cost of listening with the schedule and without it, by scene and stage."""
    rows = []
    for scene, each in result["scenes"].items():
        for name in ("with the schedule", "without it") if each else ():
            stages = [f"{seconds:.1f}" for seconds in each[name]["stages"].values()]
            ratio = f"{each['ratio']:.2f}" if name == "with the schedule" else ""
            rows.append([f"{scene}, {name}", f"{each[name]['cpu_s_per_hour']:.1f}", ratio, *stages])
    stages = ["gate", "front-end", "detector", "network", "search", "match"]
    return markdown(["CPU s per hour", "all", "ratio", *stages], rows)


def speeds(result: Result) -> str:
    """Return the table of correct answers by speed and by tempo, and the false positives."""
    rows = []
    for row in result["rows"]:
        low, high = row["right_interval"]
        errors = [
            "" if row[name] is None else f"{row[name]:.2f}"
            for name in ("speed_error_percent", "position_error_s")
        ]
        right = f"{row['right_percent']:.0f} ({low:.0f}-{high:.0f})"
        false = f"{row['false_positives']} of {row['out_n']}"
        rows.append([f"{row['kind']} {row['percent']:+d}%", right, row["wrong"], *errors, false])
    header = [
        "10 s, `mic10`",
        "% correctly identified (95% interval)",
        "incorrectly",
        "error of the speed, median (%)",
        "error of the position, median (s)",
        "false positives",
    ]
    low, high = result["false_positive_interval"]
    normal = result["out_normal"]
    return markdown(header, rows) + (
        f"\nEach row has the same {result['rows'][0]['n']} queries. Unknown music: {result['out_n']:,} "
        f"queries, with {result['false_positives']} false positives "
        f"({result['false_positive_percent']:.1f}%, 95% interval {low:.1f}-{high:.1f}), and "
        f"{normal['false_positives']} of {normal['n']} at the track's own speed.\n"
    )
