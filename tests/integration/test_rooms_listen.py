"""`overheard listen` in two rooms with real audio: each room hears the monitor of a null sink of its own."""

from __future__ import annotations

import json
import subprocess
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from test_listen import (
    SINK,
    TIMEOUT_S,
    Listening,
    listening,
    music,
    overheard,
    pactl,
    play_into_sink,
    pulse,
    python_path,
    unload_sink,
)

from overheard.history.writer import read_plays

__all__ = ["listening", "music", "pulse"]  # fixtures

pytestmark = pytest.mark.slow
BATH = "overheard_bath"
LOAD_BATH = ("load-module", "module-null-sink", f"sink_name={BATH}", "rate=48000", "channels=2")
ROOMS = ("--room", f"kitchen=pulse:{SINK}.monitor", "--room", f"bath=pulse:{BATH}.monitor")
Start = Callable[..., Listening]


@pytest.fixture
def bath(pulse: dict[str, str]) -> Iterator[str]:
    pactl(pulse, *LOAD_BATH)
    yield BATH
    unload_sink(pulse, BATH)


def recorded(env: dict[str, str]) -> set[str]:
    """Return the names of the sources that are recorded now."""
    sources = {
        str(row["index"]): row["name"] for row in json.loads(pactl(env, "-f", "json", "list", "sources"))
    }
    streams = json.loads(pactl(env, "-f", "json", "list", "source-outputs"))
    return {str(sources.get(str(row["source"]))) for row in streams}


def until(condition: Callable[[], object], description: str) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, description
        time.sleep(0.1)


def started(listen: Listening, room: str) -> list[str]:
    return [
        event["play"]["track"]["title"]
        for event in list(listen.events)
        if event["event"] == "play_started" and event.get("room") == room
    ]


def test_two_rooms_hear_two_tracks_at_the_same_time(
    pulse: dict[str, str], music: tuple[Path, list], listening: Start, bath: str, tmp_path: Path
):
    data, pieces = music
    listen = listening(*ROOMS)
    both = {f"{SINK}.monitor", f"{BATH}.monitor"}
    until(lambda: recorded(pulse) == both, "both rooms are not recorded")
    folders = [tmp_path / name for name in ("kitchen", "bath")]
    for folder in folders:
        folder.mkdir()
    players = [
        play_into_sink(pulse, pieces[0], 10.0, folders[0], SINK),
        play_into_sink(pulse, pieces[1], 10.0, folders[1], BATH),
    ]
    try:
        listen.wait_for(lambda: started(listen, "kitchen") == [pieces[0].title], "play in the kitchen")
        listen.wait_for(lambda: started(listen, "bath") == [pieces[1].title], "play in the bath")
        states: dict[str, set[str]] = {"kitchen": set(), "bath": set()}

        def both_play() -> bool:  # a play that is open is searched for again now and then
            done = subprocess.run(
                [*overheard(data), "status", "--json"],
                env=pulse | python_path(),
                capture_output=True,
                text=True,
            )
            for room in json.loads(done.stdout)["rooms"]:
                states[room["room"]].add(room["state"])
            return all("playing" in seen for seen in states.values())

        until(both_play, "not both rooms play")
    finally:
        for player in players:
            player.kill()
            player.wait()
    assert listen.stop() == 0
    assert [line.strip() for line in listen.errors] == [
        f"overheard: listening to kitchen: pulse:{SINK}.monitor",
        f"overheard: listening to bath: pulse:{BATH}.monitor",
    ]
    rows = read_plays(data / "history.sqlite")[0]
    assert {(row.source, row.title) for row in rows[-2:]} == {
        ("kitchen", pieces[0].title),
        ("bath", pieces[1].title),
    }


