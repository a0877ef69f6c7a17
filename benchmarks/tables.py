"""Write the tables of benchmarks/results into the documentation, or check that they are up to date.

    python benchmarks/tables.py [--check]

Replaces the text between `<!-- results:NAME -->` and `<!-- /results -->` in README.md and docs/benchmarks.md;
NAME is one of `FILES`.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overheard_bench import (
    CHECKOUT,
    RESULTS,
    appliance_report,
    cost_report,
    detector_report,
    networks_report,
    output,
    reliability,
    report,
    scale_report,
    sounds_report,
)
from overheard_bench.environment import calibrations
from overheard_bench.output import Result
from overheard_bench.peers import report as peer_report
from overheard_bench.peers import results as peer_results

PAGES = (CHECKOUT / "README.md", CHECKOUT / "docs" / "benchmarks.md")
MODELS = CHECKOUT / "device" / "overheard" / "models"
BLOCK = re.compile(r"(<!-- results:([\w-]+) -->\n)(.*?)(<!-- /results -->)", re.DOTALL)
MARKER = re.compile(r"<!-- (?:results:|/results)")
NOT_YET = "Not measured yet.\n"
OURS = {  # labels of the accuracy results that `sizes` sets side by side
    "`overheard`": "accuracy",
    "`overheard`, `--compact`": "accuracy-compact",
    "`small`": "small/accuracy",
    "`tiny`": "tiny/accuracy",
    "`overheard-tiny`": "overheard-tiny/accuracy",
}
FILES = {  # the results that each block is made from
    "accuracy": ("accuracy",),
    "sizes": tuple(OURS.values()),
    "comparison": ("accuracy", "peers"),
    "listening": ("listening",),
    "latency": ("latency",),
    "power": ("power",),
    "identify_cost": ("identify_cost",),
    "speeds": ("speeds",),
    "scale": ("scale",),
    "detector": ("detector",),
    "schedule": ("schedule",),
    "soak": ("soak",),
    "streams": ("streams",),
    "reliability": ("accuracy",),
    "sounds": ("sounds",),
    "networks": ("networks",),
}
RENDERERS = {  # those that are not functions of report
    "latency": cost_report.latency,
    "power": cost_report.power,
    "scale": scale_report.scale,
    "detector": detector_report.table,
    "soak": appliance_report.soak,
    "streams": appliance_report.streams,
    "reliability": reliability.table,
    "sounds": sounds_report.table,
    "networks": networks_report.table,
}
WITH_SCORING = (
    "accuracy",
    "sizes",
    "comparison",
    "listening",
    "scale",
    "speeds",
    "reliability",
    "sounds",
    "networks",
)  # blocks that depend on the calibration
KEYS = {  # what a file must contain to be a result
    "listening": ("known", "unknown", "without_music", "environment", "model"),
    "latency": ("listen", "runtimes", "index", "reference", "environment", "model"),
    "power": ("scenes", "meters", "reference", "environment", "model"),
    "identify_cost": ("clips", "unknown_clips", "reference_s", "environment", "model"),
    "scale": ("sizes", "paper", "environment", "model"),
    "soak": ("hours", "plays_kept", "environment", "model"),
    "streams": ("scenes", "seconds", "environment", "model"),
    "speeds": ("rows", "out_n", "environment", "model"),
    "sounds": ("sounds", "listen", "overall", "environment", "model"),
    "reliability": ("reliability", "environment", "model"),
    "peers": ("settings", "catalogue", "protocol"),
    "detector": ("tracks", "without_music", "with_opinion", "cost", "environment", "model"),
    "schedule": ("scenes", "seconds", "environment", "model"),
    "networks": ("rows", "models", "environment", "model"),
}
ACCURACY_KEYS = ("cells", "by_condition", "by_length", "overall", "catalogue", "environment", "model")


class InvalidResult(Exception):
    """A page or a result that cannot be rendered."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the tables, or compare them with --check; 0, 1 if a page is out of date, 2 for an error."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page is out of date")
    parser.add_argument("--page", type=Path, action="append", help="page to update (default: all)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args(argv)
    try:
        pages = {path: path.read_text(encoding="utf-8") for path in args.page or PAGES}
        filled = {path: fill(text, path, args.results) for path, text in pages.items()}
    except (OSError, InvalidResult) as error:
        print(f"tables.py: {error}", file=sys.stderr)
        return 2
    changed = [path for path in pages if pages[path] != filled[path]]
    for path in changed:
        if args.check:
            diff = difflib.unified_diff(
                pages[path].splitlines(), filled[path].splitlines(), str(path), "results", lineterm=""
            )
            print("\n".join(diff))
        else:
            output.write_text(path, filled[path])
    if changed and args.check:
        print("tables.py: pages are out of date; run python benchmarks/tables.py", file=sys.stderr)
        return 1
    return 0


def fill(text: str, page: Path, results: Path) -> str:
    """Return a page with every block rendered again. Raises InvalidResult."""
    names = [match[2] for match in BLOCK.finditer(text)]
    if len(MARKER.findall(text)) != 2 * len(names):
        raise InvalidResult(f"{page}: each <!-- results:NAME --> needs a <!-- /results --> after it")
    if unknown := sorted(set(names) - set(FILES)):
        raise InvalidResult(f"{page}: unknown block {unknown[0]}; known are {', '.join(FILES)}")
    return BLOCK.sub(lambda match: match[1] + block(match[2], page, results) + match[4], text)


def block(name: str, page: Path, results: Path) -> str:
    """Return the text of one block. Raises InvalidResult."""
    paths = {file: results / f"{file}.json" for file in FILES[name]}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        print(f"tables.py: {name} is empty, since there is no {', '.join(missing)}", file=sys.stderr)
        return NOT_YET
    loaded = {
        file: read_result(path, KEYS.get(name) or KEYS.get(file, ACCURACY_KEYS))
        for file, path in paths.items()
    }
    ours = {label: loaded[file] for label, file in OURS.items() if file in loaded}
    if name == "sizes":
        notes = [outdated(OURS[label], name, result["model"]) for label, result in ours.items()]
        return report.sizes(ours, notes) + "\n"
    if name == "comparison":
        measured = peer_results.of_overheard(loaded["accuracy"], loaded["peers"])
        if measured is None:
            raise InvalidResult("accuracy.json and peers.json have different queries or tracks")
        return peer_report.comparison(loaded["peers"], measured) + "\n"
    (result,) = loaded.values()
    picture = results / f"{name}.png"
    address = Path(os.path.relpath(picture, page.parent)).as_posix()
    shown = f"\n![{name}]({address})\n" if picture.is_file() else ""
    note = outdated(name, name, result["model"])
    render = RENDERERS.get(name) or getattr(report, name)
    return f"{render(result)}{shown}\n{origin(result)}{note}\n"


def read_result(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """Return the result of a complete run of a benchmark. Raises InvalidResult."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidResult(f"{path} is not JSON ({error})") from error
    if not isinstance(result, dict):
        raise InvalidResult(f"{path} is not the result of a benchmark")
    if result.get("quick") or result.get("protocol", {}).get("quick"):
        raise InvalidResult(f"{path} is from a --quick run, which is only for trying a script")
    if absent := [key for key in keys if key not in result]:
        raise InvalidResult(f"{path} lacks {', '.join(absent)}")
    return result


def origin(result: Result) -> str:
    """Return a sentence with the date, commit, model and machine of a measurement."""
    machine = result["environment"]
    cores = f"{machine['cores']} cores" if machine["cores"] != 1 else "1 core"
    return (
        f"Measured {machine['date'][:10]} at commit {machine['commit'] or 'unknown'} with model "
        f"{result['model']['digest']}, on {machine['processor'] or 'an unknown processor'} "
        f"({machine['machine']}, {cores}), Python {machine['python']}."
    )


def outdated(file: str, block_name: str, measured: Result) -> str:
    """Return a note if the shipped model, or its calibration where it matters, is not the measured one."""
    path = MODELS / f"{measured['name']}.json"
    if not path.is_file():
        return ""
    shipped = json.loads(path.read_text(encoding="utf-8"))
    scoring = "compact_scoring" if file.endswith("compact") else "scoring"
    same = shipped.get("space", {}).get("pack_digest", shipped["digest"]) == measured["digest"]
    if block_name in WITH_SCORING:
        same = same and calibrations(shipped).get(scoring) == measured.get(scoring)
    return "" if same else " **Measured with an older model.**"


if __name__ == "__main__":
    raise SystemExit(main())
