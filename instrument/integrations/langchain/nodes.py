"""What is known of LangChain's open runs, and the one registry of them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, final
from uuid import UUID

from ...context import UNBOUND, Bound, Place, merge
from ...recorder import LazyFacts, OpenRun, Recorder
from ...run import Kind
from ...snapshot import snapshot
from .account import Account, Begun
from .labels import NOBODY
from .registry import Registry
from .shots import Taken


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
        self.said = UNBOUND if said == UNBOUND else said


@final
class Node:
    """
    A run that LangChain has begun.

    Attributes:
        above: The run that LangChain has it under.
        agent: The mark of the agent that it belongs to.
        who: For whom it is made, as LangChain says; `said` is what the handlers say.
        labelled: The part of that which LangChain's metadata have.
        around: What the application bound around it; `seen` is the part bound at this very moment.
        owns: Whether a call of an SDK was told that it is this very run.
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
        "labelled",
        "owns",
        "place",
        "recorder",
        "run",
        "said",
        "seen",
        "who",
    )

    def __init__(self, recorder: Recorder, above: Node | None, said: Bound, begun: float) -> None:
        self.recorder = recorder
        self.above = above
        self.begun = begun
        self.run: OpenRun | None = None
        self.account: Account | None = None
        self.deadline: float | None = None
        self.owns = False
        self._told: Callable[[], Account | None] | None = None
        if above is None:
            self.place: Place | None = None
            self.agent: Any = None
            self.said = said
            self.around = self.seen = UNBOUND
            self.who = self.labelled = NOBODY
        else:
            self.place = above.place
            self.agent = above.agent
            self.said = said if above.said is said else merge(above.said, said)
            self.around, self.seen = above.around, above.seen
            self.who, self.labelled = above.who, above.labelled

    def absorb(self, facts: LazyFacts, size_bytes: int) -> None:
        """Take what the SDK saw of this very call, also a moment after the run has ended."""
        account = self.account if self._told is None else self._told()
        if account is not None and account.run.kind == "llm":
            account.absorb(facts, size_bytes)

    def first_token(self) -> None:
        """Note that a token came, the first of a stream."""
        if self.run is not None and self.account is not None:
            self.account.first_token = self.run.offset()

    def announce(self, given: Taken | None, params: Any = None) -> None:
        """Publish the run as open, with what it was given."""
        account = self.account
        if account is None:
            return
        if given is not None:
            account.give(given)
        if params:
            account.ask(snapshot(params))
        self.recorder.publish(Begun(account))

    def end(self) -> None:
        """End the run with what its account says, which from now on only the record holds."""
        account, self.account = self.account, None
        if account is None:
            return
        if self.owns:
            self._told = weakref.ref(account)
        if account.run.discard():
            account.close()
            self.recorder.publish(account)


@final
class Scope:
    """
    The runs of one kind that one call of LangChain's has begun.

    Attributes:
        around: The open runs of models whose calls enclose this one.
        batch: The inputs of an asynchronous batch, and its config or one for each; its runs begin in
            tasks of their own, whose stack says nothing of them.
    """

    __slots__ = ("around", "batch", "kind", "run_ids")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.around = open_models()
        self.run_ids: list[UUID] = []
        self.batch: tuple[Any, Any] | None = None


scope: ContextVar[Scope | None] = ContextVar("instrument.langchain.scope", default=None)
"""The call of LangChain's that encloses this code; set and reset in that one frame."""


def open_models() -> list[UUID]:
    """List the open runs of models whose calls enclose this code; a task may outlive them."""
    inside = scope.get()
    if inside is None:
        return []
    own = inside.run_ids if inside.kind == "llm" else []
    return [run_id for run_id in (*inside.around, *own) if registry.get(run_id) is not None]


registry: Final[Registry[Node]] = Registry()
"""All open runs of the process; a forked child has none."""
