"""
HoneyHive: one event for each ended run, in the session of its conversation or of its trace.

Every event carries its session's id. The first events of a session go out by themselves, with
`is_single_session` and the session's name, source and user, which starts it; later ones share their
batches with other sessions. Feedback is an update of the event that it is about. A status 500 that
names `event_ids` has stored those: only the others are sent again.
"""

from __future__ import annotations

import uuid
from collections import Counter, OrderedDict
from collections.abc import Container, Mapping, Sequence
from typing import Literal, TypeAlias, final, get_args

import orjson

from ..cost import Price, cost_of
from ..run import JSON, ConfigError, Feedback, Item, Kind, Run
from ._access import PLAIN, checked_key, checked_url
from ._base import Encoded, Environment, Limits, Request, Response, Verdict
from ._text import body, finish_reason, known, load, messages, milliseconds, token_counts

ENV = ("HH_API_KEY",)
ORIGIN = "https://api.honeyhive.ai"
DEFAULT_PROJECT = "default"
DEFAULT_SOURCE = "production"

Routes: TypeAlias = Literal["legacy", "v1"]
Fields: TypeAlias = "dict[str, JSON]"

BATCH: Mapping[Routes, str] = {"legacy": "/events/batch", "v1": "/v1/events/batch"}
UPDATE: Mapping[Routes, str] = {"legacy": "/events", "v1": "/v1/events"}
SINGLE: Mapping[Routes, str] = {"legacy": "is_single_session", "v1": "single_session"}

MAX_SESSIONS = 10_000
"""Sessions that are known to be started; an older one is started again, under the same id."""

MAX_RESENDS = 3
"""How often an event is sent again that was missing while others of its batch were stored."""

NO_SUCH_EVENT = frozenset({404, 409})
"""What an update is answered when the server does not have the event."""

NAMESPACE = uuid.UUID("3f0c2b52-6a0e-5c0b-9a54-0f6a51e5b7d1")
"""What session ids are derived in, from threads and traces."""

TYPES: Mapping[Kind, str] = {
    "llm": "model",
    "embedding": "model",
    "tool": "tool",
    "retriever": "tool",
    "chain": "chain",
    "agent": "chain",
    "chat": "chain",
    "convo": "chain",
}

INPUT_NAMES: Mapping[Kind, str] = {"retriever": "query"}
OUTPUT_NAMES: Mapping[Kind, str] = {"retriever": "documents", "tool": "result"}
"""What a value is called that is no object, by the kind of its run; else `input` and `output`."""

NO_HYPERPARAMETERS = frozenset(
    {"tools", "functions", "stream", "stream_options", "user", "safety_identifier", "metadata"}
)
"""Parameters of a request that say nothing about how the model is to answer."""

PARTIAL = {
    "closed": "stream closed by the caller",
    "cancelled": "stream cancelled by the caller",
    "abandoned": "stream abandoned by the caller",
    "never_read": "stream never read by the caller",
    "truncated": "stream broken off",
}


def from_env(env: Environment) -> HoneyHive:
    """Make the exporter from `HH_API_KEY`, `HH_API_URL` (an origin), `HH_PROJECT`, `HH_SOURCE`."""
    return HoneyHive(
        env.get("HH_API_KEY"),
        env.get("HH_API_URL") or ORIGIN,
        project=env.get("HH_PROJECT") or DEFAULT_PROJECT,
        source=env.get("HH_SOURCE") or DEFAULT_SOURCE,
    )


