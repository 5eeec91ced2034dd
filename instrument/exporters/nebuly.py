"""
Nebuly: one interaction for each tree that ended well, the conversation as the user saw it.

A bare model call goes to `interactions` with its messages; a tree with steps and a conversation to
`trace_interaction` with its llm, retriever and tool traces. The contract has no place for failures,
and takes nothing without a user. A feedback is matched by user, input and output, never by an id,
so the exporter remembers those of what it sent last.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

from ..guard import notices
from ..identity import say_no_user
from ..run import JSON, Feedback, Item, Kind, Run, Trace
from ._access import PLAIN, checked_key, checked_url
from ._base import Encoded, Environment, Limits, Request, Response, Verdict
from ._text import (
    answered,
    asked,
    body,
    documents,
    flat,
    gist,
    iso,
    known,
    load,
    messages,
    only_calls,
)

ENV = ("NEBULY_API_KEY",)
ORIGIN = "https://backend.nebuly.com"
INTERACTIONS = "/event-ingestion/api/v2/events/interactions"
TRACE_INTERACTION = "/event-ingestion/api/v2/events/trace_interaction"
FEEDBACK = "/event-ingestion/api/v1/events/feedback"

MAX_REMEMBERED = 1_000
"""Interactions whose texts are kept for a feedback that may come; the oldest go first."""

MAX_REMEMBERED_CHARS = 4_000_000
"""Characters of those texts, all together."""

NO_SUCH_INTERACTION = frozenset({404, 409})
"""What a feedback is answered when the server finds no interaction with its texts."""

STEPS: frozenset[Kind] = frozenset({"tool", "retriever", "embedding"})
"""Kinds that are no interaction with a user by themselves."""

Fields: TypeAlias = "dict[str, JSON]"


def from_env(env: Environment) -> Nebuly:
    """Make the exporter from `NEBULY_API_KEY` and `NEBULY_ENDPOINT_URL`, an origin."""
    return Nebuly(env.get("NEBULY_API_KEY"), env.get("NEBULY_ENDPOINT_URL") or ORIGIN)


@final
@dataclass(frozen=True, slots=True)
class Turn:
    """What a feedback is matched by: who asked what, and was answered what."""

    user: str
    asked: str
    answered: str


@final
class Nebuly:
    """
    Turn each tree into one interaction, and feedback into actions on it.

    Args:
        url: Origin of the backend; the European region has `https://backend.eu.nebuly.com`.
        anonymize: Whether the server is to take personal data out of the texts.
        tags: Tags of every interaction, beside those that are bound to its runs.

    Raises:
        ConfigError: There is no key, or it or the URL cannot be right.
    """

    name = "nebuly"
    limits = Limits()
    whole_traces = True

    def __init__(
        self,
        api_key: str | None,
        url: str = ORIGIN,
        *,
        anonymize: bool = True,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self._url = checked_url(url, "NEBULY_ENDPOINT_URL")
        self._headers = {
            "Authorization": f"Bearer {checked_key(api_key, 'NEBULY_API_KEY')}",
            **PLAIN,
        }
        self._anonymize = anonymize
        self._tags = dict(tags or {})
        self._sent = Memory()

    def wants(self, item: Item) -> bool:
        """Take trees in which somebody was answered, and feedback."""
        if isinstance(item, Trace):
            return item.root.kind not in STEPS or any(run.kind == "llm" for run in item.runs)
        return isinstance(item, Feedback)

    def encode(self, items: Sequence[Item], started: Container[str]) -> Encoded:
        """Write one request for each item; a feedback needs its interaction to have been seen."""
        requests: list[Request] = []
        dropped: Counter[str] = Counter()
        for item in items:
            made = self._interaction(item) if isinstance(item, Trace) else self._feedback(item)
            if isinstance(made, str):
                dropped[made] += 1
            else:
                path, fields = made
                url = self._url + path
                requests.append(Request(url, body(fields), [item], self._headers))
        return Encoded(requests, dropped)

    def _interaction(self, trace: Trace) -> tuple[str, Fields] | str:
        """Write a tree as an interaction, or say why it cannot be one."""
        user = first(trace, lambda run: run.user_id)
        turn = turn_of(trace, user or "")
        if turn is None:
            return "not_expressible"
        if not user:
            say_no_user(self.name)
            return "no_user"
        self._sent.keep(turn, [run.id for run in trace.runs])
        path, fields = interaction(trace, turn, self._tags)
        return path, {**fields, "anonymize": self._anonymize}

    def _feedback(self, item: Item) -> tuple[str, Fields] | str:
        """Write a feedback, or say why it cannot be sent."""
        assert isinstance(item, Feedback)
        action = action_of(item)
        if action is None:
            return "not_expressible"
        turn = self._sent.turn(item.run_id)
        if turn is None:
            notices.say(
                "feedback for an unknown run",
                "nebuly matches a feedback by the texts of its run, which were not sent or are too "
                "long ago: give it in the process that made the call, among its last %d traces",
                MAX_REMEMBERED,
            )
            return "unknown_run"
        metadata: Fields = {
            "input": turn.asked,
            "output": turn.answered,
            "end_user": turn.user,
            "timestamp": iso(item.at),
            "anonymize": self._anonymize,
        }
        return FEEDBACK, {"action": action, "metadata": metadata}

    def verdict(self, request: Request, response: Response) -> Verdict | None:
        """Leave it to the lane, but for a feedback that the server could not match."""
        if response.status in NO_SUCH_INTERACTION and request.url.endswith(FEEDBACK):
            return Verdict(0, Counter({"unknown_run": len(request.items)}))
        return None


@final
class Memory:
    """The turns that were sent last, by the ids of their runs; bounded by number and by size."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, tuple[Turn, Sequence[str]]] = OrderedDict()
        self._roots: dict[str, str] = {}
        self._chars = 0

    def keep(self, turn: Turn, run_ids: Sequence[str]) -> None:
        """Remember a turn under its runs' ids, the root's last; the oldest turns are forgotten."""
        root = run_ids[-1]
        self._forget(root)
        self._turns[root] = (turn, run_ids)
        self._roots.update(dict.fromkeys(run_ids, root))
        self._chars += size(turn)
        while len(self._turns) > MAX_REMEMBERED or self._chars > MAX_REMEMBERED_CHARS:
            self._forget(next(iter(self._turns)))

    def turn(self, run_id: str) -> Turn | None:
        """Find the turn that a run belongs to."""
        found = self._turns.get(self._roots.get(run_id, ""))
        return None if found is None else found[0]

    def _forget(self, root: str) -> None:
        turn, run_ids = self._turns.pop(root, (None, ()))
        self._chars -= 0 if turn is None else size(turn)
        for run_id in run_ids:
            self._roots.pop(run_id, None)


