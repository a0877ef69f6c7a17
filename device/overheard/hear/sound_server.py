"""Ask the sound server (PulseAudio or PipeWire), through `pactl`, which source this process records."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import select
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

log = logging.getLogger(__name__)

PACTL_TIMEOUT_S = 5.0  # pactl waits forever for a sound server that hangs
_CHECK_S = 1.0  # between two checks until `pactl subscribe` has shown that it is connected
_BURST_S = 0.1  # one change causes several events
_MAX_LINE_BYTES = 1000
_PROCESS, _TAG = "application.process.id", "overheard.stream"  # properties of a stream or its client
# pactl ignores that its reader is gone, so the shell ends it when this process ends, however that happens.
_SUBSCRIBE = "pactl subscribe & exec >/dev/null; read -r line; kill $!"


@dataclasses.dataclass(frozen=True)
class Connection:
    """The source that a stream of this process records, and all sources.

    Attributes
    ----------
    stream : number of the stream on the sound server
    source : name of the source that it records
    sources : numbers of all sources by name; a source that was removed and is back has another number
    monitor : name of the default output's monitor; it may not exist
    """

    stream: int
    source: str
    sources: Mapping[str, int]
    monitor: str = ""


def tagged(tag: str, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return environment variables that tag a stream, to distinguish it from others of this process."""
    given = (os.environ if env is None else env).get("PULSE_PROP", "")
    return {"PULSE_PROP": f"{given} {_TAG}={tag}".strip()}


class SoundServer:
    """A client of the sound server for one thread; another thread may close it.

    Parameters
    ----------
    tag : of the stream, as of `tagged`; without one, or if no stream of this process has a tag, the newest
        stream of this process counts
    """

    def __init__(self, tag: str = "") -> None:
        self._tag = tag
        # Copied here, because other threads change the environment. The C locale keeps JSON numbers valid.
        self._env = {**os.environ, "LC_ALL": "C"}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._interrupt: Callable[[], None] | None = None  # ends the process that runs now

    @staticmethod
    def available() -> bool:
        """Return whether `pactl` is installed."""
        return shutil.which("pactl") is not None

    def close(self) -> None:
        """End all calls that wait for the sound server."""
        with self._lock:
            self._closed.set()
            if self._interrupt is not None:
                self._interrupt()

    def wait(self, seconds: float) -> bool:
        """Wait; return whether the client was closed."""
        return self._closed.wait(seconds)

    def connection(self) -> Connection | None:
        """Return the connection of this process; None if it records nothing through the sound server."""
        streams, sources = self._list("source-outputs"), self._list("sources")
        own = self._own(streams)
        numbers = {str(source.get("name")): _number(source.get("index")) for source in sources}
        names = {number: name for name, number in numbers.items()}
        found = [(_number(s.get("index")), names.get(_number(s.get("source")))) for s in own]
        stream, name = max(found, key=lambda row: row[0], default=(-1, None))  # the newest one
        if name is None:
            return None
        info = self._json("info")
        sink = info.get("default_sink_name") if isinstance(info, dict) else None
        return Connection(stream, name, numbers, f"{sink}.monitor")

    def _own(self, streams: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the streams of this process; those with the tag, if any of them has a tag."""
        mine = [row for row in streams if _property(row, _PROCESS) == str(os.getpid())]
        tags = {id(row): _property(row, _TAG) for row in mine}
        if streams and not any(tags.values()):  # PipeWire may give the properties of the client only
            found = [row for row in self._list("clients") if _property(row, _PROCESS) == str(os.getpid())]
            clients = {str(client.get("index")): _property(client, _TAG) for client in found}
            mine = mine or [row for row in streams if str(row.get("client")) in clients]
            tags = {id(row): clients.get(str(row.get("client")), "") for row in mine}
        if self._tag and any(tags.values()):
            return [row for row in mine if tags[id(row)] == self._tag]
        return mine

    def move(self, stream: int, source: str) -> bool:
        """Connect a stream to another source; return whether the sound server did so."""
        return self._run("move-source-output", str(stream), source) is not None

    def changes(self, notice: Callable[[], object] = lambda: None) -> Generator[None, None, None]:
        """Yield once at the beginning, and whenever a stream or a source may have changed.

        It ends when the sound server has ended, or with `close`. `notice` is called at once for each sign of
        a change; the iterator waits for the end of a burst of them.
        """
        process = self._start(["sh", "-c", _SUBSCRIBE])
        if process is None or process.stdout is None:
            return
        with process:  # at its end, this closes standard input, which ends the shell, and that ends pactl
            yield from _bursts(process.stdout.fileno(), self._closed, notice)

    def _list(self, kind: str) -> list[dict[str, Any]]:
        rows = self._json("list", kind)
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    def _json(self, *args: str) -> object:
        text = self._run("-f", "json", *args)
        try:
            return None if text is None else json.loads(text)
        except (ValueError, RecursionError) as error:
            log.debug("pactl %s: %s", " ".join(args), error)
            return None

    def _run(self, *args: str) -> bytes | None:
        """Run `pactl` and return its output; None if it fails."""
        process = self._start(["pactl", *args])
        if process is None:
            return None
        with process:
            try:
                output, _ = process.communicate(timeout=PACTL_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                log.debug("pactl %s: no answer", " ".join(args))
                process.kill()
                return None
        return output if process.returncode == 0 else None

    def _start(self, command: list[str]) -> subprocess.Popen[bytes] | None:
        """Start a program; None if it cannot be started or the client was closed."""
        with self._lock:
            if self._closed.is_set():
                return None
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=self._env,
                    start_new_session=True,  # Ctrl-C would end the shell before it ends pactl
                )
            except OSError as error:
                log.debug("%s: %s", command[0], error)
                return None
            self._interrupt = process.kill
            if command[0] == "sh" and process.stdin is not None:
                self._interrupt = process.stdin.close
            return process


def _bursts(
    events: int, closed: threading.Event, notice: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Yield at once, and then after each burst of relevant events of `pactl subscribe`.

    The first event shows that no later one is missed; connecting to the sound server, as each check does,
    causes one.
    """
    connected, rest = False, b""
    due_s: float | None = time.monotonic()
    while not closed.is_set():
        wait_s = None if due_s is None else max(0.0, due_s - time.monotonic())
        if not select.select([events], [], [], wait_s)[0]:
            due_s = None if connected else time.monotonic() + _CHECK_S
            yield
            continue
        data = os.read(events, 1 << 16)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        rest = rest[-_MAX_LINE_BYTES:]
        relevant = any(map(_is_relevant, lines))
        if relevant:
            notice()
        if due_s is None or not connected:
            due_s = time.monotonic() + _BURST_S if relevant or not connected else None
        connected = True


def _is_relevant(line: bytes) -> bool:
    """Return whether a line such as ``Event 'new' on source #3`` may announce another connection."""
    event, _, subject = line.removeprefix(b"Event ").partition(b" on ")
    kind = subject.split(b" ")[0]
    return kind in (b"source-output", b"server") or (kind == b"source" and event != b"'change'")


def _property(row: Mapping[str, Any], name: str) -> str:
    properties = row.get("properties")
    return str(properties.get(name, "")) if isinstance(properties, dict) else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) else -1
