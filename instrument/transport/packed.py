"""
Items as they lie in the spool: what `codec.decode` reads, written in half of `codec.encode`'s time.

The fields stand here by name, because to read them one by one from a list of names costs more than
all the rest; a test sees to it that none is missing. What is absent is null here.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson

from .. import codec
from ..guard import guard
from ..run import Answer, Item, Run, Trace, Usage


def packed(item: Item) -> bytes | None:
    """Write an item down; None when that cannot be done, and for a whole tree."""
    if isinstance(item, Trace):
        return None
    with guard("write an item down"):
        if isinstance(item, Run):
            try:
                return orjson.dumps(_run(item))
            except (TypeError, ValueError, RecursionError):
                pass  # JSON cannot hold it as it is: the codec knows what to put in its place
        return codec.encode(item)
    return None


def _run(run: Run) -> dict[str, Any]:
    return {
        "type": "run",
        "id": run.id,
        "trace_id": run.trace_id,
        "parent_id": run.parent_id,
        "kind": run.kind,
        "name": run.name,
        "started_at": run.started_at,
        "duration": run.duration,
        "input": None if run.input is None else str(run.input, "utf-8"),
        "output": None if run.output is None else str(run.output, "utf-8"),
        "error": None if run.error is None else asdict(run.error),
        "partial": run.partial,
        "usage": None if run.usage is None else _usage(run.usage),
        "params": None if run.params is None else str(run.params, "utf-8"),
        "answer": None if run.answer is None else _answer(run.answer),
        "user_id": run.user_id,
        "user_props": run.user_props,
        "thread_id": run.thread_id,
        "tags": run.tags,
        "metadata": run.metadata,
    }


def _usage(usage: Usage) -> dict[str, int | None]:
    return {
        "prompt": usage.prompt,
        "completion": usage.completion,
        "total": usage.total,
        "cached": usage.cached,
        "reasoning": usage.reasoning,
        "audio_in": usage.audio_in,
        "audio_out": usage.audio_out,
    }


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "provider": answer.provider,
        "model": answer.model,
        "finish_reasons": answer.finish_reasons,
        "stream": answer.stream,
        "response_id": answer.response_id,
        "request_id": answer.request_id,
        "system_fingerprint": answer.system_fingerprint,
        "service_tier": answer.service_tier,
        "time_to_first_token": answer.time_to_first_token,
        "processing_ms": answer.processing_ms,
        "rate_limits": answer.rate_limits,
        "attempts": [{"offset": each.offset, "status": each.status} for each in answer.attempts],
        "logprobs": None if answer.logprobs is None else str(answer.logprobs, "utf-8"),
    }