def size(turn: Turn) -> int:
    """Characters of a turn's texts."""
    return len(turn.asked) + len(turn.answered)


def first(trace: Trace, get: Callable[[Run], str | None]) -> str | None:
    """Find what the root says of itself, else the first of its runs that says it."""
    found = (get(run) for run in (trace.root, *trace.runs))
    return next((value for value in found if value), None)


def turn_of(trace: Trace, user: str) -> Turn | None:
    """Find what was asked and answered, or None when the tree failed or one of them is missing."""
    if trace.root.error is not None:
        return None
    question = asked(asking(trace))
    answer = answered(answering(trace))
    return Turn(user, question, answer) if question and answer is not None else None


def asking(trace: Trace) -> Run:
    """Find the run that has the question: the root, else the first model call in it."""
    if trace.root.input is not None:
        return trace.root
    return next((run for run in by_start(trace) if run.kind == "llm"), trace.root)


def answering(trace: Trace) -> Run:
    """Find the run that has the answer: the root, else the last model call that is one."""
    if trace.root.output is not None:
        return trace.root
    calls = [run for run in by_start(trace) if run.kind == "llm" and run.output is not None]
    return next((run for run in reversed(calls) if not only_calls(run)), trace.root)


def by_start(trace: Trace) -> list[Run]:
    """Order the runs of a tree by when they began."""
    return sorted(trace.runs, key=lambda run: run.started_at)


