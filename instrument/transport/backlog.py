"""
What the lanes have on disk: written before they get it, read back when they have room.

An item that a lane holds lies in a file as well, until the lane says that it is settled. One that
has no room in memory any more, or that a process left which is gone, lies in a file alone and is
put into its lane again in time. Used by the thread that works at the desk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, final

from ..guard import guard
from ..run import Item
from .bounds import MIB, SpoolOptions
from .held import Place
from .lane import Lane
from .packed import packed, unpacked
from .segment import Framed, framed
from .spool import ADOPTED, Spool

ITEMS_PER_TURN = 256
"""Items that are read back for a lane before the others are looked after again."""

Prepared: TypeAlias = "tuple[Item, tuple[str, ...], Framed | None]"
"""An item, the lanes that want it, and the frame that is to lie on disk, if that can be."""

Written: TypeAlias = "tuple[Item, tuple[str, ...], Place | None]"
"""An item, the lanes that want it, and where it lies on disk."""


@final
class Backlog:
    """
    The spool of one process, and its lanes by name.

    Attributes:
        next_write: When what has come since is to be written, by the monotonic clock.
    """

    def __init__(
        self, options: SpoolOptions, lanes: Sequence[Lane], clock: Callable[[], float]
    ) -> None:
        self.next_write = clock()
        self._lanes = {lane.name: lane for lane in lanes}
        self._each = tuple(self._lanes.items())
        self._guards = {name: guard(f"offer an item to {name}") for name in self._lanes}
        self._spool = Spool(options, self._lanes, self._book, clock=clock)
        self._window = options.window
        self._clock = clock

    def prepare(self, item: Item) -> Prepared:
        """Find out which lanes want an item, and write it down for them, while it is at hand."""
        names = tuple([name for name, lane in self._each if lane.wants(item)])
        body = packed(item) if names else None
        return item, names, None if body is None else framed(names, body)

    def write(self, prepared: Sequence[Prepared]) -> list[Written]:
        """Write items for all lanes that want them; those that none wants are left out."""
        wanted = [each for each in prepared if each[1]]
        places: Sequence[Place | None] = [None] * len(wanted)
        with guard("write to the spool"):
            places = self._spool.append([each[1:] for each in wanted])
        self.next_write = self._clock() + self._window
        return [
            (item, names, place) for (item, names, _), place in zip(wanted, places, strict=True)
        ]

    def deal(self, written: Sequence[Written]) -> None:
        """Give items to the lanes that want them."""
        now = self._clock()
        for item, names, place in written:
            for name in names:
                with self._guards[name]:
                    self._lanes[name].put(item, now, () if place is None else (place,))

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
        for place, body in self._spool.take(name, room, MIB) if room else ():
            item: Item | None = None
            with guard("read an item from the spool"):
                item = unpacked(body)
            lane.ledger.adopt(-1)
            if item is None:
                lane.ledger.refuse("spool_corrupt")
                lane.books.settled.append(place)
            else:
                lane.put(item, now, (place,))
        return room > 0

    def _book(self, name: str, what: str, count: int) -> None:
        """Note in a lane's ledger what became of items that lay on disk alone."""
        ledger = self._lanes[name].ledger
        if what == ADOPTED:
            ledger.adopt(count)
        else:
            ledger.lose(what, count)

    def close(self) -> None:
        """Leave to the next process what the lanes have not settled."""
        self._collect()
        with guard("close the spool"):
            self._spool.close()

    def forget(self) -> None:
        """In a forked child: let go of the parent's files."""
        self._spool.forget()

    def as_dict(self) -> dict[str, Any]:
        """Copy the spool's counts."""
        return self._spool.as_dict()
