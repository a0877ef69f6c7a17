"""Render processor times, memory and energy as Markdown tables."""

from __future__ import annotations

from typing import Any

from overheard_bench.output import Result, markdown


def latency(result: Result) -> str:
    """Return the tables of processor time, memory and indexing speed."""
    job_ms = result["reference"]["cpu_ms"]
    listen = [
        [
            scene,
            f"{usage['cpu_ms_per_s']:.2f}",
            f"{usage['cpu_ms_per_s'] / job_ms:.2f}",
            f"{usage['share_of_one_core_percent']:.2f}",
            f"{usage['cpu_s_per_hour']:.1f}",
            *(
                "unknown" if usage[key] is None else f"{usage[key]:.0f}"
                for key in ("resident_mb", "peak_resident_mb")
            ),
        ]
        for scene, usage in result["listen"].items()
    ]
    header = [
        "`overheard listen`",
        "CPU ms per second",
        "reference jobs per second",
        "% of one core",
        "CPU s per hour",
        "resident MB",
        "peak resident MB",
    ]
    stage_header = ["CPU ms per second of audio, by stage", "mean", "reference jobs", "95th percentile"]
    index_header = [
        "`overheard index`, with decoding",
        "times real time",
        "reference jobs per second of music",
    ]
    return "\n".join(
        [
            markdown(header, listen),
            markdown(stage_header, stages(result)),
            markdown(index_header, indexing(result)),
            reference_job(result),
        ]
    )


def indexing(result: Result) -> list[list[str]]:
    """Return a row for each format, by processor time."""
    job_ms = result["reference"]["cpu_ms"]
    return [
        [
            row["format"],
            f"{row['x_real_time_by_cpu']:.0f}",
            f"{1e3 * row['cpu_s'] / row['audio_s'] / job_ms:.2f}",
        ]
        for row in result["index"]
    ]


def stages(result: Result) -> list[list[str]]:
    """Return a row for each stage, for music of the catalogue: the most expensive case."""
    job_ms = result["reference"]["cpu_ms"]
    return [
        [
            f"{stage} ({runtime})",
            f"{row['mean_ms']:.2f}",
            f"{row['mean_ms'] / job_ms:.2f}",
            f"{row['p95_ms']:.2f}",
        ]
        for runtime, scenes in result["runtimes"].items()
        for stage, row in scenes["catalogue music"]["stages"].items()
        if not stage.endswith("wall")
    ]


def reference_job(result: Result) -> str:
    """Return a sentence about the job that processor times are compared with."""
    reference = result["reference"]
    job, cpu_ms = reference["job"], reference["cpu_ms"]
    return f"The reference job, {job} on one thread, took {cpu_ms:.1f} ms in this run.\n"


def power(result: Result) -> str:
    """Return the table of processor time and energy, and the state of each meter."""
    rows = []
    for scene, values in result["scenes"].items():
        if values is None:
            rows.append([scene, "not measured", "", "", ""])
            continue
        energy: Any = values["energy"]
        if energy != "unavailable":
            energy = ", ".join(f"{e['net_j_per_hour']:.0f} ({meter})" for meter, e in energy.items())
        jobs_per_s = values["cpu_s_per_hour"] / 3.6 / result["reference"]["cpu_ms"]
        cpu = [
            f"{values['cpu_s_per_hour']:.1f}",
            f"{jobs_per_s:.2f}",
            f"{values['share_of_one_core_percent']:.2f}",
        ]
        rows.append([scene, *cpu, energy])
    header = [
        "one hour of listening to",
        "CPU s",
        "reference jobs per second",
        "% of one core",
        "J above idle",
    ]
    meters = "; ".join(f"{meter}: {state}" for meter, state in result["meters"].items())
    return f"{markdown(header, rows)}\n{reference_job(result)}\nEnergy meters: {meters}.\n"
