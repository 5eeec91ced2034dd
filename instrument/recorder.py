"""
Begin, end and fail runs, and hand them on as records.

This is what runs in the application's thread, so it does little: an id, two clocks, what is bound.
What a run says (its facts) may be given as a function, which the worker calls later.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypedDict, final

from .context import UNBOUND, Bound, Place, bound, merge, surroundings
from .entropy import Entropy
from .errors import lines_of, text_of
from .guard import guard
from .run import Answer, Error, Exchange, Feedback, Item, Kind, Run, Snapshot, Usage, UserEvent

if TYPE_CHECKING:
    from uuid import UUID

RECORD_OVERHEAD_BYTES = 1024
"""What a queued run weighs beside its texts, in bytes; measured with tracemalloc, rounded up."""

MAX_STACK_CHARS = 8_000
"""Characters of a traceback that are kept; its end, where the error was raised, is."""

MAX_MESSAGE_CHARS = 8_000
"""Characters of an error's message that are kept."""


class Facts(TypedDict, total=False):
    """What is found out about a run beside its place and its times: fields of `Run`."""

    name: str
    input: Snapshot | None
    output: Snapshot | None
    error: Error | None
    partial: str | None
    usage: Usage | None
    params: Snapshot | None
    answer: Answer | None
    duration: float  # when the worker knows better than whoever ended the run
    bound: Bound  # what the request itself says about user and thread, below what the user bound


LazyFacts: TypeAlias = "Facts | Callable[[], Facts]"


def as_v4(run_id: UUID) -> str:
    """
    Give another library's id the form of a UUIDv4; one that is a UUIDv4 stays as it is.

    The same id always gives the same, so no table is needed to find the run again. The halves are
    swapped, because the first of a time-ordered id (UUIDv7) is the same for a whole minute, and
    people tell runs apart by how their ids begin.
    """
    return v4_of(entropy_of(run_id))


def entropy_of(run_id: UUID) -> bytes:
    """Give the 16 bytes that `v4_of` makes another library's id of."""
    data = run_id.bytes
    return data if data[6] >> 4 == 4 else data[8:] + data[:8]


def own_id(run_id: str) -> str:
    """Turn an id that the application has, of ours or of LangChain's, into the run's own."""
    from uuid import UUID

    try:
        return as_v4(UUID(run_id))
    except ValueError:
        return run_id


def v4_of(entropy: bytes) -> str:
    """Write 16 bytes as a UUIDv4: as they are, but for six bits that say version and variant."""
    digits = entropy.hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


LATER = b""
"""No entropy yet: the worker draws it, so that no model call waits for that."""


