"""The live socket of a real `overheard listen`: status, pause, a second one, and the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from overheard.demo.synth import write_wav
from overheard.live.client import LiveClient

pytestmark = pytest.mark.slow

DEVICE = Path(__file__).resolve().parents[2] / "device"
TIMEOUT_S = 120.0


def overheard(data_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    env["PYTHONPATH"] = str(DEVICE)
    command = [sys.executable, "-m", "overheard", "--data-dir", str(data_dir), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def status(data_dir: Path) -> dict:
    out, _ = overheard(data_dir, "status", "--json").communicate(timeout=TIMEOUT_S)
    return json.loads(out)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_others_see_and_pause_a_running_listen(tmp_path: Path) -> None:
    sound = tmp_path / "noise.wav"
    write_wav(sound, np.random.default_rng(0).normal(0, 0.05, 8000 * 600).astype(np.float32), 8000)
    data = tmp_path / "data"
    assert status(data) == {"running": False}
    listening = ("listen", "--input", str(sound), "--realtime", "--no-history", "--json")
    first = overheard(data, *listening)
    path = data / "live.sock"
    wait_for(path.exists)
    wait_for(lambda: status(data).get("audio_s", 0) > 1)

    second = overheard(data, *listening)
    assert second.stderr is not None
    assert any("do not see this process" in second.stderr.readline() for _ in range(20))
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=TIMEOUT_S)
    assert second.returncode == 0
    assert path.exists()

    with LiveClient(path) as client:
        client.request({"do": "watch", "mel": True})
        mel = client.first("mel", TIMEOUT_S)
        assert mel is not None
        assert len(mel["columns"][0]) == 48
        client.request({"do": "pause", "for_s": 600})
        paused = client.first("status", TIMEOUT_S)
        while paused is not None and paused["state"] != "paused":
            paused = client.first("status", TIMEOUT_S)
        assert paused is not None
        assert paused["pause"]["reason"] == "user"
        client.request({"do": "resume"})

    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=TIMEOUT_S)
    assert first.returncode == 0
    assert not path.exists()
    assert status(data) == {"running": False}


def test_settings_that_change_while_it_listens_are_those_of_the_next_start(tmp_path: Path) -> None:
    sound, config, data = tmp_path / "noise.wav", tmp_path / "config.toml", tmp_path / "data"
    write_wav(sound, np.random.default_rng(0).normal(0, 0.05, 8000 * 600).astype(np.float32), 8000)
    config.write_text("[track]\ngap_s = 9.0\n")
    listening = (
        "--config",
        str(config),
        "listen",
        "--input",
        str(sound),
        "--realtime",
        "--no-history",
        "--json",
    )
    running = overheard(data, *listening)
    wait_for(lambda: status(data).get("audio_s", 0) > 1)
    for text in ("[track]\ngap_s = 30.0\n", '[track\ngap_s = "long"\n'):
        config.write_text(text)
        heard_s = status(data)["audio_s"]
        wait_for(lambda heard_s=heard_s: status(data).get("audio_s", 0) > heard_s + 4)  # type: ignore[misc]
    next_one = overheard(data, *listening)
    _, err = next_one.communicate(timeout=TIMEOUT_S)
    assert next_one.returncode == 2
    assert err.count("\n") == 1
    assert str(config) in err
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 0
