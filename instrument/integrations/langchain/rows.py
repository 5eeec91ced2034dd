"""
The messages of a list, kept by their strings.

An agent hands its whole history to every step. Nobody can change a string, so the usual messages
need no copy: their texts are kept, and the worker writes them down. Column by column, because the
interpreter then runs over the messages in C; what the application's thread would have to do for
each message costs several times as much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from operator import attrgetter, itemgetter
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
    ("langchain_core.messages.system", "SystemMessage"): "system",
    ("langchain_core.messages.tool", "ToolMessage"): "tool",
}
"""The messages of exactly these classes, and their roles."""

roles: Final[dict[type, str]] = {}
"""The same by class, as far as these have been seen: nothing of LangChain's is imported here."""

Raw: TypeAlias = Callable[[Any], bytes]
"""Writes down, as JSON, a message that is more than its texts."""

_fields, _content, _more = (
    attrgetter("__dict__"),
    itemgetter("content"),
    itemgetter("additional_kwargs"),
)
_get = dict.get
_TEXT = {str}
_NO_REFUSAL = {"refusal": None}  # what langchain-openai puts on every answer


@final
class Rows:
    """
    A list of messages.

    Attributes:
        roles: Who each is from.
        texts: What each says; bytes are the JSON of a message that is more than its texts.
        calls: The tool calls of all of them, as one JSON list; empty when there are none.
        call_ids: The calls that are answered.
        names: Who speaks, and `statuses` how a tool fared; empty when nothing is said of it.
        size_bytes: What they weigh in the queue.
    """

    __slots__ = ("call_ids", "calls", "names", "roles", "size_bytes", "statuses", "texts")

    def __init__(self, said: tuple[str, ...], texts: tuple[str | bytes, ...], calls: bytes) -> None:
        self.roles = said
        self.texts = texts
        self.calls = calls
        self.call_ids: tuple[Any, ...] = ()
        self.names: tuple[Any, ...] = ()
        self.statuses: tuple[Any, ...] = ()
        self.size_bytes = ROW_BYTES * len(said) + sum(map(len, texts)) + len(calls)


def keep(messages: list[Any], write: Raw) -> Rows | None:
    """
    Keep a list of messages; None when something else is among them.

    Raises:
        KeyError: A message was made without its fields.
        TypeError: The arguments of a tool call are no JSON.
    """
    values = tuple(messages)
    said: tuple[Any, ...] = tuple(map(roles.get, map(type, values)))
    if None in said:
        return None
    fields = tuple(map(_fields, values))
    texts = tuple(map(_content, fields))
    odd = any(map(_get, fields, repeat("invalid_tool_calls"))) or not _TEXT.issuperset(
        map(type, texts)
    )
    if odd or any(map(_more, fields)):
        texts = tuple(map(_text, values, fields, repeat(write)))
    calls = tuple(map(_get, fields, repeat("tool_calls")))
    rows = Rows(said, texts, pack(calls) if any(calls) else b"")
    call_ids = tuple(map(_get, fields, repeat("tool_call_id")))
    if any(call_ids):
        rows.call_ids = call_ids
        statuses = tuple(map(_get, fields, repeat("status")))
        rows.statuses = statuses if "error" in statuses else ()
    names = tuple(map(_get, fields, repeat("name")))
    if any(names):
        rows.names = names
    return rows


def _text(message: Any, fields: dict[str, Any], write: Raw) -> str | bytes:
    text, more = fields["content"], fields["additional_kwargs"]
    if type(text) is str and (not more or more == _NO_REFUSAL):
        return text if not fields.get("invalid_tool_calls") else write(message)
    return write(message)


# ---- from here on: the worker's thread ----


def lay_out(rows: Rows) -> Iterator[JSON]:
    """Give each message with its fields, for `messages.message`."""
    blank = (None,) * len(rows.roles)
    calls = orjson.loads(rows.calls) if rows.calls else blank
    columns = zip(
        rows.roles,
        rows.texts,
        calls,
        rows.call_ids or blank,
        rows.names or blank,
        rows.statuses or blank,
        strict=True,
    )
    for role, text, its_calls, call_id, name, status in columns:
        if isinstance(text, bytes):
            yield orjson.loads(text)
        else:
            yield {
                MARK: role,
                "content": clean(text),
                "tool_calls": its_calls,
                "tool_call_id": call_id,
                "name": name,
                "status": status,
            }
