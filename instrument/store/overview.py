"""Runs of the store over time: in all, and in as many equal stretches as a chart has room for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .bills import extent
from .figures import condition
from .questions import INDEXED, Filters, Overview, Slot, at, where
from .sums import Sum, sums, whole

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
    # The + has SQLite go through the index that holds all figures, rather than fetch row by row.
    term = term.replace(INDEXED, f"+{INDEXED}")
    number = f"cast(r.started / {width} AS INTEGER)"
    found = sums(db, number, term, values, firsts=False)
    edges = range(int(first // width), int(last // width) + 1) if found else ()
    stretches = [Slot(at(each * width), found.get(each, Sum()).totals()) for each in edges]
    return Overview(width, whole(found.values()), stretches)


def width_for(seconds: float, slots: int) -> int:
    """Choose how many seconds one stretch is, so that so many of them are enough."""
    return next((width for width in WIDTHS if seconds / width < slots - 1), WIDTHS[-1])


def _range(db: Connection, filters: Filters) -> tuple[float, float]:
    """Return when the first and the last run began that can be meant."""
    whose = Filters(user_id=filters.user_id, thread_id=filters.thread_id)
    first, last = extent(db, *where(whose, indexed=False))
    if filters.since is not None:
        first = max(first, filters.since.timestamp())
    if filters.until is not None:
        last = min(last, filters.until.timestamp())
    return first, max(first, last)
