"""MQTT for Home Assistant, with a real mosquitto that may go away: discovery, states, the pause switch."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from overheard.errors import OverheardError, SettingsError
from overheard.events import Alternative, MusicUnknown, PlayEnded, PlayStarted, PlayUpdated, Silence, Status
from overheard.sinks.context import Context
from overheard.sinks.home_device import devices_of
from overheard.sinks.home_discovery import Topics
from overheard.sinks.home_state import HomeState, short_state
from overheard.sinks.runner import SinkRunner
from sink_fakes import NOON, free_port, play, plays, settings, track, wait_for

paho = pytest.importorskip("paho.mqtt.client")
MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
COVER = b"\xff\xd8\xff a picture"


@contextlib.contextmanager
def broker(folder: Path, port: int, *lines: str) -> Iterator[None]:
    """Run mosquitto; it remembers nothing from one run to the next, like a broker that was reinstalled."""
    assert MOSQUITTO is not None
    config = folder / "mosquitto.conf"
    config.write_text("\n".join([f"listener {port} 127.0.0.1", *(lines or ["allow_anonymous true"])]) + "\n")
    nothing = subprocess.DEVNULL
    process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stdin=nothing, stdout=nothing, stderr=nothing)
    try:
        wait_for(lambda: listens(port))
        yield
    finally:
        process.terminate()
        process.wait(20)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


class Home:
    """A client that remembers what it hears, as Home Assistant does."""

    def __init__(self, port: int) -> None:
        self.states: dict[str, str | bytes] = {}
        self.retained: set[str] = set()
        self.events: list[Any] = []
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.on_message = self._on_message
        self.client.on_connect = lambda client, *_: client.subscribe(
            [("overheard/#", 1), ("homeassistant/#", 1)]
        )
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        if message.topic.endswith("/event"):
            self.events.append(json.loads(message.payload))
        elif message.topic.endswith("/cover"):
            self.states[message.topic] = message.payload
        else:
            self.states[message.topic] = message.payload.decode()
        self.retained |= {message.topic} if message.retain else set()

    def own(self, name: str) -> str | bytes | None:
        return self.states.get(f"overheard/room/{name}")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextlib.contextmanager
def home(port: int) -> Iterator[Home]:
    made = Home(port)
    try:
        yield made
    finally:
        made.close()


class Pause:
    is_paused = False

    def pause(self, for_s: float | None = None) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False


@contextlib.contextmanager
def sink(folder: Path, port: int, context: Context | None = None, **chosen: Any) -> Iterator[SinkRunner]:
    from overheard.sinks.network import mqtt

    values = {"host": "127.0.0.1", "port": port, "id": "room", **chosen}
    made = settings(folder, **{f"mqtt_{name}": value for name, value in values.items()})
    runner = SinkRunner(mqtt.open_sink(made, context or Context()))
    try:
        yield runner
    finally:
        assert runner.close(10)


@needs_broker
def test_home_assistant_discovers_the_device(tmp_path: Path) -> None:
    port = free_port()
    with (
        broker(tmp_path, port),
        sink(tmp_path, port, Context(pause=Pause()), name="Living room"),
        home(port) as ha,
    ):
        wait_for(lambda: ha.own("title"))
        found = json.loads(ha.states["homeassistant/device/room/config"])
    assert set(found) == {"device", "origin", "availability_topic", "components"}
    assert found["device"]["name"] == "Living room"
    assert set(found["origin"]) == {"name", "sw_version", "support_url"}
    kinds = {key: component["platform"] for key, component in found["components"].items()}
    assert kinds == {
        **dict.fromkeys(("title", "artist", "album"), "sensor"),
        **{"music": "binary_sensor", "event": "event", "pause": "switch", "cover": "image"},
    }
    for key, component in found["components"].items():
        assert component["unique_id"] == f"room_{key}"
        assert component["default_entity_id"] == f"{component['platform']}.room_{key}"
        assert "object_id" not in component
    assert found["components"]["title"]["json_attributes_topic"] == "overheard/room/attributes"


@needs_broker
def test_the_entities_follow_what_plays(tmp_path: Path) -> None:
    port = free_port()
    context = Context(cover=lambda found: COVER if found.title == "Song 1" else None)
    with broker(tmp_path, port), sink(tmp_path, port, context) as runner, home(port) as ha:
        wait_for(lambda: ha.own("title") == "None" and ha.own("availability") == "online")
        runner.put(PlayStarted(play(1, 0, 5)), NOON)
        wait_for(lambda: ha.own("title") == "Song 1" and ha.own("music") == "ON" and ha.own("cover") == COVER)
        attributes = json.loads(ha.own("attributes") or "")
        assert attributes["started_at"] == "2026-09-21T14:13:20.000Z"
        assert "/home/me" not in json.dumps(ha.events) + str(ha.states)
        runner.put(PlayEnded(play(1)), NOON)
        wait_for(lambda: ha.own("title") == "None" and ha.own("music") == "OFF" and ha.own("cover") == b"")
        runner.put(MusicUnknown(190, 210), NOON)
        wait_for(lambda: ha.own("music") == "ON" and len(ha.events) == 3)
        runner.put(Silence(230), NOON)
        wait_for(lambda: ha.own("music") == "OFF")
    assert [event["event_type"] for event in ha.events] == ["play_started", "play_ended", "music_unknown"]
    assert ha.events[0]["title"] == "Song 1"


@needs_broker
def test_after_an_outage_the_last_state_is_right(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    with sink(tmp_path, port) as runner:
        with broker(tmp_path, port), home(port) as ha:
            runner.put(PlayStarted(play(1, 0, 5)), NOON)
            wait_for(lambda: ha.own("title") == "Song 1")
        for event in plays(1000):  # nobody hears these
            runner.put(event, NOON, 20.0)
        runner.put(PlayStarted(play(5000, 300_000, 5)), NOON)
        wait_for(lambda: not runner._events)
        with broker(tmp_path, port), home(port) as ha:
            wait_for(lambda: ha.own("title") == "Song 5000" and ha.own("availability") == "online")
            wait_for(lambda: "homeassistant/device/room/config" in ha.states)
            assert json.loads(ha.own("attributes") or "")["title"] == "Song 5000"
            assert ha.events == [], "what happened during the outage is no news"
    messages = [record.message for record in caplog.records if record.message.startswith("mqtt")]
    assert sum("again" in message for message in messages) <= 5, "each outage is reported once"
    assert runner.dropped == 0


@needs_broker
def test_home_assistant_restarts(tmp_path: Path) -> None:
    port = free_port()
    with broker(tmp_path, port), sink(tmp_path, port) as runner, home(port) as ha:
        runner.put(PlayStarted(play(1, 0, 5)), NOON)
        wait_for(lambda: ha.own("title") == "Song 1")
        ha.states.clear()
        ha.client.publish("homeassistant/status", "online")
        wait_for(lambda: ha.own("title") == "Song 1" and "homeassistant/device/room/config" in ha.states)


@needs_broker
def test_the_last_will_and_the_end(tmp_path: Path) -> None:
    port = free_port()
    with broker(tmp_path, port), home(port) as ha:
        with sink(tmp_path, port) as runner:
            wait_for(lambda: ha.own("availability") == "online")
            runner._sink._client._sock_close()  # type: ignore[attr-defined] # as if the process were killed
            wait_for(lambda: ha.own("availability") == "offline")
            wait_for(lambda: ha.own("availability") == "online")
        wait_for(lambda: ha.own("availability") == "offline")


@needs_broker
def test_the_pause_switch(tmp_path: Path) -> None:
    port, pause = free_port(), Pause()
    with broker(tmp_path, port), sink(tmp_path, port, Context(pause=pause)), home(port) as ha:
        wait_for(lambda: ha.own("pause") == "OFF")
        ha.client.publish("overheard/room/pause/set", "nonsense")
        ha.client.publish("overheard/room/pause/set", "ON")
        wait_for(lambda: pause.is_paused and ha.own("pause") == "ON")
        pause.resume()  # elsewhere, as with the web page
        wait_for(lambda: ha.own("pause") == "OFF")


@needs_broker
def test_user_and_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from overheard.sinks.network import mqtt

    passwords, secret, port = tmp_path / "passwords", tmp_path / "secret", free_port()
    secret.write_text("sesame\n")
    secret.chmod(0o600)
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto_passwd is not installed")
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "me", "sesame"], check=True, timeout=20)
    passwords.chmod(0o644)
    tmp_path.chmod(0o755)
    with broker(tmp_path, port, "allow_anonymous false", f"password_file {passwords}", "user root"):
        chosen = {"mqtt_host": "127.0.0.1", "mqtt_port": port, "mqtt_user": "me"}
        right = settings(tmp_path, mqtt_password_file=str(secret), **chosen)
        wait_for(lambda: answers(right))
        assert mqtt.test(right, Context()) == f"127.0.0.1:{port} accepts the connection"
        with pytest.raises(OverheardError, match=r"Not authorized|Bad user name"):
            mqtt.test(settings(tmp_path, **chosen), Context())
    assert "sesame" not in caplog.text


def answers(chosen: Any) -> bool:
    from overheard.sinks.network import mqtt

    with contextlib.suppress(OverheardError):
        return bool(mqtt.test(chosen, Context()))
    return False


@needs_broker
def test_a_certificate_is_verified(tmp_path: Path) -> None:
    from overheard.sinks.network import mqtt

    cert, key, port = tmp_path / "cert.pem", tmp_path / "key.pem", free_port()
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    names = ["-addext", "subjectAltName=DNS:localhost", "-out", str(cert), "-keyout", str(key)]
    subprocess.run([*command, *names], check=True, capture_output=True, timeout=60)
    tls = (f"certfile {cert}", f"keyfile {key}", "allow_anonymous true", "user root")
    with broker(tmp_path, port, *tls):
        chosen: dict[str, Any] = {"mqtt_host": "localhost", "mqtt_port": port, "mqtt_tls": True}
        wait_for(lambda: answers(settings(tmp_path, mqtt_ca_file=str(cert), **chosen)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mqtt, "_TEST_TIMEOUT_S", 1.0)
            with pytest.raises(OverheardError):
                mqtt.test(settings(tmp_path, **chosen), Context())
    with pytest.raises(SettingsError, match="ca_file"):
        mqtt.test(settings(tmp_path, mqtt_ca_file=str(tmp_path / "missing"), **chosen), Context())


@pytest.mark.parametrize("chosen", [{"id": "a/b"}, {"id": ""}, {"id": "#"}, {"discovery_prefix": "a/#"}])
def test_settings_that_are_not_valid(tmp_path: Path, chosen: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="is not valid"), sink(tmp_path, free_port(), **chosen):
        pass


# The states, without a broker


def test_states_are_short_and_never_taken_for_unknown() -> None:
    state = HomeState()
    long = dataclasses.replace(track(1), title="\u00e4" * 300, artist="None", album=" ")
    state.follow(PlayStarted(dataclasses.replace(play(1), track=long)), NOON)
    topics = state.topics(False)
    assert len(topics["title"]) == 255
    assert (topics["artist"], topics["album"]) == ("None ", "None")
    assert json.loads(topics["attributes"])["title"] == "\u00e4" * 300
    assert short_state("x" * 255) == "x" * 255


def test_updates_change_nothing_until_an_ambiguous_play_settles() -> None:
    state = HomeState()
    ambiguous = dataclasses.replace(play(1, 0, 5), alternatives=(Alternative(track(2), 0.0),))
    state.follow(PlayStarted(ambiguous), NOON)
    before = state.topics(False)
    assert json.loads(before["attributes"])["alternatives"] == ["Ann - Song 2"]
    state.follow(PlayUpdated(dataclasses.replace(ambiguous, end_s=9, confidence=0.99)), NOON)
    assert state.topics(False) == before
    state.follow(PlayUpdated(play(2, 0, 12)), NOON)
    assert state.topics(False)["title"] == "Song 2"


def test_the_status_knows_whether_there_is_music() -> None:
    state = HomeState()
    plain = Status("playing", -20, -60, True, 0.9, None, {}, 1, 0, None)
    for name, music in (("playing", "ON"), ("searching", "ON"), ("silence", "OFF"), ("unknown music", "ON")):
        state.update(dataclasses.replace(plain, state=name))
        assert state.topics(False)["music"] == music
    assert state.topics(True)["music"] == "OFF"


@needs_broker
def test_each_room_is_a_device_and_the_pause_is_for_all(tmp_path: Path) -> None:
    port, pause = free_port(), Pause()
    context = Context(pause=pause, rooms=("living room", "Küche"))
    with (
        broker(tmp_path, port),
        sink(tmp_path, port, context, id="home", name="Home") as runner,
        home(port) as ha,
    ):

        def state(device: str, name: str) -> str | None:
            value = ha.states.get(f"overheard/{device}/{name}")
            return value.decode() if isinstance(value, bytes) else value

        runner.put(PlayStarted(play(1, 0, 5), room="living room"), NOON)
        runner.put(PlayStarted(play(2, 0, 5), room="Küche"), NOON)
        wait_for(lambda: state("home_living_room", "title") == "Song 1")
        wait_for(lambda: state("home_kuche", "title") == "Song 2")
        runner.put(PlayEnded(play(1), room="living room"), NOON)
        wait_for(lambda: state("home_living_room", "title") == "None")
        assert (state("home_kuche", "title"), state("home_kuche", "music")) == ("Song 2", "ON")
        assert state("home", "title") is None
        configs = {
            name: json.loads(ha.states[f"homeassistant/device/{name}/config"])
            for name in ("home", "home_living_room", "home_kuche")
        }
        ha.client.publish("overheard/home/pause/set", "ON")
        wait_for(lambda: pause.is_paused and state("home", "pause") == "ON")
        wait_for(lambda: state("home_kuche", "music") == "OFF")
    assert list(configs["home"]["components"]) == ["pause"]
    assert "pause" not in configs["home_kuche"]["components"]
    device = configs["home_living_room"]["device"]
    assert device["name"] == "Home living room"
    assert device["suggested_area"] == "living room"
    assert device["via_device"] == configs["home"]["device"]["identifiers"][0]
    assert {config["availability_topic"] for config in configs.values()} == {"overheard/home/availability"}


def test_rooms_with_similar_names_have_topics_of_their_own() -> None:
    devices = devices_of(Topics("homeassistant", "x"), "X", ("bath", "Bath 1", "bath-1", "厨房"), False, None)
    topics = [device.event_topic for device in devices.values()]
    assert len(set(topics)) == 4
    assert all(re.fullmatch(r"overheard/x_[a-z0-9_]+/event", topic) for topic in topics)


def test_a_broker_that_announces_a_huge_packet_is_left(tmp_path: Path) -> None:
    """MQTT allows packets of 256 MB, for which the client's library would ask for memory at once."""
    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        with sink(tmp_path, server.getsockname()[1]) as runner:
            client, _ = server.accept()
            connections.append(client)
            client.settimeout(20)
            client.recv(1000)
            client.sendall(b"\x20\x02\x00\x00")  # CONNACK
            client.sendall(b"\x30\xff\xff\xff\x7f\x00\x05title")  # PUBLISH of 256 MB
            assert until_closed(client)
            again, _ = server.accept()  # it connects again, later
            connections.append(again)
            assert runner.dropped == 0
    for connection in connections:
        connection.close()


