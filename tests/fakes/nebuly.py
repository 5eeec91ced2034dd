"""
A fake Nebuly backend at the wire: interactions by either route, and feedback matched by its texts.

`Nebuly.answer` is the server as a plain function from requests to replies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from instrument.testing.loopback import Request, Response
from tests.fakes.trubrics import content

PREFIX = "/event-ingestion/api/"
INTERACTIONS = PREFIX + "v2/events/interactions"
TRACE_INTERACTION = PREFIX + "v2/events/trace_interaction"
FEEDBACK = PREFIX + "v1/events/feedback"


@dataclass
class Nebuly:
    """
    The backend and what it holds.

    Attributes:
        interactions: What was taken, whichever way it came.
        actions: Feedback, each with the interaction that it was matched with.
    """

    key: str = "key"
    interactions: list[dict[str, Any]] = field(default_factory=list)
    actions: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)

    def answer(self, request: Request) -> Response:
        """Take an interaction or a feedback."""
        if request.header("authorization") != f"Bearer {self.key}":
            return Response(status=401)
        sent = content(request)
        if request.path == FEEDBACK:
            return self._feedback(sent)
        if request.path not in {INTERACTIONS, TRACE_INTERACTION}:
            return Response(status=404)
        self.interactions.append(sent)
        return Response(body=b"{}")

    def _feedback(self, sent: dict[str, Any]) -> Response:
        said = sent["metadata"]
        for interaction in self.interactions:
            if matches(interaction["interaction"], said):
                self.actions.append((sent["action"], interaction))
                return Response(body=b"{}")
        return Response(status=404, body=orjson.dumps({"detail": "no such interaction"}))


def matches(interaction: dict[str, Any], said: dict[str, Any]) -> bool:
    """Match by the user and both texts; the feedback must be later than the answer."""
    users = [each["content"] for each in interaction.get("messages", []) if each["role"] == "user"]
    asked = interaction.get("input", users[-1] if users else None)
    return (asked, interaction["output"], interaction["end_user"]) == (
        said["input"],
        said["output"],
        said["end_user"],
    ) and said["timestamp"] >= interaction["time_end"]