def test_a_room_that_loses_its_source_waits_for_it_and_hears_no_other(
    pulse: dict[str, str], music: tuple[Path, list], listening: Start, tmp_path: Path
):
    """The bath is missing at first, comes, goes and comes back; the kitchen hears its music all the time."""
    _, pieces = music
    listen = listening(*ROOMS)
    until(lambda: recorded(pulse) == {f"{SINK}.monitor"}, "the kitchen is not recorded alone")
    listen.wait_for(
        lambda: listen.logged("bath: the sound server has no source"), "report of the missing one"
    )
    player = play_into_sink(pulse, pieces[2], 5.0, tmp_path, SINK)
    try:
        pactl(pulse, *LOAD_BATH)
        until(lambda: recorded(pulse) == {f"{SINK}.monitor", f"{BATH}.monitor"}, "the bath is not heard")
        listen.wait_for(
            lambda: listen.logged("bath: pulse:overheard_bath.monitor is connected"), "connection"
        )
        listen.wait_for(lambda: started(listen, "kitchen") == [pieces[2].title], "play in the kitchen")
        unload_sink(pulse, BATH)
        listen.wait_for(lambda: listen.logged("bath: pulse:overheard_bath.monitor is gone"), "its loss")
        time.sleep(8)  # the sound server connects it to the music of the kitchen
        pactl(pulse, *LOAD_BATH)
        until(lambda: recorded(pulse) == {f"{SINK}.monitor", f"{BATH}.monitor"}, "the bath does not return")
    finally:
        player.kill()
        player.wait()
    assert listen.stop() == 0
    assert started(listen, "bath") == []
    assert started(listen, "kitchen") == [pieces[2].title]
    assert not listen.logged("overheard: kitchen"), "nothing happened to the kitchen"
    unload_sink(pulse, BATH)


def test_two_rooms_share_a_stereo_card(
    pulse: dict[str, str], music: tuple[Path, list], listening: Start, tmp_path: Path
):
    """One track on the left channel, another one on the right."""
    _, pieces = music
    source = f"pulse:{SINK}.monitor"
    listen = listening("--room", f"kitchen=left@{source}", "--room", f"bath=right@{source}")
    until(lambda: len(pactl(pulse, "list", "short", "source-outputs").splitlines()) == 2, "not two streams")
    both = [(16384 * piece.waveform[80000:]).astype(np.int16) for piece in (pieces[0], pieces[3])]
    write_stereo(tmp_path / "both.wav", both, 8000)
    player = subprocess.Popen(["paplay", f"--device={SINK}", str(tmp_path / "both.wav")], env=pulse)
    try:
        listen.wait_for(lambda: started(listen, "kitchen") == [pieces[0].title], "play in the kitchen")
        listen.wait_for(lambda: started(listen, "bath") == [pieces[3].title], "play in the bath")
    finally:
        player.kill()
        player.wait()
    assert listen.stop() == 0


def write_stereo(path: Path, channels: list, rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.stack(channels, axis=1).tobytes())


@pytest.mark.parametrize(
    ("channel", "opposite", "heard"),
    [
        ("left", False, True),
        ("right", False, False),
        ("mix", True, False),
        ("difference", True, True),
        ("auto", True, True),
    ],
)
def test_the_channel_is_that_of_the_sound_server(
    pulse: dict[str, str], tmp_path: Path, channel: str, opposite: bool, heard: bool
):
    """A tone on the left channel alone, or with opposite signs on both."""
    tone = (8000 * np.sin(np.arange(48000 * 20) / 10)).astype(np.int16)
    write_stereo(tmp_path / "tone.wav", [tone, -tone if opposite else 0 * tone], 48000)
    config = tmp_path / "config.toml"
    config.write_text(
        f'[listen]\ninput = "pulse:{SINK}.monitor"\nchannel = "{channel}"\nsample_rate = 48000\n'
    )
    player = subprocess.Popen(["paplay", f"--device={SINK}", str(tmp_path / "tone.wav")], env=pulse)
    try:
        command = [*overheard(tmp_path), "--config", str(config), "doctor", "--json"]
        done = subprocess.run(command, env=pulse | python_path(), capture_output=True, text=True)
    finally:
        player.kill()
        player.wait()
    (check,) = [one for one in json.loads(done.stdout)["checks"] if one["name"] == "microphone"]
    level_db = check["data"]["level_db"]
    assert (level_db is not None and level_db > -30) == heard, check
