"""Write metrics for Prometheus: what overheard does and what it costs, never what it hears."""

from __future__ import annotations

import dataclasses
import resource
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from overheard.events import Event, MusicUnknown, PlayEnded, Status
from overheard.files import atomic_write, expand_user
from overheard.settings import Settings
from overheard.sinks.context import Context
from overheard.text import one_line

NAME = "metrics"
_HELP = {
    "plays_total": ("counter", "Plays that have ended."),
    "unknown_music_total": ("counter", "Times that unknown music was heard."),
    "audio_seconds_total": ("counter", "Sound that was heard, lost sound included."),
    "lost_audio_seconds_total": ("counter", "Sound that was lost because recognition was too slow."),
    "analysed_audio_seconds_total": ("counter", "Sound during which the gate was open."),
    "duty_cycle": ("gauge", "Share of the sound during which the gate was open."),
    "cpu_seconds_total": ("counter", "Processor time of each stage of recognition."),
    "process_cpu_seconds_total": ("counter", "Processor time of the whole program."),
    "process_resident_memory_max_bytes": ("gauge", "The most memory that the program has used."),
    "last_audio_timestamp_seconds": ("gauge", "Unix time at which sound arrived last; 0 before."),
    "playing": ("gauge", "1 while a track is recognized, otherwise 0."),
    "paused": ("gauge", "1 while listening is paused, otherwise 0."),
    "queue_length": ("gauge", "Items that a sink has still to deliver."),
    "lost_events_total": ("counter", "Events that a sink did not get, because it was too slow or failed."),
}
_STAGES = 20  # labels of cpu_seconds_total at most


@dataclasses.dataclass
class _Counts:
    """What was counted in one room, or without rooms."""

    plays: int = 0
    unknown: int = 0
    last_start_s: float = -1.0  # of a play
    analysed_s: float = 0.0
    status: Status | None = None
    last_audio: float = 0.0  # Unix time


class Metrics:
    """The values; any thread may use them.

    Parameters
    ----------
    queues : the length of each sink's queue, by the name of the sink
    rooms : names of the rooms, each with values of its own; empty if there are none
    """

    def __init__(self, queues: Mapping[str, Callable[[], int]], rooms: Sequence[str] = ()) -> None:
        self._queues = queues
        self._lock = threading.Lock()
        self._counts = {room: _Counts() for room in rooms or ("",)}
        self.lost: Callable[[], Mapping[str, int]] = dict  # events that sinks did not get, by their names

    def count(self, event: Event) -> None:
        """Count an event."""
        with self._lock:
            counts = self._counts[event.room]
            if isinstance(event, PlayEnded):
                # It may end again after a pause.
                counts.plays += event.play.start_s != counts.last_start_s
                counts.last_start_s = event.play.start_s
            counts.unknown += isinstance(event, MusicUnknown)

    def update(self, status: Status, now: float) -> None:
        """Take the newest status, at a Unix time."""
        with self._lock:
            counts = self._counts[status.room]
            new_s = status.audio_s - (counts.status.audio_s if counts.status else 0.0)
            if new_s > 0:
                counts.last_audio = now
                counts.analysed_s += new_s if status.gate_open else 0.0
            counts.status = status

    def text(self) -> str:
        """Return the metrics in the text format of Prometheus."""
        values: dict[str, dict[str, float]] = {name: {} for name in _HELP}
        with self._lock:
            for room, counts in self._counts.items():
                for name, found in _of_room(counts).items():
                    values[name] |= {_labels(room=room, **labels): value for labels, value in found}
        values["process_cpu_seconds_total"] = {"": time.process_time()}
        most = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        values["process_resident_memory_max_bytes"] = {"": most}
        values["queue_length"] = {_labels(sink=name): length() for name, length in self._queues.items()}
        values["lost_events_total"] = {_labels(sink=name): count for name, count in self.lost().items()}
        lines: list[str] = []
        for name, (kind, text) in _HELP.items():
            if values[name]:
                lines += [f"# HELP overheard_{name} {text}", f"# TYPE overheard_{name} {kind}"]
                lines += [f"overheard_{name}{labels} {value:.15g}" for labels, value in values[name].items()]
        return "\n".join(lines) + "\n"


