"""
A fake Trubrics server at the wire: it keeps what is posted and makes sessions as the real one does.

`Trubrics.answer` is the server as a plain function from requests to replies; `instrument.testing.
loopback.Loopback(server.answer)` puts it on loopback.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson

from instrument.testing.loopback import Request, Response

PREFIX = "/api/ingestion/"
ROUTES = ("publish_events", "publish_llm_events")
REQUIRED = {
    "publish_events": ("user_id", "event", "timestamp"),
    "publish_llm_events": ("user_id", "prompt", "generation"),
}
SESSION_GAP = timedelta(minutes=30)
"""A user who does nothing for longer begins a new session."""

MAX_EVENTS = 100


@dataclass
class Trubrics:
    """
    The server and what it holds.

    Attributes:
        host: Where it was put, for the test that put it there.
        keys: The keys of its projects.
        posts: Every post that was taken: route, key and events.
        failures: Statuses to reply with before anything else, first come first.
    """

    host: str = ""
    keys: tuple[str, ...] = ("key",)
    posts: list[tuple[str, str, list[dict[str, Any]]]] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)

    def answer(self, request: Request) -> Response:
        """Take a post, or say in `detail` what is wrong with it."""
        if self.failures:
            return reply(self.failures.pop(0), "try again")
        route = request.path.removeprefix(PREFIX)
        key = request.header("x-api-key") or ""
        if route not in ROUTES or request.method != "POST":
            return reply(404, "Not Found")
        if key not in self.keys:
            return reply(401, "Invalid API key")
        events = content(request)
        wrong = fault(route, events)
        if wrong:
            return reply(422, wrong)
        self.posts.append((route, key, events))
        return Response(body=b"{}")

    def events(self, route: str, key: str = "key") -> list[dict[str, Any]]:
        """List the events of a route, in the order in which they came."""
        return [
            event for at, of, events in self.posts if (at, of) == (route, key) for event in events
        ]

    def sessions(self, user_id: str) -> list[list[dict[str, Any]]]:
        """Group the events of a user: a new session after 30 minutes without one."""
        own = [event for _, _, events in self.posts for event in events]
        own = [event for event in own if event["user_id"] == user_id]
        groups: list[list[dict[str, Any]]] = []
        for event in sorted(own, key=moment):
            if not groups or moment(event) - moment(groups[-1][-1]) > SESSION_GAP:
                groups.append([])
            groups[-1].append(event)
        return groups


def moment(event: dict[str, Any]) -> datetime:
    """Read when an event was."""
    return datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00"))


def content(request: Request) -> Any:
    """Read a body, compressed or not."""
    zipped = request.header("content-encoding") == "gzip"
    return orjson.loads(gzip.decompress(request.body) if zipped else request.body)


def fault(route: str, events: Any) -> str | None:
    """Say what is wrong with a body."""
    if not isinstance(events, list) or len(events) > MAX_EVENTS:
        return f"give a list of at most {MAX_EVENTS} events"
    for event in events:
        missing = [name for name in REQUIRED[route] if not isinstance(event.get(name), str)]
        if missing:
            return f"{missing[0]}: field required"
    return None


def reply(status: int, detail: str) -> Response:
    """Reply as this server's framework does."""
    return Response(status=status, body=orjson.dumps({"detail": detail}))
