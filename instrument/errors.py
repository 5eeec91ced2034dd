"""
The text of an exception, without running a `repr` or `str` of what it carries.

An exception whose class has no text of its own makes one of its arguments. An argument may be a
query that was not run yet, or a large table, whose text takes seconds in the application's thread,
or raises there in the exception's place.
"""

from __future__ import annotations

from types import FunctionType

from .snapshot import pack, plain

MAX_PARTS = 1_000
"""Values that are looked at before an exception counts as one that carries something else."""

_SCALARS = frozenset({str, bytes, int, float, complex, bool, type(None)})
_LISTS = frozenset({tuple, list, set, frozenset})


def text_of(error: BaseException) -> str:
    """Give what *error* says, with the types' names for what nobody can be asked for."""
    return str(error) if is_plain(error) else ", ".join(map(_said, error.args))


def lines_of(error: BaseException, text: str) -> list[str]:
    """Give the lines of the traceback; *text* is what `text_of` gave."""
    import traceback

    if is_plain(error):
        return traceback.format_exception(type(error), error, error.__traceback__, chain=False)
    stack = traceback.format_tb(error.__traceback__)
    return ["Traceback (most recent call last):\n", *stack, f"{type(error).__name__}: {text}\n"]


def is_plain(error: BaseException) -> bool:
    """Say whether the text of *error* is its class's own, or made of plain values alone."""
    left: list[object] = [error]
    for _ in range(MAX_PARTS):
        if not left:
            return True
        parts = _parts(left.pop())
        if parts is None or len(parts) > MAX_PARTS:
            return False
        left.extend(parts)
    return False


def _parts(value: object) -> tuple[object, ...] | None:
    """Give what the text of *value* is made of; None when that takes code of somebody else."""
    kind = type(value)
    if kind in _SCALARS:
        return ()
    if issubclass(kind, BaseException) and isinstance(value, BaseException):
        said = () if isinstance(kind.__str__, FunctionType) else value.args
        return (*said, vars(value).get("__notes__"))
    if kind is dict and isinstance(value, dict):
        return (*value, *value.values())
    if kind in _LISTS and isinstance(value, (tuple, list, set, frozenset)):
        return tuple(value)
    return None


def _said(value: object) -> str:
    if issubclass(type(value), BaseException) and isinstance(value, BaseException):
        return text_of(value)
    said = plain(value)
    return said if isinstance(said, str) else pack(said).decode()
