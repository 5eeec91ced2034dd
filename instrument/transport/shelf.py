"""The items of a lane that are in no parcel yet, in order and bounded."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import final

from ..exporters._base import Limits
from ..run import Item, Run
from .bounds import Bounds
from .held import Places
from .parcel import Entry, weigh

_WIDEN = 1.02
"""How much larger a batch may be after each delivery, once the backend said that it was too large."""


@final
class Shelf:
    """
    A queue whose oldest items make room, and in which an ended run replaces its open one.

    Args:
        max_bytes: What the lane may hold, in bytes. A quarter of it at most is for the one batch
            that is under way, the rest for what waits here.
    """

    def __init__(self, limits: Limits, bounds: Bounds, max_bytes: int) -> None:
        self._limits = limits
        self._bounds = bounds
        self._most_batch_bytes = min(limits.max_bytes, max_bytes // 4)
        self._max_bytes = max_bytes - self._most_batch_bytes
        self._entries: deque[Entry] = deque()
        self._open: dict[str, Entry] = {}
        self._bytes = 0
        self._batch_bytes = self._most_batch_bytes
        self.newest = 0

    def put(self, item: Item, now: float, places: Places = ()) -> None:
        """Take an item, as the newest."""
        self.newest += 1
        entry = Entry(item, weigh(item), self.newest, now, places)
        self._entries.append(entry)
        self._bytes += entry.size_bytes
        if isinstance(item, Run) and item.duration is None:
            self._open[item.id] = entry

    def replace(self, item: Item) -> Entry | None:
        """Put an ended run in the place of its open one, if that waits here; give its entry."""
        if not isinstance(item, Run) or item.duration is None:
            return None
        entry = self._open.pop(item.id, None)
        if entry is None:
            return None
        size = weigh(item)
        self._bytes += size - entry.size_bytes
        entry.item, entry.size_bytes = item, size
        return entry

    def due(self, urged: int) -> float:
        """Say when the next batch is: at once when it is full or *urged*, else when its time is."""
        if not self._entries:
            return math.inf
        oldest = self._entries[0]
        is_full = len(self._entries) >= self._limits.max_items or self._bytes >= self._batch_bytes
        if is_full or oldest.number <= urged:
            return -math.inf
        bounds = self._bounds
        is_new = oldest.number <= bounds.first_items
        return oldest.since + (
            min(bounds.first_interval, bounds.flush_interval) if is_new else bounds.flush_interval
        )

    def cut(self) -> list[Entry]:
        """Take a batch from the front: one item at least, and no more than the limits allow."""
        batch = [self._pop()]
        size = batch[0].size_bytes
        while self._entries and len(batch) < self._limits.max_items:
            size += self._entries[0].size_bytes
            if size > self._batch_bytes:
                break
            batch.append(self._pop())
        return batch

    def holds(self, mark: int) -> bool:
        """Say whether an item up to *mark* waits."""
        return bool(self._entries) and self._entries[0].number <= mark

    @property
    def is_light(self) -> bool:
        """Whether less than half of what may wait here does, by weight."""
        return self._bytes < self._max_bytes // 2

    def make_room(self, in_lane: int) -> list[Entry]:
        """Give away the oldest until all is within bounds; the lane holds so many items in all."""
        dropped: list[Entry] = []
        while len(self._entries) > 1 and (
            in_lane - len(dropped) > self._bounds.queue_events or self._bytes > self._max_bytes
        ):
            dropped.append(self._pop())
        return dropped

    def expire(self, oldest: float) -> list[Entry]:
        """Give away what was taken before *oldest*."""
        dropped: list[Entry] = []
        while self._entries and self._entries[0].since < oldest:
            dropped.append(self._pop())
        return dropped

    def clear(self) -> list[Entry]:
        """Give away everything."""
        dropped = list(self._entries)
        self._entries.clear()
        self._open.clear()
        self._bytes = 0
        return dropped

    def narrow(self, max_bytes: int) -> None:
        """Make smaller batches from now on: the backend called a larger one too large."""
        self._batch_bytes = max(1, min(self._batch_bytes, max_bytes))

    def widen(self) -> None:
        """Make batches a little larger again."""
        self._batch_bytes = min(self._most_batch_bytes, int(self._batch_bytes * _WIDEN) + 1)

    def _pop(self) -> Entry:
        entry = self._entries.popleft()
        self._bytes -= entry.size_bytes
        if isinstance(entry.item, Run) and entry.item.duration is None:
            self._open.pop(entry.item.id, None)
        return entry


@final
class Started:
    """
    Ids of the runs that a destination has, under which others may still begin.

    The oldest are forgotten, ended ones first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: OrderedDict[str, None] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._open or run_id in self._ended

    def update(self, entries: Iterable[Entry], *, sure: bool) -> None:
        """
        Learn from what was delivered.

        Unless it is *sure* that all of it was, no run counts as started: a start that is sent
        twice does less harm than one that is missing.
        """
        for entry in entries:
            run = entry.item
            if not isinstance(run, Run):
                continue
            self._open.pop(run.id, None)
            self._ended.pop(run.id, None)
            if sure:
                (self._open if run.duration is None else self._ended)[run.id] = None
        while len(self._open) + len(self._ended) > self._most:
            (self._ended or self._open).popitem(last=False)
