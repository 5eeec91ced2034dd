"""
The messages of a list, kept by their strings.

An agent hands its whole history to every step. Nobody can change a string, so the usual messages
need no copy: their texts are kept, and the worker writes them down. One pass, message by message:
what costs the application's thread most is to look at their memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any, Final, TypeAlias, final

import orjson

from ...run import JSON
from ...snapshot import clean, pack

MARK: Final = "__lc_message__"
"""Key whose value is the role of a message that the worker has to convert."""

ROW_BYTES: Final = 64
"""What a message weighs beside its texts, in bytes."""

USUAL: Final = {
    ("langchain_core.messages.human", "HumanMessage"): "user",
    ("langchain_core.messages.ai", "AIMessage"): "assistant",
    ("langchain_core.messages.ai", "AIMessageChunk"): "assistant",
    ("langchain_core.messages.system", "SystemMessage"): "system",
    ("langchain_core.messages.tool", "ToolMessage"): "tool",
}
"""The messages of exactly these classes, and their roles."""

roles: Final[dict[type, str]] = {}
"""The same by class, as far as these have been seen: nothing of LangChain's is imported here."""

Write: TypeAlias = Callable[[Any], bytes]
"""Writes down, as JSON, a message that is more than its texts."""


@final
class Rows:
    """
    A list of messages.

    Attributes:
        said_by: The role of each; empty for one that is more than its texts.
        texts: The text of each; JSON where there is no role.
        call_ids: The calls that the tools among them answer, in turn.
        calls: The tool calls of each assistant among them, in turn, as one JSON list; or nothing.
        is_state: Whether they are all that is in the state of a graph, under `messages`.
        size_bytes: What they weigh in the queue.
    """

    __slots__ = ("call_ids", "calls", "is_state", "said_by", "size_bytes", "texts")

    def __init__(
        self, said_by: list[str], texts: list[Any], call_ids: list[str], calls: bytes
    ) -> None:
        self.said_by = said_by
        self.texts = texts
        self.call_ids = call_ids
        self.calls = calls
        self.is_state = False
        self.size_bytes = ROW_BYTES * len(texts) + sum(map(len, texts)) + len(calls)

    def __len__(self) -> int:
        return self.size_bytes


class OddMessageError(Exception):
    """A message is more than its texts."""


def refuse(message: Any) -> bytes:
    """Write no message down that is more than its texts."""
    raise OddMessageError


def keep(messages: list[Any], write: Write = refuse) -> Rows | None:
    """Keep a list of messages; None when something else is among them, or a message is odd."""
    try:
        return _keep(messages, write) if messages and type(messages[0]) in roles else None
    # No message, or one without its fields or with other ones; no JSON.
    except (KeyError, TypeError, AttributeError, OddMessageError):
        return None


def _keep(messages: list[Any], write: Write) -> Rows:
    said_by: list[str] = []
    texts: list[Any] = []
    call_ids: list[str] = []
    calls: list[Any] = []
    for message in messages:
        role = roles[type(message)]
        fields = message.__dict__
        text, more = fields["content"], fields["additional_kwargs"]
        if type(text) is not str or fields["name"] or (more and not says_nothing(more)):
            role = ""
        elif role == "assistant":
            if fields["invalid_tool_calls"]:
                role = ""
            else:
                calls.append(fields["tool_calls"])
        elif role == "tool":
            if fields["status"] == "error":
                role = ""
            else:
                call_ids.append(fields["tool_call_id"])
        said_by.append(role)
        texts.append(text if role else write(message))
    return Rows(said_by, texts, call_ids, pack(calls) if any(calls) else b"")


def says_nothing(more: dict[str, Any]) -> bool:
    """Tell what langchain-openai puts on every answer; a comparison would ask the values."""
    return len(more) == 1 and more.get("refusal", more) is None


# ---- from here on: the worker's thread ----


def lay_out(rows: Rows) -> Iterator[JSON]:
    """Give each message with its fields, for `messages.message`."""
    calls = iter(orjson.loads(rows.calls) if rows.calls else repeat(None))
    call_ids = iter(rows.call_ids)
    for role, text in zip(rows.said_by, rows.texts, strict=True):
        if not role:
            yield orjson.loads(text)
            continue
        told: dict[str, JSON] = {MARK: role, "content": clean(text)}
        if role == "assistant":
            told["tool_calls"] = next(calls)
        elif role == "tool":
            told["tool_call_id"] = next(call_ids)
        yield told
