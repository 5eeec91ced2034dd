"""
The tables of the store, and how an older file becomes a newer one.

`MIGRATIONS` is only ever appended to: a file's `user_version` is how many of them it has had.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, final

from ._sqlite_search import build
from ._sqlite_tariffs import add_tariffs

if TYPE_CHECKING:
    from sqlite3 import Connection

APPLICATION_ID = 0x696E7374
"""What says in a SQLite file that it is one of our stores: "inst" in ASCII."""

BUSY_SECONDS = 1.0
"""How long a statement waits for another process, in seconds."""

PAGE_BYTES = 8192
"""Size of a page of a new file, in bytes: a prompt of 2 KB would leave half of a smaller one empty."""

WAL_BYTES = 4 * 1024 * 1024
"""Size to which the write-ahead log is cut back, in bytes."""


@final
class Refused(Exception):  # noqa: N818 - it is an answer of a file, not a failure
    """
    The file is sound and not ours to write: a newer version's, or another program's.

    Attributes:
        reason: The word under which items are counted as dropped.
    """

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def connect(path: Path) -> Connection:
    """
    Open the store for writing; make it, and bring it up to date, where that is needed.

    Raises:
        Refused: The file is not ours to write.
        sqlite3.Error: It cannot be opened, or is locked, or damaged.
        OSError: The folder or the file cannot be made.
    """
    import sqlite3

    _make_folder(path.parent)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, stat.S_IRUSR | stat.S_IWUSR))
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _prepare(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _make_folder(folder: Path) -> None:
    """Make the store's folder, for its owner alone, and let git overlook it; leave others be."""
    made = not folder.exists()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if made or folder.name == ".instrument":
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")


def _prepare(db: Connection, path: Path) -> None:
    check(db, path)
    # Both count only before the first table.
    db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    if pragma(db, "user_version") < len(MIGRATIONS):
        with transaction(db):
            check(db, path)  # another process may have been quicker
            for number in range(pragma(db, "user_version"), len(MIGRATIONS)):
                MIGRATIONS[number](db)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def check(db: Connection, path: Path) -> None:
    """Raise `Refused` unless the file is empty, or a store that this version understands."""
    # In this order: another process may make it just now, all in one step.
    is_empty = db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
    version = pragma(db, "user_version")
    if pragma(db, "application_id") != APPLICATION_ID:
        if version or not is_empty:
            sentence = (
                f"{path} is another program's database: name another file in INSTRUMENT_STORE"
            )
            raise Refused("foreign_store", sentence)
    elif version > len(MIGRATIONS):
        sentence = (
            f"{path} was made by a newer version of llm-instrument: "
            "upgrade this one, or name another file in INSTRUMENT_STORE"
        )
        raise Refused("newer_store", sentence)


def pragma(db: Connection, name: str) -> int:
    """Read a number that SQLite keeps about the file."""
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


