"""Traces of the store as lines of a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..cost import Cost
from .bills import costs
from .questions import Summary, at

if TYPE_CHECKING:
    from sqlite3 import Connection


def summaries(db: Connection, ids: Sequence[str]) -> list[Summary]:
    """Read a line for each of some traces, in their order."""
    spent = costs(db, "trace_id", ids)
    rows = db.execute(_SUMMARIES.format(", ".join("?" * len(ids))), ids)
    found = {each.id: each for each in (_summary(row, spent) for row in rows)}
    return [found[each] for each in ids]


def _summary(row: Sequence[Any], spent: Mapping[str, Cost]) -> Summary:
    tags, models, title, started, ended, *columns = row
    values: dict[str, Any] = dict(zip(_COLUMNS, columns, strict=True))
    return Summary(
        **values,
        started_at=at(started),
        duration=max(0.0, ended - started),
        error=title[len(values["name"]) + 1 :],
        models=_parts(models),
        tags=_parts(tags),
        cost=spent.get(values["id"]),
    )


def _parts(joined: str | None) -> tuple[str, ...]:
    return tuple(joined.split(_SEPARATOR)) if joined else ()


_SEPARATOR = "\x1f"
_SUMMARIES = """
SELECT (SELECT group_concat(tag, char(31)) FROM tags WHERE n = t.root),
    (SELECT group_concat(model, char(31)) FROM (
        SELECT DISTINCT model FROM runs WHERE trace_id = t.id AND model IS NOT NULL
    )),
    x.title, t.started, t.ended,
    t.id, r.name, r.kind, r.status, r.ttft, t.runs, t.errors, t.open,
    t.prompt_tokens, t.completion_tokens, t.user_id, t.thread_id, x.prompt, x.answer
FROM traces t JOIN runs r ON r.n = t.root JOIN texts x ON x.n = t.root WHERE t.id IN ({})
"""
_COLUMNS = (
    *("id", "name", "kind", "status", "ttft", "runs", "errors", "open"),
    *("prompt_tokens", "completion_tokens", "user_id", "thread_id", "prompt", "answer"),
)
