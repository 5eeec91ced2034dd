"""
The embedded store: every run of this machine, searchable, in one SQLite file of bounded size.

Several processes may write at once, and die at any moment. A run that is open is written over by
the same run ended, never the other way round; writing a run twice changes nothing. What cannot be
done now (locked, disk full, read-only) is raised, so that the lane tries again later.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from math import inf
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, final

from ..guard import notices
from ..run import ConfigError, Item, Trace
from ._base import Environment, Limits
from ._sqlite_many import MAX_VALUES, marks, parts
from ._sqlite_rows import entries, write
from ._sqlite_schema import Refused, connect, pragma, transaction
from ._sqlite_search import Index

if TYPE_CHECKING:
    from sqlite3 import Connection

ENV = ()

DEFAULT_PATH = Path(".instrument", "runs.db")

MAX_BYTES = 1024**3
"""Size of the store, in bytes; the oldest traces go when it is reached."""

MAX_AGE = 30 * 86_400.0
"""Seconds that a trace is kept after its last run."""

PRUNED_TRACES = 100
"""How many of the oldest traces go in one transaction at most."""

PRUNED_SHARE = 10
"""Where there are few traces, one in so many goes, so that a few large ones do not take all along."""

PRUNED_ROUNDS = 20
"""How many such transactions one write makes at most, so that pruning is never a long pause."""

VACUUMED_PAGES = 2_000
"""How many free pages one write gives back to the file system at most."""

_abandoned: list[Connection] = []


def store_path(env: Environment) -> Path:
    """Say where the store is: `INSTRUMENT_STORE`, else `.instrument/runs.db` where we are now."""
    return Path(env.get("INSTRUMENT_STORE") or DEFAULT_PATH).expanduser().absolute()


def from_env(env: Environment) -> SqliteExporter:
    """Make the store that `INSTRUMENT_STORE` names."""
    return SqliteExporter(store_path(env))


@final
class SqliteExporter:
    """
    Write runs, feedback and user events into a SQLite file.

    Args:
        path: The file; it and its folder are made by the first write, for their owner alone.
        max_bytes: Size of the file at most, give or take one batch; the oldest traces go first.
        max_age: Seconds that a trace is kept after its last run.

    Raises:
        ConfigError: A bound is not positive, or the path is a folder.
    """

    name = "sqlite"
    limits = Limits(max_items=500, max_bytes=4_000_000)
    whole_traces = False

    def __init__(
        self, path: str | Path, *, max_bytes: int = MAX_BYTES, max_age: float = MAX_AGE
    ) -> None:
        self.path = Path(path).absolute()
        if self.path.is_dir():
            raise ConfigError(f"the store must be a file, and {self.path} is a folder")
        if max_bytes <= 0 or max_age <= 0:
            raise ConfigError("max_bytes and max_age of the store must be more than 0")
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._db: Connection | None = None
        self._opened: tuple[int, int, int] | None = None

    def wants(self, item: Item) -> bool:
        """Take everything: runs open and ended, feedback and what users did."""
        return not isinstance(item, Trace)

    def write(self, items: Sequence[Item]) -> Mapping[str, int]:
        """
        Write items in one transaction, and prune what is too old or too much.

        Raises:
            sqlite3.Error: Nothing was written: locked, full, read-only.
            OSError: Nothing was written: the folder or the file cannot be made.
        """
        import sqlite3

        try:
            return self._write(items)
        except Refused as refusal:
            notices.say(f"store: {refusal.reason}", "the store takes no runs: %s", refusal)
            return {refusal.reason: len(items)}
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:  # which damage alone is, not a subclass
                raise
            self._set_aside()
            return self._write(items)

    def close(self) -> None:
        """Close the file."""
        db, self._db = self._db, None
        if db is not None and self._ours():
            db.close()

    def _write(self, items: Sequence[Item]) -> Mapping[str, int]:
        rows, dropped = entries(items)
        db = self._connection()
        _prune(db, self._max_bytes, time() - self._max_age)
        with transaction(db):
            _derive(db, sorted(write(db, rows)))
        return dropped

    def _connection(self) -> Connection:
        """Return the connection of this process to the file that has the name now."""
        if self._db is not None and not self._ours():
            # Closing it here, in a forked child, could undo locks and files of the parent.
            _abandoned.append(self._db)
            self._db = None
        if self._db is not None and self._opened != self._identity():
            self.close()
        if self._db is None:
            self._db = connect(self.path)
            self._opened = self._identity()
        return self._db

    def _ours(self) -> bool:
        return self._opened is not None and self._opened[0] == os.getpid()

    def _identity(self) -> tuple[int, int, int]:
        """Say which file has the name at the moment, for this process."""
        inode = device = 0
        with suppress(FileNotFoundError):
            status = self.path.stat()
            inode, device = status.st_ino, status.st_dev
        return os.getpid(), device, inode

    def _set_aside(self) -> None:
        """Rename a damaged store, unless another process has begun a new one already."""
        moved = self._opened is not None and self._opened != self._identity()
        self.close()
        if moved:
            return
        aside = f"{self.path}.damaged-{datetime.now():%Y%m%d-%H%M%S}"  # noqa: DTZ005 - for people
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
        notices.say(
            "store: damaged", "the store was damaged and is now %s; a new one was begun", aside
        )


def _derive(db: Connection, trace_ids: Sequence[str]) -> None:
    """Work out the rows of `traces` whose runs have changed."""
    (last,) = db.execute("SELECT coalesce(max(touched), 0) FROM traces").fetchone()
    for part in parts(trace_ids, MAX_VALUES):
        db.execute(_DERIVE.format(marks(part)), (last + 1, *part))


_DERIVE = """
INSERT INTO traces SELECT
    trace_id,
    (SELECT n FROM runs r WHERE r.trace_id = runs.trace_id
        ORDER BY parent_id IS NOT NULL, started, n LIMIT 1),
    min(started),
    max(started + coalesce(duration, 0)),
    count(*),
    sum(status = 'error'),
    sum(status = 'open'),
    sum(CASE WHEN model IS NOT NULL THEN prompt_tokens END),
    sum(CASE WHEN model IS NOT NULL THEN completion_tokens END),
    max(user_id),
    max(thread_id),
    ?
