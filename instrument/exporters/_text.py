"""
What several destinations ask of a run: what was said, by whom, as one text; and when, in their units.

Pure functions over plain JSON. Nothing here raises on a shape that it does not know: a value that is
no text becomes its JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import TypeAlias

import orjson

from ..run import JSON, Run, Snapshot, Usage
from ..snapshot import clean, plain

Message: TypeAlias = "Mapping[str, JSON]"
Flat: TypeAlias = "dict[str, str]"

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MILLISECOND = timedelta(milliseconds=1)

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "tool": "tool",
    "function": "tool",
}
"""The four roles that every destination knows, by the role that was sent."""

GISTS = (
    "input",
    "question",
    "query",
    "prompt",
    "output",
    "answer",
    "result",
    "response",
    "text",
    "content",
)
"""Keys under which chains and tools keep the one text that matters, in the order of preference."""


def milliseconds(at: datetime) -> int:
    """Whole milliseconds since the epoch."""
    return round((at - EPOCH) / MILLISECOND)


def iso(at: datetime) -> str:
    """ISO 8601 in UTC, to the millisecond, with `Z`."""
    rounded = EPOCH + milliseconds(at) * MILLISECOND
    return rounded.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(duration: float) -> float:
    """Seconds to the millisecond, never negative."""
    return max(0.0, round(duration, 3))


def load(data: Snapshot | None) -> JSON:
    """Read a snapshot; None stays None, and lone surrogates, which a provider may send, become `?`."""
    if data is None:
        return None
    try:
        value: JSON = orjson.loads(data)
    except ValueError:
        return plain(json.loads(data))
    return value


def dump(value: JSON) -> str:
    """Write a value as JSON for a person to read: spaces, and no escapes but the needed ones."""
    return json.dumps(value, ensure_ascii=False)


def body(value: JSON) -> bytes:
    """Write a request's body: JSON without NULs, which no database of text keeps, or surrogates."""
    try:
        data = orjson.dumps(value)
    except TypeError:
        return orjson.dumps(cleaned(value))
    return orjson.dumps(cleaned(value)) if rb"\u0000" in data else data


def cleaned(value: JSON) -> JSON:
    """Copy *value* without the NULs and lone surrogates in its texts and keys."""
    if isinstance(value, str):
        return clean(value).replace("\x00", "")
    if isinstance(value, list):
        return [cleaned(entry) for entry in value]
    if isinstance(value, dict):
        return {clean(key).replace("\x00", ""): cleaned(entry) for key, entry in value.items()}
    return value


def known(**fields: JSON) -> dict[str, JSON]:
    """Keep the fields that are not None: absent is absent."""
    return {name: value for name, value in fields.items() if value is not None}


def messages(value: JSON) -> Sequence[Message]:
    """Find the messages in an input or output; empty when it has none."""
    if isinstance(value, dict):
        return [value] if isinstance(value.get("role"), str) else messages(value.get("messages"))
    if not isinstance(value, list):
        return []
    if len(value) == 1 and isinstance(value[0], list):
        return messages(value[0])
    return [each for each in value if isinstance(each, dict) and isinstance(each.get("role"), str)]


def role(message: Message) -> str:
    """Name the one of the four roles that a message has; whoever is unknown is a user."""
    return ROLES.get(str(message.get("role")), "user")


def said(message: Message) -> str:
    """Put what a message says into one text: its words, then the tools that it calls, as JSON."""
    words = text(message.get("content")) or text(message.get("refusal")) or transcript(message)
    calls = called(message)
    return "\n".join(part for part in (words, dump(calls) if calls else "") if part)


def called(message: Message) -> JSON:
    """Return the tools that a message calls, in the new way or the old one; None for none."""
    return message.get("tool_calls") or message.get("function_call") or None


def transcript(message: Message) -> str:
    """Return the words of an answer that was spoken."""
    audio = message.get("audio")
    return text(audio.get("transcript")) if isinstance(audio, dict) else ""


def text(content: JSON) -> str:
    """Put the content of a message into one text, its parts on lines of their own."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list):
        return lines(part_text(part) for part in content)
    return dump(content)


def part_text(part: JSON) -> str:
    """Return the words of one part of a content, else its type, as `<image_url>`."""
    if not isinstance(part, dict):
        return text(part)
    for key in ("text", "refusal", "thinking"):
        words = part.get(key)
        if isinstance(words, str):
            return words
    return f"<{part.get('type', 'part')}>"


def lines(texts: Iterable[str]) -> str:
    """Join the texts that are not empty, a line for each."""
    return "\n".join(each for each in texts if each)


def flat(message: Message) -> Flat:
    """Flatten a message to a role that every destination knows and one text."""
    return {"role": role(message), "content": said(message)}


def gist(value: JSON) -> str:
    """Find the one text in the input or output of a chain, a tool or a retriever, else its JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return lines(map(gist, value))
    if not isinstance(value, dict):
        return dump(value)
    if len(value) == 1:
        return gist(next(iter(value.values())))
    texts = (value.get(key) for key in GISTS)
    return next((each for each in texts if isinstance(each, str)), dump(value))


def asked(run: Run) -> str:
    """Say what the user asked in a run: the last user text, else the gist of the input."""
    value = load(run.input)
    found = messages(value)
    if not found:
        return gist(value)
    return said(next((each for each in reversed(found) if role(each) == "user"), found[-1]))


def answered(run: Run) -> str | None:
    """
    Say what a run answered, or None when there is no output.

    Several choices of a model stand one after the other, with an empty line between; of the messages
    that a chain or an agent returns, the last one is the answer.
    """
    value = load(run.output)
    if value is None:
        return None
    found = messages(value)
    if not found:
        return gist(value)
    return "\n\n".join(map(said, found if run.kind == "llm" else found[-1:]))


def only_calls(run: Run) -> bool:
    """Say whether an answer is nothing but calls of tools: a turn that no user sees."""
    found = messages(load(run.output))
    return bool(found) and all(called(each) and not text(each.get("content")) for each in found)


def documents(value: JSON) -> list[str]:
    """Return the texts of what a retriever or a tool gave."""
    if isinstance(value, dict) and isinstance(value.get("documents"), list):
        value = value["documents"]
    if not isinstance(value, list):
        return [] if value is None else [gist(value)]
    return [document(each) for each in value]


def finish_reason(run: Run) -> JSON:
    """Say why the answer ended: one reason, or a list of them for several choices."""
    reasons: list[JSON] = [] if run.answer is None else list(run.answer.finish_reasons)
    if len(reasons) == 1:
        return reasons[0]
    return reasons if any(reasons) else None


def token_counts(usage: Usage | None) -> dict[str, JSON]:
    """Return the counts that the provider sent, by the names that most destinations have."""
    if usage is None:
        return {}
    return known(
        prompt_tokens=usage.prompt,
        completion_tokens=usage.completion,
        total_tokens=usage.total,
        cached_tokens=usage.cached,
        reasoning_tokens=usage.reasoning,
    )


def document(value: JSON) -> str:
    """Return the text of one document."""
    if isinstance(value, dict) and isinstance(value.get("page_content"), str):
        return str(value["page_content"])
    return gist(value)
