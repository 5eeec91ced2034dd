"""The web application: which address shows which page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, final

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from ..store import StoreError
from . import asked, detail, groups, listing, sessions, words
from .door import Door, Guarded
from .source import NotFoundError, Source, View

if TYPE_CHECKING:
    from starlette.types import ASGIApp

STATIC = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

Show: TypeAlias = Callable[[Source, Request], View]
Handler: TypeAlias = Callable[[Request], Response]

LOCKED = (
    "Open the address that the terminal shows, with the token in it.",
    "If you did just now, go on:",
)
MAX_DIGITS = 16
"""Digits of a number that a page sends."""


def make_app(source: Source, door: Door) -> ASGIApp:
    """Make the application over a store, behind a door."""
    site = Site(source)
    routes = [
        Route("/static/{name}", static),
        Route("/changes", site.changes),
        Route("/runs/{id}.json", site.raw),
        *(Route(path, site.page(*page)) for path, page in PAGES.items()),
    ]
    handlers: Mapping[Any, Any] = dict.fromkeys(
        (NotFoundError, StoreError, HTTPException), site.wrong
    )
    app = Starlette(routes=routes, exception_handlers=handlers)
    return Guarded(app, door, site.told(403, "This page needs its token", LOCKED, "Go on"))


@final
class Site:
    """Answers to requests, out of one store."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._templates = Environment(
            loader=PackageLoader("instrument.viewer"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["words"] = words

    def page(self, name: str, show: Show) -> Handler:
        """Make the answer that is a page."""
        template = self._templates.get_template(name)

        def answer(request: Request) -> Response:
            return HTMLResponse(template.render(show(self._source, request)))

        return answer

    def told(
        self, code: int, title: str, lines: Sequence[str], link: str = "All traces"
    ) -> Response:
        """Answer with a few sentences."""
        template = self._templates.get_template("message.html")
        view = {"title": title, "section": "", "lines": lines, "link": link}
        return HTMLResponse(template.render(view), code)

    def wrong(self, _: Request, error: Exception) -> Response:
        """Say why there is no such page."""
        if isinstance(error, StoreError):
            return self.told(503, "The store cannot be read", str(error).splitlines())
        if isinstance(error, NotFoundError):
            return self.told(404, "Not found", [str(error)])
        if isinstance(error, HTTPException) and error.status_code != 404:
            return self.told(error.status_code, error.detail, [])
        return self.told(404, "Not found", ["There is no page here."])

    def raw(self, request: Request) -> Response:
        """Answer with one run as JSON."""
        body = detail.raw(self._source, request.path_params["id"])
        return Response(body, media_type="application/json")

    def changes(self, request: Request) -> Response:
        """Answer with what is new."""
        after = request.query_params.get("after", "")
        known = after.isdecimal() and after.isascii() and len(after) < MAX_DIGITS
        body = orjson.dumps(listing.changes(self._source, int(after) if known else 0))
        return Response(body, media_type="application/json")


def static(request: Request) -> Response:
    """Answer with one of the files of the page."""
    name = request.path_params["name"]
    if name not in STATIC:
        raise NotFoundError("There is no such file.")
    body = (Path(__file__).parent / "static" / name).read_bytes()
    return Response(body, media_type=STATIC[name])


def _traces(source: Source, request: Request) -> View:
    return listing.traces(source, asked.read(request.query_params))


def _trace(source: Source, request: Request) -> View:
    run_id = request.query_params.get("run", "")
    return detail.trace(source, request.path_params["id"], run_id)


def _threads(source: Source, request: Request) -> View:
    return groups.groups(source, "thread", asked.read(request.query_params))


def _users(source: Source, request: Request) -> View:
    return groups.groups(source, "user", asked.read(request.query_params))


def _thread(source: Source, request: Request) -> View:
    query = request.query_params
    return sessions.thread(source, query.get("id", ""), asked.read(query).page)


def _user(source: Source, request: Request) -> View:
    query = request.query_params
    return sessions.user(source, query.get("id", ""), asked.read(query).page)


PAGES: Mapping[str, tuple[str, Show]] = {
    "/": ("traces.html", _traces),
    "/traces/{id}": ("trace.html", _trace),
    "/threads": ("groups.html", _threads),
    "/users": ("groups.html", _users),
    "/thread": ("sessions.html", _thread),
    "/user": ("sessions.html", _user),
}
