"""Repositories of packs for tests: published folders, and a web server that can misbehave."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from overheard.catalogue.pack import TrackEntry, open_pack, write_pack
from overheard.fingerprint.model import default_model
from overheard.settings import Settings
from overheard.updates.documents import PackEntry
from overheard.updates.source import Limits
from overheard.updates.subscribe import Update, subscribe
from overheard.updates.update import Outcome
from overheard_export.publish import publish
from overheard_export.repository import opened
from overheard_export.signing import SigningKey, load_key, new_key

PATIENT = Limits(pause_s=0.01)
IMPATIENT = Limits(timeout_s=0.2, document_s=0.4, slow_s=0.2, min_bytes_per_s=1e5, attempts=2, pause_s=0.01)
CODE_BYTES = 22

Answer = Callable[["Handler", str, bytes], bool]  # returns whether it answered instead of the server


def entries(numbers: range, n_segments: int = 30, **metadata: Any) -> list[TrackEntry]:
    """Return one track per number, which is always the same for the same number."""
    found = []
    for number in numbers:
        rng = np.random.default_rng(number)
        known = {"title": f"Title {number}", "path": f"album/{number}.flac", "duration_s": float(n_segments)}
        found.append(
            TrackEntry(
                **{**known, **metadata},
                packed_cells=rng.integers(0, 1 << 16, n_segments, dtype=np.uint16),
                codes=rng.integers(0, 256, (n_segments, CODE_BYTES), dtype=np.uint8),
            )
        )
    return found


def pack_of(path: Path, tracks: list[TrackEntry], digest: str | None = None) -> Path:
    """Write a pack for the model that ships with overheard."""
    model = default_model()
    write_pack(path, path.stem, digest or model.digest, model.spec, tracks)
    return path


class Publisher:
    """A repository and its key."""

    def __init__(self, folder: Path, key: Path | None = None) -> None:
        self.out, self.folder = folder / "public", folder
        self.key = load_key(key) if key else new_key(folder / "publisher.key")

    def publish(self, *packs: Path, **options: Any) -> list[PackEntry]:
        key: SigningKey = options.pop("key", self.key)
        with opened(self.out) as repository:
            return publish(repository, packs, key, **options)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve a folder, with byte ranges, unless the server's `answer` does."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append((path, self.headers.get("Range")))
        file = self.server.folder / path.removeprefix("/packs/")
        exists = path.startswith("/packs/") and file.is_file()
        content = file.read_bytes() if exists else b""
        if self.server.answer is not None and self.server.answer(self, path, content):
            self.close_connection = True
            return
        if not exists:
            self.send_error(404)
            return
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(match[1]) if match else 0
        self.begin(206 if match else 200, len(content) - start, start, len(content))
        self.send(content[start:])

    def begin(self, status: int, length: int | None, start: int = 0, total: int = 0, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send(self, content: bytes) -> None:
        self.wfile.write(content)
        self.server.n_bytes += len(content)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class Server(http.server.ThreadingHTTPServer):
    """A web server for a repository at ``/packs``.

    Attributes
    ----------
    answer : may answer a request instead of the server
    requests : path and range of each request
    n_bytes : bytes of bodies sent
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.answer: Answer | None = None
        self.requests: list[tuple[str, str | None]] = []
        self.n_bytes = 0
        self.stop = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/packs"

    def handle_error(self, *_: object) -> None:
        """Print nothing: clients hang up on hostile answers."""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.stop.set()
            server.shutdown()
            thread.join()


def trust(settings: Settings, url: str, **options: Any) -> None:
    """Subscribe without asking anybody."""
    assert subscribe(settings, str(url), lambda _: True, limits=PATIENT, **options)


def update(
    settings: Settings, check: bool = False, days_later: float = 0, limits: Limits = PATIENT
) -> dict[str, Outcome]:
    """Update all packs, and return the outcomes by name. Raises the error of a repository."""
    later = datetime.timedelta(days=days_later)

    def now() -> datetime.datetime:
        return datetime.datetime.now(datetime.timezone.utc) + later

    outcomes = {}
    for _, outcome in Update(settings, default_model(), limits=limits, now=now).run(check):
        if isinstance(outcome, Exception):
            raise outcome
        outcomes[outcome.name] = outcome
    return outcomes


def titles(settings: Settings, name: str = "music") -> list[str]:
    return sorted(track.title for track in open_pack(settings.packs_dir / f"{name}.pack").tracks)
