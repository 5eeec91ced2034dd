"""Runs of the store over time: in all, and in as many equal stretches as a chart has room for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from .figures import TOKENS, at, condition
from .questions import Filters, Overview, Slot, Totals, percentile

if TYPE_CHECKING:
    from sqlite3 import Connection

WIDTHS = (
    *(1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200),
    *(86_400, 172_800, 604_800, 1_209_600, 2_592_000, 7_776_000, 31_536_000),
)
"""Seconds of one stretch, from which the smallest is taken that needs few enough of them."""


def overview(db: Connection, filters: Filters, slots: int) -> Overview:
    """Add runs up in all and over time, in one pass over them and one over the model calls."""
    first, last = _range(db, filters)
    width = width_for(last - first, slots)
    term, values = condition(db, filters)
    values["width"] = width
    times = _times(db.execute(_DURATIONS.format(term), values))
    rows = db.execute(_SUMS.format(TOKENS, term), values).fetchall()
    found = {number: _totals(sums, times.get(number, ())) for number, *sums in rows}
    edges = range(int(first // width), int(last // width) + 1) if rows else ()
    stretches = [Slot(at(number * width), found.get(number, Totals())) for number in edges]
    return Overview(width, _sum(found.values(), times), stretches)


def width_for(seconds: float, slots: int) -> int:
    """Choose how many seconds one stretch is, so that so many of them are enough."""
    return next((width for width in WIDTHS if seconds / width < slots - 1), WIDTHS[-1])


def _range(db: Connection, filters: Filters) -> tuple[float, float]:
    """Return when the first and the last run began that can be meant."""
    first, last = db.execute("SELECT min(started), max(started) FROM runs").fetchone()
    first, last = first or 0.0, last or 0.0
    if filters.since is not None:
        first = max(first, filters.since.timestamp())
    if filters.until is not None:
        last = min(last, filters.until.timestamp())
    return first, max(first, last)


def _times(rows: Iterable[tuple[int, float]]) -> dict[int, list[float]]:
    """Sort the durations of each stretch."""
    found: dict[int, list[float]] = defaultdict(list)
    for number, duration in rows:
        found[number].append(duration)
    for durations in found.values():
        durations.sort()
    return found


def _totals(sums: Sequence[Any], durations: Sequence[float]) -> Totals:
    named = dict(zip(_NAMES, sums, strict=True))
    return Totals(**named, p50=percentile(durations, 0.5), p95=percentile(durations, 0.95))


def _sum(parts: Iterable[Totals], times: Mapping[int, Sequence[float]]) -> Totals:
    each = list(parts)
    columns = ([getattr(part, name) for part in each] for name in _NAMES)
    known = ([value for value in column if value is not None] for column in columns)
    sums = dict(zip(_NAMES, (sum(column) if column else None for column in known), strict=True))
    counts = {name: sums[name] or 0 for name in _COUNTS}
    durations = sorted(chain.from_iterable(times.values()))
    return _totals(list({**sums, **counts}.values()), durations)


_COUNTS = ("runs", "calls", "errors", "open")
_NAMES = (*_COUNTS, "prompt_tokens", "completion_tokens")
_SUMS = """
SELECT cast(r.started / :width AS INTEGER), count(*), count(r.model),
    sum(r.status = 'error'), sum(r.status = 'open'), {}
FROM runs r WHERE {} GROUP BY 1
"""
# The + keeps SQLite from going through all model calls by their index, which takes twice as long.
_DURATIONS = """
SELECT cast(r.started / :width AS INTEGER), r.duration FROM runs r
WHERE {} AND +r.model IS NOT NULL AND r.duration IS NOT NULL
"""
