"""Send events to a URL as JSON, signed if there is a key."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from typing import Any

from overheard.errors import SettingsError
from overheard.settings import Settings
from overheard.sinks.context import Context
from overheard.sinks.courier import Rejected
from overheard.sinks.event_sink import EventSink
from overheard.sinks.messages import Messages, delivery_key
from overheard.sinks.network.http import Endpoint, settle
from overheard.sinks.secrets import read_secret

NAME = "webhook"


class Webhook:
    """A client for one URL.

    Raises
    ------
    SettingsError
        If there is no valid URL, or the key cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        chosen = settings.sinks.webhook
        url = os.environ.get("OVERHEARD_WEBHOOK_URL", "") or chosen.url
        if not url:
            raise SettingsError("sinks.webhook.url is not set", "set it, or OVERHEARD_WEBHOOK_URL")
        self._endpoint = Endpoint.of("sinks.webhook.url", url, chosen.timeout_s)
        self._key = read_secret(
            "sinks.webhook.secret_file", chosen.secret_file, "OVERHEARD_WEBHOOK_SECRET", required=False
        ).encode()

    def deliver(self, body: dict[str, Any]) -> float:
        """Send a message; the receiver can recognize one that was sent before by its Idempotency-Key."""
        if "event" not in body:
            raise Rejected("an item of the queue is damaged")
        data = json.dumps(body).encode()
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": delivery_key(body),
        }
        if self._key:
            headers["X-Overheard-Signature"] = sign(self._key, data)
        answer = self._endpoint.request("POST", "", data, headers)
        settle(answer, self._endpoint.shown)
        return 0.0

    def test(self) -> str:
        """Send a test."""
        self.deliver({"id": "test", "event": "test"})
        return f"{self._endpoint.shown} accepted a test"


def sign(key: bytes, data: bytes) -> str:
    """Return the signature of a body: HMAC with SHA-256, as hexadecimal digits after ``sha256=``."""
    return f"sha256={hmac.new(key, data, hashlib.sha256).hexdigest()}"


def open_sink(settings: Settings, _context: Context) -> EventSink:
    """Return the sink."""
    messages = Messages("sinks.webhook.events", settings.sinks.webhook.events, leaves=True)
    return EventSink(NAME, settings.data_dir, messages, Webhook(settings).deliver)


def test(settings: Settings, _context: Context) -> str:
    """Send a test."""
    return Webhook(settings).test()
