"""A real Home Assistant discovers overheard through a real broker: devices, areas, states, and the pause.

It needs a Python with Home Assistant 2024.11 or newer from PyPI:

    python3.13 -m venv /tmp/ha && /tmp/ha/bin/pip install homeassistant
    OVERHEARD_TEST_HOME_ASSISTANT=/tmp/ha/bin/python pytest tests/integration/test_home_assistant.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from overheard.daemon import Pause
from overheard.events import PlayStarted
from overheard.sinks.context import Context
from overheard.sinks.runner import SinkRunner
from sink_fakes import free_port, play, settings

pytest.importorskip("paho.mqtt.client")
PYTHON = os.environ.get("OVERHEARD_TEST_HOME_ASSISTANT", "")
MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="Home Assistant is not installed"),
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
]
ENTRY = {
    **{"domain": "mqtt", "title": "mqtt", "entry_id": "a" * 32, "unique_id": None, "source": "user"},
    **{"version": 1, "minor_version": 1, "options": {}, "discovery_keys": {}, "subentries": []},
    **{"created_at": "2025-01-01T00:00:00+00:00", "modified_at": "2025-01-01T00:00:00+00:00"},
    **{"disabled_by": None, "pref_disable_new_entities": False, "pref_disable_polling": False},
}
# Prints what Home Assistant knows, turns the switch on, and ends.
HOME = """
import asyncio, json, sys
from homeassistant import bootstrap, runner
from homeassistant.helpers import device_registry

async def main():
    hass = await bootstrap.async_setup_hass(runner.RuntimeConfig(config_dir=sys.argv[1], skip_pip=False))
    await hass.async_start()
    for _ in range(300):
        await asyncio.sleep(0.2)
        if len(hass.states.async_all("image")) == 2 and hass.states.async_all("switch"):
            break
    await asyncio.sleep(2)
    registry = device_registry.async_get(hass)
    names = {device.id: device.name for device in registry.devices.values()}
    devices = {d.name: [names.get(d.via_device_id), d.area_id] for d in registry.devices.values()}
    states = {state.entity_id: state.state for state in hass.states.async_all()}
    (switch,) = hass.states.async_all("switch")
    await hass.services.async_call("switch", "turn_on", {"entity_id": switch.entity_id}, blocking=True)
    await asyncio.sleep(2)
    print(json.dumps([devices, states]))
    await hass.async_stop(force=True)

asyncio.run(main())
"""


def test_home_assistant_discovers_the_rooms(tmp_path: Path) -> None:
    from overheard.sinks.network import mqtt

    port, pause = free_port(), Pause()
    (tmp_path / "broker").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    (tmp_path / "home" / ".storage").mkdir(parents=True)
    (tmp_path / "home" / "configuration.yaml").write_text("homeassistant:\n  name: Test\n")
    entry = {**ENTRY, "data": {"broker": "127.0.0.1", "port": port}}
    stored = {"version": 1, "minor_version": 5, "key": "core.config_entries", "data": {"entries": [entry]}}
    (tmp_path / "home" / ".storage" / "core.config_entries").write_text(json.dumps(stored))
    assert MOSQUITTO is not None
    broker = subprocess.Popen([MOSQUITTO, "-c", str(tmp_path / "broker")], stderr=subprocess.DEVNULL)
    chosen = settings(tmp_path, mqtt_host="127.0.0.1", mqtt_port=port, mqtt_id="home", mqtt_name="Home")
    context = Context(pause=pause, rooms=("living room", "bath"), cover=lambda _track: b"\xff\xd8\xff")
    runner = SinkRunner(mqtt.open_sink(chosen, context))
    try:
        runner.put(PlayStarted(play(1, 0, 5), room="living room"), time.time())
        done = subprocess.run(
            [PYTHON, "-c", HOME, str(tmp_path / "home")], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-2000:]
        devices, states = json.loads(done.stdout.splitlines()[-1])
    finally:
        runner.close(10)
        broker.terminate()
        broker.wait(20)
    assert devices["Home living room"] == ["Home", "living_room"]
    assert devices["Home bath"] == ["Home", "bath"]
    assert states["sensor.home_living_room_title"] == "Song 1"
    assert states["binary_sensor.home_living_room_music"] == "on"
    assert states["sensor.home_bath_title"] == "unknown"
    assert states["switch.home_pause"] == "off"
    assert pause.is_paused, "the switch pauses listening"
