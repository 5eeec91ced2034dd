"""
The messages of a list, kept by their strings.

An agent hands its whole history to every step. Nobody can change a string, so the usual messages
need no copy: their texts are kept, and the worker writes them down. One pass, message by message:
what costs the application's thread most is to look at their memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias, final

import orjson

from ...run import JSON
from ...snapshot import clean, pack

MARK: Final = "__lc_message__"
"""Key whose value is the role of a message that the worker has to convert."""

CELL_BYTES: Final = 16
"""What a cell weighs beside its text, in bytes."""

USUAL: Final = {
    ("langchain_core.messages.human", "HumanMessage"): "user",
    ("langchain_core.messages.ai", "AIMessage"): "assistant",
    ("langchain_core.messages.system", "SystemMessage"): "system",
    ("langchain_core.messages.tool", "ToolMessage"): "tool",
}
"""The messages of exactly these classes, and their roles."""

roles: Final[dict[type, str]] = {}
"""The same by class, as far as these have been seen: nothing of LangChain's is imported here."""

Write: TypeAlias = Callable[[Any], bytes]
"""Writes down, as JSON, a message that is more than its texts."""

_CALLING = ("assistant", "tool")
_NO_REFUSAL = {"refusal": None}  # what langchain-openai puts on every answer


@final
class Rows:
    """
    A list of messages.

    Attributes:
        cells: Three for each message: its role, its text, and the JSON of an assistant's tool calls
            or the id of the call that a tool answers. With no role: JSON of a message that is more.
        is_state: Whether they are all that is in the state of a graph, under `messages`.
        size_bytes: What they weigh in the queue.
    """

    __slots__ = ("cells", "is_state", "size_bytes")

    def __init__(self, cells: list[Any]) -> None:
        self.cells = cells
        self.is_state = False
        self.size_bytes = CELL_BYTES * len(cells) + sum(map(len, cells))

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
    except (KeyError, TypeError, OddMessageError):  # without its fields; arguments that are no JSON
        return None


def _keep(messages: list[Any], write: Write) -> Rows | None:
    cells: list[Any] = []
    for message in messages:
        role = roles.get(type(message))
        if role is None:
            return None
        fields = message.__dict__
        text, more = fields["content"], fields["additional_kwargs"]
        if type(text) is not str or fields["name"] or (more and more != _NO_REFUSAL):
            cells += "", write(message), ""
        elif role in _CALLING:
            cells += _calling(role, text, fields) or ("", write(message), "")
        else:
            cells += role, text, ""
    return Rows(cells)


def _calling(role: str, text: str, fields: dict[str, Any]) -> tuple[str, str, str | bytes] | None:
    if role == "tool":
        return None if fields["status"] == "error" else (role, text, fields["tool_call_id"])
    if fields["invalid_tool_calls"]:
        return None
    calls = fields["tool_calls"]
    return role, text, pack(calls) if calls else ""


# ---- from here on: the worker's thread ----


def lay_out(rows: Rows) -> Iterator[JSON]:
    """Give each message with its fields, for `messages.message`."""
    cells = iter(rows.cells)
    for role, text, last in zip(cells, cells, cells, strict=True):
        if not role:
            yield orjson.loads(text)
        elif isinstance(last, bytes):
            yield {MARK: role, "content": clean(text), "tool_calls": orjson.loads(last)}
        else:
            yield {MARK: role, "content": clean(text), "tool_call_id": last}
