"""
What the lanes have on disk: written before they get it, read back when they have room.

An item that a lane holds lies in a file as well, until the lane says that it is settled. One that
has no room in memory any more, or that a process left which is gone, lies in a file alone and is
put into its lane again in time. Used by the thread that works at the desk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, TypeAlias, final

from ..guard import guard
from ..run import Item
from .bounds import MIB, SpoolOptions
from .held import Place
from .lane import Lane, Placed
from .packed import packed, unpacked
from .segment import Names, framed
from .spool import ADOPTED, Spool
from .syncer import Syncer

ITEMS_PER_TURN = 256
"""Items that are read back for a lane before the others are looked after again."""

CHUNK_ITEMS = 32
"""Items that are written in one frame: all that one wrong bit on the disk can cost."""

Made: TypeAlias = "tuple[Item, Names]"
"""An item, and the lanes that want it."""

Written: TypeAlias = "tuple[Sequence[Item], Sequence[Names], Place | None]"
"""Items, the lanes that want each, and where the first lies on disk, with the others after it."""


@final
class Backlog:
    """
    The spool of one process, and its lanes by name.

    Args:
        own: Idents of the threads that are ours.

    Attributes:
        next_write: When what has come since is to be written, by the monotonic clock.
    """

    def __init__(
        self,
        options: SpoolOptions,
        lanes: Sequence[Lane],
        clock: Callable[[], float],
        own: set[int],
    ) -> None:
        self.next_write = clock()
        self._lanes = {lane.name: lane for lane in lanes}
        self._each = tuple(self._lanes.items())
        self._guards = {name: guard(f"offer items to {name}") for name in self._lanes}
        self._spool = Spool(options, self._lanes, self._book, clock=clock)
        self._syncer = Syncer(self._spool.force, own)
        self._spool.ask = self._syncer.ask
        self._window = options.window
        self._clock = clock

    def names(self, item: Item) -> Names:
        """Ask the lanes which of them want *item*."""
        return tuple([name for name, lane in self._each if lane.wants(item)])

    def write(self, made: Sequence[Made]) -> list[Written]:
        """Write items, one at least, in as few frames as they fit into."""
        items, names = zip(*made, strict=True)
        written: list[Written] = []
        first = 0
        with guard("write to the spool"):
            for count, body in packed(items):
                own = names[first : first + count]
                place = None if body is None else self._spool.append(framed(own, body))
                written.append((items[first : first + count], own, place))
                first += count
        if first < len(items):
            written.append((items[first:], names[first:], None))
        return written

    def commit(self) -> None:
        """Have on the disk what was written, if that is asked for."""
        with guard("write to the spool"):
            self._spool.commit()
        self.next_write = self._clock() + self._window

    def deal(self, written: Sequence[Written]) -> None:
        """Give items to the lanes that want them."""
        now = self._clock()
        for name, lane in self._each:
            with self._guards[name]:
                lane.put(chain.from_iterable(_placed(name, *frame) for frame in written), now)

    def tend(self, now: float) -> list[Lane]:
        """Do what is due on disk; give the lanes for which something was read back."""
        self._collect()
        with guard("tend the spool"):
            self._spool.tend()
        return [lane for name, lane in self._lanes.items() if self._read_back(name, lane, now)]

    def due(self) -> float:
        """Say when `tend` has something to do that no lane asks for."""
        return self._spool.due()

    def _collect(self) -> None:
        """Hear from the lanes what they need no more, and what has left their memory."""
        for name, lane in self._lanes.items():
            books = lane.books
            if books.settled:
                settled, books.settled = books.settled, []
                self._spool.settle(name, settled)
            if books.left:
                left, books.left = books.left, []
                self._spool.leave(name, left)

    def _read_back(self, name: str, lane: Lane, now: float) -> bool:
        room = min(lane.room(), ITEMS_PER_TURN) if self._spool.waits(name) else 0
        frame: bytes | None = None
        items: Sequence[Item] = ()
        back: list[Placed] = []
        for place, body, number in self._spool.take(name, room, MIB) if room else ():
            if body is not frame:
                frame, items = body, ()
                with guard("read items from the spool"):
                    items = unpacked(body)
            lane.ledger.adopt(-1)
            if number < len(items):
                back.append((items[number], (place,)))
            else:
                lane.ledger.refuse("spool_corrupt")
                lane.books.settled.append(place)
        lane.put(back, now)
        return room > 0

    def _book(self, name: str, what: str, count: int) -> None:
        """Note in a lane's ledger what became of items that lay on disk alone."""
        ledger = self._lanes[name].ledger
        if what == ADOPTED:
            ledger.adopt(count)
        else:
            ledger.lose(what, count)

    def rest(self) -> list[threading.Thread]:
        """Have no thread until there is something to do; give those that may still run."""
        return self._syncer.close()

    def close(self) -> None:
        """Leave to the next process what the lanes have not settled."""
        self._syncer.close()
        self._collect()
        with guard("close the spool"):
            self._spool.close()

    def forget(self) -> None:
        """In a forked child: let go of the parent's files."""
        self._spool.forget()

    def as_dict(self) -> dict[str, Any]:
        """Copy the spool's counts."""
        return self._spool.as_dict()


def _placed(
    name: str, items: Sequence[Item], names: Sequence[Names], first: Place | None
) -> list[Placed]:
    """Give the items that this lane wants, each with where it lies on disk."""
    if first is None:
        return [(item, ()) for item, own in zip(items, names, strict=True) if name in own]
    file, start = first
    return [
        (item, ((file, place),))
        for place, (item, own) in enumerate(zip(items, names, strict=True), start)
        if name in own
    ]
