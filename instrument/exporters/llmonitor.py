"""
LLMonitor, now called Lunary: start, end, error and feedback events, by either of its two routes.

With an app id, `POST {LLMONITOR_API_URL}/api/v1/report`: no credentials, the id stands in every
event. With a key, `POST {LUNARY_API_URL}/v1/runs/ingest`. The events are the same.

The server sorts a batch by its milliseconds, keeping the order sent within one. It waits 5 s for a
parent that it has not seen, then forgets the link, and it loses an end that comes before its start:
so the order and the timestamps made here never give it either.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, final

import orjson

from ..guard import notices
from ..run import Answer, ConfigError, Error, Feedback, Item, Kind, Run, Snapshot, Usage
from ..snapshot import clean, shorten, snapshot
from ._access import checked_key, checked_url
from ._base import Encoded, Environment, Limits, Request, Response, Verdict
from ._text import EPOCH, MILLISECOND, known, milliseconds

ENV = ("LLMONITOR_APP_ID", "LUNARY_PRIVATE_KEY", "LUNARY_PUBLIC_KEY")

REPORT_URL = "https://app.llmonitor.com"
REPORT_PATH = "/api/v1/report"
INGEST_URL = "https://api.lunary.ai"
INGEST_PATH = "/v1/runs/ingest"

MAX_NAME_BYTES = 2_500
"""Size of a name that is kept, in bytes; the server's index refuses a run over about 2.7 KB."""

MAX_COMMENT_BYTES = 2_000
"""Size of a feedback's comment that is kept, in bytes, for the same reason."""

MAX_ERROR_OUTPUT_BYTES = 2_000
"""Size of what is kept in an error of the answer that had come before it, in bytes of JSON."""

_PATHS = (REPORT_PATH, "/api/report", INGEST_PATH)
_TYPES: Mapping[Kind, str] = {"embedding": "embed"}
_MAX_TOKENS = 2**31 - 1

_DELIVERED = ("already exists", "run_pkey")
_REFUSALS = (
    ("type uuid", "bad_id"),
    ("Unicode escape", "bad_text"),
    ("type json", "bad_text"),
    ("not-null", "missing_field"),
    ("type integer", "bad_number"),
    ("index row", "too_large"),
)
"""What a refusal says, and the reason that it is counted under; `refused` for any other."""

_Fields: TypeAlias = "dict[str, Any]"  # the values are what orjson writes: JSON and fragments of it
_Outcomes: TypeAlias = "dict[tuple[str, str], str | None]"  # (run, event): why it was refused


def from_env(env: Environment) -> LLMonitor:
    """
    Make the exporter for the key that is set: private before public before app id.

    Raises:
        ConfigError: No key is set, or one of them or the URL cannot be right.
    """
    key = env.get("LUNARY_PRIVATE_KEY") or env.get("LUNARY_PUBLIC_KEY")
    lunary, llmonitor = env.get("LUNARY_API_URL"), env.get("LLMONITOR_API_URL")
    # Whoever runs a server of their own and names it once never meant the hosted one.
    url = (lunary or llmonitor) if key else (llmonitor or lunary)
    return LLMonitor(env.get("LLMONITOR_APP_ID"), key=key, url=url)


