"""
The full-text index of the store: what of a text stands in it, and how it keeps up with the runs.

The index holds no text of its own (what it has of a run is taken out again by its text), and is
written at the end of a batch, by statements of its own: SQLite would close a part of the index for
each run if a trigger did it, which takes four times as long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias, final

from ._sqlite_many import insert

if TYPE_CHECKING:
    from sqlite3 import Connection

Texts: TypeAlias = "tuple[str, str, str]"
"""What a run is found by: its name and error, its prompt, its answer."""

TABLE = "CREATE VIRTUAL TABLE search USING fts5 (text, content='', columnsize=0)"

MERGED = 16
"""How many parts of the index become one at a time: fewer are quicker to read, more to write."""

_SIGN = "\u00a6\u00a9\u00ae\u00b0\u2190-\u24ff\u25a0-\u2bff\U0001f000-\U0001faff"
"""Emoji, arrows and other signs that the index would take for spaces, and people look for."""

_UNSPACED = (
    "\u0e00-\u109f\u1780-\u17ff\u1950-\u1aaf\u2e80-\u2fdf\u3005-\u3007\u3021-\ud7ff"
    "\uf900-\ufaff\uff66-\uffdc\U00016fe0-\U0001b2ff\U00020000-\U0003ffff"
)
"""Letters of scripts that put no spaces between words: Thai, Khmer, Chinese, Japanese, Korean."""

_CUT = re.compile(f"[{_UNSPACED}]+|([{_SIGN}])")


def indexable(text: str) -> str:
    """Write a text so that the index cuts it where people do, and holds signs."""
    return text if text.isascii() else _CUT.sub(_apart, text)


def _apart(found: re.Match[str]) -> str:
    sign = found[1]
    # A sign is named as a word that nobody writes.
    return f" zq{ord(sign):x}qz " if sign else f" {' '.join(found[0])} "


@final
class Index:
    """
    What one batch changes in the index.

    Args:
        db: The store, in whose transaction it is.
    """

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._there = bool(db.execute(_EXISTS).fetchone())
        self._new: dict[int, Texts] = {}
        self._gone: dict[int, Texts] = {}

    def add(self, n: int, texts: Texts) -> None:
        """Add a run."""
        self._new[n] = texts

    def remove(self, term: str, values: Sequence[object]) -> None:
        """Take runs out whose row of `texts x` meets a condition, before that row has changed."""
        if self._there:
            for n, *texts in self._db.execute(_TEXTS.format(term), values):
                if self._new.pop(n, None) is None:
                    self._gone[n] = (texts[0], texts[1], texts[2])

    def write(self) -> None:
        """Write down what has changed."""
        if self._there:
            insert(self._db, _TAKE_OUT, [("delete", *row) for row in _rows(self._gone.items())])
            insert(self._db, _PUT_IN, list(_rows(self._new.items())))


def build(db: Connection) -> None:
    """Begin the index, with all texts that there are."""
    db.execute(TABLE)
    db.execute("INSERT INTO search (search, rank) VALUES ('automerge', ?)", (MERGED,))
    rows = ((n, (title, prompt, answer)) for n, title, prompt, answer in db.execute(_ALL))
    db.executemany(f"{_PUT_IN} VALUES (?, ?)", _rows(rows))


def _rows(items: Iterable[tuple[int, Texts]]) -> Iterable[tuple[int, str]]:
    return ((n, indexable("\n".join(texts))) for n, texts in items)


_EXISTS = "SELECT 1 FROM sqlite_master WHERE name = 'search'"
_TEXTS = "SELECT x.n, x.title, x.prompt, x.answer FROM texts x WHERE {}"
_ALL = _TEXTS.format("1")
_PUT_IN = "INSERT INTO search (rowid, text)"
_TAKE_OUT = "INSERT INTO search (search, rowid, text)"