@final
class HoneyHive:
    """
    Turn ended runs into events, and feedback into updates of them.

    Args:
        url: Origin of the API.
        project: What the older servers file events under; today's take the project from the key.
        source: The environment: `production`, `staging`, ...
        routes: `legacy` for `/events/batch`, which every server has, or `v1`.
        cost: What a run cost, where that is known; None leaves costs out.

    Raises:
        ConfigError: There is no key, or one of the arguments cannot be used.
    """

    name = "honeyhive"
    limits = Limits()
    whole_traces = False

    def __init__(
        self,
        api_key: str | None,
        url: str = ORIGIN,
        *,
        project: str = DEFAULT_PROJECT,
        source: str = DEFAULT_SOURCE,
        routes: Routes = "legacy",
        cost: Price | None = cost_of,
    ) -> None:
        if routes not in get_args(Routes):
            raise ConfigError(f"routes is {routes!r}: use 'legacy' or 'v1'")
        self._url = checked_url(url, "HH_API_URL")
        self._headers = {
            "Authorization": f"Bearer {checked_key(api_key, 'HH_API_KEY')}",
            **PLAIN,
        }
        self._routes: Routes = routes
        self._cost = cost
        self._where: Fields = {"source": source}
        if routes == "legacy":  # the v1 contract refuses a project
            self._where = {"project": project, "source": source}
        self._started: OrderedDict[str, None] = OrderedDict()
        self._missed: Counter[str] = Counter()

    def wants(self, item: Item) -> bool:
        """Take ended runs and feedback."""
        return isinstance(item, Feedback) or (isinstance(item, Run) and item.duration is not None)

    def encode(self, items: Sequence[Item], started: Container[str]) -> Encoded:
        """Write a batch for each session that is new, one for all others, then each feedback."""
        runs = [item for item in items if isinstance(item, Run)]
        groups: dict[str | None, list[Run]] = {}
        for run in runs:
            session = session_of(run)
            groups.setdefault(None if session in self._started else session, []).append(run)
        requests = [self._batch(session, of) for session, of in groups.items()]
        feedback = [item for item in items if isinstance(item, Feedback)]
        requests += [self._update(item) for item in feedback if said(item)]
        unsaid = sum(not said(item) for item in feedback)
        return Encoded(requests, Counter({"not_expressible": unsaid} if unsaid else {}))

    def _batch(self, new_session: str | None, runs: Sequence[Run]) -> Request:
        # Parents began before their children, or with them and took longer.
        ordered = sorted(runs, key=lambda run: (run.started_at, -(run.duration or 0.0)))
        children = children_of(ordered)
        events: list[JSON] = [
            {
                **self._where,
                **event(run, self._cost),
                **known(children_ids=children.get(run.id)),
            }
            for run in ordered
        ]
        fields: Fields = {"events": events}
        if new_session is not None:
            fields[SINGLE[self._routes]] = True
            source = self._where["source"]
            fields["session_properties"] = {
                **session_fields(new_session, ordered),
                "source": source,
            }
        return Request(self._url + BATCH[self._routes], body(fields), ordered, self._headers)

    def _update(self, item: Feedback) -> Request:
        path, fields = UPDATE[self._routes], feedback_fields(item)
        if self._routes == "legacy":
            fields = {"event_id": item.run_id, **fields}
        else:
            path = f"{path}/{item.run_id}"
        return Request(self._url + path, body(fields), [item], self._headers, "PUT")

    def verdict(self, request: Request, response: Response) -> Verdict | None:
        """Remember sessions that have events; after a 500, find the events that are stored."""
        if request.method == "PUT":
            gone = response.status in NO_SUCH_EVENT
            return Verdict(0, Counter({"unknown_run": len(request.items)})) if gone else None
        if 200 <= response.status < 300 and not response.is_page:
            self._remember(request.items)
            return None
        ids = stored_ids(response.body) if response.status == 500 else None
        return None if ids is None else self._half_stored(request.items, ids)

    def _half_stored(self, items: Sequence[Item], ids: Container[str]) -> Verdict | None:
        """
        Send again what is missing, a few times.

        A batch of which nothing is stored says more of the server than of the events, so it is left
        to the lane; but an event that is missing again and again would hold up all others.
        """
        missing = [item for item in items if isinstance(item, Run) and item.id not in ids]
        if len(missing) == len(items) and not all(item.id in self._missed for item in missing):
            return None
        self._missed.update(item.id for item in missing)
        again = [item for item in missing if self._missed[item.id] <= MAX_RESENDS]
        over = [item for item in items if isinstance(item, Run) and item not in again]
        self._remember(over)
        rejected = len(missing) - len(again)
        return Verdict(len(over) - rejected, +Counter(rejected=rejected), again)

    def _remember(self, items: Sequence[Item]) -> None:
        for run in (item for item in items if isinstance(item, Run)):
            self._started[session_of(run)] = None
            self._missed.pop(run.id, None)
        while len(self._started) > MAX_SESSIONS:
            self._started.popitem(last=False)


def stored_ids(reply: bytes) -> frozenset[str] | None:
    """Read which events a server stored before it failed; None when it does not say."""
    try:
        ids = orjson.loads(reply)["event_ids"]
    except (ValueError, TypeError, KeyError):
        return None
    return frozenset(map(str, ids)) if isinstance(ids, list) else None


def session_of(run: Run) -> str:
    """
    Find the session of a run: a bound `session_id`, else its thread's, else its trace's.

    Ids must be UUIDs; from what is none, one is derived, the same each time. A trace's own id is the
    id of its root's event, so its session has a derived one, too.
    """
    for bound in (run.metadata.get("session_id"), run.thread_id):
        if isinstance(bound, str) and bound:
            return canonical(bound) or str(uuid.uuid5(NAMESPACE, bound))
    return str(uuid.uuid5(NAMESPACE, run.trace_id))


