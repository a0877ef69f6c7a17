"""Run the measurement of a script, and publish what it returns."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from overheard.errors import OverheardError
from overheard_bench import output
from overheard_bench.output import Result


def measure_and_publish(
    name: str, out: Path, measure: Callable[[Path], Result], table: Callable[[Result], str]
) -> int:
    """Measure in a temporary folder, and write the result and its table; return the exit code of the script.

    Parameters
    ----------
    name : of the script and of its files
    out : folder for the results
    measure : takes the temporary folder; an error of overheard or of what it needs ends the script
    table : returns the table in Markdown
    """
    try:
        with tempfile.TemporaryDirectory(prefix=f"overheard-{name}-") as folder:
            result = measure(Path(folder))
    except (OverheardError, RuntimeError, FileNotFoundError) as error:
        print(f"{name}.py: {error}", file=sys.stderr)
        return 2
    output.publish(out, name, result, table(result))
    return 0
