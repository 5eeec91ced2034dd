"""
Items as they lie in the spool: runs side by side, in a fraction of the time that `codec` takes.

Runs are one line of JSON, their fields by place and not by name, column by column, and after it the
bytes of their texts as they are: they are most of it, and JSON already. All else, and a run that
this cannot hold, is written by itself, as `codec` does it. A test sees to it that no field is
missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from operator import attrgetter
from typing import Any, Final

import orjson

from .. import codec
from ..guard import guard
from ..run import Answer, Attempt, Error, Item, Run, Snapshot, Trace, Usage
from .bounds import KIB
from .segment import MAGIC

MOST_BYTES: Final = 256 * KIB
"""What runs side by side may come to; more of them are written in halves."""

RUN: Final = (
    *("id", "trace_id", "parent_id", "kind", "name", "started_at", "duration", "partial"),
    *("user_id", "user_props", "thread_id", "tags", "metadata", "error"),
)
TEXTS: Final = ("input", "output", "params")
PARTS: Final = ("usage", "answer")
"""Parts of a run that are written as columns of their own; of an answer `logprobs` is a text."""

USAGE: Final = ("prompt", "completion", "total", "cached", "reasoning", "audio_in", "audio_out")
ANSWER: Final = (
    *("provider", "model", "finish_reasons", "response_id", "request_id", "system_fingerprint"),
    *("service_tier", "stream", "time_to_first_token", "processing_ms", "rate_limits", "attempts"),
)

ATTEMPT: Final = ("offset", "status")
ERROR: Final = ("message", "type", "stack", "status")

STRANGE: Final = MAGIC[:1]
"""A byte that UTF-8 never has, and with which every frame begins."""

_parts = attrgetter(*PARTS)
_run = attrgetter(*RUN)
_texts = attrgetter(*TEXTS)
_usage = attrgetter(*USAGE)
_answer = attrgetter(*ANSWER)
_OPTIONS: Final = orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATACLASS
_inner = {Attempt: attrgetter(*ATTEMPT), Error: attrgetter(*ERROR)}


def packed(items: Sequence[Item]) -> Iterator[tuple[int, bytes | None]]:
    """
    Write items down, in order, as many at once as may be; give how many, and the bytes.

    None is for one that cannot be written, and for a whole tree.
    """
    data = STRANGE
    with contextlib.suppress(TypeError, ValueError, AttributeError, RecursionError):
        data = _packed(items)  # unless one is no run, or has a value that is no JSON
    is_fit = data.find(STRANGE) < 0  # where a frame begins must be found after damage
    if is_fit and (len(data) <= MOST_BYTES or len(items) == 1):
        yield len(items), data
    elif len(items) == 1:
        yield 1, _alone(items[0])
    else:
        middle = len(items) // 2
        yield from packed(items[:middle])
        yield from packed(items[middle:])


def _alone(item: Item) -> bytes | None:
    if not isinstance(item, Trace):
        with guard("write an item down"):
            return codec.encode(item)
    return None


def _packed(runs: Sequence[Any]) -> bytes:
    usages, answers = zip(*map(_parts, runs), strict=True)
    texts = list(chain.from_iterable(map(_texts, runs)))
    texts += [None if answer is None else answer.logprobs for answer in answers]
    columns = (
        list(map(_run, runs)),
        [None if usage is None else _usage(usage) for usage in usages],
        [None if answer is None else _answer(answer) for answer in answers],
        [None if text is None else len(text) for text in texts],
    )
    line = orjson.dumps(columns, _values, _OPTIONS)
    return b"".join((line, *filter(None, texts)))


def _values(inner: Any) -> Any:
    """Give the fields of a dataclass by place; orjson alone would take longer to name them."""
    return _inner[type(inner)](inner)


def unpacked(data: bytes) -> list[codec.Storable]:
    """
    Read what `packed` wrote at once.

    Raises:
        ValueError: It is nothing that `packed` wrote.
    """
    if not data.startswith(b"["):
        return [codec.decode(data)]
    line, _, texts = data.partition(b"\n")
    try:
        return list(_unpacked(orjson.loads(line), texts))
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise ValueError(f"these are no runs: {type(error).__name__}") from error


def _unpacked(columns: list[Any], texts: bytes) -> Iterator[Run]:
    rows, usages, answers, sizes = columns
    cut = list(_cut(texts, sizes))
    logprobs = cut[len(TEXTS) * len(rows) :]
    for number, row in enumerate(rows):
        own = cut[len(TEXTS) * number : len(TEXTS) * (number + 1)]
        usage, answer = usages[number], answers[number]
        yield Run(
            **_fields(dict(zip((*RUN, *TEXTS), (*row, *own), strict=True))),
            usage=None if usage is None else Usage(*usage),
            answer=None if answer is None else _known(answer, logprobs[number]),
        )


def _cut(texts: bytes, sizes: Sequence[int | None]) -> Iterator[Snapshot | None]:
    start = 0
    for size in sizes:
        yield None if size is None else Snapshot(texts[start : start + size])
        start += size or 0


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    error = row["error"]
    return {
        **row,
        "started_at": datetime.fromisoformat(row["started_at"]),
        "tags": tuple(row["tags"]),
        "error": None if error is None else Error(*error),
    }


def _known(values: Sequence[Any], logprobs: Snapshot | None) -> Answer:
    fields = dict(zip(ANSWER, values, strict=True))
    fields["finish_reasons"] = tuple(fields["finish_reasons"])
    fields["attempts"] = tuple(Attempt(*each) for each in fields["attempts"])
    return Answer(**fields, logprobs=logprobs)
