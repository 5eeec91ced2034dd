"""What is known of a run beside what was said: rows of a name and a text, and its raw JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import orjson

from ..codec import encode
from ..run import JSON, Answer, Attempt, Run, Usage
from . import words
from .conversation import loaded, pretty

Facts: TypeAlias = "dict[str, str]"


def facts(run: Run) -> Mapping[str, Facts]:
    """Gather the facts of a run under a few headings; what is not known is left out."""
    named = {
        "Run": _about(run),
        "Tokens": _known(run.usage, _TOKENS),
        "Answer": _known(run.answer, _ANSWER),
        "Attempts": _attempts(run),
        "Rate limits": dict(run.answer.rate_limits) if run.answer else {},
        "Parameters": _flat(loaded(run.params)),
        "Metadata": _flat(dict(run.metadata)),
        "User": _flat(dict(run.user_props or {})),
    }
    return {heading: rows for heading, rows in named.items() if rows}


def raw(run: Run) -> bytes:
    """Write a run as JSON for a person, its input and output as the JSON that they are."""
    whole: dict[str, Any] = orjson.loads(encode(run))
    for name in ("input", "output", "params"):
        if name in whole:
            whole[name] = loaded(getattr(run, name))
    return orjson.dumps(whole, option=orjson.OPT_INDENT_2)


def _about(run: Run) -> Facts:
    ended = run.ended_at
    rows = {
        "id": run.id,
        "kind": run.kind,
        "started": words.full(run.started_at),
        "ended": words.full(ended) if ended else "",
        "duration": words.seconds(run.duration) if ended else "",
        "partial": run.partial or "",
        "tags": ", ".join(run.tags),
    }
    return {name: text for name, text in rows.items() if text}


def _known(
    part: Usage | Answer | None, table: Mapping[str, tuple[str, Callable[[Any], str]]]
) -> Facts:
    values = ((name, write, getattr(part, field, None)) for field, (name, write) in table.items())
    return {name: write(value) for name, write, value in values if value not in (None, ())}


def _attempts(run: Run) -> Facts:
    attempts = run.answer.attempts if run.answer else ()
    if len(attempts) < 2:
        return {}
    return {f"{number}.": _attempt(each) for number, each in enumerate(attempts, 1)}


def _attempt(attempt: Attempt) -> str:
    reply = "no reply" if attempt.status is None else f"HTTP {attempt.status}"
    return f"{reply}, after {words.seconds(attempt.offset)}"


def _flat(value: JSON) -> Facts:
    if not isinstance(value, dict):
        return {}
    return {key: each if isinstance(each, str) else pretty(each) for key, each in value.items()}


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _reasons(values: tuple[str | None, ...]) -> str:
    return ", ".join(value or words.ABSENT for value in values)


def _milliseconds(value: float) -> str:
    return words.seconds(value / 1000)


_TOKENS = {
    field.name: (name, words.number)
    for field, name in zip(
        dataclasses.fields(Usage),
        ("in", "out", "total", "of them cached", "of them reasoning", "audio in", "audio out"),
        strict=True,
    )
}
_ANSWER: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "provider": ("provider", str),
    "model": ("model", str),
    "finish_reasons": ("finish reason", _reasons),
    "stream": ("stream", _yes),
    "time_to_first_token": ("first token", words.seconds),
    "processing_ms": ("provider's own time", _milliseconds),
    "response_id": ("response id", str),
    "request_id": ("request id", str),
    "system_fingerprint": ("fingerprint", str),
    "service_tier": ("service tier", str),
}
