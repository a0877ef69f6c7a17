"""What an operation of the API is, and how a request becomes a call of its function."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from overheard.errors import OverheardError
from overheard.history.file import HistoryError
from overheard.web.values import InvalidValue, Schema, check, convert, parse_query

if TYPE_CHECKING:
    from overheard.web.context import Context

MAX_BODY_BYTES = 4096
_BODY_S = 10.0  # for all of a body


class ApiError(Exception):
    """A request cannot be answered as asked.

    Parameters
    ----------
    status : of HTTP
    problem, remedy : as of `OverheardError`
    """

    def __init__(self, status: int, problem: str, remedy: str | None = None) -> None:
        super().__init__(problem)
        self.status, self.problem, self.remedy = status, problem, remedy


@dataclasses.dataclass(frozen=True)
class Call:
    """The checked values of a request."""

    context: Context
    path: dict[str, Any]
    query: dict[str, Any]
    body: Any
    headers: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Operation:
    """One method of one address of the API.

    Attributes
    ----------
    function : takes the call, in a thread, and returns what becomes JSON, or a response
    path_values, query : schemas by name
    body : schema of the JSON body; None if there is none
    answer : schema of the answer; None if it is not JSON, but `media`
    errors : status codes, besides 400, that the function may cause
    """

    method: str
    path: str
    about: str
    function: Callable[[Call], Any]
    path_values: Mapping[str, Schema] = dataclasses.field(default_factory=dict)
    query: Mapping[str, Schema] = dataclasses.field(default_factory=dict)
    body: Schema | None = None
    answer: Schema | None = None
    media: str = ""
    errors: tuple[int, ...] = ()


def error_response(
    status: int, problem: str, remedy: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return the one form of all errors."""
    return JSONResponse({"error": {"problem": problem, "remedy": remedy}}, status, headers)


async def answer(operation: Operation, context: Context, request: Request) -> Response:
    """Check a request, call the operation's function in a thread, and return the response."""
    try:
        path = {
            name: check(schema, convert(schema, request.path_params[name], name), name)
            for name, schema in operation.path_values.items()
        }
        query = parse_query(request.query_params.multi_items(), operation.query)
        body = await read_json(request, operation.body) if operation.body is not None else None
        call = Call(context, path, query, body, request.headers)
        result = await anyio.to_thread.run_sync(operation.function, call, limiter=context.limiter)
    except InvalidValue as error:
        return error_response(400, str(error))
    except ApiError as error:
        return error_response(error.status, error.problem, error.remedy)
    except HistoryError as error:
        return error_response(503, error.problem, error.remedy)
    except OverheardError as error:
        return error_response(409, error.problem, error.remedy)
    if isinstance(result, Response):
        return result
    return JSONResponse(result)


async def read_json(request: Request, schema: Schema) -> Any:
    """Read a JSON body that fits a schema; bounded in size and time.

    Raises
    ------
    ApiError
        If it is too large, too slow, or not JSON.
    InvalidValue
        If it does not fit the schema.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "the body must be application/json")
    data = await read_body(request)
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "the body is not JSON") from error
    return check(schema, body, "body")


async def read_body(request: Request) -> bytes:
    """Return the body of a request; raise ApiError if it is too large or too slow."""
    data = b""
    try:
        with anyio.fail_after(_BODY_S):
            async for chunk in request.stream():
                data += chunk
                if len(data) > MAX_BODY_BYTES:
                    raise ApiError(413, f"the body has more than {MAX_BODY_BYTES} bytes")
    except TimeoutError as error:
        raise ApiError(408, "the body arrives too slowly") from error
    except ClientDisconnect as error:
        raise ApiError(400, "the body is incomplete") from error
    return data
