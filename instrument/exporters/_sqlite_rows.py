"""Items as rows of the store: what of them stands in columns, and in which order they are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, final

from ..codec import encode
from ..cost import Tariff, tariff_of
from ..guard import guard
from ..run import Exchange, Feedback, Item, Run, Trace, Usage, UserEvent
from ..snapshot import clean
from ..tree import status
from . import _text
from ._sqlite_many import MAX_VALUES, insert, marks, parts
from ._sqlite_search import Index, Texts
from ._sqlite_tariffs import cleaned, numbers_of

if TYPE_CHECKING:
    from sqlite3 import Connection

MAX_TEXT_CHARS = 2_000
"""Characters of a prompt and of an answer that are searchable; the whole of both is kept beside."""

MODEL_KINDS = frozenset({"llm", "embedding"})
"""Kinds of runs whose name is a model and whose tokens are counted, each once."""

_INT64_MAX = 2**63 - 1


@final
@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as it goes into the tables."""

    id: str
    trace_id: str
    ended: bool
    columns: tuple[object, ...]
    tariff: Tariff | None
    body: bytes
    texts: Texts
    tags: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True)
class EventRow:
    """A feedback, a user event or an exchange as it goes into the tables."""

    columns: tuple[object, ...]


_COLUMNS = (
    *("n", "id", "trace_id", "parent_id", "kind", "name", "model", "answered", "provider"),
    *("status", "started", "duration", "ttft", "prompt_tokens", "completion_tokens"),
    *("cached_tokens", "reasoning_tokens", "audio_in", "audio_out", "user_id", "thread_id"),
    "tariff",
)


def write(db: Connection, rows: Sequence[RunRow | EventRow]) -> set[str]:
    """Write rows, in the transaction that there is, and return the traces that they changed."""
    events = [(None, *row.columns) for row in rows if isinstance(row, EventRow)]
    insert(db, "INSERT INTO events", events)
    runs = latest([row for row in rows if isinstance(row, RunRow)])
    known = _known(db, list(runs))
    kept = [row for row in runs.values() if row.ended or row.id not in known or known[row.id][1]]
    index = Index(db)
    old = [(known[row.id][0], row) for row in kept if row.id in known]
    _take_out(db, [n for n, _ in old], index)
    (last,) = db.execute("SELECT coalesce(max(n), 0) FROM runs").fetchone()
    new = list(enumerate([row for row in kept if row.id not in known], last + 1))
    tariffs = numbers_of(db, (row.tariff for row in kept))
    _put(db, "REPLACE", old, tariffs)
    _put(db, "INSERT", new, tariffs)
    for n, row in (*old, *new):
        index.add(n, row.texts)
    index.write()
    return {row.trace_id for row in kept}


def latest(rows: Sequence[RunRow]) -> dict[str, RunRow]:
    """Keep one row of each run, the last; but an ended one is never followed by an open one."""
    runs: dict[str, RunRow] = {}
    for row in rows:
        before = runs.get(row.id)
        if before is None or row.ended or not before.ended:
            runs[row.id] = row
    return runs


def _known(db: Connection, ids: Sequence[str]) -> Mapping[str, tuple[int, bool]]:
    """Find the runs that the store has: the number of each, and whether it is open."""
    found = (db.execute(_FIND.format(marks(part)), part) for part in parts(ids, MAX_VALUES))
    return {run_id: (n, state == "open") for run_id, n, state in chain.from_iterable(found)}


def _take_out(db: Connection, numbers: Sequence[int], index: Index) -> None:
    """Take out what stands beside the rows of runs that are about to be written over."""
    for part in parts(numbers, MAX_VALUES):
        index.remove(f"x.n IN ({marks(part)})", part)
        db.execute(_UNTAG.format(marks(part)), part)


def _put(
    db: Connection,
    verb: str,
    rows: Sequence[tuple[int, RunRow]],
    tariffs: Mapping[Tariff | None, int | None],
) -> None:
    columns = [(n, *row.columns, tariffs[row.tariff]) for n, row in rows]
    insert(db, f"{verb} INTO runs ({', '.join(_COLUMNS)})", columns)
    insert(db, f"{verb} INTO bodies", [(n, row.body) for n, row in rows])
    insert(db, f"{verb} INTO texts", [(n, *row.texts) for n, row in rows])
    insert(db, "INSERT OR IGNORE INTO tags", [(tag, n) for n, row in rows for tag in row.tags])


_FIND = "SELECT id, n, status FROM runs WHERE id IN ({})"
_UNTAG = "DELETE FROM tags WHERE n IN ({})"


def entries(items: Sequence[Item]) -> tuple[list[RunRow | EventRow], Mapping[str, int]]:
    """Make rows of items; an open run that ends in the same batch is written once, ended."""
    ended = {item.id for item in items if isinstance(item, Run) and item.duration is not None}
    rows: list[RunRow | EventRow] = []
    dropped: Counter[str] = Counter()
    for item in items:
        if isinstance(item, Run) and item.duration is None and item.id in ended:
            continue
        row = None
        with guard(
            "write an item down for the store"
        ):  # it alone, and not its whole batch, is lost
            row = _row(item)
        if row is None:
            dropped["unwritable"] += 1
        else:
            rows.append(row)
    return rows, dropped


def _row(item: Item) -> RunRow | EventRow | None:
    if isinstance(item, Trace):
        return None
    return _run_row(item) if isinstance(item, Run) else _event_row(item)


def _run_row(run: Run) -> RunRow:
    answer, usage = run.answer, run.usage or Usage()
    columns = (
        clean(run.id),
        clean(run.trace_id),
        _clean(run.parent_id),
        run.kind,
        clean(run.name),
        clean(run.name) if run.kind in MODEL_KINDS else None,
        _clean(answer.model) if answer else None,
        _clean(answer.provider) if answer else None,
        status(run),
        run.started_at.timestamp(),
        run.duration,
        answer.time_to_first_token if answer else None,
        _count(usage.prompt),
        _count(usage.completion),
        _count(usage.cached),
        _count(usage.reasoning),
        _count(usage.audio_in),
        _count(usage.audio_out),
        _clean(run.user_id),
        _clean(run.thread_id),
    )
    return RunRow(
        id=clean(run.id),
        trace_id=clean(run.trace_id),
        ended=run.duration is not None,
        columns=columns,
        tariff=cleaned(tariff_of(run)),
        body=encode(run),
        texts=_texts(run),
        tags=tuple(map(clean, run.tags)),
    )


def _event_row(item: Feedback | UserEvent | Exchange) -> EventRow:
    about = (getattr(item, name, None) for name in ("run_id", "user_id", "thread_id"))
    return EventRow((type(item).__name__, item.at.timestamp(), *map(_clean, about), encode(item)))


def _texts(run: Run) -> Texts:
    """Return what a run is found by: its name and error, its prompt, its answer."""
    title = run.name
    if run.error is not None:
        title = f"{title} {run.error.type} {run.error.message}"
    prompt = answer = ""
    with suppress(ValueError):  # a snapshot that is no JSON, against its contract
        prompt = _text.asked(run)
        answer = _text.answered(run) or ""
    head, prompt, answer = (clean(text[:MAX_TEXT_CHARS]) for text in (title, prompt, answer))
    return head, prompt, answer


def _clean(text: object) -> str | None:
    return None if text is None else clean(str(text))


def _count(tokens: int | None) -> int | None:
    """Leave out a count that no column holds, rather than the whole batch."""
    return tokens if tokens is None or 0 <= tokens <= _INT64_MAX else None
