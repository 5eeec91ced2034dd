"""
Items as they lie in the spool: a run in a third of the time that `codec.encode` takes.

A run is one line of JSON, its fields by their place and not by name, and after it the bytes of its
texts as they are: they are most of it, and JSON already. All else, and a run that this cannot hold,
is written as `codec` does it. A test sees to it that no field is missing.
"""

from __future__ import annotations

from datetime import datetime
from operator import attrgetter
from typing import Any

import orjson

from .. import codec
from ..guard import guard
from ..run import Answer, Attempt, Error, Item, Run, Snapshot, Trace, Usage
from .segment import MAGIC

LAYOUT = 1
"""Number of the order of fields below; another order is another number."""

RUN = (
    *("id", "trace_id", "parent_id", "kind", "name", "started_at", "duration", "partial"),
    *("user_id", "user_props", "thread_id", "tags", "metadata"),
)
PARTS = ("usage", "answer", "error")
TEXTS = ("input", "output", "params", "logprobs")
"""`logprobs` is a field of the answer."""

USAGE = ("prompt", "completion", "total", "cached", "reasoning", "audio_in", "audio_out")
ERROR = ("message", "type", "stack", "status")
ANSWER = (
    *("provider", "model", "finish_reasons", "response_id", "request_id", "system_fingerprint"),
    *("service_tier", "stream", "time_to_first_token", "processing_ms", "rate_limits"),
)
ATTEMPT = ("offset", "status")

STRANGE = MAGIC[:1]
"""A byte that UTF-8 never has, and with which every frame begins."""

_GETTERS = {
    (False, False): attrgetter(*RUN),
    (True, False): attrgetter(*RUN, *(f"usage.{name}" for name in USAGE)),
    (False, True): attrgetter(*RUN, *(f"answer.{name}" for name in ANSWER)),
    (True, True): attrgetter(
        *RUN, *(f"usage.{name}" for name in USAGE), *(f"answer.{name}" for name in ANSWER)
    ),
}
"""How the fields are read of a run with or without usage, and with or without an answer."""

_error = attrgetter(*ERROR)


def packed(item: Item) -> bytes | None:
    """Write an item down; None when that cannot be done, and for a whole tree."""
    if isinstance(item, Run):
        try:
            data = _packed(item)
        except (TypeError, ValueError, AttributeError, RecursionError):
            data = STRANGE  # the codec knows what to put in the place of what JSON cannot hold
        if data.find(STRANGE) < 0:  # where a frame begins must be found after damage
            return data
    elif isinstance(item, Trace):
        return None
    with guard("write an item down"):
        return codec.encode(item)
    return None


def _packed(run: Run) -> bytes:
    answer, error, has_usage = run.answer, run.error, run.usage is not None
    given, output, params = run.input, run.output, run.params
    attempts: list[Any] | None = None
    logprobs: Snapshot | None = None
    if answer is not None:
        attempts = [(each.offset, each.status) for each in answer.attempts]
        logprobs = answer.logprobs
    head = (
        LAYOUT,
        has_usage,
        attempts,
        None if error is None else _error(error),
        None if given is None else len(given),
        None if output is None else len(output),
        None if params is None else len(params),
        None if logprobs is None else len(logprobs),
        _GETTERS[has_usage, answer is not None](run),
    )
    line = orjson.dumps(head, option=orjson.OPT_APPEND_NEWLINE)
    return b"".join((line, given or b"", output or b"", params or b"", logprobs or b""))


def unpacked(data: bytes) -> codec.Storable:
    """
    Read what `packed` wrote.

    Raises:
        ValueError: It is nothing that `packed` wrote.
    """
    if not data.startswith(b"["):
        return codec.decode(data)
    head, _, texts = data.partition(b"\n")
    try:
        return _unpacked(orjson.loads(head), texts)
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise ValueError(f"this is no run: {type(error).__name__}") from error


def _unpacked(head: list[Any], texts: bytes) -> Run:
    layout, has_usage, attempts, error, *sizes, row = head
    if layout != LAYOUT:
        raise ValueError(f"this is a run of layout {layout!r}")
    values = iter(row)
    fields = {name: next(values) for name in RUN}
    fields["started_at"] = datetime.fromisoformat(fields["started_at"])
    fields["tags"] = tuple(fields["tags"])
    usage = Usage(**{name: next(values) for name in USAGE}) if has_usage else None
    known = {} if attempts is None else {name: next(values) for name in ANSWER}
    parts = {name: known if name == "logprobs" else fields for name in TEXTS}
    for name, size in zip(TEXTS, sizes, strict=True):
        parts[name][name] = None if size is None else Snapshot(texts[:size])
        texts = texts[size or 0 :]
    return Run(
        **fields,
        usage=usage,
        answer=None if attempts is None else _answer(known, attempts),
        error=None if error is None else Error(*error),
    )


def _answer(known: dict[str, Any], attempts: list[Any]) -> Answer:
    known["finish_reasons"] = tuple(known["finish_reasons"])
    return Answer(**known, attempts=tuple(Attempt(*each) for each in attempts))
