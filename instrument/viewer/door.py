"""
Who may see the page: requests to this machine by its own name, from whoever has the token.

Another site can make a browser send requests here, under a name of its own that leads here (DNS
rebinding): hence the check of the name. Other users of this machine can connect: hence the token.
It comes once in the address, and from then on in a cookie that no script and no other site has.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

NAMES = frozenset({"127.0.0.1", "localhost"})
TOKEN = "token"  # noqa: S105 - the name of the parameter
OPEN_PATHS = ("/static/",)
"""What anybody may read: the style of the page that asks for the token."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Verdict: TypeAlias = Literal["in", "welcome", "strange name", "no token"]


@final
@dataclass(frozen=True, slots=True)
class Door:
    """
    What is asked of a request.

    Attributes:
        token: What only whoever started the server can know.
        cookie: Name of the cookie; it has the port in it, since cookies do not tell ports apart.
    """

    token: str
    cookie: str

    def judge(
        self, path: str, host: str | None, query: Mapping[str, str], cookies: Mapping[str, str]
    ) -> Verdict:
        """Decide about a request; a port in the name is not looked at, as it may be forwarded."""
        if (host or "").partition(":")[0].lower() not in NAMES:
            return "strange name"
        if self._is_token(query.get(TOKEN, "")):
            return "welcome"
        known = path.startswith(OPEN_PATHS) or self._is_token(cookies.get(self.cookie, ""))
        return "in" if known else "no token"

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "replace"), self.token.encode())


@final
class Guarded:
    """
    An ASGI application behind a door, with safe headers on all that it answers.

    Args:
        app: What is behind it.
        door: What is asked of each request.
        locked: What is answered without the token.
    """

    def __init__(self, app: ASGIApp, door: Door, locked: Response) -> None:
        self._app = app
        self._door = door
        self._locked = locked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._answer(Request(scope))(scope, receive, send_safely)

    def _answer(self, request: Request) -> ASGIApp:
        url, cookies = request.url, request.cookies
        host = request.headers.get("host")
        verdict = self._door.judge(request.scope["path"], host, request.query_params, cookies)
        if verdict == "in":
            return self._app
        if verdict == "strange name":
            return Response("This server answers to 127.0.0.1 and localhost alone.\n", 421)
        if verdict == "no token":
            return self._locked
        query = url.remove_query_params(TOKEN).query
        path = "/" + request.scope["path"].lstrip("/")
        answer = RedirectResponse(f"{path}?{query}" if query else path, 303)
        answer.set_cookie(self._door.cookie, self._door.token, httponly=True, samesite="strict")
        return answer
