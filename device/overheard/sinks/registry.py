"""All sinks that settings can enable. The module of a sink is imported when the sink is used."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

from overheard.errors import OverheardError
from overheard.settings import Settings
from overheard.settings.sinks import SinksSettings
from overheard.sinks.context import Context
from overheard.sinks.runner import Sink

_LIBRARIES = {"paho": "paho-mqtt", "pylast": "pylast", "jeepney": "jeepney"}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of sink.

    Attributes
    ----------
    name : also of its section in the settings
    module : has ``open_sink(settings, context)`` and ``test(settings, context)``
    about : for people
    target : where it sends
    network : whether it opens network connections
    """

    name: str
    module: str
    about: str
    target: Callable[[SinksSettings], str]
    network: bool = False

    def enabled(self, settings: Settings) -> bool:
        """Return whether the settings enable it."""
        return bool(getattr(settings.sinks, self.name).enabled)

    def load(self) -> Any:
        """Import the module.

        Raises
        ------
        OverheardError
            If a library that it needs is not installed.
        """
        try:
            return importlib.import_module(f"overheard.sinks.{self.module}")
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in _LIBRARIES:
                raise
            problem = f"{self.name}: {_LIBRARIES[package]} is not installed"
            raise OverheardError(problem, "in a clone of overheard: pip install '.[sinks]'") from None


def _host(url: str) -> str:
    """Return the server of a URL, whose path may be secret."""
    return url.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2]


KINDS = (
    Kind("mqtt", "network.mqtt", "MQTT, for Home Assistant", lambda s: f"{s.mqtt.host}:{s.mqtt.port}", True),
    Kind(
        *("listenbrainz", "network.listenbrainz", "ListenBrainz, Maloja and others"),
        *(lambda s: _host(s.listenbrainz.url), True),
    ),
    Kind("lastfm", "network.lastfm", "Last.fm", lambda _s: "ws.audioscrobbler.com", True),
    Kind("webhook", "network.webhook", "POST of JSON to a URL", lambda s: _host(s.webhook.url), True),
    Kind("jsonl", "jsonl_file", "file of JSON lines", lambda s: s.jsonl.path or "plays.jsonl"),
    Kind("command", "command", "program that runs for each event", lambda s: " ".join(s.command.command)),
    Kind("notify", "desktop.notify", "desktop notifications", lambda _s: "this desktop"),
    Kind("mpris", "desktop.mpris", "media player of the desktop", lambda _s: "this desktop"),
    Kind(
        *("metrics", "metrics", "metrics for Prometheus"),
        lambda s: s.metrics.path or "overheard.prom",
    ),
)


def kind(name: str) -> Kind:
    """Return the kind of a name.

    Raises
    ------
    OverheardError
        If there is none.
    """
    for found in KINDS:
        if found.name == name:
            return found
    raise OverheardError(f"there is no sink {name}", f"use {', '.join(each.name for each in KINDS)}")


def open_enabled(settings: Settings, context: Context) -> list[Sink]:
    """Open the sinks that the settings enable.

    Raises
    ------
    OverheardError
        If a setting is not valid, or a library is missing.
    """
    sinks: list[Sink] = []
    queues: dict[str, Callable[[], int]] = {}
    context = dataclasses.replace(context, queues=queues)
    try:
        for each in KINDS:
            if each.enabled(settings):
                sink = each.load().open_sink(settings, context)
                sinks.append(sink)
                outbox = getattr(sink, "outbox", None)
                if outbox is not None:
                    queues[each.name] = outbox.queue.__len__
    except BaseException:
        for sink in sinks:
            sink.close()
        raise
    return sinks
