"""
Where we are: the run that encloses this code, and what the application bound to it.

Both are context variables, so threads and tasks keep their own. Only a block that opens and closes
in one frame sets them; a model call reads them and never does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Protocol, final

from .guard import guard
from .run import JSON
from .snapshot import plain


class Place(Protocol):
    """A run that other runs can stand under."""

    @property
    def id(self) -> str:
        """Id of the run."""

    @property
    def trace_id(self) -> str:
        """Id of the root of its tree."""

    @property
    def started_at(self) -> float:
        """Wall clock in seconds since the epoch; a child never starts before it."""

    @property
    def sampled(self) -> bool:
        """Whether the tree is recorded at all."""


@final
@dataclass(frozen=True, slots=True)
class Bound:
    """What the application said about the runs of a block."""

    user_id: str | None = None
    user_props: Mapping[str, JSON] | None = None
    thread_id: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, JSON] = field(default_factory=dict)


UNBOUND = Bound()

current: ContextVar[Place | None] = ContextVar("instrument.current", default=None)
bound: ContextVar[Bound] = ContextVar("instrument.bound", default=UNBOUND)


@final
@dataclass(frozen=True, slots=True)
class Surroundings:
    """
    Where another integration says that a call is being made.

    Attributes:
        owner: That integration's own open run for this very call: it takes the facts, and no
            second run begins.
        parent: The run that the call stands under, when there is no owner.
    """

    owner: Owner | None = None
    parent: Place | None = None


class Owner(Protocol):
    """A run that is recorded already for the call that another integration sees."""

    def absorb(self, facts: Any, size_bytes: int) -> None:
        """Take lazy facts (see `recorder.LazyFacts`) that fill what the owner does not know."""


lookouts: list[Callable[[], Surroundings | None]] = []
"""Asked in order by a model call, synchronously, before it begins a run; the first answer counts."""


def surroundings() -> Surroundings:
    """Say where a model call is being made: what a lookout sees, else under the current run."""
    for look in lookouts:
        with guard("look around"):
            found = look()
            if found is not None:
                return found
    return Surroundings(parent=current.get())


def restore(variable: ContextVar[Any], token: Token[Any]) -> bool:
    """Reset *variable*, and say whether that was possible: not in another context than it was set."""
    try:
        variable.reset(token)
    except ValueError:
        # A generator that another task closes: that task's own value was never ours to change.
        return False
    return True


@final
class context:  # noqa: N801 - it reads as the statement it is
    """
    Bind a user, a thread, tags or metadata to every run that begins inside the block.

    Blocks nest: what an inner one does not say is inherited, tags and metadata are added up, and
    leaving a block restores what was bound before it. Threads and tasks do not disturb each other.

    Args:
        user_id: Who the calls are made for. Several destinations need one.
        user_props: More about that user, for destinations that keep it (name, e-mail, plan).
        thread_id: The conversation that the calls belong to.
        tags: Words to filter by.
        metadata: Named values to look at; anything that is not plain JSON is made so.

    Raises:
        TypeError: An id is not a string, or tags is a single string.
    """

    __slots__ = ("_given", "_tokens")

    def __init__(
        self,
        *,
        user_id: str | None = None,
        user_props: Mapping[str, Any] | None = None,
        thread_id: str | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._given = bind(user_id, user_props, thread_id, tags, metadata)
        self._tokens: list[Token[Bound]] = []

    def __enter__(self) -> context:
        self._tokens.append(bound.set(merge(bound.get(), self._given)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # One object may be entered by several threads and tasks at once, each with its own token.
        for token in reversed(self._tokens):
            if restore(bound, token):
                self._tokens.remove(token)
                return
        self._tokens.pop()


def bind(
    user_id: str | None,
    user_props: Mapping[str, Any] | None,
    thread_id: str | None,
    tags: Iterable[str],
    metadata: Mapping[str, Any] | None,
) -> Bound:
    """
    Make a `Bound` whose values are plain JSON and nobody else's to change.

    Raises:
        TypeError: An id is not a string, or tags is a single string.
    """
    for name, value in (("user_id", user_id), ("thread_id", thread_id)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a string, not {type(value).__name__}: use str(...)")
    if isinstance(tags, str):
        raise TypeError("tags must be a list of strings: write tags=[...]")
    with guard("read what was bound"):
        return Bound(
            user_id=user_id,
            user_props=None if user_props is None else plain_object(user_props),
            thread_id=thread_id,
            tags=tuple(tag if isinstance(tag, str) else str(tag) for tag in plain_list(tags)),
            metadata=plain_object(metadata or {}),
        )
    return Bound(user_id=user_id, thread_id=thread_id)


def plain_object(values: Mapping[str, Any]) -> Mapping[str, JSON]:
    """Copy *values* into a dictionary of plain JSON."""
    result = plain(dict(values))
    return result if isinstance(result, dict) else {}


def plain_list(values: Iterable[Any]) -> list[JSON]:
    """Copy *values* into a list of plain JSON."""
    result = plain(list(values))
    return result if isinstance(result, list) else []


def merge(outer: Bound, inner: Bound) -> Bound:
    """Lay *inner* over *outer*: ids and properties replace, tags and metadata add up."""
    if inner is UNBOUND:
        return outer
    if outer is UNBOUND:
        return inner
    return replace(
        outer,
        user_id=inner.user_id or outer.user_id,
        user_props=outer.user_props if inner.user_props is None else inner.user_props,
        thread_id=inner.thread_id or outer.thread_id,
        tags=outer.tags + tuple(tag for tag in inner.tags if tag not in outer.tags),
        metadata={**outer.metadata, **inner.metadata},
    )
