"""All operations of the API, their routes, and the OpenAPI document."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from overheard.version import version
from overheard.web import api_live, api_packs, api_plays, api_settings, api_unknown
from overheard.web.context import Context
from overheard.web.operation import Call, Operation, answer
from overheard.web.schemas import ERROR, record, text


def about(call: Call) -> Any:
    """Return the version of the program and of the API."""
    return {"program": "overheard", "version": version(), "api": "v1", "document": "/api/v1/openapi.json"}


def document(call: Call) -> Any:
    """Return the OpenAPI document."""
    return openapi()


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        *("GET", "/api/v1", "The versions of the program and of the API", about),
        answer=record({name: text() for name in ("program", "version", "api", "document")}),
    ),
    Operation(
        *("GET", "/api/v1/openapi.json", "This document", document),
        answer={"type": "object"},
    ),
    *api_live.OPERATIONS,
    *api_plays.OPERATIONS,
    *api_unknown.OPERATIONS,
    *api_packs.OPERATIONS,
    *api_settings.OPERATIONS,
)
_REASONS = {
    401: "the token is missing",
    404: "not found",
    409: "not possible now, as pausing while `overheard listen` does not run",
    503: "the history cannot be used",
    **{400: "a value is invalid", 403: "a request from another site", 421: "an unknown host name"},
    **{408: "the body arrives too slowly", 413: "the body is too large", 415: "the body is not JSON"},
}
_OF_ALL = (400, 401, 403, 421)
_OF_BODIES = (408, 413, 415)


def routes(context: Context) -> list[Route]:
    """Return a route for each address; one that is asked with another method answers 405."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    return [
        Route(path, _endpoint(operations, context), methods=list(operations))
        for path, operations in by_path.items()
    ]


def _endpoint(operations: dict[str, Operation], context: Context) -> Any:
    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await answer(operations[method], context, request)

    return endpoint


def openapi() -> dict[str, Any]:
    """Return the OpenAPI document of all operations."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    paths["/api/v1/events"] = {"get": _events()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "overheard",
            "version": "1",
            "description": "What overheard hears, and what it heard.",
        },
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
    }


def _described(operation: Operation) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": place, "required": place == "path", "schema": schema}
        for place, schemas in (("path", operation.path_values), ("query", operation.query))
        for name, schema in schemas.items()
    ]
    content = (
        {operation.media: {}}
        if operation.answer is None
        else {"application/json": {"schema": operation.answer}}
    )
    responses = {"200": {"description": "done", "content": content}}
    if operation.answer is None:
        responses["304"] = {"description": "not changed", "content": {}}
    bodies = () if operation.body is None else _OF_BODIES
    for status in sorted({*_OF_ALL, *bodies, *operation.errors}):
        responses[str(status)] = _error(status)
    described: dict[str, Any] = {
        "summary": operation.about,
        "operationId": operation.function.__name__,
        "parameters": parameters,
        "responses": responses,
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": operation.body}},
        }
    return described


def _error(status: int) -> dict[str, Any]:
    return {"description": _REASONS[status], "content": {"application/json": {"schema": ERROR}}}


def _events() -> dict[str, Any]:
    schema = {"type": "boolean", "default": False, "description": "also `mel`, the log-mel picture"}
    about = (
        "Server-sent events: `live` (whether `overheard listen` runs), `status` about once a second, the "
        "events of `overheard listen --json` except `play_updated`, and `mel`."
    )
    return {
        "summary": about,
        "operationId": "events",
        "parameters": [{"name": "mel", "in": "query", "required": False, "schema": schema}],
        "responses": {
            "200": {"description": "events", "content": {"text/event-stream": {}}},
            **{str(status): _error(status) for status in (*_OF_ALL, 503)},
        },
    }


def not_found(request: Request) -> JSONResponse:
    """Answer a request for an address that does not exist."""
    return JSONResponse({"error": {"problem": "no such address", "remedy": None}}, 404)
