"""Put the figures of benchmarks/results into the README, or check that they are there.

    python benchmarks/readme.py [--check]

Rewrites what stands between `<!-- results:NAME -->` and `<!-- /results -->`, NAME being one of RENDERERS.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from overheard_bench import CHECKOUT, RESULTS, output

README = CHECKOUT / "README.md"
MODELS = CHECKOUT / "device" / "overheard" / "models"
BLOCK = re.compile(r"(<!-- results:(\w+) -->\n)(.*?)(<!-- /results -->)", re.DOTALL)
NOT_YET = "Not measured yet.\n"
SIZES = {  # what the block `sizes` sets side by side, and the result of each
    "`overheard`": "accuracy",
    "`overheard`, `--compact`": "accuracy-compact",
    "`overheard-tiny`": "tiny/accuracy",
}
CONDITIONS = {
    "clean": "the file itself",
    "noise0": "noise as loud as the music",
    "mic10": "room, microphone, noise 10 dB below the music",
    "mic5": "the same, noise 5 dB below",
    "mic0": "the same, noise as loud as the music",
    "mic-5": "the same, noise 5 dB above",
    "far10": "far across a reverberant room, noise 10 dB below",
    "mic10_spd": "as the third, played 0.2-0.5% too fast or slow",
}
Result = Mapping[str, Any]


class Unfit(Exception):
    """Why a result cannot stand in the README."""


def main(argv: Sequence[str] | None = None) -> int:
    """Rewrite, or with --check compare; 0, 1 where they differ, 2 for an error."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail where it would change")
    parser.add_argument("--readme", type=Path, default=README)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    try:
        before = args.readme.read_text(encoding="utf-8")
        after = fill(before, args.results)
    except (OSError, Unfit) as error:
        print(f"readme.py: {error}", file=sys.stderr)
        return 2
    if before == after:
        return 0
    if args.check:
        diff = difflib.unified_diff(
            before.splitlines(), after.splitlines(), "README.md", "results", lineterm=""
        )
        print("\n".join(diff))
        print(
            "readme.py: the README differs from the results: run python benchmarks/readme.py", file=sys.stderr
        )
        return 1
    args.readme.write_text(after, encoding="utf-8")
    return 0


def fill(text: str, results: Path) -> str:
    """Return the README's text with every block made anew. Raises Unfit."""
    names = [found[2] for found in BLOCK.finditer(text)]
    if sorted(names) != sorted(RENDERERS):
        raise Unfit(
            f"the README needs one block each of {', '.join(RENDERERS)}; it has {', '.join(names) or 'none'}"
        )
    return BLOCK.sub(lambda found: found[1] + block(found[2], results) + found[4], text)


def block(name: str, results: Path) -> str:
    """Return what one block holds. Raises Unfit."""
    files = list(SIZES.values()) if name == "sizes" else [name]
    paths = [results / f"{file}.json" for file in files]
    if not all(path.is_file() for path in paths):
        return NOT_YET
    loaded = [read_result(path) for path in paths]
    try:
        text = RENDERERS[name](*loaded)
        where = "" if name == "sizes" else origin(loaded[0]) + outdated(name, loaded[0]["model"]) + "\n"
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Unfit(f"{', '.join(map(str, paths))}: no result for the block {name} ({error!r})") from error
    picture = f"\n![{name}](benchmarks/results/{name}.png)\n" if (results / f"{name}.png").is_file() else ""
    return f"{text}{picture}\n{where}"


def read_result(path: Path) -> Result:
    """Return a benchmark's result. Raises Unfit."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if result.get("quick") or result.get("protocol", {}).get("quick"):
            raise Unfit(f"{path} is of a --quick run, which means nothing")
    except (ValueError, AttributeError) as error:
        raise Unfit(f"{path} is no result of a benchmark ({error})") from error
    return result


def origin(result: Result) -> str:
    """Say on what a result was measured."""
    machine, model = result["environment"], result["model"]
    cores = f"{machine['cores']} cores" if machine["cores"] != 1 else "1 core"
    return (
        f"Measured {machine['date'][:10]} at commit {machine['commit'] or 'unknown'} with model "
        f"{model['digest']}, on {machine['processor'] or 'an unknown processor'} "
        f"({machine['machine']}, {cores}), Python {machine['python']}."
    )


def outdated(name: str, measured: Result) -> str:
    """Say so where another model, or where it counts another score, ships than was measured."""
    manifest = measured["manifest"]
    path = MODELS / f"{manifest['name']}.json"
    if not path.is_file():
        return ""
    shipped = json.loads(path.read_text(encoding="utf-8"))
    same = shipped["digest"] == measured["digest"]
    if name in (*SIZES.values(), "listening"):
        scoring = "compact_scoring" if name.endswith("compact") else "scoring"
        same = same and shipped.get(scoring) == manifest.get(scoring)
    return "" if same else " **Another model ships now: to be measured again.**"


def accuracy(result: Result) -> str:
    """Return the README's table of right answers."""
    lengths = [int(length) for length in result["by_length"]]
    cells = {(cell["condition"], cell["length_s"]): cell for cell in result["cells"]}
    rows = []
    for name, pool in result["by_condition"].items():
        each = [f"{cells[name, length]['right_percent']:.0f}" for length in lengths]
        label = f"{CONDITIONS[name]} (`{name}`)" if name in CONDITIONS else f"`{name}`"
        rows.append([label, *each, *pooled(pool)])
    rows.append(["**all**", *right_by_length(result), *pooled(result["overall"])])
    header = ["% named rightly from", *(f"{length} s" for length in lengths), "all lengths (95%)", "wrong"]
    out, held = result["overall"], result["catalogue"]
    low, high = out["out_named_interval"]
    text = output.markdown(header, rows) + (
        f"\n{out['n']} queries of tracks in the catalogue. Of {out['out_n']} queries of tracks that are "
        f"not in it, {out['out_named']} were named ({out['out_named_percent']:.1f}%, "
        f"95%: {low:.1f}-{high:.1f}). The catalogue: {held['tracks']} tracks, {held['hours']:.1f} hours, "
        f"{held['bytes']:,} bytes, {held['bytes_per_min']:,.0f} bytes a minute, everything included.\n"
    )
    if "exhaustive" in result:
        exact, coded = (r["at_one_percent"]["right_percent"] for r in (result["exhaustive"], result))
        text += (
            "\nWith the threshold moved to where 1% of the unknown queries are named, exhaustive search over "
            f"uncompressed embeddings names {exact:.1f}% rightly, the pack {coded:.1f}%.\n"
        )
    return text + aims(result)