@contextmanager
def transaction(db: Connection) -> Iterator[None]:
    """Do all of the block or nothing of it, with nobody writing in between."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


TABLES = (
    # What is filtered, sorted and added up: narrow rows, so that all of them are read quickly.
    """
    CREATE TABLE runs (
        n INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        trace_id TEXT NOT NULL,
        parent_id TEXT,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        model TEXT,
        answered TEXT,
        provider TEXT,
        status TEXT NOT NULL,
        started REAL NOT NULL,
        duration REAL,
        ttft REAL,
        prompt_tokens INTEGER,
        completion_tokens INTEGER,
        cached_tokens INTEGER,
        reasoning_tokens INTEGER,
        user_id TEXT,
        thread_id TEXT
    )
    """,
    "CREATE INDEX runs_trace ON runs (trace_id)",
    "CREATE INDEX runs_started ON runs (started)",
    "CREATE INDEX runs_status ON runs (status, started)",
    "CREATE INDEX runs_model ON runs (model, started) WHERE model IS NOT NULL",
    "CREATE INDEX runs_user ON runs (user_id, started) WHERE user_id IS NOT NULL",
    "CREATE INDEX runs_thread ON runs (thread_id, started) WHERE thread_id IS NOT NULL",
    # The whole run, as `codec` writes it.
    "CREATE TABLE bodies (n INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    # The first words, to show in lists and to search.
    "CREATE TABLE texts (n INTEGER PRIMARY KEY, title TEXT, prompt TEXT, answer TEXT)",
    "CREATE TABLE tags (tag TEXT, n INTEGER, PRIMARY KEY (tag, n)) WITHOUT ROWID",
    "CREATE INDEX tags_n ON tags (n)",
    # Derived from `runs` in the transaction that writes them. `touched` only ever grows.
    """
    CREATE TABLE traces (
        id TEXT PRIMARY KEY,
        root INTEGER NOT NULL,
        started REAL NOT NULL,
        ended REAL NOT NULL,
        runs INTEGER NOT NULL,
        errors INTEGER NOT NULL,
        open INTEGER NOT NULL,
        prompt_tokens INTEGER,
        completion_tokens INTEGER,
        user_id TEXT,
        thread_id TEXT,
        touched INTEGER NOT NULL
    )
    """,
    "CREATE INDEX traces_started ON traces (started)",
    "CREATE INDEX traces_ended ON traces (ended)",
    "CREATE INDEX traces_touched ON traces (touched)",
    # Feedback, user events and exchanges.
    """
    CREATE TABLE events (
        n INTEGER PRIMARY KEY,
        type TEXT NOT NULL,
        at REAL NOT NULL,
        run_id TEXT,
        user_id TEXT,
        thread_id TEXT,
        data BLOB NOT NULL
    )
    """,
    "CREATE INDEX events_at ON events (at)",
    "CREATE INDEX events_run ON events (run_id) WHERE run_id IS NOT NULL",
    "CREATE INDEX events_user ON events (user_id, at) WHERE user_id IS NOT NULL",
    """
    CREATE TRIGGER runs_gone AFTER DELETE ON runs BEGIN
        DELETE FROM bodies WHERE n = old.n;
        DELETE FROM texts WHERE n = old.n;
        DELETE FROM tags WHERE n = old.n;
        DELETE FROM events WHERE run_id = old.id;
    END
    """,
)

SEARCH = (
    """
    CREATE VIRTUAL TABLE search USING fts5 (
        title, prompt, answer, content='texts', content_rowid='n'
    )
    """,
    """
    CREATE TRIGGER texts_new AFTER INSERT ON texts BEGIN
        INSERT INTO search (rowid, title, prompt, answer)
        VALUES (new.n, new.title, new.prompt, new.answer);
    END
    """,
    """
    CREATE TRIGGER texts_gone AFTER DELETE ON texts BEGIN
        INSERT INTO search (search, rowid, title, prompt, answer)
        VALUES ('delete', old.n, old.title, old.prompt, old.answer);
    END
    """,
    "INSERT INTO search (search) VALUES ('rebuild')",
)


TARIFFS = (
    # What calls are charged as (`cost.Tariff`): a few rows, whose prices are looked up on reading.
    """
    CREATE TABLE tariffs (
        n INTEGER PRIMARY KEY,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        tier TEXT NOT NULL,
        parts TEXT NOT NULL,
        UNIQUE (provider, model, tier, parts)
    )
    """,
    "ALTER TABLE runs ADD COLUMN audio_in INTEGER",
    "ALTER TABLE runs ADD COLUMN audio_out INTEGER",
    # NULL for what is no model call, or has not been answered.
    "ALTER TABLE runs ADD COLUMN tariff INTEGER",
)

# All that is added up for a chart: without it, a page would read the rows from all over the file.
FIGURES = """
CREATE INDEX runs_figures ON runs (
    started, model, status, duration, prompt_tokens, completion_tokens, cached_tokens, audio_in,
    audio_out, tariff
)
"""


def _tables(db: Connection) -> None:
    for statement in TABLES:
        db.execute(statement)


def _search(db: Connection) -> None:
    """Add the full-text index, where this build of SQLite has one; else texts are read through."""
    if has_fts5(db):
        for statement in SEARCH:
            db.execute(statement)


def has_fts5(db: Connection) -> bool:
    """Say whether this build of SQLite has full-text search."""
    import sqlite3

    try:
        db.execute("CREATE VIRTUAL TABLE temp.probe USING fts5 (text)")
    except sqlite3.DatabaseError:
        return False
    db.execute("DROP TABLE temp.probe")
    return True


def _tariffs(db: Connection) -> None:
    """Add what costs are worked out from, without which a page would read each call whole."""
    for statement in TARIFFS:
        db.execute(statement)
    add_tariffs(db)
    db.execute("DROP INDEX runs_started")
    db.execute(FIGURES)


def _other_search(db: Connection) -> None:
    """Replace the index by one that finds words of every script, and is quicker to write."""
    for trigger in ("texts_new", "texts_gone"):
        db.execute(f"DROP TRIGGER IF EXISTS {trigger}")
    db.execute("DROP TABLE IF EXISTS search")
    if has_fts5(db):
        build(db)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_tables, _search, _tariffs, _other_search)
