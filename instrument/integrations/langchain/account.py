"""
All that is known of one LangChain run: gathered in the application's thread, told on the worker.

For a model's run that includes what the tap on the SDK saw of the same call: LangChain's own words
for input and output stay, and the tap fills in what only the wire knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, Final, cast, final
from uuid import UUID

import orjson

from ...context import Bound
from ...guard import guard
from ...recorder import RECORD_OVERHEAD_BYTES, Facts, LazyFacts, OpenRun, Record
from ...run import JSON, Answer, Error, Run, Snapshot, Usage
from . import messages
from .labels import METADATA_KEYS, clean_tags, kept_metadata
from .replies import Reply, choice_of
from .rows import MARK
from .shots import Shot, Taken
from .usage import add_up, is_cache_hit, read_usage

UNSAID_PARAMS: Final = frozenset(
    {"model", "model_name", "_type", "messages", "extra_headers", "default_headers", "headers"}
)
"""Parameters that are the run's name, or that may hold a key."""

BLANK: Final = Answer()
_NOTHING: Final[dict[str, JSON]] = {}

_SECRET: Final = re.compile(
    r"api_?key|secret|password|credential|authorization|(access|auth|ad|bearer)_?token", re.I
)

_SAID_BY_MODEL: Final = {
    "model": ("model_name", "model"),
    "response_id": ("id",),
    "request_id": ("request_id",),
    "system_fingerprint": ("system_fingerprint",),
    "service_tier": ("service_tier",),
}


@final
class Begun:
    """A record that a run is open: what crosses to the worker when it begins."""

    __slots__ = ("account", "size_bytes")

    duration = None

    def __init__(self, account: Account) -> None:
        self.account = account
        self.size_bytes = account.size_bytes

    @property
    def run(self) -> OpenRun:
        """The run."""
        return self.account.run

    def decode(self) -> Run | None:
        """Tell what was known of it; None when it has ended meanwhile."""
        return Record(self.run, None, self.account.begun, 0).decode()


@final
class Account:
    """
    What one run was given, and what came of it: what crosses to the worker when it ends.

    Attributes:
        asker: The model's run that this one of a model was begun under, if there is one.
        duration: Seconds from its begin to its end.
        size_bytes: What it weighs in the queue.
        spent: What the models have spent that this one asked, each as it told the worker.
    """

    # What few runs have is not set up for each of them.
    answer = BLANK
    duration: float | None = None
    error: Error | None = None
    extra: Mapping[str, JSON] = _NOTHING
    first_token: float | None = None
    given: Taken | None = None
    metadata: Mapping[str, JSON] = _NOTHING
    output: Taken | None = None
    params: Snapshot | None = None
    partial: str | None = None
    absorbed: list[LazyFacts] = []  # noqa: RUF012 - that of all that are no model's, for ever empty
    absorbed_bytes = 0
    asker: Account | None = None
    spent: tuple[Usage | None, ...] = ()

    def __init__(
        self, run: OpenRun, run_id: UUID, tags: Iterable[Any] | None, metadata: dict[str, Any]
    ) -> None:
        self.run = run
        self.run_id = run_id
        self.tags = tuple(tags) if tags else ()
        if metadata and not METADATA_KEYS.isdisjoint(metadata):  # seldom, outside of graphs
            self.metadata = metadata.copy()
        self.size_bytes = RECORD_OVERHEAD_BYTES
        if run.kind == "llm":
            self.absorbed = []

    def give(self, given: Taken) -> None:
        """Take what the run was given."""
        self.given = given
        self.size_bytes += len(given)

    def ask(self, params: Snapshot) -> None:
        """Take the parameters of a model's call."""
        self.params = params
        self.size_bytes += len(params)

    def absorb(self, facts: LazyFacts, size_bytes: int) -> None:
        """Take what an SDK saw of the same call."""
        self.absorbed.append(facts)
        self.absorbed_bytes += size_bytes

    def asked(self, other: Account) -> bool:
        """Note that the run of a model was begun somewhere under this one, if that is a model's."""
        if self.run.kind == "llm":
            other.asker = self
        return self.run.kind == "llm"

    def close(self) -> None:
        """Note that the run has ended."""
        self.duration = self.run.offset()
        self.size_bytes += self.absorbed_bytes
        if self.output is not None:
            self.size_bytes += len(self.output)

    def note(self, name: str, value: JSON) -> None:
        """Say something more in the metadata."""
        self.extra = {**self.extra, name: value}

    # ---- from here on: the worker's thread ----

    def decode(self) -> Run | None:
        """Tell what is known of the run."""
        return Record(self.run, self.duration, self.ended, 0).decode()

    def begun(self) -> Facts:
        """Tell what is known while the run is open."""
        kept = kept_metadata(self.metadata)
        metadata = {**kept, **self.extra, "langchain_run_id": str(self.run_id)}
        facts: Facts = {"bound": Bound(tags=clean_tags(self.tags), metadata=metadata)}
        if self.given is not None:
            facts["input"] = messages.read(self.given)
        if self.run.kind == "llm":
            facts["params"] = clean_params(self.params)
        return facts

    def ended(self) -> Facts:
        """Tell everything."""
        return self._ended_model() if self.run.kind == "llm" else self._ended_other()

    def _ended_other(self) -> Facts:
        facts = self._closing()
        if self.output is not None:
            facts["output"] = messages.read(self.output)
        return facts

    def _closing(self) -> Facts:
        facts = self.begun()
        facts["error"] = self.error
        facts["partial"] = self.partial
        return facts

    def _ended_model(self) -> Facts:
        facts = self._told_by_model()
        usage = facts["usage"]
        if self.asker is not None:  # which ends later, and is told later
            self.asker.spent = (*self.asker.spent, usage)
        if self.spent and not self.absorbed:
            others = (add_up(self.spent), *self.spent)
            if _counts(usage) in map(_counts, others):
                facts["usage"] = None  # it hands on what one or all that it asked have spent
        return facts

    def _told_by_model(self) -> Facts:
        choices, llm_output = read_answer(self.output)
        hit = is_cache_hit(choices)
        if hit:
            self.note("cache_hit", True)
        facts = self._closing()
        facts["output"] = output_of(choices, self.output)
        facts["usage"] = None if hit else read_usage(choices, llm_output)
        said = describe_answer(choices, llm_output)
        facts["answer"] = fill(replace(said, time_to_first_token=self.first_token), self.answer)
        seen = [tell(lazy) for lazy in self.absorbed]
        if seen:
            facts = enrich(facts, seen)
        return facts