_Found = list[tuple[dict[str, str], float]]  # labels and value


def _of_room(counts: _Counts) -> dict[str, _Found]:
    status, analysed_s = counts.status, counts.analysed_s
    values: dict[str, float] = {
        "plays_total": counts.plays,
        "unknown_music_total": counts.unknown,
        "last_audio_timestamp_seconds": counts.last_audio,
    }
    stages: _Found = []
    if status is not None:
        values |= {
            "audio_seconds_total": status.audio_s,
            "lost_audio_seconds_total": status.lost_s,
            "analysed_audio_seconds_total": analysed_s,
            "duty_cycle": analysed_s / status.audio_s if status.audio_s else 0.0,
            "playing": status.state == "playing",
            "paused": status.state == "paused",
        }
        stages = [({"stage": name}, seconds) for name, seconds in list(status.cpu_s.items())[:_STAGES]]
    return {**{name: [({}, value)] for name, value in values.items()}, "cpu_seconds_total": stages}


def _labels(**labels: str) -> str:
    """Return labels in the format of Prometheus, without those that are empty."""
    shown = [f'{name}="{_escaped(text)}"' for name, text in labels.items() if text]
    return f"{{{','.join(shown)}}}" if shown else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


class MetricsSink:
    """Write the metrics to a file, beside it first, so that a reader never sees half of them.

    Parameters
    ----------
    metrics : the values
    path : the file, for the textfile collector of node_exporter
    interval_s : between two writes
    stop : called at the end
    """

    name = NAME

    def __init__(
        self, metrics: Metrics, path: Path, interval_s: float, stop: Callable[[], object] = lambda: None
    ) -> None:
        self._metrics = metrics
        self._path = path
        self._interval_s = interval_s
        self._stop = stop
        self._next_s = 0.0

    def handle(self, event: Event, started: float) -> None:
        """Count an event."""
        self._metrics.count(event)
        self.tick()

    def publish_status(self, status: Status) -> None:
        """Take the newest status; the thread that processes the sound calls this."""
        self._metrics.update(status, time.time())

    def watch_losses(self, lost: Callable[[], Mapping[str, int]]) -> None:
        """Take a function that returns how many events each sink did not get."""
        self._metrics.lost = lost

    def tick(self) -> None:
        """Write the file if it is time."""
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + self._interval_s
            self.write()

    def write(self) -> None:
        """Write the file. It is not flushed to the disk: after a power cut, it is not needed."""
        with atomic_write(self._path, durable=False) as file:
            file.write(self._metrics.text().encode())

    def close(self) -> None:
        """Remove the file: metrics of a program that does not run would be wrong."""
        self._stop()
        self._path.unlink(missing_ok=True)


def file_path(settings: Settings) -> Path:
    """Return the path of the file."""
    chosen = settings.sinks.metrics.path
    return expand_user(chosen) if chosen else settings.data_dir / "overheard.prom"


def open_sink(settings: Settings, context: Context) -> MetricsSink:
    """Return the sink; the server for HTTP is imported only if it is wanted."""
    chosen, metrics = settings.sinks.metrics, Metrics(context.queues, context.rooms)
    stop: Callable[[], object] = lambda: None  # noqa: E731
    if chosen.http:
        from overheard.sinks.network.metrics_server import serve

        stop = serve(metrics.text, chosen.http_port)
    return MetricsSink(metrics, file_path(settings), chosen.interval_s, stop)


def test(settings: Settings, context: Context) -> str:
    """Write the file once."""
    sink = MetricsSink(Metrics(context.queues), file_path(settings), 1.0)
    sink.write()
    sink.close()
    return f"{one_line(str(file_path(settings)))} can be written"
