"""Check each request before anything else sees it, and add the security headers to each response.

- The Host header must name this computer: otherwise a web site whose name resolves to it could read the page
  (DNS rebinding).
- Requests that another site's page causes are refused (cross-site request forgery, and probing by images).
- Where a token is required, each request needs it, as a cookie or as ``Authorization: Bearer``.
- The content security policy allows scripts, styles and pictures from this page's files only.
"""

from __future__ import annotations

from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from overheard.web.access import COOKIE, Access
from overheard.web.operation import error_response

_POLICY = "; ".join(
    (
        *(
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
        ),
        *("manifest-src 'self'", "base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'"),
    )
)
_HEADERS: Mapping[str, str] = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
_SAFE = ("GET", "HEAD", "OPTIONS")
# What somebody without a token may load: the page that asks for it.
_PUBLIC = ("/login", "/static/login.js", "/static/page.css", "/static/icon.svg")


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        await (self._app if refusal is None else refusal)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._access.allows_host(hosts[0]):
            remedy = "use localhost or the IP address, or add the name to the setting web.names"
            return error_response(421, "this page is not known under this name", remedy)
        if not _same_site(scope["method"], headers, hosts[0]):
            return error_response(403, "requests from other sites are refused")
        if self._access.needs_token and scope["path"] not in _PUBLIC and not self._is_known(headers):
            if scope["path"].startswith("/api/") or scope["method"] not in _SAFE:
                bearer = {"www-authenticate": "Bearer"}
                return error_response(401, "the token is missing or wrong", "open /login", bearer)
            return RedirectResponse("/login", 303)
        return None

    def _is_known(self, headers: Headers) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self._access.knows_token(token.strip())
        return self._access.knows_cookie(session_cookie(headers))


def session_cookie(headers: Headers) -> str:
    """Return the value of the session cookie, or an empty text."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value


def _same_site(method: str, headers: Headers, host: str) -> bool:
    """Return whether a request comes from this page, from the address bar, or from no browser."""
    fetch_site = headers.get("sec-fetch-site")
    if method in _SAFE:
        # A link on another site may open the page; it may not read the API or load its pictures.
        return fetch_site in (None, "same-origin", "none") or headers.get("sec-fetch-mode") == "navigate"
    if fetch_site not in (None, "same-origin"):
        return False
    origin = headers.get("origin")
    return origin is None or origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")
