"""Queue events as messages, and deliver each once."""

from __future__ import annotations

from pathlib import Path

from overheard.events import Event
from overheard.sinks.courier import Deliver
from overheard.sinks.messages import Messages
from overheard.sinks.outbox import Outbox


class EventSink:
    """A sink whose messages survive an outage of their receiver.

    Parameters
    ----------
    name : of the sink
    data_dir : folder of the queues
    messages : chooses and converts the events
    deliver : delivers a message
    """

    def __init__(self, name: str, data_dir: Path, messages: Messages, deliver: Deliver) -> None:
        self.name = name
        self._messages = messages
        self.outbox = Outbox(name, data_dir, deliver)

    def handle(self, event: Event, started: float) -> None:
        """Save the message of an event; it is delivered by another thread."""
        made = self._messages.make(event, started)
        if made is not None:
            self.outbox.put(*made)

    def close(self) -> None:
        """Stop; what is not delivered stays in the queue."""
        self.outbox.close()
