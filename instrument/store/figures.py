"""Runs of the store added up: totals, over time, by model or user, and in sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .questions import Bucket, Field, Filters, Session, Totals, Value, at, where
from .sums import TOKENS, sums, whole

if TYPE_CHECKING:
    from sqlite3 import Connection


def condition(db: Connection, filters: Filters) -> tuple[str, dict[str, Any]]:
    """Write filters as a condition on `runs AS r` that this store can answer."""
    return where(filters, indexed=has_index(db))


def has_index(db: Connection) -> bool:
    """Say whether the store has a full-text index."""
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'search'").fetchone() is not None


def totals(db: Connection, filters: Filters) -> Totals:
    """Add runs up."""
    return whole(sums(db, "1", *condition(db, filters)).values())


def by(db: Connection, field: Field, filters: Filters) -> dict[str, Totals]:
    """Add runs up for each value of a field, those with the most runs first."""
    term, given = condition(db, filters)
    column, source = _SOURCES.get(field, (f"r.{field}", "runs r"))
    # The + keeps SQLite from an index on a column that most runs have: reading all rows is quicker.
    found = sums(db, column, f"{term} AND +{column} IS NOT NULL", given, source=source)
    totals = {value: each.totals() for value, each in found.items()}
    return dict(sorted(totals.items(), key=lambda item: (-item[1].runs, item[0])))


def values(db: Connection, field: Field, limit: int) -> list[Value]:
    """Return the values of a field, those seen last first."""
    column, source = _SOURCES.get(field, (f"r.{field}", "runs r"))
    rows = db.execute(
        f"SELECT {column}, count(*), max(r.started) FROM {source} "  # noqa: S608 - the text is ours
        f"WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT ?",
        (limit,),
    )
    return [Value(value, runs, at(last)) for value, runs, last in rows]


def timeline(db: Connection, width: float, filters: Filters) -> list[Bucket]:
    """Add runs up for each stretch of *width* seconds that has any, oldest first."""
    term, given = condition(db, filters)
    rows = db.execute(
        "SELECT cast(r.started / :width AS INTEGER), count(*), sum(r.status = 'error'), "  # noqa: S608 - the text is ours
        f"{TOKENS} FROM runs r WHERE {term} GROUP BY 1 ORDER BY 1",
        {**given, "width": width},
    )
    return [Bucket(at(number * width), *figures) for number, *figures in rows]


def sessions(db: Connection, user_id: str, gap: float) -> list[Session]:
    """Return the sessions of a user, oldest first; a new one begins after *gap* quiet seconds."""
    signs = db.execute(_SIGNS, {"user": user_id}).fetchall()
    found: list[Session] = []
    first, end = 0, float("-inf")
    for number, (start, seconds, _) in enumerate(signs):
        if start - end > gap and number:
            found.append(_session(signs[first:number], end))
            first = number
        end = max(end, start + seconds)
    return [*found, _session(signs[first:], end)] if signs else []


def _session(signs: Sequence[tuple[float, float, int]], end: float) -> Session:
    runs = sum(is_run for _, _, is_run in signs)
    return Session(at(signs[0][0]), at(end), runs, len(signs) - runs)


_SOURCES = {"tag": ("g.tag", "runs r JOIN tags g ON g.n = r.n")}
_SIGNS = """
SELECT started, coalesce(duration, 0), 1 FROM runs WHERE user_id = :user
UNION ALL SELECT at, 0, 0 FROM events WHERE user_id = :user
ORDER BY 1
"""
