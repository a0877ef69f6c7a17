"""Render the table of the networks that index and the networks that listen."""

from __future__ import annotations

from overheard_bench.output import Result, markdown


def table(result: Result) -> str:
    """Return the result as a Markdown table."""
    header = ["indexed by", "queried by", "% correctly identified", "false positives", "2 s"]
    rows = [
        [
            row["indexed_by"],
            row["queried_by"],
            f"{row['overall']['right_percent']:.1f}",
            f"{row['overall']['false_positives']} of {row['overall']['out_n']:,}",
            f"{row['right_percent_2_s']:.1f}",
            f"{row['at_one_percent']['right_percent']:.1f}",
            f"{row['cpu_ms']:.0f}",
            "-" if row["cpu_ms_5_s"] is None else f"{row['cpu_ms_5_s']:.0f}",
        ]
        for row in result["rows"]
    ]
    return markdown([*header, "% at 1%", "CPU ms per query", "CPU ms, 5 s"], rows)
