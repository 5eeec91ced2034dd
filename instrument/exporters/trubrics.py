"""
Trubrics: prompts with their answers, and what users did.

Each ended llm run becomes an LLM event, a failed one a plain event `LLM error`, a feedback a plain
event `Feedback`. Both routes take at most 100 in one request and nothing without a user id, because
the server makes its sessions of a user's events: one placeholder would merge everybody into one.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from ..cost import Price, cost_of
from ..identity import say_no_user
from ..run import JSON, ConfigError, Exchange, Feedback, Item, Run, Trace, UserEvent
from ._access import PLAIN, checked_key, checked_url
from ._base import Encoded, Environment, Limits, Request, Response, Verdict
from ._text import (
    answered,
    asked,
    body,
    finish_reason,
    iso,
    known,
    only_calls,
    seconds,
    token_counts,
)

ENV = ("TRUBRICS_API_KEY",)
HOST = "https://app.trubrics.com/api/ingestion"
MAX_ITEMS = 100
"""Events in one request; the server's own limit."""

MAX_USERS = 20_000
"""Runs and traces whose user is known still when a feedback on them names none."""

ERROR_EVENT = "LLM error"
FEEDBACK_EVENT = "Feedback"

Runs: TypeAlias = Literal["all", "answers"]
Route: TypeAlias = Literal["publish_events", "publish_llm_events"]
Event: TypeAlias = "dict[str, JSON]"
Told: TypeAlias = "tuple[Route, Event]"


def from_env(env: Environment) -> Trubrics:
    """Make the exporter from `TRUBRICS_API_KEY` and `TRUBRICS_HOST`."""
    return Trubrics(env.get("TRUBRICS_API_KEY"), env.get("TRUBRICS_HOST") or HOST)


class Trubrics:
    """
    Turn runs into LLM events, and what users did into plain events.

    Args:
        host: The whole prefix, up to and including `/api/ingestion`.
        runs: `all` for every llm run, or `answers` for the one that answers the user: the last llm
            run of each tree, turns that only call tools left out.
        max_items: Events in one request, 1 to 100.
        cost: What a run cost, where that is known; None leaves costs out.

    Raises:
        ConfigError: There is no key, or one of the arguments cannot be used.
    """

    name = "trubrics"

    def __init__(
        self,
        api_key: str | None,
        host: str = HOST,
        *,
        runs: Runs = "all",
        max_items: int = MAX_ITEMS,
        cost: Price | None = cost_of,
    ) -> None:
        if runs not in get_args(Runs):
            raise ConfigError(f"runs is {runs!r}: use 'all' or 'answers'")
        self._host = checked_url(host, "TRUBRICS_HOST")
        self._headers = {"x-api-key": checked_key(api_key, "TRUBRICS_API_KEY"), **PLAIN}
        self.whole_traces = runs == "answers"
        self.limits = Limits(max_items=max_items)
        self._cost = cost
        self._users: OrderedDict[str, str] = OrderedDict()

    def wants(self, item: Item) -> bool:
        """Take ended llm runs (or trees that have one), feedback and what users did."""
        if isinstance(item, Run):
            return not self.whole_traces and item.kind == "llm" and item.duration is not None
        if isinstance(item, Trace):
            return self.whole_traces and any(run.kind == "llm" for run in item.runs)
        return True

    def encode(self, items: Sequence[Item], started: Container[str]) -> Encoded:
        """Write one request for each of the two routes that has something to say."""
        told: dict[Route, list[tuple[Item, Event]]] = {}
        dropped: Counter[str] = Counter()
        for item in items:
            run = answer_of(item) if isinstance(item, Trace) else item
            user = None if run is None else self._user_of(run)
            if run is None:
                dropped["not_expressible"] += 1
            elif not user:
                dropped["no_user"] += 1
                say_no_user(self.name)
            else:
                route, event = WRITERS[type(run)](run)
                told.setdefault(route, []).append(
                    (item, {**self._priced(run, event), "user_id": user})
                )
        requests = [
            self._request(route, pairs[at : at + self.limits.max_items])
            for route, pairs in told.items()
            for at in range(0, len(pairs), self.limits.max_items)
        ]
        return Encoded(requests, dropped)

    def _priced(self, item: Item, event: Event) -> Event:
        """Add what a run cost to its properties, where that is known."""
        properties = event.get("properties")
        if self._cost is None or not isinstance(item, Run) or not isinstance(properties, dict):
            return event
        cost = self._cost(item)
        return (
            event if cost is None else {**event, "properties": {**properties, "cost": float(cost)}}
        )

    def _user_of(self, item: Run | Feedback | UserEvent | Exchange) -> str | None:
        """Find the user: the item's own; of a feedback that names none, the run's."""
        if isinstance(item, Feedback):
            return item.user_id or self._users.get(item.run_id)
        if isinstance(item, Run) and item.user_id:
            self._users[item.id] = self._users[item.trace_id] = item.user_id
            while len(self._users) > MAX_USERS:
                self._users.popitem(last=False)
        return item.user_id

    def _request(self, route: Route, pairs: Sequence[tuple[Item, Event]]) -> Request:
        return Request(
            url=f"{self._host}/{route}",
            headers=self._headers,
            body=body([event for _, event in pairs]),
            items=[item for item, _ in pairs],
        )

    def verdict(self, request: Request, response: Response) -> Verdict | None:
        """Leave it to the lane: this server says nothing about single events."""
        return None