FROM runs WHERE trace_id IN ({}) GROUP BY trace_id
ON CONFLICT (id) DO UPDATE SET
    root = excluded.root, started = excluded.started, ended = excluded.ended,
    runs = excluded.runs, errors = excluded.errors, open = excluded.open,
    prompt_tokens = excluded.prompt_tokens, completion_tokens = excluded.completion_tokens,
    user_id = excluded.user_id, thread_id = excluded.thread_id, touched = excluded.touched
"""


def _prune(db: Connection, max_bytes: int, oldest: float) -> None:
    """Let the oldest traces and events go while the store is too large or they are too old."""
    for _ in range(PRUNED_ROUNDS):
        large = _used_bytes(db) > max_bytes
        if not large and not _has_older(db, oldest):
            break
        with transaction(db):
            _prune_some(db, inf if large else oldest)
    page_bytes = pragma(db, "page_size")
    excess = pragma(db, "page_count") - max_bytes // page_bytes
    if excess > 0:
        db.execute(f"PRAGMA incremental_vacuum({min(excess, VACUUMED_PAGES)})").fetchall()


def _used_bytes(db: Connection) -> int:
    pages = pragma(db, "page_count") - pragma(db, "freelist_count")
    return pages * pragma(db, "page_size")


def _has_older(db: Connection, oldest: float) -> bool:
    query = "SELECT 1 FROM traces WHERE ended < :t UNION ALL SELECT 1 FROM events WHERE at < :t"
    return db.execute(f"{query} LIMIT 1", {"t": oldest}).fetchone() is not None


def _prune_some(db: Connection, before: float) -> None:
    """Delete some of the oldest traces that ended before then, and events as old as these."""
    most = PRUNED_TRACES
    if before == inf:
        (there,) = db.execute(_COUNT_TRACES, (PRUNED_TRACES * PRUNED_SHARE,)).fetchone()
        most = max(1, there // PRUNED_SHARE)
    gone = db.execute(_OLD_TRACES, (before, most)).fetchall()
    ids = [(trace_id,) for trace_id, _ in gone]
    index = Index(db)
    for each in ids:
        index.remove(_OF_TRACE, each)
    index.write()
    db.executemany("DELETE FROM runs WHERE trace_id = ?", ids)
    db.executemany("DELETE FROM traces WHERE id = ?", ids)
    until = min(before, gone[-1][1]) if len(gone) == most else before
    db.execute(_DELETE_EVENTS, (until, PRUNED_TRACES))


_OF_TRACE = "x.n IN (SELECT n FROM runs WHERE trace_id = ?)"
_COUNT_TRACES = "SELECT count(*) FROM (SELECT 1 FROM traces LIMIT ?)"
_OLD_TRACES = "SELECT id, ended FROM traces WHERE ended < ? ORDER BY ended LIMIT ?"
_DELETE_EVENTS = (
    "DELETE FROM events WHERE n IN (SELECT n FROM events WHERE at < ? ORDER BY at LIMIT ?)"
)
