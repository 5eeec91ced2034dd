"""
Begin and end LangChain's runs, whichever handler hears of them first.

Everything here runs in the application's thread, so it takes values and leaves reading them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from ...guard import guard
from ...recorder import OpenRun, describe
from ...run import Answer, Error, Kind
from .account import Account
from .labels import AGENTS, HIDDEN, agent_key, run_name
from .linking import find_above
from .nodes import Node, Source, registry, scope
from .places import adopt, find_place, identify
from .shots import Taken, take

CONTROL_FLOW: Final = "GraphBubbleUp"
"""Base class of what LangGraph raises to pause or to jump; it is not an error."""

_NONE: Final[dict[str, Any]] = {}

CANCELLED: Final = frozenset({"CancelledError", "KeyboardInterrupt", "SystemExit"})
"""What stops a run from outside; LangChain then leaves some runs below it open."""


_READ: Final = guard("read an output")


def begin(
    source: Source, kind: Kind, run_id: UUID, serialized: Any, told: Mapping[str, Any]
) -> Node | None:
    """
    Begin a run; None when it is known already, hidden, or not recorded.

    *serialized* is LangChain's description of what runs, and *told* all else it says:
    `parent_run_id`, `tags`, `metadata`, `name`, ...
    """
    known = registry.get(run_id)
    if known is not None:
        adopt(known, source)
        return None
    now = registry.clock()
    if now >= registry.due:
        abandon_late(registry.overdue())
    above = find_above(told.get("parent_run_id"))
    recorder = source.recorder() if above is None else above.recorder
    if recorder is None:
        return None
    node = Node(recorder, above, source.said, now)
    tags = told.get("tags")
    if not tags or HIDDEN not in tags:
        _place(node, kind, run_id, run_name(kind, serialized, told), told)
    if not registry.add(run_id, node):
        return None
    inside = scope.get()
    if inside is not None and inside.kind == kind:
        inside.run_ids.append(run_id)
    return node if node.account is not None else None


def _place(node: Node, kind: Kind, run_id: UUID, name: str, told: Mapping[str, Any]) -> None:
    """
    Begin the recorder's own run, under the right parent, and say for whom it is made.

    The run has LangChain's own id, as a UUIDv4 (see `recorder.as_v4`), so that whoever has that can
    send feedback on it. An id that the application uses again is left to its first run.
    """
    above, metadata = node.above, told.get("metadata") or _NONE
    if kind == "chain":
        outer, node.agent = node.agent, agent_key(metadata)
        if name in AGENTS or (node.agent is not None and node.agent != outer):
            kind = "agent"
    entropy = None if registry.was_closed(run_id) else run_id
    node.run = run = OpenRun(node.recorder, kind, name, find_place(above), entropy)
    node.place = run
    identify(node, run, metadata, told.get("inputs"))
    if run.sampled:
        node.account = Account(run, run_id, told.get("tags"), metadata)
        while kind == "llm" and above is not None:
            if above.account is not None and above.account.asked(node.account):
                break
            above = above.above


def finish(
    run_id: UUID,
    write: Callable[[Any], Taken],
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
    account = node.account
    if account is not None:
        try:
            account.error = said
            account.output = write(output)
            if given is not None:
                account.give(take(given))
        except Exception as error:  # noqa: BLE001 - the guard, see `guard.stop`
            _READ.stop(error)
    node.end()


def fail(
    run_id: UUID, error: BaseException, *, given: Any = None, output: Taken | None = None
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
                node.account.give(take(given))
            judge(node.account, error)
    node.end()


def judge(account: Account, error: BaseException) -> None:
    """Say what an exception means: a pause, a stream that was left, a cancellation or an error."""
    name = type(error).__name__
    if isinstance(error, GeneratorExit):
        account.partial = "closed"
    elif CONTROL_FLOW in (kind.__name__ for kind in type(error).__mro__):
        account.note("control_flow", name)
        account.output = take(error.args[0]) if error.args else None
    else:
        status, request_id = getattr(error, "status_code", None), getattr(error, "request_id", None)
        account.error = describe(error, status if isinstance(status, int) else None)
        account.answer = Answer(request_id=request_id if isinstance(request_id, str) else None)
        if name in CANCELLED:
            account.partial = "cancelled"


def break_off(run_id: UUID, error: BaseException) -> None:
    """End a run that LangChain left open when *error* passed through."""
    node = registry.get(run_id)
    if node is not None and node.account is not None:
        node.account.note("synthetic", True)
    fail(run_id, error)


def abandon_late(run_ids: Iterable[UUID]) -> None:
    """End runs that LangChain will not end any more."""
    for run_id in run_ids:
        node = registry.close(run_id)
        if node is not None and node.account is not None:
            node.account.note("synthetic", True)
            node.account.error = Error("LangChain began this run and never ended it", "NeverEnded")
            node.end()
