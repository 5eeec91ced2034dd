"""Hold ended runs until the root of their tree ends, for destinations that take whole trees."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

from ..run import Run, Trace
from .bounds import Bounds
from .held import Place, Places
from .parcel import weigh


@final
@dataclass(slots=True)
class _Tree:
    since: float
    runs: list[Run] = field(default_factory=list)
    size_bytes: int = 0
    places: list[Place] = field(default_factory=list)


@final
class Trees:
    """
    Trees that grow, the one begun first in front.

    Args:
        lose: Told how many runs were dropped, and why: `tree_expired` when the root did not end in
            time, `queue_full` when there was no room, `late` when it had ended before them; and
            where they lie on disk.

    Attributes:
        places: Where the runs of the tree lie that `add` gave last.
    """

    def __init__(
        self, bounds: Bounds, max_bytes: int, lose: Callable[[str, int, Places], None]
    ) -> None:
        self._bounds = bounds
        self._max_bytes = max_bytes
        self._lose = lose
        self._growing: OrderedDict[str, _Tree] = OrderedDict()
        self._complete: OrderedDict[str, None] = OrderedDict()
        self._bytes = 0
        self.held = 0
        self.places: Places = ()

    def add(self, run: Run, now: float, places: Places = ()) -> Trace | None:
        """Take an ended run; give its whole tree when it is the root."""
        if run.trace_id in self._complete:
            self._lose("late", 1, places)
            return None
        if run.parent_id is None:
            tree = self._remove(run.trace_id)
            self._remember(run.trace_id)
            self.places = (*tree.places, *places)
            return Trace([*tree.runs, run])
        self._hold(run, now, places)
        return None

    def forget(self, trace_id: str) -> None:
        """Take the runs of a complete tree again: on disk they lie one by one, the root last."""
        self._complete.pop(trace_id, None)

    def due(self) -> float:
        """Say when the oldest tree expires; infinity when none is held."""
        for tree in self._growing.values():
            return tree.since + self._bounds.tree_age
        return float("inf")

    def expire(self, now: float) -> None:
        """Drop the trees that have waited too long for their root."""
        while self.due() <= now:
            self._evict("tree_expired")

    def abandon(self, reason: str) -> None:
        """Drop all trees."""
        while self._growing:
            self._evict(reason)

    def _hold(self, run: Run, now: float, places: Places) -> None:
        size = weigh(run)
        tree = self._growing.setdefault(run.trace_id, _Tree(now))
        tree.runs.append(run)
        tree.places += places
        tree.size_bytes += size
        self._bytes += size
        self.held += 1
        while len(self._growing) > 1 and self._is_full():
            self._evict("queue_full")
        if self._is_full():  # one tree that is too large by itself
            self._evict("queue_full")

    def _is_full(self) -> bool:
        bounds = self._bounds
        return (
            len(self._growing) > bounds.trees
            or self.held > bounds.queue_events
            or self._bytes > self._max_bytes
        )

    def _evict(self, reason: str) -> None:
        tree = self._remove(next(iter(self._growing)))
        self._lose(reason, len(tree.runs), tuple(tree.places))

    def _remove(self, trace_id: str) -> _Tree:
        tree = self._growing.pop(trace_id, None) or _Tree(0.0)
        self._bytes -= tree.size_bytes
        self.held -= len(tree.runs)
        return tree

    def _remember(self, trace_id: str) -> None:
        self._complete[trace_id] = None
        if len(self._complete) > self._bounds.started_ids:
            self._complete.popitem(last=False)