@final
class LLMonitor:
    """
    Send runs and feedback to LLMonitor or Lunary.

    Args:
        app_id: The project's id, for the report route.
        key: The project's private or public key, for the ingestion route; it wins over *app_id*.
        url: Origin of a server of your own; None means the hosted one.

    Raises:
        ConfigError: Neither an app id nor a key was given, or one of the three cannot be right.
    """

    name = "llmonitor"
    limits = Limits()
    whole_traces = False

    def __init__(
        self, app_id: str | None = None, *, key: str | None = None, url: str | None = None
    ) -> None:
        secret, app = (key or "").strip(), (app_id or "").strip()
        if not secret and not app:
            raise ConfigError("set LLMONITOR_APP_ID to the project's id, or LUNARY_PUBLIC_KEY")
        self._headers: Mapping[str, str] = {}
        self._every: _Fields = {}
        if secret:
            secret = checked_key(secret, "LUNARY_PRIVATE_KEY / LUNARY_PUBLIC_KEY")
            self._headers = {"Authorization": f"Bearer {secret}"}
            self._url = route(checked_url(url or INGEST_URL, "LUNARY_API_URL"), INGEST_PATH)
        else:
            self._every = {"app": clean(app)}
            self._url = route(checked_url(url or REPORT_URL, "LLMONITOR_API_URL"), REPORT_PATH)
            warn_of_app_id(app)

    def wants(self, item: Item) -> bool:
        """Take runs, open and ended, and feedback."""
        return isinstance(item, (Run, Feedback))

    def encode(self, items: Sequence[Item], started: Container[str]) -> Encoded:
        """Turn items into one request, in the order in which the server can follow them."""
        if not items:
            return Encoded(())
        events = [{**event, **self._every} for event in arrange(items, started)]
        body = scrub(orjson.dumps({"events": events}))
        return Encoded((Request(self._url, body, items, self._headers),))

    def verdict(self, request: Request, response: Response) -> Verdict | None:
        """Read the result of each event in a 200, whichever of its three shapes that has."""
        if response.status != 200 or response.is_page:
            return None
        results = read_results(response.body)
        if not any(map(refusal, results)):
            return Verdict(len(request.items))
        outcomes = match(orjson.loads(request.body)["events"], results)
        dropped = Counter(filter(None, (outcome(item, outcomes) for item in request.items)))
        return Verdict(len(request.items) - dropped.total(), dropped)


def route(base: str, path: str) -> str:
    """Join an origin and *path*; a path of this server's that was given with it is put right."""
    if path == REPORT_PATH and base.endswith("/api/report"):
        return base  # the report route of a self-hosted backend, which has no other
    for known_path in _PATHS:
        base = base.removesuffix(known_path).rstrip("/")
    return base + path


def warn_of_app_id(app_id: str) -> None:
    """Say that today's servers know only UUIDs; the first ones did not, so it may be right."""
    try:
        uuid.UUID(app_id)
    except ValueError:
        notices.say(
            "llmonitor app id",
            "LLMONITOR_APP_ID is not a UUID: copy the project's id from its settings page "
            "(a server since 2024 refuses any other with status 402)",
        )


# ------------------------------------------------------------------------------------ the order


def arrange(items: Sequence[Item], started: Container[str]) -> Iterator[_Fields]:
    """
    Give the events of *items* in order: parent before child, start before end, times never falling.

    A run whose start the server has gives its end alone; one that it does not know gives both. A
    parent that the server neither has nor gets here is left out: waiting would not bring it.
    """
    runs = latest_runs(items)
    begun = beginnings(runs)
    opened = {item.id for item in items if isinstance(item, Run) and item.duration is None}
    placed: list[tuple[tuple[int, int, int], _Fields]] = []
    for run in runs.values():
        if run.id in opened or run.id not in started:
            ms, depth = begun[run.id]
            placed.append(((ms, 0, depth), start_event(run)))
    for item in items:
        if isinstance(item, Run) and item.ended_at is not None:
            ms, depth = begun[item.id]
            placed.append(((max(ms, milliseconds(item.ended_at)), 1, -depth), end_event(item)))
        elif isinstance(item, Feedback):
            ms, _ = begun.get(item.run_id, (0, 0))
            placed.append(((max(ms, milliseconds(item.at)), 2, 0), feedback_event(item, runs)))
    placed.sort(key=lambda pair: pair[0])
    for (ms, _, _), event in placed:
        parent = event.get("parentRunId")
        if parent is not None and parent not in runs and parent not in started:
            del event["parentRunId"]
        event["timestamp"] = iso(ms)
        yield event


def latest_runs(items: Sequence[Item]) -> dict[str, Run]:
    """Keep one of each run, the ended one if it is there, because it says more."""
    runs: dict[str, Run] = {}
    for item in items:
        if isinstance(item, Run) and (item.id not in runs or item.duration is not None):
            runs[item.id] = item
    return runs


