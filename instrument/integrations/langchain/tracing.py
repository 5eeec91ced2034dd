"""
Begin and end LangChain's runs, whichever handler hears of them first.

Everything here runs in the application's thread: it finds the place of a run, and hands values on.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, final
from uuid import UUID

from ...context import UNBOUND, Bound, Place, bound, current, merge
from ...guard import guard
from ...recorder import LazyFacts, OpenRun, Recorder, as_v4, describe
from ...run import Answer, Error, Kind
from ...snapshot import snapshot
from .account import Account
from .labels import (
    AGENTS,
    HIDDEN,
    NOBODY,
    Who,
    agent_key,
    clean_tags,
    find_configurable,
    kept_metadata,
    read_who,
    run_name,
)
from .registry import Registry
from .shots import Shot, take

CONTROL_FLOW: Final = "GraphBubbleUp"
"""Base class of what LangGraph raises to pause or to jump; it is not an error."""

CANCELLED: Final = frozenset({"CancelledError", "KeyboardInterrupt", "SystemExit"})
"""What stops a run from outside; LangChain then leaves some runs below it open."""


@final
class Source:
    """
    A handler, as far as its runs depend on it: where they go, and whose they are.

    Args:
        recorder: Gives the recorder of the moment; None when tracing is off.
        said: What the handler was made with.
    """

    __slots__ = ("recorder", "said")

    def __init__(self, recorder: Callable[[], Recorder | None], said: Bound = UNBOUND) -> None:
        self.recorder = recorder
        self.said = said


@final
class Node:
    """
    A run that LangChain has begun.

    Attributes:
        above: The run that LangChain has it under.
        agent: The mark of the agent that it belongs to.
        who: For whom it is made, as LangChain says; `said` is what the handlers say.
        around: What the application bound around it; `seen` is the part bound at this very moment.
        run: The run, or None for one that LangChain hides: its children stand under `place`.
        place: Where children stand: this run, or the nearest one above that is not hidden.
        account: What is known of it; None when nothing is recorded, and after the end.
    """

    __slots__ = (
        "_told",
        "above",
        "account",
        "agent",
        "around",
        "begun",
        "deadline",
        "place",
        "recorder",
        "run",
        "said",
        "seen",
        "who",
    )

    def __init__(self, recorder: Recorder, above: Node | None, begun: float) -> None:
        self.recorder = recorder
        self.above = above
        self.begun = begun
        self.run: OpenRun | None = None
        self.place: Place | None = None
        self.account: Account | None = None
        self.agent: Any = None
        self.deadline: float | None = None
        self.who = NOBODY
        self._told: Callable[[], Account | None] | None = None
        self.said: Bound = UNBOUND
        self.around: Bound = UNBOUND
        self.seen: Bound = UNBOUND

    def absorb(self, facts: LazyFacts, size_bytes: int) -> None:
        """Take what the SDK saw of this very call, also a moment after the run has ended."""
        account = self.account if self._told is None else self._told()
        if account is not None:
            account.absorbed.append(facts)
            account.absorbed_bytes += size_bytes

    def first_token(self) -> None:
        """Note that a token came, the first of a stream."""
        if self.run is not None and self.account is not None:
            self.account.first_token = self.run.offset()

    def announce(self, given: Shot | None, params: Any = None) -> None:
        """Publish the run as open, with what it was given."""
        run, account = self.run, self.account
        if run is None or account is None:
            return
        account.given = given
        if params:
            account.params = snapshot(params)
        run.announce(account.begun, account.size_bytes)

    def end(self) -> None:
        """End the run with what its account says, which from now on only the record holds."""
        run, account, self.account = self.run, self.account, None
        if run is not None and account is not None:
            self._told = weakref.ref(account)
            run.end(account.ended, size_bytes=account.size_bytes)


@final
class Scope:
    """The runs of one kind that one call of LangChain's has begun."""

    __slots__ = ("kind", "run_ids")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.run_ids: list[UUID] = []


scope: ContextVar[Scope | None] = ContextVar("instrument.langchain.scope", default=None)
"""The call of LangChain's that encloses this code; set and reset in that one frame."""

registry: Registry[Node] = Registry()
"""All open runs of the process; a forked child has none."""


def begin(
    source: Source, kind: Kind, run_id: UUID, serialized: Any, told: Mapping[str, Any]
) -> Node | None:
    """
    Begin a run; None when it is known already, hidden, or not recorded.

    *serialized* is LangChain's description of what runs, and *told* all else it says:
    `parent_run_id`, `tags`, `metadata`, `name`, ...
    """
    known = registry.open.get(run_id)
    if known is not None:
        adopt(known, source)
        return None
    for late in registry.overdue():
        abandon(late)
    above = find_above(told.get("parent_run_id"))
    recorder = source.recorder() if above is None else above.recorder
    if recorder is None:
        return None
    node = Node(recorder, above, registry.clock())
    node.said = source.said if above is None else merge(above.said, source.said)
    if HIDDEN in (told.get("tags") or ()):
        node.place, node.agent = (None, None) if above is None else (above.place, above.agent)
    else:
        name = run_name(kind, serialized, told)
        if kind == "chain" and _is_agent(node, name, told):
            kind = "agent"
        _place(node, kind, name, run_id, told)
    if not registry.add(run_id, node):
        return None
    inside = scope.get()
    if inside is not None and inside.kind == kind:
        inside.run_ids.append(run_id)
    return node if node.account is not None else None


def _is_agent(node: Node, name: str, told: Mapping[str, Any]) -> bool:
    node.agent = agent_key(told.get("metadata") or {})
    outer = None if node.above is None else node.above.agent
    return name in AGENTS or (node.agent is not None and node.agent != outer)


