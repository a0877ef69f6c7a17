"""The pages and their files, which are read once and served from memory, and the login."""

from __future__ import annotations

import gzip
import hashlib
from importlib import resources
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from overheard.web.access import COOKIE, COOKIE_AGE_S, Access
from overheard.web.operation import ApiError, error_response, read_body

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
# The addresses of the page's views; the script shows the one that the address names.
VIEWS = ("/", "/history", "/sound", "/setup")
_PAGES = {**dict.fromkeys(VIEWS, "index.html"), "/now": "now.html", "/login": "login.html"}
_MIN_GZIP_BYTES = 500


class File:
    """A file of the page, in memory."""

    def __init__(self, name: str, data: bytes) -> None:
        self._data = data
        self._gzip = gzip.compress(data, mtime=0) if len(data) >= _MIN_GZIP_BYTES else None
        self._tag = f'"{hashlib.sha256(data).hexdigest()[:24]}"'
        self._type = _TYPES[f".{name.rpartition('.')[2]}"]

    def response(self, request: Request) -> Response:
        """Answer a request for the file."""
        headers = {"etag": self._tag, "cache-control": "no-cache", "vary": "accept-encoding"}
        if request.headers.get("if-none-match") == self._tag:
            return Response(status_code=304, headers=headers)
        data = self._data
        if self._gzip is not None and "gzip" in request.headers.get("accept-encoding", ""):
            data, headers["content-encoding"] = self._gzip, "gzip"
        return Response(data, headers=headers, media_type=self._type)


def files() -> dict[str, File]:
    """Return the files by name."""
    folder = resources.files("overheard.web") / "static"
    return {item.name: File(item.name, item.read_bytes()) for item in folder.iterdir() if item.is_file()}


def routes(access: Access) -> list[Route]:
    """Return the routes of the pages, of their files and of the login."""
    by_name = files()

    async def page(request: Request) -> Response:
        response = by_name[_PAGES[request.url.path]].response(request)
        if request.url.path == "/login":  # with "no-referrer", browsers send the form without its origin
            response.headers["referrer-policy"] = "same-origin"
        return response

    async def file(request: Request) -> Response:
        found = by_name.get(request.path_params["name"])
        return error_response(404, "no such file") if found is None else found.response(request)

    async def icon(request: Request) -> Response:
        return by_name["icon.svg"].response(request)

    async def login(request: Request) -> Response:
        return await _login(request, access)

    return [
        *(Route(path, page, methods=["GET"]) for path in _PAGES),
        Route("/static/{name}", file, methods=["GET"]),
        Route("/favicon.ico", icon, methods=["GET"]),
        Route("/login", login, methods=["POST"]),
    ]


async def _login(request: Request, access: Access) -> Response:
    """Give the cookie to whoever sends the token, as a form does."""
    try:
        fields = parse_qs((await read_body(request)).decode("utf-8", "replace"), max_num_fields=4)
    except (ApiError, ValueError):
        return error_response(400, "not a login")
    token = fields.get("token", [""])[0].strip()
    if not access.needs_token or not access.knows_token(token):
        return RedirectResponse("/login?wrong", 303)
    response = RedirectResponse("/", 303)
    response.set_cookie(COOKIE, access.cookie, COOKIE_AGE_S, httponly=True, samesite="strict")
    return response
