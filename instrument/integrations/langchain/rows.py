"""
The messages of a list, kept by their strings.

An agent hands its whole history to every step. Nobody can change a string, so the usual messages
need no copy: a row holds their texts, and the worker writes them down.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any, Final, TypeAlias

from ...snapshot import pack

Row: TypeAlias = (
    "tuple[str, str] | tuple[str, bytes] | tuple[str, str, str] | tuple[str, str, bytes]"
)
"""
A role and a text; after them the id of the call that a tool answers, or an assistant's tool calls
as JSON. Without a role: JSON of what is no usual message.
"""

ROW_BYTES: Final = 64
"""What a row weighs beside its texts, in bytes."""

_NO_REFUSAL = {"refusal": None}  # what langchain-openai puts on every answer


def weigh(rows: list[Row]) -> int:
    """Say what rows weigh in the queue, in bytes."""
    return ROW_BYTES * len(rows) + sum(map(len, chain.from_iterable(rows)))


def _user(fields: dict[str, Any]) -> Row | None:
    text = fields["content"]
    if type(text) is not str or fields["name"] or fields["additional_kwargs"]:
        return None
    return "user", text


def _system(fields: dict[str, Any]) -> Row | None:
    text = fields["content"]
    if type(text) is not str or fields["name"] or fields["additional_kwargs"]:
        return None
    return "system", text


def _assistant(fields: dict[str, Any]) -> Row | None:
    text, more = fields["content"], fields["additional_kwargs"]
    if type(text) is not str or fields["name"] or fields["invalid_tool_calls"]:
        return None
    if more and more != _NO_REFUSAL:
        return None
    calls = fields["tool_calls"]
    if not calls:
        return "assistant", text
    try:
        return "assistant", text, pack(calls)
    except TypeError:
        return None


def _tool(fields: dict[str, Any]) -> Row | None:
    text, call_id = fields["content"], fields["tool_call_id"]
    if type(text) is not str or fields["name"] or fields["additional_kwargs"]:
        return None
    if type(call_id) is not str or fields["status"] == "error":
        return None
    return "tool", text, call_id


WRITERS: Final[dict[tuple[str, str], Callable[[dict[str, Any]], Row | None]]] = {
    ("langchain_core.messages.human", "HumanMessage"): _user,
    ("langchain_core.messages.ai", "AIMessage"): _assistant,
    ("langchain_core.messages.system", "SystemMessage"): _system,
    ("langchain_core.messages.tool", "ToolMessage"): _tool,
}
"""
How a message of exactly this class becomes a row, from its fields; None when it says more.

Raises KeyError for a message that was made without its fields.
"""
