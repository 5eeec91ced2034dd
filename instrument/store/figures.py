"""Runs of the store added up: totals, over time, by model or user, and in sessions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from .questions import Bucket, Field, Filters, Session, Totals, Value, percentile, where

if TYPE_CHECKING:
    from sqlite3 import Connection


def at(seconds: float) -> datetime:
    """Read a time of the store, in seconds since the epoch, as UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc)


def condition(db: Connection, filters: Filters) -> tuple[str, dict[str, Any]]:
    """Write filters as a condition on `runs AS r` that this store can answer."""
    found = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'search'").fetchone()
    return where(filters, indexed=found is not None)


def totals(db: Connection, filters: Filters) -> Totals:
    """Add runs up."""
    term, values = condition(db, filters)
    figures = db.execute(f"SELECT {_SUMS} FROM runs r WHERE {term}", values).fetchone()  # noqa: S608 - the text is ours
    rows = db.execute(f"SELECT {_TIMES} FROM runs r WHERE {term} AND {_TIMED}", values)  # noqa: S608 - the text is ours
    return _totals(figures, rows.fetchall())


def by(db: Connection, field: Field, filters: Filters) -> dict[str, Totals]:
    """Add runs up for each value of a field, those with the most runs first."""
    term, values = condition(db, filters)
    column, source = _SOURCES.get(field, (f"r.{field}", "runs r"))
    term = f"{term} AND +{column} IS NOT NULL"
    times: dict[str, list[Any]] = defaultdict(list)
    sums = f"SELECT {column}, {_SUMS} FROM {source} WHERE {term} GROUP BY 1 ORDER BY 2 DESC, 1"  # noqa: S608 - the text is ours
    each = f"SELECT {column}, {_TIMES} FROM {source} WHERE {term} AND {_TIMED}"  # noqa: S608 - the text is ours
    for value, duration, first in db.execute(each, values):
        times[value].append((duration, first))
    return {value: _totals(row, times[value]) for value, *row in db.execute(sums, values)}


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
    found: list[Session] = []
    end = float("-inf")
    for start, seconds, is_run in db.execute(_SIGNS, {"user": user_id}):
        if start - end > gap:
            found.append(Session(at(start), at(start), 0, 0))
            end = start
        end = max(end, start + seconds)
        last = found[-1]
        found[-1] = Session(
            last.started_at, at(end), last.runs + is_run, last.events + (not is_run)
        )
    return found


def _totals(figures: Sequence[Any], times: Iterable[Sequence[float | None]]) -> Totals:
    pairs = list(times)
    durations = sorted(duration for duration, _ in pairs if duration is not None)
    firsts = sorted(first for _, first in pairs if first is not None)
    runs, calls, errors, still_open, prompt_tokens, completion_tokens = figures
    return Totals(
        runs=runs,
        calls=calls,
        errors=errors,
        open=still_open,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        p50=percentile(durations, 0.5),
        p95=percentile(durations, 0.95),
        ttft_p50=percentile(firsts, 0.5),
        ttft_p95=percentile(firsts, 0.95),
    )


TOKENS = """
sum(CASE WHEN r.model IS NOT NULL THEN r.prompt_tokens END),
sum(CASE WHEN r.model IS NOT NULL THEN r.completion_tokens END)
"""
_SUMS = f"""
count(*), count(r.model), coalesce(sum(r.status = 'error'), 0), coalesce(sum(r.status = 'open'), 0),
{TOKENS}
"""
_TIMES = "r.duration, r.ttft"
# The + keeps SQLite from an index on a column that most runs have: reading all rows is quicker.
_TIMED = "+r.model IS NOT NULL AND r.duration IS NOT NULL"
_SOURCES = {"tag": ("g.tag", "runs r JOIN tags g ON g.n = r.n")}
_SIGNS = """
SELECT started, coalesce(duration, 0), 1 FROM runs WHERE user_id = :user
UNION ALL SELECT at, 0, 0 FROM events WHERE user_id = :user
ORDER BY 1
"""
