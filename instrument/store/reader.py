"""
Reading the embedded store: what the command line and the web page ask of it.

Every question opens the file read-only for itself, so a `Store` may be used from any thread, and
outlives forks, a damaged file that was set aside, and a store that was deleted and begun anew.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, final

from ..codec import Storable, decode
from ..cost import Cost
from ..exporters._sqlite_schema import BUSY_SECONDS, MIGRATIONS, Refused, check, connect, pragma
from ..run import Feedback, Run
from ..tree import Tree, grow
from . import figures
from .bills import costs
from .groups import groups
from .outline import outline
from .overview import overview
from .questions import (
    EVERYTHING,
    INDEXED,
    SCANNED_RUNS,
    Bucket,
    Field,
    Filters,
    Group,
    Overview,
    Session,
    Shared,
    Summary,
    Totals,
    Value,
    is_scanned,
)
from .summaries import summaries

if TYPE_CHECKING:
    from sqlite3 import Connection

SESSION_GAP = 1800.0
"""Seconds without a sign of a user after which a new session begins."""

CHUNK_RUNS = 200
"""How many whole runs are read at a time."""


class StoreError(Exception):
    """The store cannot be read; the sentence says what to do."""


@final
class Store:
    """
    The runs in a store. Nothing here changes it.

    Raises:
        StoreError: There is no store at *path* yet, or none that this version can read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        with self._opened() as db:
            outdated = pragma(db, "user_version") < len(MIGRATIONS)
        if outdated:
            with _told(self.path):
                connect(self.path).close()

    def newest(
        self, limit: int = 10, filters: Filters = EVERYTHING, *, offset: int = 0
    ) -> list[Tree]:
        """Return the newest traces that have such a run, whole, newest first."""
        with self._opened() as db:
            return _trees(db, _ids(db, filters, limit, offset))

    def summaries(
        self, limit: int = 50, filters: Filters = EVERYTHING, *, offset: int = 0
    ) -> list[Summary]:
        """Return the newest traces that have such a run, a line for each, newest first."""
        with self._opened() as db:
            return summaries(db, _ids(db, filters, limit, offset))

    def trace(self, trace_id: str) -> Tree | None:
        """
        Return one trace, by its id or that of any run in it, or the beginning of either.

        Raises:
            StoreError: More than one begins so.
        """
        with self._opened() as db:
            found = _resolve(db, _TRACE_IDS, trace_id) or _resolve(db, _RUN_IDS, trace_id)
            return _trees(db, [found[1]])[0] if found else None

    def outline(self, trace_id: str, limit: int = 1_000) -> Tree | None:
        """
        Return one trace as `trace` does, quickly: what was said is left out, and runs past a limit.

        Only the root and runs that went wrong are whole.

        Raises:
            StoreError: More than one begins so.
        """
        with self._opened() as db:
            found = _resolve(db, _TRACE_IDS, trace_id) or _resolve(db, _RUN_IDS, trace_id)
            if found is None:
                return None
            said = [decode(data) for _, data in db.execute(_FEEDBACK.format("?"), found[1:])]
            runs = outline(db, found[1], limit)
        return grow(runs, [each for each in said if isinstance(each, Feedback)])

    def cost(self, trace_id: str) -> Cost | None:
        """Say what the calls of one trace cost; None when there are no prices."""
        with self._opened() as db:
            return costs(db, "trace_id", [trace_id]).get(trace_id)

    def run(self, run_id: str) -> Run | None:
        """
        Return one run, by its id or the beginning of it.

        Raises:
            StoreError: More than one begins so.
        """
        with self._opened() as db:
            found = _resolve(db, _RUN_IDS, run_id)
            if found is None:
                return None
            (data,) = db.execute(_BODY, found[:1]).fetchone()
        return _run(data)

    def runs(self, filters: Filters = EVERYTHING) -> Iterator[Run]:
        """Go through all such runs, whole, oldest first, a few in memory at a time."""
        after = (float("-inf"), -1)
        while True:
            with self._opened() as db:
                term, values = figures.condition(db, filters)
                values.update(at=after[0], n=after[1], limit=CHUNK_RUNS)
                rows = db.execute(_RUNS.format(term), values).fetchall()
            if not rows:
                return
            yield from (_run(data) for *_, data in rows)
            after = rows[-1][:2]

    def events(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> list[Storable]:
        """Return feedback, user events and exchanges of a stretch of time, oldest first."""
        first = float("-inf") if since is None else since.timestamp()
        last = float("inf") if until is None else until.timestamp()
        with self._opened() as db:
            return [decode(data) for (data,) in db.execute(_EVENTS, (first, last))]

    def changed(self, after: int = 0, limit: int = 100) -> tuple[int, list[str]]:
        """
        Say which traces were written to, for whoever shows new runs as they come.

        Args:
            after: What the last call returned; 0 begins at the oldest.
            limit: How many at most.

        Returns:
            The number for the next call, and ids of traces, those written to first coming first.
        """
        with self._opened() as db:
            (last,) = db.execute(_LATEST).fetchone()
            after = after if after <= last else 0  # the store was begun anew
            rows = db.execute(_CHANGED, (after, limit)).fetchall()
        return (rows[-1][1] if rows else after), [row[0] for row in rows]

    def latest(self) -> int:
        """Return the number after which `changed` has nothing to say yet."""
        with self._opened() as db:
            return int(db.execute(_LATEST).fetchone()[0])

    def count(self, filters: Filters = EVERYTHING) -> int:
        """Count the traces that have such a run."""
        with self._opened() as db:
            term, values = figures.condition(db, filters)
            query = "SELECT count(*) FROM traces"
            if filters != EVERYTHING:
                query = f"SELECT count(DISTINCT r.trace_id) FROM runs r WHERE {term}"  # noqa: S608 - ours
            return int(db.execute(query, values).fetchone()[0])

    def scanned(self, filters: Filters) -> int | None:
        """Say how many of the newest runs a search looks through; None for all of them."""
        if not filters.search:
            return None
        with self._opened() as db:
            (runs,) = db.execute("SELECT coalesce(max(n), 0) FROM runs").fetchone()
            partly = is_scanned(filters, indexed=figures.has_index(db))
        return SCANNED_RUNS if partly and runs > SCANNED_RUNS else None

    def totals(self, filters: Filters = EVERYTHING) -> Totals:
        """Add such runs up."""
        with self._opened() as db:
            return figures.totals(db, filters)

    def by(self, field: Field, filters: Filters = EVERYTHING) -> dict[str, Totals]:
        """Add such runs up for each model, user, ..., those with the most runs first."""
        with self._opened() as db:
            return figures.by(db, field, filters)

    def values(self, field: Field, limit: int = 200) -> list[Value]:
        """Return the models, users, ... that there are, those seen last first."""
        with self._opened() as db:
            return figures.values(db, field, limit)

    def timeline(self, width: float, filters: Filters = EVERYTHING) -> list[Bucket]:
        """
        Add such runs up over time, oldest first; a stretch without any is left out.

        Args:
            width: Seconds of one stretch.
            filters: Which runs are meant.
        """
        with self._opened() as db:
            return figures.timeline(db, width, filters)

    def overview(self, filters: Filters = EVERYTHING, slots: int = 60) -> Overview:
        """
        Add such runs up in all and over time, in stretches of a round length.

        Args:
            filters: Which runs are meant.
            slots: How many stretches there are at most.
        """
        with self._opened() as db:
            return overview(db, filters, slots)

    def groups(
        self, field: Shared, limit: int = 50, *, search: str = "", offset: int = 0
    ) -> list[Group]:
        """Return the users or threads that have such letters in their id, those seen last first."""
        with self._opened() as db:
            return groups(db, field, search, limit, offset)

    def sessions(self, user_id: str, gap: float = SESSION_GAP) -> list[Session]:
        """
        Return the sessions of a user, newest first.

        Args:
            user_id: Whose.
            gap: Seconds without a sign of the user after which a new session begins.
        """
        with self._opened() as db:
            return figures.sessions(db, user_id, gap)[::-1]

    @contextmanager
    def _opened(self) -> Iterator[Connection]:
        import sqlite3

        if not self.path.exists():
            raise StoreError(_NO_STORE.format(self.path))
        with _told(self.path):
            db = sqlite3.connect(
                address(self.path, writable=os.access(self.path.parent, os.W_OK)),
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
            )
            try:
                check(db, self.path)
                db.execute("BEGIN")  # all of one answer is of one moment, whoever writes meanwhile
                yield db
            finally:
                db.close()


def address(path: Path, *, writable: bool) -> str:
    """
    Name a store to SQLite so that it is read and never written.

    Args:
        path: The file.
        writable: Whether its folder is. SQLite keeps what readers share in a file beside a store;
            where none can be, nobody writes either, and the store is read as it lies there.
    """
    return f"{path.as_uri()}?mode=ro" + ("" if writable else "&immutable=1")


_NO_STORE = """no runs yet: there is no store at {}
To make some, call `instrument()` in a program that calls a model, with no destination's key set, \
or start it with `python -m instrument run app.py`. INSTRUMENT_STORE names another file."""


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say what is wrong with the file in a sentence."""
    import sqlite3

    try:
        yield
    except Refused as refusal:
        raise StoreError(str(refusal)) from refusal
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"the store {path} cannot be read: {error}") from error


def _run(data: bytes) -> Run:
    item = decode(data)
    assert isinstance(item, Run)
    return item


def _ids(db: Connection, filters: Filters, limit: int, offset: int) -> list[str]:
    """Find the newest traces that have such a run, by way of the newest such runs."""
    if filters == EVERYTHING:
        return [row[0] for row in db.execute(_NEWEST, (limit, offset))]
    term, values = figures.condition(db, filters)
    # The + has SQLite go from the newest run on, rather than sort all that hold a common word.
    term = term.replace(INDEXED, f"+{INDEXED}")
    found: dict[str, None] = {}
    for (trace_id,) in db.execute(_MATCHING.format(term), values):
        found[trace_id] = None
        if len(found) == offset + limit:
            break
    return list(found)[offset:]


def _trees(db: Connection, ids: Sequence[str]) -> list[Tree]:
    runs: dict[str, list[Run]] = {each: [] for each in ids}
    said: dict[str, list[Feedback]] = defaultdict(list)
    for trace_id, data in db.execute(_BODIES.format(_marks(ids)), ids):
        runs[trace_id].append(_run(data))
    for trace_id, data in db.execute(_FEEDBACK.format(_marks(ids)), ids):
        item = decode(data)
        if isinstance(item, Feedback):
            said[trace_id].append(item)
    return [grow(runs[each], said[each]) for each in ids if runs[each]]


def _resolve(db: Connection, query: str, beginning: str) -> tuple[int, str] | None:
    """Find the one row whose id is, or begins with, what a person typed."""
    rows = db.execute(query, (beginning, beginning + chr(0x10FFFF))).fetchall()
    exact = [row for row in rows if row[2] == beginning]
    if len(rows) > 1 and not exact:
        raise StoreError(f"more than one id begins with {beginning!r}: give more of it")
    found = (exact or rows)[:1]
    return (found[0][0], found[0][1]) if found else None


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


_NEWEST = "SELECT id FROM traces ORDER BY started DESC LIMIT ? OFFSET ?"
_MATCHING = "SELECT r.trace_id FROM runs r WHERE {} ORDER BY r.started DESC"
_BODY = "SELECT data FROM bodies WHERE n = ?"
_BODIES = """
SELECT r.trace_id, b.data FROM runs r JOIN bodies b ON b.n = r.n WHERE r.trace_id IN ({})
ORDER BY r.started, r.n
"""
_FEEDBACK = """
SELECT r.trace_id, e.data FROM runs r JOIN events e ON e.run_id = r.id WHERE r.trace_id IN ({})
ORDER BY e.at, e.n
"""
_RUNS = """
SELECT r.started, r.n, b.data FROM runs r JOIN bodies b ON b.n = r.n
WHERE (r.started, r.n) > (:at, :n) AND {} ORDER BY r.started, r.n LIMIT :limit
"""
_EVENTS = "SELECT data FROM events WHERE at >= ? AND at < ? ORDER BY at, n"
_LATEST = "SELECT coalesce(max(touched), 0) FROM traces"
_CHANGED = "SELECT id, touched FROM traces WHERE touched > ? ORDER BY touched LIMIT ?"
_TRACE_IDS = "SELECT root, id, id FROM traces WHERE id BETWEEN ? AND ? LIMIT 2"
_RUN_IDS = "SELECT n, trace_id, id FROM runs WHERE id BETWEEN ? AND ? LIMIT 2"
