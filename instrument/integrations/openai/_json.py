"""
JSON from the wire: read whatever can be read, and take from it only what has the right type.

Nothing here raises. What is not JSON reads as None, as `null` does: neither says anything.
"""

from __future__ import annotations

import json

import orjson

from ...run import JSON
from ...snapshot import plain, snapshot

MAX_COUNT = 2**53 - 1
"""The largest token count, index or length that is believed; above it, JSON readers disagree."""

_LENIENT = json.JSONDecoder(strict=False)


def read(data: bytes) -> JSON:
    """
    Read one JSON text.

    What `orjson` refuses (NaN, lone surrogates, bytes that are not UTF-8, text after the value) is
    read again leniently and comes back as plain JSON. None stands for what cannot be read at all.
    """
    try:
        value: JSON = orjson.loads(data)
    except ValueError:
        return _read_leniently(data)
    return value


def _read_leniently(data: bytes) -> JSON:
    text = data.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if text[:1] not in ("{", "["):
        return None
    try:
        return plain(_LENIENT.raw_decode(text)[0])
    except (ValueError, RecursionError):
        return None


def write(value: JSON) -> str:
    """Write a JSON value as text."""
    return snapshot(value).decode()


def text_of(value: JSON) -> str | None:
    """Take a string that is not empty."""
    return value if isinstance(value, str) and value else None


def count_of(value: JSON) -> int | None:
    """Take a count: an integer from 0 to `MAX_COUNT`; a bool or a float is none."""
    return value if type(value) is int and 0 <= value <= MAX_COUNT else None


def index_of(value: JSON) -> int | None:
    """Take an index, which some servers write as a string of digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return count_of(int(value))
    return count_of(value)


def dict_of(value: JSON) -> dict[str, JSON]:
    """Take an object; anything else is an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: JSON) -> list[JSON]:
    """Take a list; anything else is an empty one."""
    return value if isinstance(value, list) else []


def objects_of(value: JSON) -> list[dict[str, JSON]]:
    """Take the objects of a list, or one object that stands where a list of them should."""
    if isinstance(value, dict):
        return [value]
    return [item for item in list_of(value) if isinstance(item, dict)]
