"""The address of the server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from overheard.web.hub import Hub, Stream, TooManyStreams
from overheard.web.operation import error_response
from overheard.web.values import InvalidValue, parse_query

_QUERY = {"mel": {"type": "boolean", "default": False}}
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would collect events
]


class Events:
    """ASGI application: an event stream that ends when the client leaves or falls behind."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with events."""
        try:
            query = parse_query(Request(scope).query_params.multi_items(), _QUERY)
            with self._hub.stream(query["mel"]) as stream:
                await _until_either_ends(stream, _send_events(stream, send), _wait_for_leave(receive))
        except InvalidValue as error:
            await error_response(400, str(error))(scope, receive, send)
        except TooManyStreams:
            await error_response(503, "too many event streams", "close some pages")(scope, receive, send)


async def _until_either_ends(stream: Stream, *coroutines: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stream.end()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _send_events(stream: Stream, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
    async for data in stream.chunks():
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait_for_leave(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
