"""`overheard listen` on a file with sinks: the next run delivers what this one cannot, and each play once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overheard.demo.synth import synthesize, write_wav
from sink_fakes import free_port, serving

pytestmark = pytest.mark.slow
SAMPLE_RATE = 22050
ROOT = Path(__file__).parents[2]
CONFIG = """
[sinks.webhook]
enabled = true
url = "{url}/hook"

[sinks.listenbrainz]
enabled = true
url = "{url}/lb"

[sinks.jsonl]
enabled = true
events = ["play_started", "play_ended"]

[sinks.command]
enabled = true
command = ["{command}"]

[sinks.metrics]
enabled = true
http = true
http_port = {metrics_port}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a collection of two pieces, and a recording of both."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "music").mkdir()
    pieces = [synthesize(seed, 40.0, SAMPLE_RATE).waveform for seed in (1, 2)]
    for number, piece in enumerate(pieces, 1):
        write_wav(folder / "music" / f"Ann - Song {number}.wav", piece, SAMPLE_RATE)
    write_wav(folder / "evening.wav", np.concatenate(pieces), SAMPLE_RATE)
    run(folder, "index", folder / "music", "--jobs", "0")
    return folder


def run(folder: Path, *arguments: str | Path, config: str = "") -> str:
    (folder / "config.toml").write_text(config)
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "device"),
        "OVERHEARD_CONFIG": str(folder / "config.toml"),
        "OVERHEARD_DATA_DIR": str(folder / "data"),
        "OVERHEARD_LISTENBRAINZ_TOKEN": "sesame",
        "XDG_RUNTIME_DIR": "",
    }
    command = [sys.executable, "-m", "overheard", *map(str, arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "sesame" not in done.stdout + done.stderr
    return done.stdout


def test_what_cannot_be_delivered_waits_for_the_next_run(home: Path) -> None:
    script = home / "on-play.sh"
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$OVERHEARD_TITLE" >> {home}/titles\n')
    script.chmod(0o755)
    port = free_port()
    config = CONFIG.format(url=f"http://127.0.0.1:{port}", command=script, metrics_port=free_port())

    lines = run(home, "listen", "--json", "--input", home / "evening.wav", config=config).splitlines()
    ended = [event for event in map(json.loads, lines) if event["event"] == "play_ended"]
    assert len(ended) == 2
    states = {
        state["name"]: state
        for state in map(json.loads, run(home, "sinks", "--json", config=config).splitlines())
    }
    assert states["webhook"]["waiting"] == 4
    assert "Connection refused" in states["webhook"]["last_error"]
    assert not (home / "data" / "overheard.prom").exists(), "metrics end with the program"

    received: list[Any] = []
    with serving() as server:
        config = CONFIG.format(url=server.url, command=script, metrics_port=free_port())
        while True:
            run(home, "listen", "--json", "--input", home / "evening.wav", config=config)
            states = {
                state["name"]: state
                for state in map(json.loads, run(home, "sinks", "--json", config=config).splitlines())
            }
            if not any(state["waiting"] for state in states.values()):
                break
        received = [request.json for request in server.requests if request.path == "/hook"]
    keys = [(event["id"], event["event"]) for event in received]
    assert len(keys) == len(set(keys))
    assert [event["started_at"] for event in received[:4:2]] == [event["started_at"] for event in ended]
    written = [json.loads(line) for line in (home / "data" / "plays.jsonl").read_text().splitlines()]
    assert [(event["id"], event["event"]) for event in written] == keys
    titles = (home / "titles").read_text().splitlines()
    assert titles == [
        event["play"]["track"]["title"] for event in received if event["event"] == "play_started"
    ]
