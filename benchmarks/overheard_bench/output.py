"""Write results as JSON, tables as Markdown, and charts as PNG."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from overheard.files import atomic_write

logger = logging.getLogger(__name__)

Result = Mapping[str, Any]


def publish(
    folder: Path, name: str, result: Result, table: str, plot: Callable[[Path, Result], bool] | None = None
) -> None:
    """Write NAME.json, NAME.md and NAME.png, and print the table."""
    write_json(folder / f"{name}.json", result)
    write_text(folder / f"{name}.md", table)
    if plot is not None:
        plot(folder / f"{name}.png", result)
    print(table)
    print(f"written to {folder}")


def write_json(path: Path, result: Result) -> None:
    """Write a result as JSON, atomically."""
    write_text(path, json.dumps(result, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, atomically."""
    with atomic_write(path) as file:
        file.write(text.encode())


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers, aligned right."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def figure(path: Path, draw: Callable[[Any], None], size: tuple[float, float]) -> bool:
    """Draw a PNG of a size in inches. Without matplotlib, log a warning and return False."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        logger.warning("%s is not drawn: matplotlib is not installed (pip install matplotlib)", path.name)
        return False
    canvas = pyplot.figure(figsize=size, layout="constrained")
    draw(canvas)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=110)
    pyplot.close(canvas)
    return True
