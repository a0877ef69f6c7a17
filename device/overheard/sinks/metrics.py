"""Write metrics for Prometheus: what overheard does and what it costs, never what it hears."""

from __future__ import annotations

import contextlib
import resource
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from overheard.events import Event, MusicUnknown, PlayEnded, Status
from overheard.files import create_folder, expand_user
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
}
_STAGES = 20  # labels of cpu_seconds_total at most


class Metrics:
    """The values; any thread may use them."""

    def __init__(self, queues: Mapping[str, Callable[[], int]]) -> None:
        self._queues = queues
        self._lock = threading.Lock()
        self._plays = self._unknown = 0
        self._last_start_s = -1.0  # of a play
        self._analysed_s = 0.0
        self._status: Status | None = None
        self._last_audio = 0.0

    def count(self, event: Event) -> None:
        """Count an event."""
        with self._lock:
            if isinstance(event, PlayEnded):
                self._plays += event.play.start_s != self._last_start_s  # it may end again after a pause
                self._last_start_s = event.play.start_s
            self._unknown += isinstance(event, MusicUnknown)

    def update(self, status: Status, now: float) -> None:
        """Take the newest status, at a Unix time."""
        with self._lock:
            new_s = status.audio_s - (self._status.audio_s if self._status else 0.0)
            if new_s > 0:
                self._last_audio = now
                self._analysed_s += new_s if status.gate_open else 0.0
            self._status = status

    def text(self) -> str:
        """Return the metrics in the text format of Prometheus."""
        queues = {f'{{sink="{name}"}}': length() for name, length in self._queues.items()}
        with self._lock:
            values: dict[str, Mapping[str, float]] = {
                "plays_total": {"": self._plays},
                "unknown_music_total": {"": self._unknown},
                "last_audio_timestamp_seconds": {"": self._last_audio},
                "process_cpu_seconds_total": {"": time.process_time()},
                "process_resident_memory_max_bytes": {
                    "": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                },
                "queue_length": queues,
                **(_of_status(self._status, self._analysed_s) if self._status else {}),
            }
        lines: list[str] = []
        for name, (kind, text) in _HELP.items():
            if values.get(name):
                lines += [f"# HELP overheard_{name} {text}", f"# TYPE overheard_{name} {kind}"]
                lines += [f"overheard_{name}{labels} {value:.15g}" for labels, value in values[name].items()]
        return "\n".join(lines) + "\n"


def _of_status(status: Status, analysed_s: float) -> dict[str, Mapping[str, float]]:
    stages = list(status.cpu_s.items())[:_STAGES]
    return {
        "audio_seconds_total": {"": status.audio_s},
        "lost_audio_seconds_total": {"": status.lost_s},
        "analysed_audio_seconds_total": {"": analysed_s},
        "duty_cycle": {"": analysed_s / status.audio_s if status.audio_s else 0.0},
        "cpu_seconds_total": {f'{{stage="{name}"}}': seconds for name, seconds in stages},
        "playing": {"": status.state == "playing"},
        "paused": {"": status.state == "paused"},
    }


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

    def tick(self) -> None:
        """Write the file if it is time."""
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + self._interval_s
            self.write()

    def write(self) -> None:
        """Write the file. It is not flushed to the disk: after a power cut, it is not needed."""
        create_folder(self._path.parent)
        partial = self._path.with_name(f"{self._path.name}.tmp")
        try:
            partial.write_text(self._metrics.text(), encoding="utf-8")
            partial.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise

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
    chosen, metrics = settings.sinks.metrics, Metrics(context.queues)
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
