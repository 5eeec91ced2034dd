"""
Take records in the application's threads: at once, without a lock, from anywhere.

`add` may be entered again while it runs (a signal handler, a finalizer, another thread), so it
touches a `deque` and integers only. `x += n` on an attribute, where `n` is a plain local, is one
step for CPython's other threads and signal handlers: the interpreter switches at calls and at jumps
back, and there is none in it. Where that does not hold (free-threaded builds) a sum may be off by a
few bytes, which `take` sets right whenever the queue is empty.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, final

from ..guard import guard
from ..recorder import Carried
from .bounds import Bounds

_NEVER = sys.maxsize


@final
class Intake:
    """
    A queue of records that drops the oldest when it is full, and counts.

    Args:
        ring: Wakes the worker; called once when enough is there, then not before `arm`.
    """

    def __init__(self, bounds: Bounds, ring: Callable[[], None]) -> None:
        self._records: deque[Carried] = deque()
        self._max_events = bounds.queue_events
        self._max_bytes = bounds.intake_bytes
        self._ring = ring
        self._arm_events = bounds.wake_events
        self._arm_bytes = bounds.wake_bytes
        self._wake_events = 1
        self._wake_bytes = self._arm_bytes
        self._bytes_in = 0
        self._bytes_out = 0
        self.accepted = 0
        self.passed = 0
        self._outdated = 0
        self._too_many = 0
        self._too_late = 0
        self._dropped: Counter[str] = Counter()

    def add(self, record: Carried) -> int:
        """Take *record*; the oldest make room for it. Gives how many wait."""
        size = record.size_bytes
        records = self._records
        self.accepted += 1
        self._bytes_in += size
        records.append(record)
        count = len(records)
        weight = self._bytes_in - self._bytes_out
        if count > self._max_events or weight > self._max_bytes:
            self._make_room()
        if count >= self._wake_events or weight >= self._wake_bytes:
            self._wake_events = self._wake_bytes = _NEVER
            self._ring()
        return count

    def _make_room(self) -> None:
        """Drop the oldest; the newest stays, however large it is."""
        records = self._records
        while len(records) > 1 and (
            len(records) > self._max_events or self._bytes_in - self._bytes_out > self._max_bytes
        ):
            try:
                oldest = records.popleft()
            except IndexError:  # another thread was faster
                return
            size = oldest.size_bytes
            self._bytes_out += size
            if is_outdated(oldest):
                self._outdated += 1
            else:
                self._too_many += 1
                tell(oldest)

    def refuse(self, record: Carried) -> None:
        """Count a record that came after the end."""
        self.accepted += 1
        self._too_late += 1
        tell(record)

    def take(self) -> Carried | None:
        """Hand the oldest record to the worker, which says later what became of it."""
        try:
            record = self._records.popleft()
        except IndexError:
            self._bytes_out = self._bytes_in
            return None
        size = record.size_bytes
        self._bytes_out += size
        return record

    def drop(self, reason: str, count: int = 1) -> None:
        """Count records that were taken and lead to nothing; called by the worker alone."""
        self._dropped[reason] += count

    def arm(self, *, idle: bool) -> bool:
        """
        Ring again, at the next record when *idle*, else when a batch is there.

        Returns:
            Whether that much is there already, so that nothing will ring.
        """
        self._wake_bytes = self._arm_bytes
        self._wake_events = events = 1 if idle else self._arm_events
        return len(self._records) >= events or self._bytes_in - self._bytes_out >= self._arm_bytes

    def abandon(self, reason: str) -> None:
        """Drop all that waits."""
        while (record := self.take()) is not None:
            self.drop(reason)
            tell(record)

    def __len__(self) -> int:
        """How many records wait to be taken."""
        return len(self._records)

    @property
    def settled(self) -> int:
        """How many records have been passed on or dropped."""
        return self.passed + self._outdated + self.dropped_total

    @property
    def dropped_total(self) -> int:
        """How many records have been dropped."""
        return self._too_many + self._too_late + self._dropped.total()

    @property
    def queued(self) -> int:
        """How many records wait, the one in the worker's hand among them."""
        return max(0, self.accepted - self.settled)

    def as_dict(self) -> dict[str, Any]:
        """Copy the counts: accepted = passed + queued + dropped."""
        dropped = dict(self._dropped)
        for reason, count in (("queue_full", self._too_many), ("after_shutdown", self._too_late)):
            if count:
                dropped[reason] = dropped.get(reason, 0) + count
        passed, total = self.passed + self._outdated, sum(dropped.values())
        return {
            "accepted": max(self.accepted, passed + total),
            "passed": passed,
            "queued": max(0, self.accepted - passed - total),
            "dropped": dropped,
        }


def is_outdated(record: Carried) -> bool:
    """
    Say whether a record tells of an open run that has ended since.

    Nothing is lost with it: the run's other record says all that this one does.
    """
    run = getattr(record, "run", None)
    return run is not None and getattr(record, "duration", 0) is None and not run.is_open


def is_ours(record: Carried) -> bool:
    """
    Say whether a record that was made on a thread of ours tells of our own doing.

    That is not traced, and a run that begins there is disowned. But any garbage may be collected
    there, and with it a stream of the application's, whose end this is.
    """
    run = getattr(record, "run", None)
    if run is None:
        return True
    if getattr(record, "duration", None) is None:
        run.disown()
        return True
    return not run.was_announced


def tell(record: Carried) -> None:
    """Tell a record that it is lost, if it wants to know."""
    lost = getattr(record, "lost", None)
    if lost is not None:
        with guard("tell a record that it is lost"):
            lost()