def beginnings(runs: Mapping[str, Run]) -> dict[str, tuple[int, int]]:
    """Say when each run begins, in ms and never before its parent, and how deep it stands."""
    begun: dict[str, tuple[int, int]] = {}
    for run in runs.values():
        path: list[Run] = []
        node: Run | None = run
        while node is not None and node.id not in begun:
            begun[node.id] = (milliseconds(node.started_at), 0)
            path.append(node)
            node = runs.get(node.parent_id or "")
        for node in reversed(path):
            ms, depth = begun.get(node.parent_id or "", (0, -1))
            begun[node.id] = (max(ms, milliseconds(node.started_at)), depth + 1)
    return begun


def iso(ms: int) -> str:
    """Write a time as ISO 8601 in UTC, with milliseconds and `Z`."""
    return (EPOCH + ms * MILLISECOND).isoformat(timespec="milliseconds")[:-6] + "Z"


# ----------------------------------------------------------------------------------- the events


def head(run: Run, event: str) -> _Fields:
    """Say what every event of a run says, but for its timestamp."""
    fields: _Fields = {"type": _TYPES.get(run.kind, run.kind), "event": event, "runId": run.id}
    if run.parent_id:
        fields["parentRunId"] = run.parent_id
    if run.user_id:
        fields["userId"] = clean(run.user_id)
        if run.user_props is not None:
            fields["userProps"] = embed(run.user_props)
    return fields


def start_event(run: Run) -> _Fields:
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


def end_event(run: Run) -> _Fields:
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


def feedback_event(item: Feedback, runs: Mapping[str, Run]) -> _Fields:
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


def error_fields(error: Error, output: Snapshot | None) -> _Fields:
    """Describe an error, and the beginning of the answer that had come before it."""
    fields: _Fields = {"message": clean(error.message), "type": clean(error.type)}
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


def tokens_usage(usage: Usage | None) -> _Fields:
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


def facts(run: Run) -> _Fields:
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


def bound_metadata(run: Run) -> _Fields:
    """Give what the application bound to a run, as far as the server keeps it, and its thread."""
    kept = {name: value for name, value in run.metadata.items() if _keepable(value)}
    return {**kept, "thread_id": run.thread_id} if run.thread_id else kept


def _keepable(value: object) -> bool:
    if isinstance(value, list):
        return all(not isinstance(item, list) and _keepable(item) for item in value)
    if isinstance(value, float):
        return value - value == 0  # neither infinite nor "not a number", which JSON has no word for
    return isinstance(value, (str, int, bool))


# ------------------------------------------------------------------------------------- the text


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


# ------------------------------------------------------------------------------------ the reply


def read_results(body: bytes) -> list[_Fields]:
    """Read the results of a 200, a list under `results` or bare; an empty reply has none."""
    try:
        reply = orjson.loads(body)
    except ValueError:
        return []
    if isinstance(reply, dict):
        reply = reply.get("results")
    if not isinstance(reply, list):
        return []
    return [result for result in reply if isinstance(result, dict)]


def refusal(result: _Fields) -> str | None:
    """Say why an event was refused, in a word; a start that the server has already was not."""
    if result.get("success") is not False:
        return None
    said = str(result.get("error"))
    if any(words in said for words in _DELIVERED):
        return None
    return next((reason for words, reason in _REFUSALS if words in said), "refused")


def match(events: Sequence[_Fields], results: Sequence[_Fields]) -> _Outcomes:
    """Give each event its result: the next one with its id, else the one in its place."""
    by_id: defaultdict[str, deque[_Fields]] = defaultdict(deque)
    for result in results:
        by_id[str(result.get("id"))].append(result)
    in_place = len(events) == len(results)
    outcomes: _Outcomes = {}
    for number, event in enumerate(events):
        run_id, result = event["runId"], results[number] if in_place else {}
        if by_id[run_id]:
            result = by_id[run_id].popleft()
        key = (run_id, event["event"])
        outcomes[key] = refusal(result) or outcomes.get(key)
    return outcomes


def outcome(item: Item, outcomes: _Outcomes) -> str | None:
    """Say why an item was not stored; without its start an end is lost, whatever its result."""
    if not isinstance(item, Run):
        return outcomes.get((item.run_id, "feedback")) if isinstance(item, Feedback) else None
    begun = outcomes.get((item.id, "start"))
    if item.duration is None or begun:
        return begun
    return outcomes.get((item.id, "end")) or outcomes.get((item.id, "error"))
