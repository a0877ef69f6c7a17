"""What `overheard privacy` shows, and what the kernel sees while overheard listens."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest
from test_retention import add

from overheard.cli import main
from overheard.commands import privacy
from overheard.demo.synth import synthesize, write_wav
from overheard.service.open_files import is_listen, open_files
from overheard.settings import Settings, load
from overheard.sinks.disk_queue import DiskQueue
from overheard.sinks.outbox import queue_path

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 180.0  # for a busy machine; nothing waits for it to pass


# What is open


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["/usr/bin/overheard", "listen"], True),
        (["/usr/bin/python3", "-I", "/usr/bin/overheard", "--data-dir", "/x", "listen", "--json"], True),
        (["python3", "-m", "overheard", "listen"], True),
        (["vim", "overheard", "notes"], False),
        (["/usr/bin/overheard", "privacy"], False),
        (["grep", "listen"], False),
        ([], False),
    ],
)
def test_a_listening_process_is_found_by_its_command(words: list[str], found: bool):
    assert is_listen(words) == found


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc")
def test_open_files_and_sockets_are_what_the_kernel_says(tmp_path: Path):
    with contextlib.ExitStack() as stack:
        (tmp_path / "read").write_text("")
        stack.enter_context((tmp_path / "read").open())
        stack.enter_context((tmp_path / "written").open("w"))
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server6 = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        with contextlib.suppress(OSError):  # without IPv6
            server6.bind(("::1", 0))
        stack.enter_context(socket.create_connection(server.getsockname()))
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        local.bind(str(tmp_path / "live.sock"))
        found = open_files(os.getpid(), "test")
    assert str(tmp_path / "read") in found.read
    assert str(tmp_path / "written") in found.written
    assert str(tmp_path / "live.sock") in found.sockets
    assert any(re.fullmatch(r"tcp at 127\.0\.0\.1:\d+", each) for each in found.network)
    assert any(re.fullmatch(r"tcp to 127\.0\.0\.1:\d+", each) for each in found.network)


# What is written and sent


def test_privacy_shows_what_is_written_and_how_long_it_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    settings, _ = load(env={}, overrides={"data_dir": str(tmp_path), "history.keep_days": 30})
    add(settings.history_path, "Alpha", 1.8e9)
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "music.pack").write_bytes(b"x" * 1000)
    for name in ("model.json", "web-token"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "stray.wav").write_bytes(b"RIFF")
    DiskQueue(queue_path(tmp_path, "webhook")).close()
    found = {part["what"]: part for part in privacy.written(settings)}
    assert found["history of plays"]["kept"] == "30 days (history.keep_days)"
    assert found["packs"]["bytes"] == 1000
    assert found["queues of sinks"]["files"] == 1
    assert found["other files"]["audio_files"] == 1
    assert found["processor, and the share of it that each model takes"]["path"].endswith("model.json")
    assert "token of the page" in found
    assert main(["--data-dir", str(tmp_path), "privacy"]) == 0
    shown = capsys.readouterr().out
    assert "other files: 1 file, 1 of audio, 4 B" in shown
    assert "SENT: nothing" in shown


def test_privacy_shows_what_is_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = tmp_path / "config.toml"
    config.write_text(
        '[web]\nhost = "0.0.0.0"\n[sinks.webhook]\nenabled = true\nurl = "https://example.org/secret"\n'
    )
    (tmp_path / "subscriptions.json").write_text("{}")
    assert main(["--config", str(config), "--data-dir", str(tmp_path), "privacy", "--json"]) == 0
    sent = json.loads(capsys.readouterr().out)["sent"]
    assert [row["to"] for row in sent][:2] == ["example.org", "0.0.0.0:8377"]
    assert "packs update" in sent[2]["what"]
    assert main(["--config", str(config), "--data-dir", str(tmp_path), "privacy"]) == 0
    assert "\n  POST of JSON to a URL: example.org (sinks.webhook.enabled)\n" in capsys.readouterr().out


def test_an_empty_installation_has_nothing_to_show(tmp_path: Path):
    settings = Settings(data_dir=tmp_path / "none")
    assert privacy.written(settings) == []
    assert privacy.sent(settings) == []


# While it listens


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """Index two pieces; return the data folder, and an evening of samples in which one plays."""
    folder, data = tmp_path_factory.mktemp("music"), tmp_path_factory.mktemp("data")
    pieces = [synthesize(seed, 40.0) for seed in (910, 911)]
    for piece in pieces:
        write_wav(folder / f"{piece.title}.wav", piece.waveform)
    command = [
        sys.executable,
        "-m",
        "overheard",
        "--data-dir",
        str(data),
        "index",
        str(folder),
        "--jobs",
        "1",
    ]
    subprocess.run(command, env=environment(), check=True, capture_output=True, timeout=TIMEOUT_S)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, 8000 * 20)
    sound = np.concatenate([noise, pieces[0].waveform, np.zeros(8000 * 60), noise])
    return data, (np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "device")}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt install strace)")
def test_listening_opens_only_local_sockets_and_writes_no_audio(music: tuple[Path, bytes], tmp_path: Path):
    """docs/privacy.md promises it: this is what the kernel sees, also of the libraries."""
    data, samples = music
    runtime = tmp_path / "run"
    runtime.mkdir()
    log = tmp_path / "trace"
    calls = "trace=socket,connect,bind,open,openat,openat2,creat,write,pwrite64,writev,pwritev,sendto,sendmsg"
    command = [
        "strace",
        "-f",
        "-y",
        "-s",
        "0",
        "-e",
        calls,
        "-o",
        str(log),
        sys.executable,
        "-m",
        "overheard",
    ]
    command += ["--data-dir", str(data), "listen", "--input", "-", "--raw", "--json"]
    env = {**environment(), "XDG_RUNTIME_DIR": str(runtime), "HOME": str(tmp_path)}
    done = subprocess.run(command, input=samples, env=env, capture_output=True, timeout=2 * TIMEOUT_S)
    if b"PTRACE" in done.stderr or b"Operation not permitted" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr.decode()[-500:]
    assert b'"play_ended"' in done.stdout  # it did recognize
    calls_made = log.read_text(errors="replace").splitlines()
    families = {match[1] for line in calls_made if (match := re.search(r"\bsocket(?:pair)?\((AF_\w+)", line))}
    assert families == {"AF_UNIX"}  # its live socket
    written: dict[str, int] = {}
    for line in calls_made:
        match = re.search(r"\bp?write(?:v|64)?\(\d+<(/[^>]*)>.*= (\d+)$", line)
        if match:
            written[match[1]] = written.get(match[1], 0) + int(match[2])
    assert any("history.sqlite" in path for path in written)  # the trace sees what is written
    strangers = [path for path in written if not path.startswith((f"{data}/history.sqlite", "/dev/null"))]
    assert not strangers, strangers
    assert sum(written.values()) < len(samples) / 4, written  # and it is too little to be sound


@pytest.fixture
def listening(music: tuple[Path, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run `overheard listen` on a pipe that delivers sound in real time; yield the data folder."""
    data, samples = music
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    command = [sys.executable, "-m", "overheard", "--data-dir", str(data), "listen", "--input", "-", "--raw"]
    process = subprocess.Popen([*command, "--json"], env=environment(), stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert process.stdin is not None
    ended = threading.Event()

    def play() -> None:
        with contextlib.suppress(OSError):
            for start in range(0, len(samples), 4000):
                process.stdin.write(samples[start : start + 4000])  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
                if ended.wait(0.25):
                    return

    player = threading.Thread(target=play)
    player.start()
    try:
        wait_for(lambda: (runtime / "overheard" / "live.sock").exists(), process)
        yield data
    finally:
        ended.set()
        player.join()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=TIMEOUT_S)