def _place(node: Node, kind: Kind, name: str, run_id: UUID, told: Mapping[str, Any]) -> None:
    """Begin the recorder's own run, under the right parent, and say for whom it is made."""
    metadata = told.get("metadata") or {}
    if kind != "chain" and kind != "agent" and node.above is not None:
        node.agent = node.above.agent
    place = find_place(node.above)
    node.place = node.run = run = node.recorder.begin_under(place, kind, name, _id_for(run_id))
    identify(node, run, metadata)
    if run.sampled:
        node.account = Account(kind, clean_tags(told.get("tags")), kept_metadata(metadata))


def _id_for(run_id: UUID) -> str | None:
    """
    Give the run LangChain's own id, as a UUIDv4; None lets the recorder make one.

    Whoever has LangChain's id can then send feedback on the run; see `recorder.as_v4`. An id that
    the application uses again is left to its first run.
    """
    return None if run_id in registry.closed else as_v4(run_id)


def find_above(parent_run_id: UUID | None) -> Node | None:
    """Find the run that LangChain says is the parent; an id that only LangSmith knows is not."""
    if parent_run_id is None:
        return None
    return registry.find(parent_run_id) or find_configured()


def find_configured() -> Node | None:
    """Find the open run of LangChain's that encloses this code."""
    module = sys.modules.get("langchain_core.runnables.config")
    config = None if module is None else module.var_child_runnable_config.get()
    callbacks = None if config is None else config.get("callbacks")
    run_id = getattr(callbacks, "parent_run_id", None)
    return None if run_id is None else registry.open.get(run_id)


def find_place(above: Node | None) -> Place | None:
    """
    Choose between LangChain's run and the application's own: the inner one began later.

    Both enclose this code, so one of them encloses the other.
    """
    own = current.get()
    place = None if above is None else above.place
    if place is None:
        return own
    if isinstance(own, OpenRun) and isinstance(place, OpenRun) and own.is_open:
        return own if place.offset() > own.offset() else place
    return place


def identify(node: Node, run: OpenRun, metadata: Mapping[str, Any]) -> None:
    """
    Say for whom the run is made: LangChain's metadata, over it the handler's, over it the context.

    What a run does not say, it has from the run above.
    """
    above, own = node.above, read_who(metadata)
    node.seen = bound.get()
    if above is None:
        if own.user_id is None or own.thread_id is None:
            own = fill(own, read_who(find_configurable()))
        node.who, node.around = own, run.bound
    else:
        node.who = fill(own, above.who)
        same = node.seen is above.seen
        node.around = above.around if same else merge(above.around, node.seen)
        if same and node.said is above.said and node.who == above.who and above.run is not None:
            run.bound = above.run.bound
            return
    run.bound = _lay(node)


def fill(who: Who, other: Who) -> Who:
    """Take from *other* what *who* does not say."""
    return Who(
        who.user_id or other.user_id,
        who.thread_id or other.thread_id,
        who.user_props or other.user_props,
    )


def _lay(node: Node) -> Bound:
    who = node.who
    told = UNBOUND if who == NOBODY else Bound(who.user_id, who.user_props, who.thread_id)
    return merge(merge(told, node.said), node.around)


def adopt(node: Node, source: Source) -> None:
    """Let another handler that sees the same run add what it was made with."""
    if node.run is not None and source.said is not UNBOUND and source.said is not node.said:
        node.said = merge(node.said, source.said)
        node.run.bound = _lay(node)


def finish(
    run_id: UUID,
    write: Callable[[Any], Shot],
    output: Any,
    *,
    given: Any = None,
    said: Error | None = None,
) -> None:
    """
    End a run with its output, as *write* writes it down.

    A stream is *given* its input late, and a tool may have *said* in its output that it failed.
    """
    node = registry.close(run_id)
    if node is None:
        return
    if node.account is not None:
        with guard("read an output"):
            node.account.error = said
            node.account.output = write(output)
            if given is not None:
                node.account.given = take(given)
    node.end()


def fail(
    run_id: UUID, error: BaseException, *, given: Any = None, output: Shot | None = None
) -> None:
    """End a run that raised, whatever that means; *output* is what had come of it."""
    node = registry.close(run_id)
    if node is None:
        return
    if type(error).__name__ in CANCELLED:
        registry.condemn(node)
    if node.account is not None:
        with guard("read an error"):
            node.account.output = output
            if given is not None:
                node.account.given = take(given)
            judge(node.account, error)
    node.end()


def judge(account: Account, error: BaseException) -> None:
    """Say what an exception means: a pause, a stream that was left, a cancellation or an error."""
    name = type(error).__name__
    if isinstance(error, GeneratorExit):
        account.partial = "closed"
    elif CONTROL_FLOW in (kind.__name__ for kind in type(error).__mro__):
        account.extra["control_flow"] = name
        account.output = take(error.args[0]) if error.args else None
    else:
        status, request_id = getattr(error, "status_code", None), getattr(error, "request_id", None)
        account.error = describe(error, status if isinstance(status, int) else None)
        account.answer = Answer(request_id=request_id if isinstance(request_id, str) else None)
        if name in CANCELLED:
            account.partial = "cancelled"


def break_off(run_id: UUID, error: BaseException) -> None:
    """End a run that LangChain left open when *error* passed through."""
    node = registry.open.get(run_id)
    if node is not None and node.account is not None:
        node.account.extra["synthetic"] = True
    fail(run_id, error)


def abandon(run_id: UUID) -> None:
    """End a run that LangChain will not end any more."""
    node = registry.close(run_id)
    if node is not None and node.account is not None:
        node.account.extra["synthetic"] = True
        node.account.error = Error("LangChain began this run and never ended it", "NeverEnded")
        node.end()
