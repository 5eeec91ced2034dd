"""Runs of the store over time: in all, and in as many equal stretches as a chart has room for."""

from __future__ import annotations

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
    """Add runs up in all and over time, in one pass over them."""
    first, last = _range(db, filters)
    width = width_for(last - first, slots)
    term, values = condition(db, filters)
    rows = db.execute(_SUMS.format(TOKENS, term), {**values, "width": width}).fetchall()
    times = {number: _durations(joined) for number, joined, *_ in rows}
    found = {number: _totals(sums, times[number]) for number, _, *sums in rows}
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


def _durations(joined: str | None) -> list[float]:
    """Read the durations of the model calls of one stretch, and sort them."""
    return sorted(map(float, joined.split(","))) if joined else []


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
# The durations come as one text for each stretch: a second pass would cost half as much again.
_SUMS = """
SELECT cast(r.started / :width AS INTEGER),
    group_concat(CASE WHEN r.model IS NOT NULL THEN r.duration END),
    count(*), count(r.model), sum(r.status = 'error'), sum(r.status = 'open'), {}
FROM runs r WHERE {} GROUP BY 1
"""
