"""Publish what plays to an MQTT broker, with discovery for Home Assistant.

Only the newest state counts: nothing is kept while the broker is away, and everything is published when it is
back. States are retained and sent with quality of service 0, because a message that MQTT repeats could arrive
after a newer one.
"""

from __future__ import annotations

import logging
import re
import ssl
import threading
import time
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from overheard.errors import OverheardError, SettingsError
from overheard.events import Event, PlayEnded, Status
from overheard.files import expand_user
from overheard.settings import Settings
from overheard.settings.sinks import MqttSettings
from overheard.sinks.context import Context
from overheard.sinks.disk_queue import DiskQueue
from overheard.sinks.home_device import devices_of
from overheard.sinks.home_discovery import Topics
from overheard.sinks.home_state import OFFLINE, ONLINE
from overheard.sinks.outbox import queue_path
from overheard.sinks.secrets import read_secret
from overheard.text import one_line, shorten

NAME = "mqtt"
log = logging.getLogger(__name__)

_KEEPALIVE_S = 30
_MAX_PACKET_BYTES = 1 << 16  # a broker could announce 256 MB, which would be kept in memory
_LAST_RETRY_S = 60
_CLOSE_TIMEOUT_S = 0.5
_TEST_TIMEOUT_S = 10.0
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PREFIX = re.compile(r"[^#+\0]{1,200}")


class _Client(paho.Client):
    """A client that ends the connection when the broker announces a large packet."""

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > _MAX_PACKET_BYTES:
            raise ConnectionError("the broker sends too much")
        return super()._sock_recv(bufsize)


class MqttSink:
    """A device of Home Assistant, or one for each room.

    Parameters
    ----------
    settings : Settings
    context : with `pause`, there is a switch for it; with `cover`, an image; with `rooms`, several devices

    Raises
    ------
    SettingsError
        If a setting is not valid.
    """

    name = NAME

    def __init__(self, settings: Settings, context: Context) -> None:
        self._chosen = chosen = settings.sinks.mqtt
        if not _ID.fullmatch(chosen.id):
            raise SettingsError("sinks.mqtt.id is not valid", "use letters, digits, - and _")
        if not _PREFIX.fullmatch(chosen.discovery_prefix):
            raise SettingsError("sinks.mqtt.discovery_prefix is not valid", 'use "homeassistant"')
        self._context = context
        self._topics = Topics(chosen.discovery_prefix, chosen.id)
        cover = context.cover if chosen.cover else None
        can_pause = context.pause is not None
        self._devices = devices_of(self._topics, chosen.name, context.rooms, can_pause, cover)
        self._fresh = threading.Event()  # the broker or Home Assistant has just started
        self._failing = False
        self._notes = DiskQueue(queue_path(settings.data_dir, NAME))
        self._client = self._new_client()
        self._client.connect_async(chosen.host, chosen.port, _KEEPALIVE_S)
        self._client.loop_start()

    def handle(self, event: Event, started: float) -> None:
        """Publish what the event changes."""
        device = self._devices[event.room]
        message = device.follow(event, started)
        if not isinstance(event, PlayEnded):  # the next play often starts at once
            self._sync()
        if message is not None and self._client.is_connected():
            self._client.publish(device.event_topic, message)

    def publish_status(self, status: Status) -> None:
        """Take the newest status; the thread that processes the sound calls this."""
        self._devices[status.room].status = status

    def tick(self) -> None:
        """Publish what has changed since the last call."""
        self._sync()

    def close(self) -> None:
        """Say that the device is not available, and disconnect."""
        if self._client.is_connected():
            last = self._client.publish(self._topics.own("availability"), OFFLINE, qos=1, retain=True)
            last.wait_for_publish(_CLOSE_TIMEOUT_S)
        self._client.disconnect()
        self._client.loop_stop()
        self._notes.close()

    # Publishing

    def _sync(self) -> None:
        """Publish each topic whose text differs from the one that was published last."""
        if not self._client.is_connected():
            return
        if self._fresh.is_set():
            self._fresh.clear()
            for device in self._devices.values():
                self._client.publish(*device.introduction(), retain=True)
            self._client.publish(self._topics.own("availability"), ONLINE, retain=True)
        pause = self._context.pause
        paused = pause is not None and pause.is_paused
        for device in self._devices.values():
            for topic, payload in device.changes(paused):
                self._client.publish(topic, payload, retain=True)

    # The connection; the client's own thread calls these

    def _new_client(self) -> paho.Client:
        chosen = self._chosen
        client = _Client(CallbackAPIVersion.VERSION2, client_id=f"overheard-{chosen.id}")
        client.reconnect_delay_set(1, _LAST_RETRY_S)
        client.will_set(self._topics.own("availability"), OFFLINE, qos=1, retain=True)
        _identify(client, chosen)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._fail(str(reason))
            return
        if self._failing:
            log.warning("mqtt: connected to %s again", self._chosen.host)
        self._failing = False
        client.subscribe([(self._topics.birth, 0), (self._topics.own("pause/set"), 0)])
        self._fresh.set()

    def _on_connect_fail(self, _client: paho.Client, _data: Any) -> None:
        self._fail("cannot be reached")

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._fail(f"connection lost: {reason}")

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        text = message.payload[:20].decode("utf-8", "replace")
        if message.topic == self._topics.birth:
            if text == ONLINE:
                self._fresh.set()
        elif self._context.pause is not None and not message.retain:
            if text == "ON":
                self._context.pause.pause()
            elif text == "OFF":
                self._context.pause.resume()

    def _fail(self, reason: str) -> None:
        reason = f"broker {self._chosen.host}: {one_line(shorten(reason))}"
        if not self._failing:
            log.warning("mqtt: %s; trying again", reason)
            self._notes.note(last_error=reason, last_error_at=time.time())
        self._failing = True


def _identify(client: paho.Client, chosen: MqttSettings) -> None:
    """Set user, password and encryption."""
    if chosen.user:
        password = read_secret(
            "sinks.mqtt.password_file", chosen.password_file, "OVERHEARD_MQTT_PASSWORD", required=False
        )
        client.username_pw_set(chosen.user, password or None)
    if chosen.tls:
        client.tls_set_context(_tls(chosen))


def _tls(chosen: MqttSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(expand_user(chosen.ca_file)) if chosen.ca_file else None)
    except (OSError, ssl.SSLError) as error:
        problem = f"sinks.mqtt.ca_file: {chosen.ca_file}: cannot be used: {error.strerror or error}"
        raise SettingsError(problem, "set it to a file of certificates in PEM format") from None


def open_sink(settings: Settings, context: Context) -> MqttSink:
    """Return the sink."""
    return MqttSink(settings, context)


def test(settings: Settings, _context: Context) -> str:
    """Connect, but publish nothing."""
    chosen, result = settings.sinks.mqtt, list[str]()
    answered = threading.Event()

    def on_connect(_client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        result.append(str(reason) if reason.is_failure else "")
        answered.set()

    client = _Client(CallbackAPIVersion.VERSION2)
    _identify(client, chosen)
    client.on_connect = on_connect
    client.connect_async(chosen.host, chosen.port, _KEEPALIVE_S)
    client.loop_start()
    answered.wait(_TEST_TIMEOUT_S)
    client.disconnect()
    client.loop_stop()
    address = f"{chosen.host}:{chosen.port}"
    if result != [""]:
        reason = result[0] if result else "no answer"
        raise OverheardError(f"mqtt: broker {address}: {reason}", "check the settings in sinks.mqtt")
    return f"{address} accepts the connection"
