"""
Many rows in one statement.

While a statement runs, Python's other threads have the interpreter, and a busy application gives it
back only after 5 ms. A statement for each row of a batch would take seconds then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from sqlite3 import Connection

ROWS: Final = (32, 8, 1)
"""How many rows a statement has: few sizes, so that SQLite knows each statement already."""

MAX_VALUES: Final = 900
"""How many values one statement is given at most; SQLite before 3.32 takes 999."""

Member = TypeVar("Member")


def insert(db: Connection, into: str, rows: Sequence[Sequence[object]]) -> None:
    """Insert rows of one width; *into* is the statement up to `VALUES`."""
    start = 0
    for size in ROWS:
        while len(rows) - start >= size:
            some = rows[start : start + size]
            values = ", ".join([f"({marks(some[0])})"] * size)
            db.execute(f"{into} VALUES {values}", list(chain.from_iterable(some)))
            start += size


def marks(values: Sequence[object]) -> str:
    """Write a question mark for each value."""
    return ", ".join("?" * len(values))


def parts(values: Sequence[Member], size: int) -> Iterator[Sequence[Member]]:
    """Cut into parts of so many members at most."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
