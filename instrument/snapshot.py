"""
Any object -> JSON bytes, bounded: what a run's values become at the moment they are seen.

The fast path is one pass of orjson. What orjson refuses (cycles, lone surrogates, integers over
64 bits, depth) goes through a bounded walker. Neither runs the application's `__repr__`, consumes a
generator, or raises: what cannot be written down stands as `<its type>`.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import orjson

from .guard import guard
from .run import JSON, Snapshot

MAX_DEPTH = 32
"""Levels of nesting that the walker writes down; below them stands the type's name."""

MAX_NODES = 20_000
"""Values that the walker writes down of one object; after them stands the type's name."""

MAX_STRING_CHARS = 1_000_000
"""Characters of one string that are kept when a snapshot is over its bound."""

MAX_SNAPSHOT_BYTES = 4 * 1024 * 1024
"""Size of one snapshot, in bytes; a larger one is walked again with ever shorter strings."""

Unfold: TypeAlias = Callable[[Any], Any]
"""Turns one object that is not JSON into something that is nearer to it."""

PATHS = frozenset({"pathlib", "pathlib._local"})
"""Where the paths of the standard library are defined; importing it costs 3 ms."""

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_INT64 = range(-(2**63), 2**64)
_MARK = "... [{} more characters]"


def snapshot(value: Any, default: Unfold | None = None) -> Snapshot:
    """
    Write *value* down as JSON, now.

    Never raises and never changes or consumes *value*. The result is at most `MAX_SNAPSHOT_BYTES`.

    Args:
        value: Anything.
        default: What to use in place of `unfold`, for an SDK whose objects have better shapes.
    """
    try:
        data = orjson.dumps(value, default=default or unfold, option=_OPTIONS)
    except (TypeError, ValueError, RecursionError) as error:
        if error.__cause__ is not None and not isinstance(error.__cause__, Exception):
            raise error.__cause__ from None  # Ctrl-C in `default`, which orjson makes a TypeError
        data = orjson.dumps(_Walker(MAX_STRING_CHARS, default or unfold).walk(value))
    if len(data) > MAX_SNAPSHOT_BYTES:
        return shorten(Snapshot(data))
    # A copy, for the reason that `pack` tells.
    return Snapshot(b"%b" % data)


def pack(value: Any) -> bytes:
    """
    Write plain JSON values down as bytes that may be kept.

    What orjson gives lies in the buffer that it wrote to, which is up to 13 times as large and
    never less than 4 KB; so what is kept is copied.

    Raises:
        TypeError: Something in *value* is not plain JSON.
    """
    return b"%b" % orjson.dumps(value)


def plain(value: Any) -> JSON:
    """Copy *value* into plain JSON values, under the same bounds as `snapshot`."""
    result: JSON = orjson.loads(snapshot(value))
    return result


def shorten(data: Snapshot, max_bytes: int = MAX_SNAPSHOT_BYTES) -> Snapshot:
    """Cut the strings of *data* shorter and shorter until it is at most *max_bytes* long."""
    limit = MAX_STRING_CHARS
    value = orjson.loads(data)
    while len(data) > max_bytes and limit:
        limit //= 4
        data = Snapshot(pack(_Walker(limit, unfold).walk(value)))
    return data if len(data) <= max_bytes else Snapshot(b'"<too large>"')


def unfold(value: Any) -> Any:
    """
    Turn one object that is not JSON into something that is nearer to it.

    Pydantic models and other objects that keep their fields in `__dict__` and say so become those
    fields; a type that nobody knows becomes its name.
    """
    kind = type(value)
    if hasattr(kind, "get_secret_value"):
        return type_name(value)  # pydantic's SecretStr and its like
    if hasattr(kind, "__pydantic_fields__") or hasattr(kind, "__pydantic_serializer__"):
        fields = value.__dict__
        extra = getattr(value, "__pydantic_extra__", None)
        return {**fields, **extra} if extra else dict(fields)
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    decimal = sys.modules.get("decimal")  # where nobody has imported it, this is no such number
    if decimal is not None and isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, os.PathLike) and kind.__module__ in PATHS:
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    return type_name(value)


def type_name(value: Any) -> str:
    """Name what stands in for a value that cannot be written down."""
    kind = type(value)
    return f"<{kind.__module__}.{kind.__qualname__}>"


class _Walker:
    """Write down a value that orjson refused, within bounds of depth, nodes and string length."""

    def __init__(self, max_string_chars: int, default: Unfold) -> None:
        self._nodes = MAX_NODES
        self._max_string_chars = max_string_chars
        self._default = default

    def walk(self, value: Any, depth: int = 0) -> JSON:
        self._nodes -= 1
        if self._nodes >= 0 and depth <= MAX_DEPTH:
            with guard("write down a value"):
                return self._write(value, depth)
        return type_name(value)

    def _write(self, value: Any, depth: int) -> JSON:
        if isinstance(value, str):
            return self._text(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return int(value) if value in _INT64 else str(int(value))
        if isinstance(value, float):
            return float(value) if value - value == 0 else None
        if isinstance(value, dict):
            return {self._key(key): self.walk(item, depth + 1) for key, item in list(value.items())}
        if isinstance(value, (list, tuple)):
            return [self.walk(item, depth + 1) for item in list(value)]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value)]
            return {name: self.walk(getattr(value, name), depth + 1) for name in names}
        return self.walk(self._unfold(value), depth + 1)

    def _unfold(self, value: Any) -> Any:
        """Take what orjson knows natively (datetimes, enums, UUIDs), else what it unfolds to."""
        try:
            return orjson.loads(orjson.dumps(value, option=_OPTIONS))
        except (TypeError, ValueError, RecursionError):
            return self._default(value)

    def _key(self, key: Any) -> str:
        if isinstance(key, str):
            return self._text(key)
        if isinstance(key, (int, float, bool)) or key is None:
            return str(key)
        return type_name(key)

    def _text(self, text: str) -> str:
        kept = str.__str__(text)
        if len(kept) > self._max_string_chars:
            more = len(kept) - self._max_string_chars
            kept = kept[: self._max_string_chars] + _MARK.format(more)
        return clean(kept)


def clean(text: str) -> str:
    """Replace lone surrogates, which no JSON text in UTF-8 can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
