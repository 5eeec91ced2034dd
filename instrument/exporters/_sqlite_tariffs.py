"""The tariffs of the store: what calls are charged as, by numbers that stand in their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..codec import decode
from ..cost import Tariff, tariff_of
from ..run import Run, Usage
from ..snapshot import clean

if TYPE_CHECKING:
    from sqlite3 import Connection

CHUNK_RUNS = 500
"""How many runs are read at a time."""


def cleaned(tariff: Tariff | None) -> Tariff | None:
    """Replace what cannot be stored."""
    return None if tariff is None else Tariff(*map(clean, tariff))


def numbers_of(
    db: Connection, tariffs: Iterable[Tariff | None]
) -> Mapping[Tariff | None, int | None]:
    """Number tariffs; the numbers count in the transaction that there is."""
    found: dict[Tariff | None, int | None] = {None: None}
    for tariff in set(tariffs) - {None}:
        assert tariff is not None
        db.execute(_ADD, tariff)
        (found[tariff],) = db.execute(_FIND, tariff).fetchone()
    return found


def add_tariffs(db: Connection) -> None:
    """Read the calls whole that a store has from before, and add what they are charged as."""
    last = 0
    while rows := db.execute(_CALLS, (last, CHUNK_RUNS)).fetchall():
        last = rows[-1][0]
        runs = {n: run for n, data in rows if isinstance(run := decode(data), Run)}
        tariffs = {n: cleaned(tariff_of(run)) for n, run in runs.items()}
        numbers = numbers_of(db, tariffs.values())
        usages = {n: run.usage or Usage() for n, run in runs.items()}
        values = [
            (numbers[tariff], usages[n].audio_in, usages[n].audio_out, n)
            for n, tariff in tariffs.items()
        ]
        db.executemany(_CHARGE, values)


_ADD = "INSERT OR IGNORE INTO tariffs (provider, model, tier, parts) VALUES (?, ?, ?, ?)"
_FIND = "SELECT n FROM tariffs WHERE provider = ? AND model = ? AND tier = ? AND parts = ?"
_CALLS = """
SELECT r.n, b.data FROM runs r JOIN bodies b ON b.n = r.n
WHERE r.n > ? AND r.model IS NOT NULL ORDER BY r.n LIMIT ?
"""
_CHARGE = "UPDATE runs SET tariff = ?, audio_in = ?, audio_out = ? WHERE n = ?"
