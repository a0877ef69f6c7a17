"""Measure `overheard listen` alone, with its page, and with 200 event streams, some of which nobody reads.

    python benchmarks/streams.py [--seconds 60] [--streams 200] [--slow 10] [--quick]

A PulseAudio of its own plays music into a null sink, which `listen` records like a microphone: with a bounded
queue, whose losses are counted. Writes streams.json and streams.md into benchmarks/results. See
benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from overheard.demo.synth import synthesize, write_wav
from overheard.errors import OverheardError
from overheard.fingerprint.model import load_model
from overheard.hear.source import SAMPLE_RATE
from overheard.live.client import LiveClient
from overheard_bench import appliance_report
from overheard_bench.environment import environment, model_facts
from overheard_bench.options import results_folder
from overheard_bench.page import get, visit, write_song
from overheard_bench.process import cpu_ns, environment_of, memory_kb, proportional_mb
from overheard_bench.script import measure_and_publish

SINK, START_S, PIECE_S = "streams", 60.0, 120.0
SLOW_BUFFER = 2048  # bytes that the kernel keeps for a client that does not read
SCENES = ("`listen` alone", "one page, after a look at each view", "all streams, some never read")


class Streams:
    """Open event streams of the page, of which some are never read."""

    def __init__(self, port: int, n_read: int, n_slow: int, mel: bool) -> None:
        self._selector = selectors.DefaultSelector()
        self._slow = [connect(port, mel, SLOW_BUFFER) for _ in range(n_slow)]
        self._open = {connect(port, mel): b"" for _ in range(n_read)}
        self.statuses = dict.fromkeys(self._open, 0)
        for client in self._open:
            self._selector.register(client, selectors.EVENT_READ)

    def read(self, seconds: float) -> None:
        """Read what arrives, and count the statuses of each stream."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                client: Any = key.fileobj
                data = client.recv(65536)
                if not data:
                    self._selector.unregister(client)
                    continue
                *lines, rest = (self._open[client] + data).split(b"\n")
                self._open[client] = rest
                self.statuses[client] += lines.count(b"event: status")

    @property
    def n_open(self) -> int:
        """Streams that are open, with those that are not read."""
        return len(self._selector.get_map()) + len(self._slow)

    @property
    def n_ended(self) -> int:
        """Streams that are read, and that the server has ended."""
        return len(self._open) - len(self._selector.get_map())

    def close(self) -> None:
        """Close all."""
        for client in [*self._slow, *self._open]:
            client.close()
        self._selector.close()


