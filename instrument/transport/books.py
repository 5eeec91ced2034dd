"""What a lane keeps account of: what became of its items, and what it needs on disk no more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import final

from ..guard import notices
from .held import Place, Places, is_safe
from .ledger import Ledger
from .parcel import Entry


@final
class Books:
    """
    The ledger of one lane, and the places on disk that its spool is to hear of.

    Attributes:
        settled: Where items lie that are needed no more.
        left: Where items lie that are no longer in memory.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.ledger = Ledger()
        self.settled: list[Place] = []
        self.left: list[Place] = []

    def over(self, entries: Iterable[Entry]) -> None:
        """Nobody needs these entries any more."""
        for entry in entries:
            self.settled.extend(entry.places)

    def drop(self, reason: str, count: int) -> None:
        """So many items that waited are lost."""
        if count > 0:
            self.ledger.drop(reason, count)
            self._say(reason)

    def drop_by_reason(self, dropped: Mapping[str, int], most: int) -> int:
        """Drop what an exporter says it dropped, and no more than there was; give how many."""
        left = most
        for reason, count in dropped.items():
            part = max(0, min(count, left))
            left -= part
            self.drop(reason, part)
        return most - left

    def lose(self, reason: str, entries: Sequence[Entry]) -> None:
        """Drop entries for good."""
        self.over(entries)
        self.drop(reason, len(entries))

    def leave(self, reason: str, entries: Sequence[Entry], *, may_wait: bool) -> None:
        """Let entries out of memory: those on disk may wait there, the others are lost."""
        waiting = [entry for entry in entries if may_wait and entry.is_safe]
        places = [place for entry in waiting for place in entry.places]
        self.left += places
        self.ledger.spool(len(waiting), len(places))
        self.lose(reason, [entry for entry in entries if not (may_wait and entry.is_safe)])

    def lose_runs(self, reason: str, count: int, places: Places) -> None:
        """Drop runs of a tree, but for those on disk when the transport ends."""
        safe = [place for place in places if is_safe(place)] if reason == "exit" else []
        self.left += safe
        self.ledger.spool(0, len(safe))
        self.settled.extend(() if safe else places)
        if count > len(safe):
            self.refuse(reason, count - len(safe))

    def refuse(self, reason: str, count: int = 1) -> None:
        """Drop what never waited."""
        self.ledger.refuse(reason, count)
        self._say(reason)

    def _say(self, reason: str) -> None:
        message = "%s: items are lost: %s, %d so far; stats() has the counts"
        notices.say(
            f"{self.name}: {reason}", message, self.name, reason, self.ledger.dropped[reason]
        )