def _counts(usage: Usage | None) -> tuple[int | None, ...] | None:
    """Give what an answer costs, without the details, which who hands it on may leave out."""
    return usage and (usage.prompt, usage.completion, usage.total)


def tell(lazy: LazyFacts) -> Facts:
    """Call facts that are a function."""
    with guard("read what the SDK saw"):
        return lazy() if callable(lazy) else lazy
    return {}


def enrich(facts: Facts, seen: list[Facts]) -> Facts:
    """
    Add what the SDK saw of the calls that were made for this run.

    The exact request parameters and what the reply said about itself are the SDK's; input, output
    and usage are LangChain's where it has them.
    """
    last = seen[-1]
    for name in ("input", "output", "partial"):
        if facts.get(name) is None and last.get(name) is not None:
            facts = cast("Facts", {**facts, name: last.get(name)})
    if facts.get("usage") is None and not _is_hit(facts):
        facts["usage"] = add_up(usage_of(one) for one in seen)
    error, seen_error = facts.get("error"), last.get("error")
    if error is not None and error.status is None and seen_error is not None:
        facts["error"] = replace(error, status=seen_error.status)
    if last.get("params") is not None:
        facts["params"] = last.get("params")
    facts["answer"] = fill(last.get("answer") or BLANK, facts.get("answer") or BLANK)
    return facts


def _is_hit(facts: Facts) -> bool:
    return bool(facts["bound"].metadata.get("cache_hit"))


def usage_of(facts: Facts) -> Usage | None:
    """Give the usage of facts that may have none."""
    return facts.get("usage")


def fill(first: Answer, second: Answer) -> Answer:
    """Take from *second* what *first* does not say."""
    missing = {
        field.name: getattr(second, field.name)
        for field in fields(Answer)
        if getattr(first, field.name) == getattr(BLANK, field.name)
    }
    return replace(first, **missing)


def clean_params(params: Snapshot | None) -> Snapshot | None:
    """Leave out of the parameters what is said elsewhere, what is absent and what may be a key."""
    values = None if params is None else orjson.loads(params)
    if not isinstance(values, dict):
        return None
    kept = {
        name: value
        for name, value in values.items()
        if value is not None and name not in UNSAID_PARAMS and not _SECRET.search(name)
    }
    return Snapshot(orjson.dumps(kept)) if kept else None


def read_answer(output: Taken | None) -> tuple[list[dict[str, JSON]], JSON]:
    """Read what `take_answer` wrote down: the choices, and LangChain's `llm_output`."""
    if isinstance(output, Reply):
        choice, llm_output = choice_of(output)
        return [choice], llm_output
    data = output.data if isinstance(output, Shot) else output
    told = orjson.loads(data) if isinstance(data, bytes) else None
    if not isinstance(told, list) or len(told) != 2 or not isinstance(told[0], list):
        return [], None
    return [choice for choice in told[0] if isinstance(choice, dict)], told[1]


def output_of(choices: list[dict[str, JSON]], shot: Taken | None) -> Snapshot | None:
    """Make the answer a message, or a list of messages when there were several choices."""
    if not choices or shot is None:
        return None
    if isinstance(shot, Reply):
        return messages.read(shot)
    written: list[JSON] = []
    for choice in choices:
        if MARK in choice:
            told: dict[str, JSON] = {
                name: value
                for name, value in choice.items()
                if name not in ("usage_metadata", "response_metadata", "info")
            }
            written.append(told)
        else:
            written.append({"role": "assistant", "content": choice.get("text")})
    bare = Snapshot(orjson.dumps(written[0] if len(written) == 1 else written))
    return messages.read(Shot(bare, shot.texts, ()) if isinstance(shot, Shot) else bare)


def describe_answer(choices: list[dict[str, JSON]], llm_output: JSON) -> Answer:
    """Find what the provider said about its answer, in the places that LangChain keeps it."""
    told: dict[str, JSON] = dict(llm_output) if isinstance(llm_output, dict) else {}
    for choice in choices[:1]:
        for name in ("info", "response_metadata"):
            more = choice.get(name)
            told.update(more if isinstance(more, dict) else {})
    said: dict[str, Any] = {
        field: value
        for field, names in _SAID_BY_MODEL.items()
        if isinstance(value := next((told[name] for name in names if told.get(name)), None), str)
    }
    return Answer(finish_reasons=finish_reasons(choices), **said)


def finish_reasons(choices: list[dict[str, JSON]]) -> tuple[str | None, ...]:
    """List why each choice ended; nothing when none of them says so."""
    reasons = tuple(_finish_reason(choice) for choice in choices)
    return reasons if any(reasons) else ()


def _finish_reason(choice: Mapping[str, JSON]) -> str | None:
    for name in ("response_metadata", "info"):
        told = choice.get(name)
        if isinstance(told, dict):
            reason = told.get("finish_reason") or told.get("stop_reason")
            if isinstance(reason, str):
                return reason
    return None