def connect(port: int, mel: bool, buffer: int = 0) -> socket.socket:
    """Open an event stream."""
    client = socket.socket()
    if buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.connect(("127.0.0.1", port))
    path = f"/api/v1/events{'?mel=true' if mel else ''}"
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
    return client


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    args = parse(argv)
    return measure_and_publish(
        "streams", args.out, lambda folder: measure(args, folder), appliance_report.streams
    )


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of each scene")
    parser.add_argument("--streams", type=int, default=200, help="streams that are read")
    parser.add_argument("--slow", type=int, default=10, help="streams that are not read, in addition")
    parser.add_argument("--quick", action="store_true", help="some seconds, to try the script")
    parser.add_argument("--out", type=Path, help="folder for the results")
    args = parser.parse_args(argv)
    if args.quick:
        args.seconds, args.streams, args.slow = 5.0, 20, 2
    args.out = results_folder(args.out, args.quick)
    return args


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run sound server, player, `listen` and `web`; measure each scene."""
    if any(shutil.which(program) is None for program in ("pulseaudio", "pactl", "paplay")):
        raise RuntimeError("PulseAudio is needed: apt-get install pulseaudio pulseaudio-utils")
    with contextlib.ExitStack() as stack:
        env = stack.enter_context(sound_server(folder))
        music = folder / "music"
        music.mkdir()
        piece = 0.5 * synthesize(950, PIECE_S).waveform
        write_song(music / "piece.mp3", piece, SAMPLE_RATE)
        write_wav(folder / "piece.wav", piece)
        run(env, "index", str(music), "--jobs", "1")
        player = f"while paplay --device={SINK} '{folder / 'piece.wav'}'; do :; done"
        stack.enter_context(running(["sh", "-c", player], env))
        overheard = [sys.executable, "-m", "overheard"]
        listen = stack.enter_context(
            running([*overheard, "listen", "--input", f"pulse:{SINK}.monitor", "--plain"], env)
        )
        live = folder / "overheard" / "live.sock"
        wait_until(lambda: status(live)["playing"], "the music is not recognized")
        scenes = {SCENES[0]: scene(args.seconds, live, [listen], Streams(0, 0, 0, False))}
        port = free_port()
        web = stack.enter_context(running([*overheard, "web", "--port", str(port)], env))
        wait_until(lambda: json.loads(get(port, "/api/v1/status"))["status"], "the page does not answer")
        visited = visit(port)
        both = [listen, web]
        scenes[SCENES[1]] = scene(args.seconds, live, both, Streams(port, 1, 0, mel=True))
        many = Streams(port, args.streams, args.slow, mel=False)
        scenes[SCENES[2]] = scene(args.seconds, live, both, many)
    facts: dict[str, Any] = {
        "quick": args.quick,
        "seconds": args.seconds,
        "streams": args.streams,
        "slow": args.slow,
        "visited_bytes": visited,
    }
    return {**facts, "scenes": scenes, "environment": environment(), "model": model_facts(load_model())}


def scene(seconds: float, live: Path, processes: Sequence[int], streams: Streams) -> dict[str, Any]:
    """Read streams for some time, and measure `listen` and, if it runs, `web`."""
    streams.read(2.0)
    before = {pid: cpu_ns(pid) for pid in processes}
    heard = status(live)
    streams.statuses = dict.fromkeys(streams.statuses, 0)
    began_s = time.monotonic()
    streams.read(seconds)
    wall_s = time.monotonic() - began_s
    shares = [100 * (cpu_ns(pid) - before[pid]) / 1e9 / wall_s for pid in processes]
    resident_mb = [memory_kb(pid)["VmRSS"] / 1024 for pid in processes]
    after = status(live)
    counts = list(streams.statuses.values())
    found = {
        **dict(zip(("listen_percent", "web_percent"), shares, strict=False)),
        **dict(zip(("listen_mb", "web_mb"), resident_mb, strict=False)),
        **{"resident_mb": sum(resident_mb), "proportional_mb": sum(map(proportional_mb, processes))},
        **{name: after[name] - heard[name] for name in ("audio_s", "lost_s")},
        **{"statuses_least": min(counts, default=0), "statuses_most": max(counts, default=0)},
        **{"ended": streams.n_ended, "open": streams.n_open},
    }
    streams.close()
    return found


@contextlib.contextmanager
def sound_server(folder: Path) -> Iterator[dict[str, str]]:
    """Run a PulseAudio with one null sink; yield the environment of its clients."""
    folder.chmod(0o700)
    (folder / "config.toml").touch()
    (folder / ".asoundrc").write_text("pcm.!default { type pulse }\n")
    socket_path = folder / "native"
    env = environment_of(folder) | {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
    command += [
        "--disable-shm=yes",
        "-L",
        f"module-native-protocol-unix socket={socket_path} auth-anonymous=1",
    ]
    with running(command, env):
        env = {**env, "PULSE_SERVER": f"unix:{socket_path}"}
        until = time.monotonic() + START_S
        while subprocess.run(["pactl", "info"], env=env, capture_output=True, check=False).returncode:
            if time.monotonic() > until:
                raise RuntimeError("PulseAudio does not start")
            time.sleep(0.1)
        load = ["pactl", "load-module", "module-null-sink", f"sink_name={SINK}", "rate=44100", "channels=2"]
        subprocess.run(load, env=env, capture_output=True, check=True)
        yield env


@contextlib.contextmanager
def running(command: Sequence[str], env: dict[str, str]) -> Iterator[int]:
    """Run a program, and end it and what it started; yield its process id."""
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(
        command, env=env, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
    )
    try:
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(30)


def run(env: dict[str, str], *arguments: str) -> None:
    """Run `overheard` to its end."""
    command = [sys.executable, "-m", "overheard", *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"overheard {arguments[0]}: {done.stderr[-300:]}")


def status(live: Path) -> dict[str, Any]:
    """Return what `listen` reports now."""
    with LiveClient(live) as client:
        found = client.first("status", START_S)
    if found is None:
        raise RuntimeError("`overheard listen` does not answer")
    return found


def wait_until(ready: Callable[[], Any], problem: str) -> None:
    """Wait until something is so."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError, OverheardError):
            if ready():
                return
        time.sleep(0.5)
    raise RuntimeError(problem)


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
