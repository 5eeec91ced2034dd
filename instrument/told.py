"""What the application itself tells: what a user did, and interactions that we cannot see happen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from .context import bound, context, plain_object
from .recorder import Facts, installed
from .run import UserEvent
from .snapshot import snapshot

UNKNOWN_MODEL = "interaction"
"""Name of an interaction whose model nobody said."""


def utc(at: datetime | None) -> datetime:
    """Return a time in UTC: now for None; one without a zone is UTC already."""
    if at is None:
        return datetime.now(timezone.utc)
    return at.replace(tzinfo=timezone.utc) if at.tzinfo is None else at.astimezone(timezone.utc)


def user_event(
    event: str,
    *,
    user_id: str | None = None,
    properties: Mapping[str, Any] | None = None,
    timestamp: datetime | None = None,
) -> UserEvent:
    """
    Make a user event; whom and which thread it is of comes from the context, unless said.

    Raises:
        TypeError: The event or the user id is not a string.
    """
    for name, value in (("event", event), ("user_id", user_id or "")):
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a string, not {type(value).__name__}: use str(...)")
    here = bound.get()
    return UserEvent(
        name=event,
        at=utc(timestamp),
        user_id=user_id or here.user_id,
        thread_id=here.thread_id,
        properties=plain_object(properties or {}),
    )


def interaction(  # noqa: PLR0913 - what every destination knows of an interaction, by name
    input: Any,
    output: Any,
    *,
    model: str | None = None,
    started_at: datetime | None = None,
    ended_at: datetime | None = None,
    user_id: str | None = None,
    thread_id: str | None = None,
) -> str | None:
    """
    Record an answer to a user whose model call nobody saw; it becomes an llm run like any other.

    Args:
        input: What the user said, or the list of messages that were sent.
        output: What was answered: a text, or the answer's message.
        model: Who answered.
        started_at: When the user asked; None is when the answer was there.
        ended_at: When the answer was there; None is now. A time without a zone is UTC.
        user_id: Who asked; None takes what is bound.
        thread_id: The conversation; None takes what is bound.

    Returns:
        Id of the run, for `feedback`; None when nothing is traced.
    """
    if not installed:
        return None
    end = utc(ended_at)
    start = end if started_at is None else utc(started_at)
    asked = [{"role": "user", "content": input}] if isinstance(input, str) else input
    answer = {"role": "assistant", "content": output} if isinstance(output, str) else output
    facts: Facts = {"input": snapshot(asked), "output": snapshot(answer)}
    with context(user_id=user_id, thread_id=thread_id):
        run = installed[-1].begin("llm", model or UNKNOWN_MODEL)
    run.started_at = start.timestamp()
    size_bytes = sum(len(facts[name] or b"") for name in ("input", "output"))
    run.end(facts, duration=max(0.0, (end - start).total_seconds()), size_bytes=size_bytes)
    return run.id
