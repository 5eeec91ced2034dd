"""
A fake HoneyHive API at the wire, legacy and v1: sessions, events, updates, and half-stored batches.

`HoneyHive.answer` is the server as a plain function from requests to replies.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson

from instrument.testing.loopback import Request, Response
from tests.fakes.trubrics import content


@dataclass
class HoneyHive:
    """
    The API and what it holds.

    Attributes:
        starts: How often each session was started.
        posted: How often each event was posted and stored, by its id.
        refused: Events that are never stored.
        breaks_after: Store so many events of the next batch and fail on the others, as status 500.
    """

    key: str = "key"
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    starts: Counter[str] = field(default_factory=Counter)
    posted: Counter[str] = field(default_factory=Counter)
    refused: set[str] = field(default_factory=set)
    breaks_after: int | None = None

    def answer(self, request: Request) -> Response:
        """Route a request."""
        if request.header("authorization") != f"Bearer {self.key}":
            return fail(401, "Unauthorized")
        sent = content(request)
        path = request.path
        if request.method == "PUT":
            event_id = path.rpartition("/")[2] if path.startswith("/v1/") else sent["event_id"]
            return self._update(event_id, sent)
        if path == "/events/batch":
            return self._batch(sent, all("project" in each for each in sent["events"]))
        if path == "/v1/events/batch":
            return self._batch(sent, not any("project" in each for each in sent["events"]))
        return fail(404, "Not Found")

    def _batch(self, sent: dict[str, Any], good: bool) -> Response:
        events = sent["events"]
        if not events or not good:
            return fail(400, "invalid event")
        if sent.get("is_single_session") or sent.get("single_session"):
            session = sent["session_properties"]
            self.starts[session["session_id"]] += 1
            self.sessions.setdefault(session["session_id"], {}).update(session)
        keep, self.breaks_after = self.breaks_after, None
        stored = [event for event in events[:keep] if event["event_id"] not in self.refused]
        for event in stored:
            self.events[event["event_id"]] = event
            self.posted[event["event_id"]] += 1
        ids = [event["event_id"] for event in stored]
        if len(ids) == len(events):
            return ok({"event_ids": ids, "success": True})
        errors = ["could not store"] * (len(events) - len(ids))
        body = orjson.dumps({"event_ids": ids, "errors": errors, "success": True})
        return Response(status=500, body=body)

    def _update(self, event_id: str, sent: dict[str, Any]) -> Response:
        if event_id not in self.events:
            return fail(404, "no such event")
        self.events[event_id].update(sent)
        return ok({"success": True})


def ok(value: Any) -> Response:
    """Reply with a JSON value."""
    return Response(body=orjson.dumps(value))


def fail(status: int, message: str) -> Response:
    """Reply with this API's error body."""
    return Response(status=status, body=orjson.dumps({"message": message, "errorCode": status}))