def answer_of(trace: Trace) -> Run | None:
    """Find the run that answers the user: the last llm run that is more than calls of tools."""
    answers = [run for run in trace.runs if run.kind == "llm" and not only_calls(run)]
    return max(answers, key=lambda run: run.ended_at or run.started_at, default=None)


def of_run(run: Run) -> Told:
    """Write an ended llm run: an LLM event, or a plain one when it failed."""
    if run.error is not None:
        return "publish_events", error_event(run)
    event: Event = {
        "user_id": run.user_id,
        "assistant_id": assistant(run),
        "prompt": asked(run),
        "generation": answered(run) or "",
        "timestamp": iso(run.ended_at or run.started_at),
        "latency": seconds(run.duration or 0.0),
        **known(thread_id=run.thread_id),
        "properties": {**said_about(run), **facts(run), **ids(run), **stream_facts(run)},
    }
    return "publish_llm_events", event


def error_event(run: Run) -> Event:
    """Write a failed run; an LLM event would need an answer."""
    assert run.error is not None
    properties: Event = {
        **said_about(run),
        "$text": asked(run),
        **known(**{"$thread_id": run.thread_id}),
        "$assistant_id": assistant(run),
        "error_type": run.error.type,
        "error": run.error.message,
        **known(status=run.error.status),
        "latency(s)": seconds(run.duration or 0.0),
        **ids(run),
    }
    at = iso(run.ended_at or run.started_at)
    return {"user_id": run.user_id, "event": ERROR_EVENT, "timestamp": at, "properties": properties}


def assistant(run: Run) -> str:
    """Name who answered: what the application bound as `assistant_id`, else the model asked."""
    return str(run.metadata.get("assistant_id") or run.name)


def said_about(run: Run) -> Event:
    """Return what the application said about a run: its tags and metadata, below our own facts."""
    said = {name: value for name, value in run.metadata.items() if name != "assistant_id"}
    return {**said, **({"tags": list(run.tags)} if run.tags else {})}


def facts(run: Run) -> Event:
    """Return what the provider said: the model that answered, tokens, why it finished."""
    return known(
        **{"$thread_id": run.thread_id},
        model=None if run.answer is None else run.answer.model,
        **token_counts(run.usage),
        finish_reason=finish_reason(run),
    )


def ids(run: Run) -> Event:
    """Return the ids by which a run is found elsewhere."""
    return known(run_id=run.id, parent_run_id=run.parent_id)


def stream_facts(run: Run) -> Event:
    """Say whether the answer was streamed, when it began, and whether it is the whole of it."""
    answer = run.answer
    first = None if answer is None else answer.time_to_first_token
    return known(
        stream=True if answer is not None and answer.stream else None,
        time_to_first_token=None if first is None else seconds(first),
        incomplete=True if run.partial else None,
    )


def of_exchange(exchange: Exchange) -> Told:
    """Write a prompt and answer with exactly the ten keys of the vendor's client."""
    properties = None if exchange.properties is None else dict(exchange.properties)
    event: Event = {
        "user_id": exchange.user_id,
        "prompt": exchange.prompt,
        "generation": exchange.answer,
        "prompt_event_name": exchange.prompt_event,
        "generation_event_name": exchange.answer_event,
        "assistant_id": exchange.assistant_id,
        "properties": properties,
        "timestamp": iso(exchange.at),
        "latency": exchange.latency,
        "thread_id": exchange.thread_id,
    }
    return "publish_llm_events", event


def of_user_event(event: UserEvent) -> Told:
    """Write what a user did, as it is."""
    properties = {**event.properties, **known(**{"$thread_id": event.thread_id})}
    return "publish_events", {
        "user_id": event.user_id,
        "event": event.name,
        "properties": properties or None,
        "timestamp": iso(event.at),
    }


def of_feedback(feedback: Feedback) -> Told:
    """Write a feedback as a plain event that names the run."""
    properties = known(
        **{"$text": feedback.comment},
        thumb=feedback.thumb,
        score=feedback.score,
        run_id=feedback.run_id,
    )
    return "publish_events", {
        "user_id": feedback.user_id,
        "event": FEEDBACK_EVENT,
        "timestamp": iso(feedback.at),
        "properties": properties,
    }


WRITERS: Mapping[type, Callable[..., Told]] = {
    Run: of_run,
    Exchange: of_exchange,
    UserEvent: of_user_event,
    Feedback: of_feedback,
}
"""How each kind of item is written."""
