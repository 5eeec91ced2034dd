"""
Items -> JSON bytes and back, without loss: how a run lies in the store and in files.

What is absent is left out. A snapshot stands as a string, so that it comes back byte for byte.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any, TypeAlias

import orjson

from .run import Answer, Attempt, Error, Exchange, Feedback, Run, Snapshot, Usage, UserEvent
from .snapshot import clean, type_name

Storable: TypeAlias = "Run | Feedback | UserEvent | Exchange"
"""What can be written down; a `Trace` is written as its runs."""

_Readers: TypeAlias = "dict[str, Callable[[Any], Any]]"

_INT64 = range(-(2**63), 2**64)


def encode(item: Storable) -> bytes:
    """
    Write an item as one JSON object.

    Lone surrogates, which no JSON text in UTF-8 can hold, become `?`; numbers that JSON in 64 bits
    cannot hold become strings, and a value that is no JSON at all becomes the name of its type.
    """
    named = {"type": _NAMES[type(item)], **_unfold(item)}
    try:
        return orjson.dumps(named, default=_unfold, option=orjson.OPT_PASSTHROUGH_DATACLASS)
    except (TypeError, ValueError, RecursionError):
        return orjson.dumps(_cleaned(named))


def decode(data: bytes) -> Storable:
    """
    Read what `encode` wrote; null is absent, and fields of a newer version are passed over.

    Raises:
        ValueError: It is nothing that `encode` wrote.
    """
    try:
        values = orjson.loads(data)
        item: Storable = _make(_TYPES[values["type"]], values)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no item: {type(error).__name__}") from error
    return item


def _unfold(value: Any) -> Any:
    """Turn what orjson does not know into something nearer to JSON."""
    get = _GET.get(type(value))
    if get is not None:
        named = zip(_FIELDS[type(value)], get(value), strict=True)
        return {name: each for name, each in named if each is not None}
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return dict(value) if isinstance(value, Mapping) else type_name(value)


def _cleaned(value: Any) -> Any:
    """Copy *value* as JSON that orjson writes, changing only what it refuses."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, int) and value not in _INT64:
        return str(value)
    if value is None or isinstance(value, (bool, int, float, datetime)):
        return value
    if isinstance(value, dict):
        return {clean(str(key)): _cleaned(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cleaned(each) for each in value]
    return _cleaned(_unfold(value))


def _snapshot(text: str) -> Snapshot:
    return Snapshot(text.encode())


def _attempts(values: list[dict[str, Any]]) -> tuple[Attempt, ...]:
    return tuple(_make(Attempt, each) for each in values)


def _part(kind: type) -> Callable[[dict[str, Any]], Any]:
    return lambda values: _make(kind, values)


def _make(kind: type, values: dict[str, Any]) -> Any:
    """Make a *kind* of the fields that are there; the others have their defaults."""
    fields: dict[str, Any] = {"parent_id": None} if kind is Run else {}
    for name in _FIELDS[kind]:
        value = values.get(name)
        if value is not None:
            read = _READ[kind].get(name)
            fields[name] = value if read is None else read(value)
    return kind(**fields)


_NAMES: dict[type, str] = {
    Run: "run",
    Feedback: "feedback",
    UserEvent: "user_event",
    Exchange: "exchange",
}
_TYPES = {name: kind for kind, name in _NAMES.items()}
_FIELDS = {
    kind: tuple(field.name for field in dataclasses.fields(kind))
    for kind in (*_NAMES, Answer, Attempt, Error, Usage)
}
_GET = {kind: attrgetter(*names) for kind, names in _FIELDS.items()}
_AT: _Readers = {"at": datetime.fromisoformat}
_READ: dict[type, _Readers] = {
    **{kind: {} for kind in _FIELDS},
    **dict.fromkeys((Feedback, UserEvent, Exchange), _AT),
    Answer: {"finish_reasons": tuple, "attempts": _attempts, "logprobs": _snapshot},
    Run: {
        "started_at": datetime.fromisoformat,
        "input": _snapshot,
        "output": _snapshot,
        "params": _snapshot,
        "error": _part(Error),
        "usage": _part(Usage),
        "answer": _part(Answer),
        "tags": tuple,
    },
}
"""How a field is read back; all others are plain JSON as they are."""
