"""Write the tables of docs/licences.md: installed packages, and libraries in their wheels.

`script/licences` runs this.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import av._core
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
MARKS = "<!-- {name} -->\n", "<!-- /{name} -->"
Distribution = importlib.metadata.Distribution


def main() -> int:
    """Replace the tables."""
    lines = (ROOT / "requirements-device.txt").read_text(encoding="utf-8").splitlines()
    found: dict[str, Distribution] = {}
    collect((line for line in lines if line and not line.startswith("#")), found)
    packages = [found[name] for name in sorted(found)]
    page = PAGE.read_text(encoding="utf-8")
    page = replaced(page, "packages", package_table(packages))
    page = replaced(page, "libraries", library_table(packages))
    page = replaced(page, "ffmpeg", ffmpeg())
    PAGE.write_text(page, encoding="utf-8")
    return 0


def collect(requirements: Iterable[str], found: dict[str, Distribution]) -> None:
    """Add the installed packages that the requirements name, and those that these require."""
    for line in requirements:
        requirement = Requirement(line)
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and name not in found:
            found[name] = importlib.metadata.distribution(name)
            collect(found[name].requires or [], found)


def package_table(packages: Iterable[Distribution]) -> str:
    """Return a row for each package."""
    rows = [f"| {p.metadata['Name']} | {p.version} | {licence(p)} |" for p in packages]
    return "\n".join(["| package | version | licence |", "|---|---|---|", *rows])


def licence(package: Distribution) -> str:
    """Return the licence that a package states: as an SPDX expression, in a classifier, or in one line."""
    metadata = package.metadata
    classifiers = [
        c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier") or [] if c.startswith("License ::")
    ]
    text = metadata.get("License") or ""
    return metadata.get("License-Expression") or ", ".join(classifiers) or text.partition("\n")[0]


def library_table(packages: Iterable[Distribution]) -> str:
    """Return a row for each package whose wheel contains shared libraries of others."""
    rows = []
    for package in packages:
        name = package.metadata["Name"]
        paths = [Path(str(path)) for path in package.files or []]
        # A package also lists the folders of libraries that others share with it.
        own = [path.name for path in paths if path.parent.name == f"{name}.libs"]
        names = sorted({re.split(r"-[0-9a-f]{8}|\.so", library)[0].rstrip("-_") for library in own})
        if names:
            rows.append(f"| {name} | {', '.join(names)} |")
    return "\n".join(["| package | libraries |", "|---|---|", *rows])


def ffmpeg() -> str:
    """Return what the FFmpeg in PyAV's wheel says about itself."""
    libraries = av._core.library_meta
    licences = sorted({library["license"] for library in libraries.values()})
    options = libraries["libavcodec"]["configuration"].split()
    external = [
        o.removeprefix("--enable-") for o in options if o.startswith(("--enable-lib", "--enable-gpl"))
    ]
    version = ".".join(map(str, libraries["libavcodec"]["version"]))
    return (
        f"- libavcodec {version} reports the licence: {', '.join(licences)}.\n"
        f"- It is configured with: {', '.join(external)}."
    )


def replaced(page: str, name: str, content: str) -> str:
    """Return the page with other content between two marks."""
    start, end = (mark.format(name=name) for mark in MARKS)
    before, _, rest = page.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}{content}\n{end}{after}"


if __name__ == "__main__":
    sys.exit(main())
