"""
The runs that LangChain has open, by LangChain's own ids: one registry for the whole process.

Several handlers may see the same run, and LangChain leaves some runs open for ever. So the first
start of a run wins, an end that nobody waits for is dropped, and whatever stays open too long, or
is one too many, is given back to be ended.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final, Generic, Protocol, TypeVar, final
from uuid import UUID

MAX_OPEN: Final = 10_000
"""How many runs may be open at once; above that the oldest tenth is given up."""

MAX_CLOSED: Final = 1_024
"""
How many ended runs are remembered, so that late children find their parent.

Each end forgets the oldest, whose memory nothing has touched for as many runs.
"""

MAX_SECONDS: Final = 3_600.0
"""Seconds after which a run is given up in which nothing has begun."""

GRACE_SECONDS: Final = 5.0
"""Seconds that the children of a cancelled run have to end by themselves."""

SWEEP_SECONDS: Final = 1.0
"""Seconds between two looks for runs that are overdue."""


class Entry(Protocol):
    """What the registry must know of a run."""

    begun: float
    deadline: float | None

    @property
    def above(self) -> Entry | None:
        """The run that LangChain has it under."""


AnyEntry = TypeVar("AnyEntry", bound=Entry)


@final
class Registry(Generic[AnyEntry]):
    """
    The open runs, and the ids of those that ended lately.

    Args:
        clock: Monotonic seconds.

    Attributes:
        due: When to look next for runs that are overdue.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        max_open: int = MAX_OPEN,
        max_closed: int = MAX_CLOSED,
    ) -> None:
        self.clock = clock
        self.max_open = max_open
        self.max_closed = max_closed
        # By the number in the id: hashing a UUID itself runs Python code, in which threads switch.
        self._open: dict[int, AnyEntry] = {}
        self._closed: OrderedDict[int, AnyEntry] = OrderedDict()
        self.due = clock() + SWEEP_SECONDS

    def __len__(self) -> int:
        """Count the open runs."""
        return len(self._open)

    def get(self, run_id: UUID) -> AnyEntry | None:
        """Give the open run with this id."""
        return self._open.get(run_id.int)

    def find(self, run_id: UUID) -> AnyEntry | None:
        """Give the run with this id, open or ended lately."""
        return self._open.get(run_id.int) or self._closed.get(run_id.int)

    def was_closed(self, run_id: UUID) -> bool:
        """Say whether a run with this id has ended lately."""
        return run_id.int in self._closed

    def add(self, run_id: UUID, entry: AnyEntry) -> bool:
        """Add a run that begins; False when another handler has done so already."""
        if len(self._open) >= self.max_open:
            self.due = 0.0
        return self._open.setdefault(run_id.int, entry) is entry

    def close(self, run_id: UUID) -> AnyEntry | None:
        """Take a run out that ends; None when it is not open."""
        number = run_id.int
        entry = self._open.pop(number, None)
        if entry is not None:
            self._closed[number] = entry
            if len(self._closed) > self.max_closed:
                self._closed.popitem(last=False)
        return entry

    def condemn(self, cancelled: AnyEntry) -> None:
        """Give the open children of a cancelled run a last moment to end by themselves."""
        deadline = self.clock() + GRACE_SECONDS
        for entry in tuple(self._open.values()):
            if entry.above is cancelled:
                entry.deadline = deadline

    def overdue(self) -> list[UUID]:
        """List the open runs that will not end any more; the next look is `due` a while later."""
        now = self.clock()
        self.due = now + SWEEP_SECONDS
        entries = tuple(self._open.items())
        surplus = entries[: self.max_open // 10] if len(entries) >= self.max_open else ()
        alive = _alive((entry for _, entry in entries), now - MAX_SECONDS)
        late = (
            number
            for number, entry in islice(entries, len(surplus), None)
            if id(entry) not in alive or (entry.deadline is not None and entry.deadline < now)
        )
        return [UUID(int=number) for number in (*(number for number, _ in surplus), *late)]

    def clear(self) -> None:
        """Forget every run, as a forked child does: they are its parent's."""
        self._open.clear()
        self._closed.clear()


def _alive(entries: Iterable[Entry], since: float) -> set[int]:
    """Find the runs that began, or have one below them that began, after *since*."""
    alive: set[int] = set()
    for entry in entries:
        if entry.begun > since:
            above: Entry | None = entry
            while above is not None and id(above) not in alive:
                alive.add(id(above))
                above = above.above
    return alive
