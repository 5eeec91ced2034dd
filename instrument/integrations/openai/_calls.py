"""
Tool calls put together from pieces.

Servers disagree on how a piece says which call it continues: by an index, by an id, by nothing at
all; some give every call the index 0, some every piece a new id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from typing import final

import orjson

from ...run import JSON
from ._json import dict_of, index_of, objects_of, text_of, write

MAX_CALLS = 1024
"""Tool calls of one choice that are kept."""


@final
@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call of the model; the arguments are the text as the model wrote it."""

    id: str | None
    type: str
    name: str | None
    arguments: str


@final
@dataclass(frozen=True, slots=True)
class FunctionCall:
    """The one call of the API before tools."""

    name: str | None
    arguments: str


@final
class CallBuilder:
    """One call while it comes in; an id or a name that comes again is not added again."""

    __slots__ = ("_arguments", "id", "index", "name", "type")

    def __init__(self, index: int | None = None) -> None:
        self.index = index
        self.id: str | None = None
        self.type: str | None = None
        self.name: str | None = None
        self._arguments = StringIO()

    @property
    def arguments(self) -> str:
        """The arguments so far."""
        return self._arguments.getvalue()

    def is_whole(self) -> bool:
        """Tell whether the arguments so far are a JSON text, so that nothing can follow."""
        try:
            orjson.loads(self.arguments)
        except ValueError:
            return False
        return True

    def add(self, call: Mapping[str, JSON]) -> None:
        """Add a piece of a tool call."""
        self.id = self.id or text_of(call.get("id"))
        self.type = self.type or text_of(call.get("type"))
        custom = dict_of(call.get("custom"))
        if custom:
            self.type = self.type or "custom"
            self.call(custom.get("name"), custom.get("input"))
        function = dict_of(call.get("function"))
        self.call(function.get("name"), function.get("arguments"))

    def call(self, name: JSON, arguments: JSON) -> None:
        """Add a piece of the name and of the arguments."""
        if isinstance(name, str) and name and name != self.name:
            self.name = (self.name or "") + name
        if isinstance(arguments, str):
            self._arguments.write(arguments)
        elif isinstance(arguments, (dict, list)):
            self._arguments.write(write(arguments))

    def tool_call(self) -> ToolCall:
        """Give the call as it stands."""
        return ToolCall(self.id, self.type or "function", self.name, self.arguments)

    def function_call(self) -> FunctionCall | None:
        """Give the call of the older API; None when nothing was called."""
        arguments = self.arguments
        return FunctionCall(self.name, arguments) if self.name or arguments else None


@final
class Calls:
    """The tool calls of one choice, in the order of their indexes, else as they came."""

    __slots__ = ("_at", "_last", "_slots")

    def __init__(self) -> None:
        self._slots: list[CallBuilder] = []
        self._at: dict[int | str, CallBuilder] = {}
        self._last: CallBuilder | None = None

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, pieces: JSON, *, whole: bool) -> None:
        """Add what one message says; in a *whole* message every entry is a call of its own."""
        for piece in objects_of(pieces):
            slot = None if whole else self._slot(piece)
            if slot is None:
                slot = self._new(None if whole else index_of(piece.get("index")))
            slot.add(piece)
            if slot.id is not None:
                self._at.setdefault(slot.id, slot)
            self._last = slot

    def done(self) -> tuple[ToolCall, ...]:
        """Give the calls as they stand."""
        order = {id(slot): place for place, slot in enumerate(self._slots)}
        key = [slot.index if slot.index is not None else order[id(slot)] for slot in self._slots]
        places = sorted(range(len(key)), key=key.__getitem__)
        return tuple(self._slots[place].tool_call() for place in places)

    def _new(self, index: int | None) -> CallBuilder:
        slot = CallBuilder(index)
        if len(self._slots) < MAX_CALLS:
            self._slots.append(slot)
            if index is not None:
                self._at[index] = slot
        return slot

    def _slot(self, piece: Mapping[str, JSON]) -> CallBuilder | None:
        """Find the call that *piece* continues; None when it begins one."""
        index = index_of(piece.get("index"))
        said = text_of(piece.get("id"))
        if index is not None:
            slot = self._at.get(index)
        else:
            slot = (self._at.get(said) if said else None) or self._last
        if slot is None or _begins(piece, slot, said, has_index=index is not None):
            return None
        return slot


def _begins(
    piece: Mapping[str, JSON], slot: CallBuilder, said: str | None, *, has_index: bool
) -> bool:
    """Tell whether *piece* begins a new call, although it seems to belong to *slot*."""
    name = text_of(dict_of(piece.get("function")).get("name"))
    if said and said == slot.id:
        return False
    if said and slot.id:
        if not name:
            return not has_index and slot.is_whole()
        return name != slot.name or slot.is_whole() or not (has_index or slot.arguments)
    return bool(name and slot.name) and not has_index and slot.is_whole()
