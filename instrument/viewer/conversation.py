"""
What was said to a run and what it answered, as messages that a person can read.

Pure functions over the JSON that was recorded. Nothing raises on a shape that is not known: it is
shown as its JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from ..exporters._text import called, documents, load, messages, transcript
from ..run import JSON, Run, Snapshot

MAX_TEXT_CHARS = 50_000
"""Characters of one text that are shown; the raw JSON has the rest."""

MAX_MESSAGES = 300
"""Messages of one input that are shown, those at its end."""

LONG_CHARS = 2_400
"""From so many characters on a text is folded up."""

PREVIEW_CHARS = 500

Form: TypeAlias = Literal["text", "code", "call", "media", "thought", "refusal", "document"]


@final
@dataclass(frozen=True, slots=True)
class Part:
    """
    A piece of a message.

    Attributes:
        label: Name of a tool, or type of a medium.
        hidden: How many characters are left out.
    """

    form: Form
    text: str
    label: str = ""
    hidden: int = 0

    @property
    def long(self) -> bool:
        """Say whether it is folded up."""
        return len(self.text) > LONG_CHARS

    @property
    def preview(self) -> str:
        """Return its first words."""
        return self.text[:PREVIEW_CHARS].rstrip()


@final
@dataclass(frozen=True, slots=True)
class Message:
    """Who said what; *note* is what else there is to know (the tool's name, an error)."""

    role: str
    parts: Sequence[Part]
    note: str = ""


@final
@dataclass(frozen=True, slots=True)
class Side:
    """What went in, or came out; *hidden* messages before the first one shown are left out."""

    messages: Sequence[Message]
    hidden: int = 0


def asked(run: Run) -> Side:
    """Read what was said to a run."""
    return _side(run.input, "input")


def answered(run: Run) -> Side:
    """Read what a run answered."""
    return _side(run.output, "output")


def _side(data: Snapshot | None, name: str) -> Side:
    value = loaded(data)
    if value is None:
        return Side(())
    found = messages(value)
    if found:
        shown = found[-MAX_MESSAGES:]
        return Side([_message(each) for each in shown], len(found) - len(shown))
    if _are_documents(value):
        texts = documents(value)[:MAX_MESSAGES]
        parts = [_part("document", text, str(n)) for n, text in enumerate(texts, 1)]
        return Side([Message(name, parts)])
    return Side([Message(name, [_value(value)])])


def loaded(data: Snapshot | None) -> JSON:
    """Read what was recorded."""
    try:
        return load(data)
    except ValueError:  # no JSON, against the contract of a snapshot: show it as it is
        return data.decode("utf-8", "replace") if data else None


def _are_documents(value: JSON) -> bool:
    found = value.get("documents") if isinstance(value, dict) else value
    if not isinstance(found, list) or not found:
        return False
    return all(isinstance(each, dict) and "page_content" in each for each in found)


def _message(message: Mapping[str, JSON]) -> Message:
    notes = [str(message[key]) for key in ("name", "tool_call_id") if message.get(key)]
    if message.get("is_error"):
        notes.append("error")
    return Message(str(message["role"]), list(_parts(message)), " · ".join(notes))


def _parts(message: Mapping[str, JSON]) -> Iterator[Part]:
    for key in ("reasoning_content", "reasoning"):
        if isinstance(thought := message.get(key), str) and thought:
            yield _part("thought", thought)
            break
    yield from _content(message.get("content"), message.get("role") in {"tool", "function"})
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        yield _part("refusal", refusal)
    if message.get("audio"):
        yield _part("media", transcript(message), "audio")
    calls = called(message)
    for call in calls if isinstance(calls, list) else [calls]:
        if call:
            yield _call(call)


def _content(content: JSON, from_tool: bool) -> Iterator[Part]:
    if content is None or content == "":
        return
    if isinstance(content, str):
        yield _value(content) if from_tool else _part("text", content)
    elif isinstance(content, list):
        yield from (_block(each) for each in content)
    else:
        yield _value(content)


def _block(block: JSON) -> Part:
    if not isinstance(block, dict):
        return _value(block)
    kind = str(block.get("type", "part"))
    if kind in _MEDIA or "image" in kind:
        return _part("media", _source(block), kind.replace("_", " ").replace(" url", ""))
    for key, form in _WORDS.items():
        if isinstance(text := block.get(key), str):
            return _part("thought" if kind in _THOUGHTS else form, text)
    return _part("code", pretty(block), kind)


_MEDIA = frozenset({"image_url", "input_image", "input_audio", "audio", "file", "video", "media"})
_THOUGHTS = frozenset({"thinking", "reasoning"})
_WORDS: Mapping[str, Form] = {"text": "text", "refusal": "refusal", "thinking": "thought"}


def _source(value: JSON) -> str:
    """Say what is known of a medium: a note of its type and size, or where it is. It is not loaded."""
    if isinstance(value, str):
        return value.partition(",")[0] + ",…" if value.startswith("data:") else value
    if not isinstance(value, dict):
        return ""
    for key in ("url", "image_url", "file", "input_audio", "source", "filename", "file_id", "data"):
        if value.get(key):
            return _source(value[key])
    return ""


def _call(call: JSON) -> Part:
    """Read the call of a tool, as OpenAI and as LangChain put it."""
    function = call.get("function", call.get("custom", call)) if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return _part("call", pretty(call), "tool")
    arguments = function.get("arguments", function.get("args", function.get("input")))
    return _part("call", _tidy(arguments), str(function.get("name") or "tool"))


def _value(value: JSON) -> Part:
    """Show a value: a text as it is, a text that is JSON and anything else as JSON."""
    if isinstance(value, str):
        tidy = _tidy(value)
        return _part("text" if tidy is value else "code", tidy)
    if isinstance(value, dict) and len(value) == 1:
        (key, only) = next(iter(value.items()))
        if isinstance(only, str):
            return _part("text", only, key)
    return _part("code", pretty(value))


def _tidy(value: JSON) -> str:
    """Lay JSON out on lines of its own; what is no JSON object or list stays as it is."""
    if not isinstance(value, str):
        return "" if value is None else pretty(value)
    if not value.lstrip().startswith(("{", "[")) or len(value) > MAX_TEXT_CHARS:
        return value
    try:
        return pretty(json.loads(value))
    except (ValueError, RecursionError):
        return value


def pretty(value: JSON) -> str:
    """Write JSON for a person."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def _part(form: Form, text: str, label: str = "") -> Part:
    return Part(form, text[:MAX_TEXT_CHARS], label, max(0, len(text) - MAX_TEXT_CHARS))
