"""Runs of the store added up, once through them, for each value of whatever they are grouped by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

from ..cost import Cost
from .bills import WIDTH, bills
from .questions import Totals, percentile

if TYPE_CHECKING:
    from sqlite3 import Connection


@final
class Sum:
    """What runs come to so far."""

    def __init__(self) -> None:
        self._figures: list[int | None] = [0, 0, 0, 0, None, None]
        self._durations: list[int] = []
        self._firsts: list[int] = []
        self._cost: Cost | None = None

    def add(self, row: Sequence[Any], cost: Cost | None) -> None:
        """Add one row of times and `_COLUMNS`, and what its runs cost."""
        firsts, durations, *figures = row
        self._durations += _numbers(durations)
        self._firsts += _numbers(firsts)
        self._add(figures, cost)

    def merge(self, other: Sum) -> None:
        """Add what other runs come to."""
        self._durations += other._durations
        self._firsts += other._firsts
        self._add(other._figures, other._cost)

    def _add(self, figures: Sequence[int | None], cost: Cost | None) -> None:
        pairs = zip(self._figures, figures, strict=True)
        self._figures = [a if b is None else b + (a or 0) for a, b in pairs]
        if cost is not None:
            self._cost = cost + (self._cost or Cost())

    def totals(self) -> Totals:
        """Return the figures."""
        named: dict[str, Any] = dict(zip(_NAMES, self._figures, strict=True))
        durations, firsts = self._durations, self._firsts
        durations.sort()
        firsts.sort()
        return Totals(
            **named,
            p50=_seconds(durations, 0.5),
            p95=_seconds(durations, 0.95),
            ttft_p50=_seconds(firsts, 0.5),
            ttft_p95=_seconds(firsts, 0.95),
            cost=self._cost,
        )


def sums(
    db: Connection,
    key: str,
    term: str,
    values: Mapping[str, Any],
    *,
    source: str = "runs r",
    firsts: bool = True,
) -> dict[Any, Sum]:
    """
    Add runs up.

    Args:
        db: The store.
        key: By what, as SQL over *source*.
        term: Which of them, likewise.
        values: What stands for the names in *term*.
        source: The tables, with runs `AS r`.
        firsts: Whether figures of first tokens are wanted, which take their time.
    """
    found: dict[Any, Sum] = {}
    priced = bills(db)
    query = (
        f"SELECT {key}, {priced.sums}, {_FIRSTS if firsts else 'NULL'}, {_COLUMNS} FROM {source} "  # noqa: S608 - the text is ours
        f"WHERE {term} GROUP BY 1, {priced.keys}"
    )
    for value, *row in db.execute(query, values):
        found.setdefault(value, Sum()).add(row[WIDTH:], priced.cost(row[:WIDTH]))
    return found


def whole(parts: Iterable[Sum]) -> Totals:
    """Add all parts up, quickest when each has given its own figures: it is in order then."""
    total = Sum()
    for part in parts:
        total.merge(part)
    return total.totals()


def _numbers(joined: str | None) -> Iterable[int]:
    return map(int, joined.split(",")) if joined else ()


def _seconds(ordered: Sequence[int], share: float) -> float | None:
    micros = percentile(ordered, share)
    return None if micros is None else micros / 1e6


TOKENS = """
sum(CASE WHEN r.model IS NOT NULL THEN r.prompt_tokens END),
sum(CASE WHEN r.model IS NOT NULL THEN r.completion_tokens END)
"""
_NAMES = ("runs", "calls", "errors", "open", "prompt_tokens", "completion_tokens")
# Times come as one text for each group: a second pass would cost half as much again. Whole
# microseconds are quicker to write and to read than seconds.
_FIRSTS = """
group_concat(CASE WHEN r.model IS NOT NULL AND r.duration IS NOT NULL
    THEN cast(r.ttft * 1e6 + 0.5 AS INTEGER) END)
"""
_COLUMNS = f"""
group_concat(CASE WHEN r.model IS NOT NULL THEN cast(r.duration * 1e6 + 0.5 AS INTEGER) END),
count(*), count(r.model), sum(r.status = 'error'), sum(r.status = 'open'), {TOKENS}
"""