class OpenRun:
    """
    A run that has begun, held by whoever will end it.

    `end` and `discard` may be called from any thread, more than once and from a finalizer: the
    first call counts. In a process that was forked meanwhile they do nothing, because the run is
    the parent's.
    """

    __slots__ = (
        "_clock",
        "_entropy",
        "_id",
        "_open",
        "_parent",
        "_recorder",
        "_t0",
        "_trace_id",
        "bound",
        "kind",
        "name",
        "pid",
        "sampled",
        "started_at",
    )

    def __init__(
        self,
        recorder: Recorder,
        kind: Kind,
        name: str,
        parent: Place | None,
        entropy: bytes | UUID | None = None,
    ) -> None:
        self._clock = recorder.clock
        self._t0 = self._clock()
        self.started_at = recorder.now()
        self._recorder = recorder
        self._open = [True]
        self.pid = recorder.pid
        self.kind: Kind = kind
        self.name = name
        self._id: str | None = None
        self._entropy = recorder.entropy() if entropy is None else entropy
        self.bound = bound.get()
        self._parent = parent
        self._trace_id: str | None = None
        if parent is None:
            self.sampled = recorder.sample_rate >= 1.0 or recorder.sample()
        else:
            self.sampled = parent.sampled
            self.started_at = max(self.started_at, parent.started_at)
            if isinstance(parent, OpenRun) and parent.bound is not self.bound:
                self.bound = merge(parent.bound, self.bound)

    @property
    def id(self) -> str:
        """Id of the run; written out when it is first asked for, usually by the worker."""
        if self._id is None:
            entropy = self._entropy
            if not isinstance(entropy, bytes):
                entropy = entropy_of(entropy)
            self._id = v4_of(entropy or self._recorder.entropy())
        return self._id

    @property
    def parent_id(self) -> str | None:
        """Id of the run that this one stands under."""
        return None if self._parent is None else self._parent.id

    @property
    def trace_id(self) -> str:
        """Id of the root of its tree."""
        if self._trace_id is None:
            self._trace_id = self.id if self._parent is None else self._parent.trace_id
        return self._trace_id

    @property
    def default_user_id(self) -> str | None:
        """The user that the settings name, for when nothing nearer does."""
        return self._recorder.user_id

    @property
    def is_open(self) -> bool:
        """Whether nobody has ended the run yet."""
        return bool(self._open)

    @property
    def was_announced(self) -> bool:
        """Whether it was published as open, for a run that may end without that."""
        return True

    def disown(self) -> None:
        """Let go of the run: its end is not published, as if it were another process's."""
        self.pid = 0

    def offset(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._t0

    def announce(self, facts: LazyFacts, size_bytes: int = 0) -> None:
        """Publish the run as open, with what is known of it."""
        self._publish(None, facts, size_bytes)

    def end(self, facts: LazyFacts, *, duration: float | None = None, size_bytes: int = 0) -> None:
        """
        End the run and publish it.

        Args:
            facts: What is known of it, or a function that finds out; the worker calls it.
            duration: Seconds since it began; None means that it ends now.
            size_bytes: Size of what *facts* holds, for the bound of the queue.
        """
        if self.discard():
            self._publish(self.offset() if duration is None else duration, facts, size_bytes)

    def left_open(self) -> None:
        """End the run because the process ends; for those that `Recorder.streams` holds."""
        self.end({"partial": "exit"})

    def discard(self) -> bool:
        """End the run without publishing it; True for the one call that did so."""
        try:
            self._open.pop()  # atomic, so that two threads cannot both end the run
        except IndexError:
            return False
        return self.pid == self._recorder.pid

    def _publish(self, duration: float | None, facts: LazyFacts, size_bytes: int) -> None:
        if self.sampled:
            self._recorder.publish(Record(self, duration, facts, size_bytes))


@final
class Record:
    """What crosses to the worker: a run, its duration (None: still open) and its lazy facts."""

    __slots__ = ("duration", "facts", "run", "size_bytes")

    def __init__(
        self, run: OpenRun, duration: float | None, facts: LazyFacts, size_bytes: int
    ) -> None:
        self.run = run
        self.duration = duration
        self.facts = facts
        self.size_bytes = size_bytes + RECORD_OVERHEAD_BYTES

    def decode(self) -> Run | None:
        """
        Find out the facts and make the `Run`. Never raises: a run without facts is still one.

        None is for a run that was open when it was published, and has ended before anybody looked:
        its other record follows, and says all that this one would.
        """
        if self.duration is None and not self.run.is_open:
            return None
        facts: Facts = {}
        with guard("read a run"):
            facts = self.facts() if callable(self.facts) else self.facts
        head = self.run
        fields: dict[str, Any] = {"name": head.name, "duration": self.duration, **facts}
        said = merge(fields.pop("bound", UNBOUND), head.bound)
        return Run(
            id=head.id,
            trace_id=head.trace_id,
            parent_id=head.parent_id,
            kind=head.kind,
            started_at=datetime.fromtimestamp(head.started_at, timezone.utc),
            user_id=said.user_id or head.default_user_id,
            user_props=said.user_props,
            thread_id=said.thread_id,
            tags=said.tags,
            metadata=said.metadata,
            **fields,
        )


@final
class Note:
    """A record that holds what is not a run (a feedback, a user event, an exchange), as it is."""

    __slots__ = ("item", "size_bytes")

    def __init__(self, item: Feedback | UserEvent | Exchange, size_bytes: int = 0) -> None:
        self.item = item
        self.size_bytes = size_bytes + RECORD_OVERHEAD_BYTES

    def decode(self) -> Item:
        """Give the item."""
        return self.item


class Carried(Protocol):
    """What crosses to the worker; an item that is None leaves nothing to deliver."""

    size_bytes: int

    def decode(self) -> Item | None:
        """Make the item; called on the worker, once."""


Publish: TypeAlias = "Callable[[Carried], None]"


class Recorder:
    """
    Begin runs, with ids, clocks and sampling of its own choosing.

    Args:
        publish: Takes each record; must be quick, re-entrant and not raise.
        sample_rate: Share of trees that are recorded, 0.0 to 1.0; decided at the root.
        user_id: The user of every run for which nothing nearer names one.

    Attributes:
        streams: Runs whose answers are still being read, for `end_streams`.
    """

    def __init__(
        self,
        publish: Publish,
        *,
        sample_rate: float = 1.0,
        user_id: str | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.perf_counter,
        entropy: Callable[[], bytes] | None = None,
    ) -> None:
        self.publish = publish
        self.sample_rate = sample_rate
        self.user_id = user_id
        self.now = now
        self.clock = clock
        self.entropy = entropy or Entropy()
        self.pid = os.getpid()
        self.enabled = True
        self.streams: set[OpenRun] = set()

    def begin(self, kind: Kind, name: str) -> OpenRun:
        """Begin a run where we are: under the current one, or under another integration's."""
        return OpenRun(self, kind, name, surroundings().parent)

    def begin_under(
        self, parent: Place | None, kind: Kind, name: str, entropy: bytes | UUID | None = None
    ) -> OpenRun:
        """
        Begin a run under *parent*, or as a root when that is None.

        *entropy* becomes its id, also another library's id: see `as_v4`.
        """
        return OpenRun(self, kind, name, parent, entropy)

    def sample(self) -> bool:
        """Decide whether a new tree is recorded."""
        import random

        return random.random() < self.sample_rate  # noqa: S311 - a share, not a secret

    def after_fork(self) -> None:
        """In a forked child: the runs that are open belong to the parent."""
        self.pid = os.getpid()
        self.streams = set()

    def end_streams(self) -> None:
        """End the streams that are still open when the process ends."""
        for stream in list(self.streams):
            with guard("end a stream"):
                stream.left_open()


installed: list[Recorder] = []
"""The recorders that are on, the newest last; `client` and `testing.capture` keep it."""

starters: list[Callable[[], Recorder | None]] = []
"""Whoever can put up a recorder from the environment alone; `client` is in it."""


def describe(error: BaseException, status: int | None = None) -> Error:
    """Write an exception down: its own text, its class and the end of its traceback."""
    message = type(error).__name__
    with guard("read an error"):
        message = text_of(error)[:MAX_MESSAGE_CHARS] or message
    stack = None
    with guard("read a traceback"):
        stack = "".join(lines_of(error, message))[-MAX_STACK_CHARS:]
    return Error(message=message, type=type(error).__name__, stack=stack, status=status)