def until_closed(client: socket.socket) -> bool:
    """Read until the other side closes the connection."""
    try:
        while client.recv(65536):
            pass
    except ConnectionError:
        return True
    return True


# What the integration MQTT of Home Assistant accepts for the discovery of a device; other keys are errors.
# https://github.com/home-assistant/core/blob/dev/homeassistant/components/mqtt/schemas.py
_DISCOVERY_KEYS = {
    "device",
    "components",
    "origin",
    "availability_topic",
    "state_topic",
    "command_topic",
    "qos",
}
_ORIGIN_KEYS = {"name", "sw_version", "support_url"}
_DEVICE_KEYS = {
    *(
        "identifiers",
        "connections",
        "manufacturer",
        "model",
        "model_id",
        "name",
        "hw_version",
        "serial_number",
    ),
    *("sw_version", "via_device", "suggested_area", "configuration_url"),
}


@pytest.mark.parametrize("rooms", [(), ("kitchen", "living room")])
def test_discovery_fits_the_schema_of_home_assistant(rooms: tuple[str, ...]) -> None:
    devices = devices_of(Topics("homeassistant", "x"), "X", rooms, True, lambda _track: None)
    messages = [json.loads(device.introduction()[1]) for device in devices.values()]
    assert len(messages) == 1 + len(rooms)
    for message in messages:
        assert message.keys() <= _DISCOVERY_KEYS
        assert message.keys() >= {"device", "components", "origin"}
        assert message["origin"].keys() <= _ORIGIN_KEYS
        assert message["device"].keys() <= _DEVICE_KEYS
        assert message["device"]["identifiers"]
        assert message["components"]
        assert all(component["platform"] for component in message["components"].values())
    ids = [component["unique_id"] for message in messages for component in message["components"].values()]
    assert len(ids) == len(set(ids))
