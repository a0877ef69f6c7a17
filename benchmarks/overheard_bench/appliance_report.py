"""Tables of the benchmarks of a listener that runs for days, and of its page."""

from __future__ import annotations

from overheard_bench.output import Result, markdown


def soak(result: Result) -> str:
    """Return the table of the first hour and of the end of each day."""
    hours = result["hours"]
    shown = [0, *range(23, len(hours), 24)]
    if shown[-1] != len(hours) - 1:
        shown.append(len(hours) - 1)
    first = hours[0]["resident_kb"]
    rows = [
        [
            f"{number + 1} h",
            f"{hours[number]['resident_kb'] / 1024:.1f}",
            f"{100 * (hours[number]['resident_kb'] / first - 1):+.1f}%",
            *(f"{hours[number][name]:.0f}" for name in ("descriptors", "threads", "files")),
            f"{hours[number]['bytes'] / 1000:.0f}",
        ]
        for number in shown
    ]
    header = ["after", "resident MB", "change", "descriptors", "threads", "files", "kB on disk"]
    most = max(hour["resident_kb"] for hour in hours)
    texts = (
        f"{len(hours)} simulated hours in {result['cpu_s'] / 60:.1f} minutes of processor time;",
        f"{result['plays_kept']} plays of the last {result['keep_days']} days in the history.",
        f"At most {100 * (most / first - 1):.1f}% more memory than after the first hour.",
    )
    return f"{markdown(header, rows)}\n{' '.join(texts)}\n"


def streams(result: Result) -> str:
    """Return the table of the scenes."""
    names = ("listen_percent", "web_percent", "listen_mb", "web_mb", "resident_mb", "proportional_mb")
    rows = [
        [
            name,
            *(f"{values[key]:.1f}" if key in values else "" for key in names),
            f"{values['lost_s']:.1f}",
            f"{values['statuses_least']} to {values['statuses_most']}" if values["open"] else "",
            values["open"],
        ]
        for name, values in result["scenes"].items()
    ]
    columns = ["% of a core: `listen`", "`web`", "MB: `listen`", "`web`", "both", "both, shared pages once"]
    more = ["s of audio lost", "statuses for each stream", "streams at the end"]
    header = [f"{result['seconds']:.0f} s each", *columns, *more]
    text = f"{result['streams']} streams are read, and {result['slow']} more are opened and never read."
    return f"{markdown(header, rows)}\n{text}\n"