def wait_for(condition, process: subprocess.Popen | None = None) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end
        assert process is None or process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.1)


@pytest.mark.slow
def test_pause_and_resume_reach_a_running_listen_and_privacy_shows_it(
    listening: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def overheard(*words: str) -> str:
        assert main(["--data-dir", str(listening), *words]) == 0
        return capsys.readouterr().out

    def state() -> str:
        return json.loads(overheard("status", "--json"))["state"]

    assert overheard("pause", "--for", "30m") == "paused\n"
    wait_for(lambda: state() == "paused")
    assert "until" in overheard("status")
    assert overheard("resume") == "listening\n"
    wait_for(lambda: state() != "paused")
    shown = json.loads(overheard("privacy", "--json"))["open"]
    (process,) = [each for each in shown if str(listening) in each["command"]]
    assert process["network"] == []
    assert str(tmp_path / "run" / "overheard" / "live.sock") in process["sockets"]
    assert any(path.endswith("history.sqlite") for path in process["written"])
    own = (str(listening), str(tmp_path / "run"), "/memfd")
    assert not [path for path in process["written"] if not path.startswith(own)]


@pytest.mark.parametrize("text", ["soon", "0m", "9999d", "-5m"])
def test_a_pause_has_a_length_that_makes_sense(text: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["pause", f"--for={text}"])
    assert "must be a time such as 45s, 30m, 2h or 1d" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["pause", "resume"])
def test_without_listen_one_line_says_so(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert main(["--data-dir", str(tmp_path), word]) == 2
    assert capsys.readouterr().err.startswith("overheard: no `overheard listen` is running; start it")
