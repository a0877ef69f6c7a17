"""Deliver the items of a queue one after another, and try again when their receiver is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from overheard.sinks.disk_queue import DiskQueue, Item

log = logging.getLogger(__name__)

_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 300.0  # doubles with each failure
_MAX_WAIT_S = 3600.0  # that a receiver may request
_IDLE_S = 60.0  # between two checks of a queue that another process delivers
_MAX_CRASHES = 5  # of the delivery of one item, before it is dropped

# Returns how many seconds the receiver wants to rest, usually 0.
Deliver = Callable[[dict[str, Any]], float]


class RetryLater(Exception):
    """The receiver cannot take the item now; the item stays in the queue.

    Parameters
    ----------
    reason : shown to the user
    after_s : when the receiver wants to be asked again; None: the usual wait
    """

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Rejected(Exception):
    """The receiver will never take this item."""


class Courier:
    """Deliver the first item of a queue, then the next.

    Parameters
    ----------
    name : of the sink, in messages
    queue : what to deliver
    deliver : delivers the body of an item; raises `RetryLater` or `Rejected`
    interval_s : least time between the starts of two deliveries
    clock : seconds
    may_deliver : whether this process may; another one may be using the same queue
    """

    def __init__(
        self,
        name: str,
        queue: DiskQueue,
        deliver: Deliver,
        interval_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        may_deliver: Callable[[], bool] = lambda: True,
    ) -> None:
        self._name = name
        self._queue = queue
        self._deliver = deliver
        self._interval_s = interval_s
        self._clock = clock
        self._may_deliver = may_deliver
        self._due_s = clock()
        self._retry_s = _FIRST_RETRY_S
        self._failing = False
        self._crashes = 0
        self._urgent: tuple[dict[str, Any], float] | None = None

    def put_urgent(self, body: dict[str, Any], valid_s: float) -> None:
        """Deliver something before the queue, if that is possible soon; it replaces what was urgent."""
        self._urgent = body, self._clock() + valid_s

    def step(self) -> float:
        """Deliver one item if it is time; return the seconds until the next step."""
        now_s = self._clock()
        if now_s < self._due_s:
            return self._due_s - now_s
        urgent, self._urgent = self._urgent, None
        if urgent is not None and now_s < urgent[1]:
            if not self._attempt(urgent[0], None) and self._urgent is None:
                self._urgent = urgent  # until it is out of date or another replaces it
            return max(0.0, self._due_s - self._clock())
        if not self._may_deliver():
            return _IDLE_S
        item = self._queue.first()
        if item is None:
            return _IDLE_S
        if self._attempt(item.body, item):
            self._queue.done(item)
        return max(0.0, self._due_s - self._clock())

    def _attempt(self, body: dict[str, Any], item: Item | None) -> bool:
        """Deliver; return whether that is settled."""
        self._due_s = self._clock() + self._interval_s
        try:
            rest_s = self._deliver(body)
        except RetryLater as error:
            self._fail(str(error), error.after_s)
            return False
        except Rejected as error:
            log.warning("%s: %s; not sent again", self._name, error)
            self._queue.note(last_error=str(error), last_error_at=time.time())
            return True
        except Exception as error:  # of a library; one item must not stop the others for ever
            log.debug("%s: traceback of the failure:", self._name, exc_info=error)
            self._crashes += 1
            if item is None or self._crashes >= _MAX_CRASHES:
                log.warning("%s: dropped after a failure: %r", self._name, error)
                self._crashes = 0
                return True
            self._fail(repr(error), None)
            return False
        self._succeed(rest_s)
        return True

    def _fail(self, reason: str, after_s: float | None) -> None:
        if not self._failing:
            log.warning("%s: %s; trying again, %d waiting", self._name, reason, len(self._queue))
            self._queue.note(last_error=reason, last_error_at=time.time())
        log.debug("%s: %s", self._name, reason)
        self._failing = True
        wait_s = self._retry_s if after_s is None else min(max(after_s, 0.0), _MAX_WAIT_S)
        self._due_s = self._clock() + max(wait_s, self._interval_s)
        if after_s is None:
            self._retry_s = min(2 * self._retry_s, _LAST_RETRY_S)

    def _succeed(self, rest_s: float) -> None:
        if self._failing:
            log.warning("%s: works again", self._name)
        self._failing, self._retry_s, self._crashes = False, _FIRST_RETRY_S, 0
        if rest_s > 0:
            self._due_s = max(self._due_s, self._clock() + min(rest_s, _MAX_WAIT_S))
