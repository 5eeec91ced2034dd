"""What LLMonitor is told of a run: its start, its end or error, and what somebody thought of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import orjson

from ..run import Answer, Error, Feedback, Kind, Run, Snapshot, Usage
from ..snapshot import clean, shorten, snapshot
from ._text import known

MAX_NAME_BYTES = 2_500
"""Size of a name that is kept, in bytes; the server's index refuses a run over about 2.7 KB."""

MAX_COMMENT_BYTES = 2_000
"""Size of a feedback's comment that is kept, in bytes, for the same reason."""

MAX_ERROR_OUTPUT_BYTES = 2_000
"""Size of what is kept in an error of the answer that had come before it, in bytes of JSON."""

_TYPES: Mapping[Kind, str] = {"embedding": "embed"}
_MAX_TOKENS = 2**31 - 1

Fields: TypeAlias = "dict[str, Any]"
"""An event or a part of one; the values are what orjson writes: JSON and fragments of it."""


def head(run: Run, event: str) -> Fields:
    """Say what every event of a run says, but for its timestamp."""
    fields: Fields = {"type": _TYPES.get(run.kind, run.kind), "event": event, "runId": run.id}
    if run.parent_id:
        fields["parentRunId"] = run.parent_id
    if run.user_id:
        fields["userId"] = clean(run.user_id)
        if run.user_props is not None:
            fields["userProps"] = embed(run.user_props)
    return fields


def start_event(run: Run) -> Fields:
    """Say that a run has begun, and with what."""
    fields = head(run, "start")
    fields["name"] = cut(run.name, MAX_NAME_BYTES)
    if run.input:
        fields["input"] = content(run.input)
    if run.params:
        fields["extra"] = orjson.Fragment(run.params)
    if run.tags:
        fields["tags"] = [clean(tag) for tag in run.tags]
    if said := bound_metadata(run):
        fields["metadata"] = embed(said)
    return fields


def end_event(run: Run) -> Fields:
    """Say how a run ended; of a failed one the server keeps the error alone."""
    if run.error is not None:
        return {**head(run, "error"), "error": error_fields(run.error, run.output)}
    fields = head(run, "end")
    if run.output:
        fields["output"] = content(run.output)
    if tokens := tokens_usage(run.usage):
        fields["tokensUsage"] = tokens
    fields["metadata"] = embed({**bound_metadata(run), **facts(run)})
    return fields


def feedback_event(item: Feedback, runs: Mapping[str, Run]) -> Fields:
    """
    Say what somebody thought of a run.

    The user stands inside: as `userId` of the event it would erase what the server keeps of that
    user, because a feedback knows no properties to send along.
    """
    run = runs.get(item.run_id)
    said = known(
        thumb=item.thumb,
        comment=cut(item.comment, MAX_COMMENT_BYTES) if item.comment else None,
        score=item.score,
        userId=item.user_id,
    )
    return {
        "type": "llm" if run is None else _TYPES.get(run.kind, run.kind),
        "event": "feedback",
        "runId": item.run_id,
        "feedback": embed(said),
    }


def error_fields(error: Error, output: Snapshot | None) -> Fields:
    """Describe an error, and the beginning of the answer that had come before it."""
    fields: Fields = {"message": clean(error.message), "type": clean(error.type)}
    if error.stack is not None:
        fields["stack"] = clean(error.stack)
    if error.status is not None:
        fields["status"] = error.status
    if output and output != b"null":
        so_far = Snapshot(scrub(output))
        if len(so_far) > MAX_ERROR_OUTPUT_BYTES:
            so_far = shorten(so_far, MAX_ERROR_OUTPUT_BYTES)
        fields["output"] = orjson.Fragment(so_far)
    return fields


def tokens_usage(usage: Usage | None) -> Fields:
    """Give the counts that the provider sent and the server can store, which are 32 bits wide."""
    if usage is None:
        return {}
    counts = {
        "prompt": usage.prompt,
        "completion": usage.completion,
        "promptCached": usage.cached,
        "reasoning": usage.reasoning or None,  # none spent is what a model without reasoning says
    }
    return {name: count for name, count in counts.items() if count is not None and _storable(count)}


def _storable(count: int) -> bool:
    return type(count) is int and 0 <= count <= _MAX_TOKENS


def facts(run: Run) -> Fields:
    """Say what is known about an end beside the answer, as the scalars that the server keeps."""
    answer = run.answer or Answer()
    reasons = answer.finish_reasons
    return known(
        model=answer.model,
        finish_reason=[why or "unknown" for why in reasons] if reasons[1:] else first(reasons),
        response_id=answer.response_id,
        request_id=answer.request_id,
        provider=answer.provider,
        system_fingerprint=answer.system_fingerprint,
        service_tier=answer.service_tier,
        stream=answer.stream,
        time_to_first_token_ms=in_ms(answer.time_to_first_token),
        processing_ms=answer.processing_ms,
        duration_ms=in_ms(run.duration),
        attempts=len(answer.attempts) or None,
        partial=True if run.partial else None,
        partial_reason=run.partial,
    )


def first(reasons: Sequence[str | None]) -> str | None:
    """Give the only finish reason, if there is one."""
    return next(iter(reasons), None)


def in_ms(seconds: float | None) -> float | None:
    """Turn seconds into milliseconds, to the microsecond."""
    return None if seconds is None else round(seconds * 1000, 3)


def bound_metadata(run: Run) -> Fields:
    """Give what the application bound to a run, as far as the server keeps it, and its thread."""
    kept = {name: value for name, value in run.metadata.items() if _keepable(value)}
    return {**kept, "thread_id": run.thread_id} if run.thread_id else kept


def _keepable(value: object) -> bool:
    if isinstance(value, list):
        return all(not isinstance(item, list) and _keepable(item) for item in value)
    if isinstance(value, float):
        return value - value == 0  # neither infinite nor "not a number", which JSON has no word for
    return isinstance(value, (str, int, bool))


def content(data: Snapshot) -> Any:
    """Embed an input or output as it is, but for a bare boolean, which the server cannot store."""
    if data in {b"true", b"false"}:
        return {"value": data == b"true"}
    return orjson.Fragment(data)


def embed(fields: Mapping[str, Any]) -> Any:
    """Write a small object down, whatever the application put into it."""
    return orjson.Fragment(snapshot(dict(fields)))


def cut(text: str, max_bytes: int) -> str:
    """Keep at most *max_bytes* of *text* in UTF-8, and no half of a character."""
    data = clean(text).encode()
    return data[:max_bytes].decode("utf-8", "ignore")


_HARMFUL = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_ESCAPE = re.compile(
    rb"(\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|\\u0000|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def scrub(data: bytes) -> bytes:
    r"""Replace escaped NULs and lone surrogates in a JSON text by U+FFFD; pairs and `\\` stay."""
    if _HARMFUL.search(data) is None:
        return data
    return _ESCAPE.sub(lambda found: found[1] or rb"\ufffd", data)