def sizes(*results: Result) -> str:
    """Return the README's table of what each model and length of code names, and takes."""
    rows = []
    for (label, name), result in zip(SIZES.items(), results, strict=True):
        out, machine, model = result["overall"], result["environment"], result["model"]
        held, network = result["catalogue"], model["manifest"]["network"]
        measured = f"{machine['date'][:10]}, {machine['commit'] or 'unknown'}{outdated(name, model)}"
        rows.append(
            [
                label,
                *right_by_length(result),
                pooled(out)[0],
                f"{out['out_named_percent']:.1f}",
                f"{held['bytes_per_min']:,.0f}",
                f"{network['bytes'] / 1e6:.1f} MB",
                measured,
            ]
        )
    lengths = [f"{int(length)} s" for length in results[0]["by_length"]]
    header = ["% named rightly from", *lengths, "all (95%)", "unknown named, %", "bytes a minute", "network"]
    return output.markdown([*header, "measured, commit"], rows)


def right_by_length(result: Result) -> list[str]:
    """Return the cells of all conditions, one a length."""
    return [f"{pool['right_percent']:.1f}" for pool in result["by_length"].values()]


def pooled(counts: Result) -> list[str]:
    """Return the cells of a row over all lengths."""
    low, high = counts["right_interval"]
    return [f"{counts['right_percent']:.1f} ({low:.0f}-{high:.0f})", f"{counts['wrong_percent']:.1f}"]


def aims(result: Result) -> str:
    """Say which of the aims, set before anything was measured, are met."""
    bars = result["bars"]
    missed = [
        f"- {b['bar']}: {b['kind']} {b['limit']:g}, is {b['measured']:g}\n" for b in bars if not b["met"]
    ]
    if not missed:
        return f"\nAims met: all {len(bars)}.\n"
    return f"\nAims met: {len(bars) - len(missed)} of {len(bars)}. Not met:\n\n" + "".join(missed)


def latency(result: Result) -> str:
    """Return the README's tables of processor time, memory and indexing speed."""
    listen = [
        [
            scene,
            f"{found['cpu_ms_per_s']:.2f}",
            f"{found['share_of_one_core_percent']:.2f}",
            f"{found['cpu_s_per_hour']:.1f}",
            *(
                "unknown" if found[key] is None else f"{found[key]:.0f}"
                for key in ("resident_mb", "peak_resident_mb")
            ),
        ]
        for scene, found in result["listen"].items()
    ]
    header = [
        "`overheard listen` hears",
        "CPU ms a second",
        "% of one core",
        "CPU s an hour",
        "MB resident",
        "MB peak",
    ]
    index = [[f["format"], f"{f['x_real_time']:.0f}"] for f in result["index"]]
    return (
        output.markdown(header, listen)
        + "\n"
        + output.markdown(["CPU ms a second of audio, by stage", "p50", "p95"], stages(result))
        + "\n"
        + output.markdown(["`overheard index`, one core, decoding included", "x real time"], index)
        + aims(result)
    )


def stages(result: Result) -> list[list[str]]:
    """Return the stages' rows for music that is found: the dearest case."""
    return [
        [f"{stage} ({runtime})", f"{row['p50_ms']:.2f}", f"{row['p95_ms']:.2f}"]
        for runtime, found in result["runtimes"].items()
        for stage, row in found["catalogue music"]["stages"].items()
        if not stage.endswith("wall")
    ]


def power(result: Result) -> str:
    """Return the README's table of processor time and energy, and why a meter is missing."""
    rows = []
    for scene, found in result["scenes"].items():
        if found is None:
            rows.append([scene, "not measured", "", ""])
            continue
        energy = found["energy"]
        if isinstance(energy, str):
            joules = energy
        else:
            joules = ", ".join(f"{e['net_j_per_hour']:.0f} ({meter})" for meter, e in energy.items())
        rows.append(
            [scene, f"{found['cpu_s_per_hour']:.1f}", f"{found['share_of_one_core_percent']:.2f}", joules]
        )
    header = ["an hour of listening to", "CPU s", "% of one core", "J more than idle"]
    meters = "; ".join(f"{meter}: {state}" for meter, state in result["meters"].items())
    return f"{output.markdown(header, rows)}\nEnergy meters: {meters}.\n"


RENDERERS: dict[str, Callable[..., str]] = {
    "accuracy": accuracy,
    "sizes": sizes,
    "listening": output.listening_table,
    "latency": latency,
    "power": power,
}


if __name__ == "__main__":
    raise SystemExit(main())
