"""A trace without what was said in it: enough to draw the tree, however much its runs hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..codec import decode
from ..run import Answer, Run, Usage
from .questions import at

if TYPE_CHECKING:
    from sqlite3 import Connection


def outline(db: Connection, trace_id: str, limit: int) -> list[Run]:
    """
    Read the first runs of a trace: whole the root and those that went wrong, the others by columns.

    Of these there is no input, output, metadata, params or tags, and of the answer the model and
    the time to the first token alone.
    """
    return [_run(row) for row in db.execute(_RUNS, (trace_id, limit))]


def _run(row: Sequence[Any]) -> Run:
    body, *columns = row
    if body is not None:
        run = decode(body)
        assert isinstance(run, Run)
        return run
    values = dict(zip(_COLUMNS, columns, strict=True))
    model, ttft = values.pop("answered"), values.pop("ttft")
    usage = Usage(values.pop("prompt_tokens"), values.pop("completion_tokens"))
    started = at(values.pop("started"))
    answer = Answer(model=model, time_to_first_token=ttft)
    return Run(**values, started_at=started, usage=usage, answer=answer)


_COLUMNS = (
    *("id", "trace_id", "parent_id", "kind", "name", "started", "duration"),
    *("user_id", "thread_id", "answered", "ttft", "prompt_tokens", "completion_tokens"),
)
_RUNS = f"""
SELECT CASE WHEN r.parent_id IS NULL OR r.status IN ('error', 'partial') THEN b.data END,
    {", ".join(f"r.{name}" for name in _COLUMNS)}
FROM runs r JOIN bodies b ON b.n = r.n WHERE r.trace_id = ?
ORDER BY r.parent_id IS NOT NULL, r.started, r.n LIMIT ?
"""  # noqa: S608 - the text is ours