def canonical(text: str) -> str | None:
    """Write a UUID in its one form, or None for what is none."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def session_fields(session_id: str, runs: Sequence[Run]) -> Fields:
    """Describe a session by the first runs of it, which are in the order of their beginning."""
    earliest = runs[0]
    users = (user_of(run) for run in runs)
    thread = earliest.thread_id
    return known(
        session_id=session_id,
        session_name=thread or earliest.name,
        start_time=milliseconds(earliest.started_at),
        user_properties=next((user for user in users if user), None),
        metadata={"thread_id": thread} if thread else None,
    )


def children_of(runs: Sequence[Run]) -> dict[str, list[JSON]]:
    """Find the children of each run among *runs*, in the order of their beginning."""
    found: dict[str, list[JSON]] = {}
    for run in runs:
        if run.parent_id is not None:
            found.setdefault(run.parent_id, []).append(run.id)
    return found


def event(run: Run, price: Price | None) -> Fields:
    """Write an ended run."""
    session = session_of(run)
    cost = None if price is None else price(run)
    start, duration = milliseconds(run.started_at), round((run.duration or 0.0) * 1000)
    return {
        "event_name": event_name(run),
        "event_type": TYPES[run.kind],
        "event_id": run.id,
        "session_id": session,
        "parent_id": run.parent_id or session,
        "config": config(run),
        "inputs": inputs(run),
        "outputs": outputs(run),
        "error": error_text(run),
        "start_time": start,
        "end_time": start + duration,
        "duration": duration,
        "metadata": {
            **metadata(run, session),
            **known(cost=None if cost is None else float(cost)),
        },
        **known(user_properties=user_of(run)),
    }


def event_name(run: Run) -> str:
    """Name a model call by its provider's call, and anything else as it is called."""
    provider = None if run.answer is None else run.answer.provider
    return f"{provider}.chat.completions" if provider and run.kind == "llm" else run.name


def config(run: Run) -> Fields:
    """Describe the model and how it was asked to answer."""
    if TYPES[run.kind] != "model":
        return {}
    values = load(run.params)
    params = values if isinstance(values, dict) else {}
    hyper = {name: value for name, value in params.items() if name not in NO_HYPERPARAMETERS}
    return known(
        provider=None if run.answer is None else run.answer.provider,
        model=run.name,
        type="chat" if run.kind == "llm" else "embedding",
        hyperparameters=hyper or None,
        tools=params.get("tools") or params.get("functions"),
    )


def inputs(run: Run) -> Fields:
    """Write the input as the object that it must be: messages as `chat_history`."""
    value = load(run.input)
    if value is None:
        return {}
    if run.kind == "llm":
        history: list[JSON] = [dict(each) for each in messages(value)]
        return {"chat_history": history or [{"role": "user", "content": value}]}
    return value if isinstance(value, dict) else {INPUT_NAMES.get(run.kind, "input"): value}


def outputs(run: Run) -> Fields:
    """Write the output as an object: the answer's message, all of them under `choices`."""
    value = load(run.output)
    if value is None:
        return {}
    if run.kind == "llm":
        return answer(run, value)
    return value if isinstance(value, dict) else {OUTPUT_NAMES.get(run.kind, "output"): value}


def answer(run: Run, value: JSON) -> Fields:
    """Write a model's answer, why it ended included."""
    found = messages(value) or [{"role": "assistant", "content": value}]
    shown: Fields = dict(found[0])
    if len(found) > 1:
        choices: list[JSON] = [dict(each) for each in found]
        shown["choices"] = choices
    return {**shown, **known(finish_reason=finish_reason(run))}


def error_text(run: Run) -> str | None:
    """Say what went wrong, an answer that is not whole included; None when nothing did."""
    if run.error is not None:
        return run.error.message
    return PARTIAL.get(run.partial, f"stream ended early: {run.partial}") if run.partial else None


def metadata(run: Run, session: str) -> Fields:
    """Return what the application bound, and what is known beside the answer."""
    found = run.answer
    first = None if found is None else found.time_to_first_token
    thread = None if run.thread_id == session else run.thread_id
    return {
        **{name: value for name, value in run.metadata.items() if name != "session_id"},
        **known(
            tags=list(run.tags) or None,
            thread_id=thread,
            **token_counts(run.usage),
            response_model=None if found is None else found.model,
            stream=True if found is not None and found.stream else None,
            time_to_first_token_ms=None if first is None else round(first * 1000),
            incomplete=True if run.partial else None,
            error_type=None if run.error is None else run.error.type,
            status=None if run.error is None else run.error.status,
        ),
    }


def user_of(run: Run) -> Fields | None:
    """Return the user's id and what else was bound about the user."""
    user = {**(run.user_props or {}), **known(user_id=run.user_id)}
    return user or None


def said(item: Feedback) -> bool:
    """Say whether a feedback has anything to tell."""
    return (item.thumb, item.score, item.comment) != (None, None, None)


def feedback_fields(item: Feedback) -> Fields:
    """Write what somebody thought; a score is a metric as well, so that it can be charted."""
    words = known(thumb=item.thumb, score=item.score, comment=item.comment, user_id=item.user_id)
    return {
        "feedback": words,
        **known(metrics=None if item.score is None else {"score": item.score}),
    }
