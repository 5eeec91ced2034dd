"""The first words of what a run was asked, what it answered, and what somebody thought of that."""

from __future__ import annotations

from collections.abc import Mapping

from ..exporters._text import called, documents, gist, load, messages, role, said, text
from ..run import JSON, Feedback, Run, Snapshot
from .cells import safe

THUMBS = {"up": "👍", "down": "👎"}


def prompt(run: Run) -> str:
    """Return the first words of what was new to a run: the last message to it, else its input."""
    value = _loaded(run.input)
    found = [each for each in messages(value) if role(each) in {"user", "tool"}]
    if not found:
        return safe(gist(value))
    last = found[-1]
    words = safe(text(last.get("content")))
    return f"tool: {words}" if role(last) == "tool" else words


def answer(run: Run) -> str:
    """Return the first words of an answer, tools that it calls as `name(arguments)`."""
    value = _loaded(run.output)
    found = messages(value)
    if not found:
        return _documents(value) if run.kind == "retriever" else safe(gist(value))
    if run.kind != "llm":
        return _message(found[-1])
    if len(found) == 1:
        return _message(found[0])
    return "  ".join(f"{number}) {_message(each)}" for number, each in enumerate(found, 1))


def feedback(item: Feedback) -> str:
    """Write a verdict: the thumb, the score, the words."""
    parts = [
        THUMBS.get(item.thumb or "", ""),
        "" if item.score is None else f"score {item.score:g}",
        "" if item.comment is None else f"“{safe(item.comment)}”",
    ]
    return " ".join(part for part in parts if part)


def _loaded(data: Snapshot | None) -> JSON:
    try:
        return load(data)
    except ValueError:  # no JSON, against the contract of a snapshot: show it as it is
        return data.decode("utf-8", "replace") if data else None


def _message(message: Mapping[str, JSON]) -> str:
    calls = called(message)
    words = safe(said({**message, "tool_calls": None, "function_call": None}))
    named = [_call(each) for each in (calls if isinstance(calls, list) else [calls]) if each]
    return "  ".join(part for part in (words, *named) if part)


def _call(call: JSON) -> str:
    """Write the call of a tool, as OpenAI and as LangChain put it."""
    if not isinstance(call, dict):
        return safe(gist(call))
    function = call.get("function", call.get("custom", call))
    if not isinstance(function, dict):
        return safe(gist(call))
    arguments = function.get("arguments", function.get("args", function.get("input")))
    return safe(f"{function.get('name', 'tool')}({gist_of(arguments)})")


def gist_of(arguments: JSON) -> str:
    """Write arguments as they are, an object as JSON."""
    return text(arguments) if isinstance(arguments, (str, dict)) else gist(arguments)


def _documents(value: JSON) -> str:
    found = documents(value)
    if not found:
        return "no documents"
    count = "1 document" if len(found) == 1 else f"{len(found)} documents"
    return f"{count}: {safe(found[0])}"
