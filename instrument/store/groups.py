"""Threads and users of the store as lines of a list, those seen last first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..cost import Cost
from .bills import WIDTH, bills
from .questions import Group, Shared, at
from .sums import TOKENS

if TYPE_CHECKING:
    from sqlite3 import Connection


def groups(db: Connection, field: Shared, search: str, limit: int, offset: int) -> list[Group]:
    """Find the values of a field by an index that holds nothing else, then add up those shown."""
    like = "%" + re.sub(r"([\\%_])", r"\\\1", search) + "%"
    names = [row[0] for row in db.execute(_NAMES.format(field), (like, limit, offset))]
    priced = bills(db)
    query = _PARTS.format(field, priced.sums, TOKENS, ", ".join("?" * len(names)), priced.keys)
    found: dict[str, Group] = {}
    for name, *row in db.execute(query, names):
        part = _group(name, row[WIDTH:], priced.cost(row[:WIDTH]))
        found[name] = _sum(found[name], part) if name in found else part
    return [found[name] for name in names]


def _group(name: str, row: Sequence[Any], cost: Cost | None) -> Group:
    first, last, *sums = row
    return Group(*(name, at(first), at(last), *sums, cost))


def _sum(one: Group, other: Group) -> Group:
    return Group(
        one.value,
        min(one.first_at, other.first_at),
        max(one.last_at, other.last_at),
        one.traces + other.traces,
        one.runs + other.runs,
        one.errors + other.errors,
        one.open + other.open,
        _known(one.prompt_tokens, other.prompt_tokens),
        _known(one.completion_tokens, other.completion_tokens),
        one.cost + other.cost if one.cost and other.cost else one.cost or other.cost,
    )


def _known(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)


_NAMES = r"""
SELECT {0} FROM runs WHERE {0} IS NOT NULL AND {0} LIKE ? ESCAPE '\'
GROUP BY 1 ORDER BY max(started) DESC, 1 LIMIT ? OFFSET ?
"""
_PARTS = """
SELECT {0}, {1}, min(r.started), max(r.started), sum(r.parent_id IS NULL), count(*),
    sum(r.status = 'error'), sum(r.status = 'open'), {2}
FROM runs r WHERE {0} IN ({3}) GROUP BY 1, {4}
"""
