"""The ASGI application: pages, API and event streams behind the guard."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from overheard.web import api, pages
from overheard.web.access import Access
from overheard.web.context import Context
from overheard.web.guard import Guard
from overheard.web.operation import error_response
from overheard.web.streams import Events


def create_app(context: Context, access: Access) -> ASGIApp:
    """Return the application."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        context.hub.start()
        yield
        context.hub.close()

    app = Starlette(
        routes=[
            Route("/api/v1/events", Events(context.hub), methods=["GET"]),
            *api.routes(context),
            *pages.routes(access),
        ],
        exception_handlers={HTTPException: _explain, 500: _apologize},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return Guard(app, access)


async def _explain(_request: Request, error: Exception) -> Response:
    """Answer with the one form of all errors."""
    if not isinstance(error, HTTPException):
        raise error
    problem = {404: "no such address", 405: "this address does not have this method"}.get(error.status_code)
    return error_response(error.status_code, problem or error.detail, headers=error.headers)


async def _apologize(_request: Request, _error: Exception) -> Response:
    """Answer after a bug; the log has the traceback."""
    return error_response(500, "overheard has failed; its log has the details")