def interaction(trace: Trace, turn: Turn, tags: Mapping[str, str]) -> tuple[str, Fields]:
    """Write an interaction for the route that can say most of it."""
    root = trace.root
    conversation = first(trace, lambda run: run.thread_id)
    traces = traces_of(trace) if len(trace.runs) > 1 else []
    common = known(
        conversation_id=conversation,
        output=turn.answered,
        time_start=iso(root.started_at),
        time_end=iso(root.ended_at or root.started_at),
        end_user=turn.user,
        tags={**tags, **tags_of(root)} or None,
        feature_flag=flags_of(root),
    )
    if traces and conversation:
        return TRACE_INTERACTION, {"interaction": {**common, "input": turn.asked}, "traces": traces}
    more = known(
        messages=conversation_of(asking(trace), turn),
        model=next((run.name for run in reversed(by_start(trace)) if run.kind == "llm"), None),
        rag_sources=sources_of(trace),
    )
    return INTERACTIONS, {"interaction": {**common, **more}}


def conversation_of(run: Run, turn: Turn) -> list[JSON]:
    """Return the messages of a run, each flattened to a role and a text."""
    found = messages(load(run.input))
    return [dict(flat(each)) for each in found] or [{"role": "user", "content": turn.asked}]


def sources_of(trace: Trace) -> JSON:
    """Name the retrievers of a tree, each once."""
    names = dict.fromkeys(run.name for run in by_start(trace) if run.kind == "retriever")
    return list(names) or None


def tags_of(run: Run) -> dict[str, str]:
    """Write tags and metadata as pairs of texts: `team:red`, `team=red` and `beta` (as `true`)."""
    said = {
        name: tag_text(value)
        for name, value in run.metadata.items()
        if isinstance(value, (str, int, float))
    }
    return {**said, **dict(map(tag_pair, run.tags))}


def tag_text(value: str | float) -> str:
    """Write a plain value as a tag's text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def tag_pair(tag: str) -> tuple[str, str]:
    """Split a tag at its first colon or equals sign; a bare word is true."""
    for sign in (":", "="):
        name, found, value = tag.partition(sign)
        if found and name and value:
            return name, value
    return tag, "true"


def flags_of(run: Run) -> JSON:
    """Return the feature flags that the application bound as metadata `feature_flags`, a list."""
    flags = run.metadata.get("feature_flags")
    if not isinstance(flags, list):
        return None
    return [flag for flag in flags if isinstance(flag, str)] or None


def traces_of(trace: Trace) -> list[JSON]:
    """Write the steps of a tree; one that failed has no output to show."""
    done = [run for run in by_start(trace) if run.error is None]
    return [WRITERS[run.kind](run) for run in done if run.kind in WRITERS]


def llm_trace(run: Run) -> Fields:
    """Write a model call, the only place where this destination takes token counts."""
    usage = run.usage
    return {
        "model": run.name,
        "messages": conversation_of(run, Turn("", asked(run), "")),
        "output": answered(run) or "",
        **known(
            input_tokens=None if usage is None else usage.prompt,
            output_tokens=None if usage is None else usage.completion,
        ),
    }


def source_trace(run: Run) -> Fields:
    """Write a retriever or a tool: what it was given, and each thing that it gave."""
    outputs: list[JSON] = list(documents(load(run.output)))
    return {"source": run.name, "input": gist(load(run.input)), "outputs": outputs}


def embedding_trace(run: Run) -> Fields:
    """Write an embedding."""
    tokens = None if run.usage is None else run.usage.prompt
    return {"model": run.name, "input": gist(load(run.input)), **known(input_tokens=tokens)}


WRITERS: Mapping[Kind, Callable[[Run], Fields]] = {
    "llm": llm_trace,
    "retriever": source_trace,
    "tool": source_trace,
    "embedding": embedding_trace,
}
"""How each kind of step is written; chains and agents are what the steps are made of."""


def action_of(item: Feedback) -> Fields | None:
    """
    Write what somebody thought as one action: the thumb, else a rating of 1 to 5, else the comment.

    None for a score on any other scale and without words, which this destination cannot express.
    """
    words = known(text=item.comment)
    if item.thumb is not None:
        return {"slug": f"thumbs_{item.thumb}", **words}
    if item.score in {1, 2, 3, 4, 5}:
        return {"slug": "rating", "value": int(item.score or 0), **words}
    return {"slug": "comment", **words} if words else None
