"""Threads and users of the store as lines of a list, those seen last first."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from .bills import costs
from .questions import Group, Shared, at
from .sums import TOKENS

if TYPE_CHECKING:
    from sqlite3 import Connection


def groups(db: Connection, field: Shared, search: str, limit: int, offset: int) -> list[Group]:
    """Find the values of a field by an index that holds nothing else, then add up those shown."""
    like = "%" + re.sub(r"([\\%_])", r"\\\1", search) + "%"
    names = [row[0] for row in db.execute(_NAMES.format(field), (like, limit, offset))]
    marks = ", ".join("?" * len(names))
    rows = db.execute(_SUMS.format(field, TOKENS, marks), names)
    spent = costs(db, field, names)
    found = {row[0]: Group(row[0], at(row[1]), at(row[2]), *row[3:]) for row in rows}
    return [replace(found[name], cost=spent.get(name)) for name in names]


_NAMES = r"""
SELECT {0} FROM runs WHERE {0} IS NOT NULL AND {0} LIKE ? ESCAPE '\'
GROUP BY 1 ORDER BY max(started) DESC, 1 LIMIT ? OFFSET ?
"""
_SUMS = """
SELECT {0}, min(r.started), max(r.started), sum(r.parent_id IS NULL), count(*),
    sum(r.status = 'error'), sum(r.status = 'open'), {1}
FROM runs r WHERE {0} IN ({2}) GROUP BY 1
"""
