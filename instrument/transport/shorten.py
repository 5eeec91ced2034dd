"""
Make one item smaller that a destination does not take: its longest texts are cut, and say so.

Ids, times, counts of tokens and the shape of messages stay. Of a text that is too long the
beginning and the end are kept, with a note between them of how many bytes are missing. No I/O.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

import orjson

from ..run import JSON, Exchange, Feedback, Item, Run, Snapshot, Trace, UserEvent
from ..snapshot import clean, plain
from .parcel import ITEM_BYTES, weigh

LEAST_BYTES = 256
"""What is left at least of the texts of an item, in bytes."""

MARK = " … [{} bytes cut] … "
"""What stands where something is missing."""

_MARK_BYTES = len(MARK.encode()) + 12
_WIDTHS = (1_000_000, 1_000, 100, 10)
"""How many members of one list or object are kept, if cutting texts is not enough."""

_FIELDS: Final[Mapping[type, tuple[str, ...]]] = {
    Run: ("input", "output", "params", "metadata", "user_props"),
    Feedback: ("comment",),
    UserEvent: ("properties",),
    Exchange: ("prompt", "answer", "properties"),
}
"""What may be long in an item: snapshots, texts, and objects of plain JSON values."""


def shorten(item: Item, max_bytes: int) -> Item | None:
    """
    Copy *item* so that it weighs at most *max_bytes*, as far as cutting texts gets it there.

    Returns:
        The copy; None when there is nothing that could be cut.
    """
    shorter = _trace(item, max_bytes) if isinstance(item, Trace) else _fields(item, max_bytes)
    return shorter if weigh(shorter) < weigh(item) else None


def _trace(trace: Trace, max_bytes: int) -> Trace:
    """Cut the heaviest runs of a tree."""
    cap = level([weigh(run) for run in trace.runs], max_bytes)
    return Trace([run if weigh(run) <= cap else _fields(run, cap) for run in trace.runs])


def _fields(item: Any, max_bytes: int) -> Any:
    values = {name: getattr(item, name) for name in _FIELDS[type(item)]}
    sizes = {name: _size(value) for name, value in values.items() if value}
    rest = ITEM_BYTES
    if isinstance(item, Run):
        rest = weigh(item) - sum(sizes.values())
        if item.answer is not None and item.answer.logprobs is not None:
            rest -= len(item.answer.logprobs)
            item = replace(item, answer=replace(item.answer, logprobs=None))
    cap = level(list(sizes.values()), max(LEAST_BYTES, max_bytes - rest))
    cut = {name: _cut(values[name], cap) for name, size in sizes.items() if size > cap}
    return replace(item, **cut)


def _size(value: Any) -> int:
    """Say how long a field is as JSON; what is an object in memory weighs three times that."""
    if isinstance(value, (bytes, str)):
        return len(value)
    return 3 * len(orjson.dumps(value))


def _cut(value: Any, max_bytes: int) -> Any:
    if isinstance(value, bytes):
        return Snapshot(shorten_json(value, max_bytes))
    if isinstance(value, str):
        return cut_text(value, max_bytes)
    return orjson.loads(shorten_json(orjson.dumps(value), max_bytes // 3))


def level(sizes: Sequence[int], budget: int) -> int:
    """Find the size to which the largest have to be cut so that all of them fit into *budget*."""
    left = budget
    for count, size in zip(range(len(sizes), 0, -1), sorted(sizes), strict=True):
        if size * count > left:
            return max(0, left // count)
        left -= size
    return max(sizes, default=0)


def cut_text(text: str, max_bytes: int) -> str:
    """Keep the beginning and the end of a text; one that is short enough stays as it is."""
    data = clean(text).encode()
    kept = max(0, max_bytes - _MARK_BYTES)
    if len(data) <= kept + _MARK_BYTES:
        return text
    last = len(data) - kept // 4
    head = data[: kept - kept // 4].decode("utf-8", "ignore")
    tail = data[last:].decode("utf-8", "ignore")
    return f"{head}{MARK.format(len(data) - len(head.encode()) - len(tail.encode()))}{tail}"


def shorten_json(data: bytes, max_bytes: int) -> bytes:
    """
    Cut the longest strings of one JSON text, then the longest lists, until it is short enough.

    An object stays one, and so does a list, unless nothing else helps: then it becomes a string, or
    in an object's place one whose only member is that.
    """
    if len(data) <= max_bytes:
        return data
    value: JSON = None
    try:
        value = _load(data)
        for width in _WIDTHS:
            short = _fitted(value, width, max_bytes)
            if short is not None:
                return short
    except (ValueError, RecursionError):
        pass  # it is no JSON, or too deep: what can be kept of it is its text
    text = cut_text(data.decode("utf-8", "replace"), max_bytes // 2)
    return orjson.dumps({"cut": text} if data.startswith(b"{") else text)


def _load(data: bytes) -> JSON:
    try:
        value: JSON = orjson.loads(data)
    except orjson.JSONDecodeError:  # lone surrogates, which a provider may send
        return plain(json.loads(data))
    return value


def _fitted(value: JSON, width: int, max_bytes: int) -> bytes | None:
    """Write *value* with lists of so many members at most, if it can be made to fit."""
    narrow = _walk(value, width, max_bytes)
    data = orjson.dumps(narrow)
    if len(data) <= max_bytes:
        return data
    sizes = [len(text.encode()) for text in _strings(narrow)]
    budget = max_bytes - (len(data) - sum(sizes))
    while budget > 0:
        cap = level(sizes, budget)
        if cap <= _MARK_BYTES:
            return None
        data = orjson.dumps(_walk(narrow, width, cap))
        if len(data) <= max_bytes:
            return data
        budget -= max(len(data) - max_bytes, budget // 8 + 1)
    return None


def _walk(value: JSON, width: int, max_bytes: int) -> JSON:
    """Copy *value* with shorter texts, and fewer members of what has too many."""
    if isinstance(value, str):
        return cut_text(value, max_bytes)
    if isinstance(value, list):
        return [_walk(each, width, max_bytes) for each in _ends(value, width)]
    if isinstance(value, dict):
        kept = {key: _walk(value[key], width, max_bytes) for key in islice(value, width)}
        return kept if len(kept) == len(value) else {**kept, "…": f"{len(value) - width} cut"}
    return value


def _ends(values: list[JSON], width: int) -> list[JSON]:
    """Keep both ends of a list that is too long: how it began, and what came last."""
    if len(values) <= width + 1:
        return values
    half = width // 2
    missing = len(orjson.dumps(values[half:-half]))
    return [*values[:half], MARK.format(missing).strip(), *values[-half:]]


def _strings(value: JSON) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)
