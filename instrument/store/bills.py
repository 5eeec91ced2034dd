"""What runs of the store cost: their tokens, added up by what they are charged as, and then priced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from ..cost import COUNTS, HALF_HOUR, Cost, Plan, Tariff, available, charge, plan_of
from .questions import at

if TYPE_CHECKING:
    from sqlite3 import Connection


@final
@dataclass(frozen=True, slots=True)
class Bills:
    """
    What is charged for in one store.

    Attributes:
        tariffs: What its calls are charged as, by the numbers that stand in their rows.
        keys: By what runs `AS r` are grouped, so that those of one group have one price: SQL.
        sums: What is selected of each group, `WIDTH` columns, likewise.
    """

    tariffs: Mapping[int, Tariff]
    keys: str
    sums: str

    def cost(self, row: Sequence[Any]) -> Cost | None:
        """Price one group, whose row is what `sums` selects; None when there are no prices."""
        number, runs, first, longest, *sums = row
        if number is None or not self.tariffs:
            return Cost() if self.tariffs else None
        counts = {name: tokens or 0 for name, tokens in zip(COUNTS, sums, strict=True)}
        known = charge(self.tariffs[number], at(first), counts, runs=runs, longest=longest or 0)
        return Cost(None, runs) if known is None else Cost(known)


_COLUMNS = ("prompt_tokens", "completion_tokens", "cached_tokens", "audio_in", "audio_out")
WIDTH = 4 + len(_COLUMNS)
"""How many columns are selected of each group."""


def bills(db: Connection) -> Bills:
    """Read what calls of a store are charged as, and how that changes; nothing without prices."""
    rows = db.execute("SELECT n, provider, model, tier, parts FROM tariffs") if available() else ()
    tariffs = {n: Tariff(*values) for n, *values in rows}
    first, last = extent(db, "1", {})
    keys = ["r.tariff"] if tariffs else ["1"]
    for terms in (_changes, _hours, _steps):
        found = {
            n: terms(plan_of(each.provider, each.model), first, last) for n, each in tariffs.items()
        }
        cases = [f"WHEN {n} THEN {term}" for n, term in found.items() if term]
        keys += [f"CASE r.tariff {' '.join(cases)} END"] if cases else []
    return Bills(tariffs, ", ".join(keys), _sums(tariffs.values()))


def _sums(tariffs: Iterable[Tariff]) -> str:
    """Select the sums of those counts that any of the calls have: each one takes its time."""
    there = {part for tariff in tariffs for part in tariff.parts.split()}
    pairs = zip(COUNTS, _COLUMNS, strict=True)
    sums = (f"sum(r.{column})" if name in there else "NULL" for name, column in pairs)
    return f"r.tariff, count(*), min(r.started), max(r.prompt_tokens), {', '.join(sums)}"


def extent(db: Connection, term: str, values: Mapping[str, Any]) -> tuple[float, float]:
    """Say when the first and the last of such runs began; 0 and 0 when there is none."""
    # Each by itself is found in an index; both at once would go through all runs.
    first, last = (
        f"(SELECT {which}(r.started) FROM runs r WHERE {term})"  # noqa: S608 - the text is ours
        for which in ("min", "max")
    )
    found = db.execute(f"SELECT {first}, {last}", values).fetchone()
    return found[0] or 0.0, found[1] or 0.0


def _changes(plan: Plan, first: float, last: float) -> str:
    """Count, in SQL, the changes of a price that lie before a run, of those that part any two."""
    return " + ".join(f"(r.started >= {each})" for each in plan.changes if first < each <= last)


def _hours(plan: Plan, *_: float) -> str:
    return f"cast(r.started / {HALF_HOUR} AS INTEGER)" if plan.daily else ""


def _steps(plan: Plan, *_: float) -> str:
    return " + ".join(f"(r.prompt_tokens > {each})" for each in plan.steps)


def costs(db: Connection, column: str, values: Sequence[object]) -> Mapping[Any, Cost]:
    """Add up what runs cost for each of some values of a column; empty when there are no prices."""
    found = bills(db)
    if not found.tariffs:
        return {}
    marks = ", ".join("?" * len(values))
    rows = db.execute(
        f"SELECT r.{column}, {found.sums} FROM runs r WHERE r.{column} IN ({marks}) "  # noqa: S608 - ours
        f"GROUP BY 1, {found.keys}",
        values,
    )
    spent: dict[Any, Cost] = {}
    for value, *row in rows:
        spent[value] = spent.get(value, Cost()) + (found.cost(row) or Cost())
    return spent
