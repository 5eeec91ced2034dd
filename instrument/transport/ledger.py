"""
Keep count: accepted = delivered + queued + spooled + dropped (by reason), at every moment.

What is spooled lies on disk and not in memory; what lies in both is queued.

An ended run that takes the place of its own open one, which still waited, is one item and not two:
it is `merged`, which stands beside the equation and not in it.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, final


@final
class Ledger:
    """What became of the items of one lane. The lane writes; any thread may read."""

    def __init__(self) -> None:
        # Re-entrant, because a signal handler may ask in the middle of the same thread's question.
        self._lock = threading.RLock()
        self.accepted = 0
        self.delivered = 0
        self.queued = 0
        self.spooled = 0
        self.merged = 0
        self.retried = 0
        self.truncated = 0
        self.dropped: Counter[str] = Counter()

    def accept(self, count: int) -> None:
        """So many more items wait."""
        with self._lock:
            self.accepted += count
            self.queued += count

    def merge(self) -> None:
        """An item took the place of one that waits."""
        with self._lock:
            self.merged += 1

    def truncate(self) -> None:
        """An item that waits is sent shortened."""
        with self._lock:
            self.truncated += 1

    def deliver(self, count: int) -> None:
        """So many items have arrived."""
        with self._lock:
            self.delivered += count
            self.queued -= count

    def drop(self, reason: str, count: int = 1) -> None:
        """So many waiting items are lost."""
        with self._lock:
            self.dropped[reason] += count
            self.queued -= count

    def refuse(self, reason: str, count: int = 1) -> None:
        """So many items are lost that never waited."""
        with self._lock:
            self.accepted += count
            self.dropped[reason] += count

    def spool(self, items: int, places: int) -> None:
        """So many waiting items, at so many places, lie on disk alone; a tree is several there."""
        with self._lock:
            self.accepted += places - items
            self.queued -= items
            self.spooled += places

    def adopt(self, count: int) -> None:
        """So many items have been found on disk; a negative number of them is taken from there."""
        with self._lock:
            self.accepted += count
            self.spooled += count

    def lose(self, reason: str, count: int) -> None:
        """So many items are lost that lay on disk alone."""
        with self._lock:
            self.dropped[reason] += count
            self.spooled -= count

    def totals(self) -> tuple[int, int, int]:
        """Give how many were delivered, wait, and were dropped."""
        with self._lock:
            return self.delivered, self.queued + self.spooled, self.dropped.total()

    def as_dict(self) -> dict[str, Any]:
        """Copy the counts, all of one moment."""
        with self._lock:
            return {
                "accepted": self.accepted,
                "delivered": self.delivered,
                "queued": self.queued,
                "spooled": self.spooled,
                "dropped": dict(self.dropped),
                "merged": self.merged,
                "retried": self.retried,
                "truncated": self.truncated,
            }
