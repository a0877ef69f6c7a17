"""The settings of the sinks: where plays are sent. All are off by default.

Secrets are no settings, because `overheard config` prints all settings: they are read from a file or from an
environment variable.
"""

from __future__ import annotations

import dataclasses

from overheard.settings.field import field

_EVENTS = "events to send: play_started, play_ended, music_unknown"


@dataclasses.dataclass(frozen=True)
class MqttSettings:
    """Settings of the MQTT sink, for Home Assistant."""

    enabled: bool = field(False, "publish to an MQTT broker, with discovery for Home Assistant")
    host: str = field("localhost", "name or address of the broker")
    port: int = field(1883, "port of the broker; usually 8883 with TLS", 1, 65535)
    user: str = field("", "name of the user; empty: none")
    password_file: str = field("", "file with the password; or OVERHEARD_MQTT_PASSWORD")
    tls: bool = field(False, "encrypt the connection and verify the certificate of the broker")
    ca_file: str = field("", "certificates to verify the broker with; empty: those of the system")
    id: str = field("overheard", "name of the device in topics; letters, digits, - and _")
    name: str = field("overheard", "name of the device in Home Assistant")
    discovery_prefix: str = field("homeassistant", "topic under which Home Assistant looks for devices")
    cover: bool = field(True, "publish the cover from the tags of the file")


@dataclasses.dataclass(frozen=True)
class ListenBrainzSettings:
    """Settings of the ListenBrainz sink; other servers offer the same interface."""

    enabled: bool = field(False, "send listens to ListenBrainz or a compatible server")
    url: str = field("https://api.listenbrainz.org", "root of the API, without /1/submit-listens")
    token_file: str = field("", "file with the user token; or OVERHEARD_LISTENBRAINZ_TOKEN")
    now_playing: bool = field(True, "also send what plays now")


@dataclasses.dataclass(frozen=True)
class LastfmSettings:
    """Settings of the Last.fm sink."""

    enabled: bool = field(False, "scrobble to Last.fm")
    api_key: str = field("", "API key of your account at last.fm/api")
    secret_file: str = field("", "file with the shared secret; or OVERHEARD_LASTFM_SECRET")
    session_file: str = field("", "file with the session key; or OVERHEARD_LASTFM_SESSION")
    now_playing: bool = field(True, "also send what plays now")


@dataclasses.dataclass(frozen=True)
class WebhookSettings:
    """Settings of the webhook."""

    enabled: bool = field(False, "send each event to a URL as JSON")
    url: str = field("", "URL for the POST request; or OVERHEARD_WEBHOOK_URL if it is secret")
    secret_file: str = field("", "file with the key of the signature; or OVERHEARD_WEBHOOK_SECRET")
    events: tuple[str, ...] = field(("play_started", "play_ended"), _EVENTS)
    timeout_s: float = field(10.0, "seconds for a whole request", 1, 120)


@dataclasses.dataclass(frozen=True)
class JsonlSettings:
    """Settings of the file of JSON lines."""

    enabled: bool = field(False, "append each event to a file as a line of JSON")
    path: str = field("", "the file; empty: plays.jsonl in the data folder")
    events: tuple[str, ...] = field(("play_ended",), _EVENTS)
    max_mb: float = field(
        0.0, "size in MB at which the file is renamed and a new one started; 0: never", 0, 1e6
    )
    keep: int = field(5, "number of renamed files to keep", 1, 1000)


@dataclasses.dataclass(frozen=True)
class CommandSettings:
    """Settings of the command that runs for each event."""

    enabled: bool = field(False, "run a command for each event")
    command: tuple[str, ...] = field((), "the program and its arguments; no shell is involved")
    events: tuple[str, ...] = field(("play_started",), _EVENTS)
    timeout_s: float = field(30.0, "seconds after which the command is stopped", 1, 3600)


@dataclasses.dataclass(frozen=True)
class NotifySettings:
    """Settings of the desktop notifications."""

    enabled: bool = field(False, "show a desktop notification when a play starts")
    timeout_s: float = field(
        5.0, "seconds for which a notification is shown; 0: the desktop decides", 0, 3600
    )


@dataclasses.dataclass(frozen=True)
class MprisSettings:
    """Settings of MPRIS, through which desktops and playerctl show what plays."""

    enabled: bool = field(False, "show the current play to the desktop through MPRIS")


@dataclasses.dataclass(frozen=True)
class MetricsSettings:
    """Settings of the metrics for Prometheus."""

    enabled: bool = field(False, "write metrics for Prometheus to a file")
    path: str = field("", "the file, whose name ends in .prom; empty: overheard.prom in the data folder")
    interval_s: float = field(15.0, "seconds between two writes", 1, 3600)
    http: bool = field(False, "also serve the metrics at http://localhost:PORT/metrics")
    http_port: int = field(9777, "port for the metrics", 1, 65535)


@dataclasses.dataclass(frozen=True)
class SinksSettings:
    """Settings of all sinks."""

    mqtt: MqttSettings = MqttSettings()
    listenbrainz: ListenBrainzSettings = ListenBrainzSettings()
    lastfm: LastfmSettings = LastfmSettings()
    webhook: WebhookSettings = WebhookSettings()
    jsonl: JsonlSettings = JsonlSettings()
    command: CommandSettings = CommandSettings()
    notify: NotifySettings = NotifySettings()
    mpris: MprisSettings = MprisSettings()
    metrics: MetricsSettings = MetricsSettings()


ALL_OFF = SinksSettings()
