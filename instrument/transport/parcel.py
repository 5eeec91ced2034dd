"""What a lane holds: entries that wait, and parcels of them that are on their way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final
from urllib.parse import urlsplit

from ..exporters._base import Encoded, Request
from ..run import Exchange, Feedback, Item, Run, Trace, UserEvent
from ..snapshot import snapshot
from .held import Places, is_safe

ITEM_BYTES = 1024
"""What an item weighs beside its texts, in bytes."""


@final
@dataclass(slots=True, eq=False)
class Entry:
    """
    One item in a lane.

    Attributes:
        size_bytes: What it weighs in memory, about.
        number: Its place in the order of the lane.
        since: When the lane took it, by the monotonic clock.
        places: Where it lies on disk too.
        whole: The item as it was before it was shortened, if it was.
    """

    item: Item
    size_bytes: int
    number: int
    since: float
    places: Places = ()
    whole: Item | None = None

    @property
    def original(self) -> Item:
        """The item as it was taken."""
        return self.item if self.whole is None else self.whole

    @property
    def is_safe(self) -> bool:
        """Whether it would outlive this process."""
        return bool(self.places) and all(map(is_safe, self.places))


@final
@dataclass(slots=True, eq=False)
class Trial:
    """A batch that was refused as a whole, and what its parts have shown so far."""

    refused: int = 0
    accepted: bool = False


@final
@dataclass(slots=True, eq=False)
class Parcel:
    """
    Entries that travel together.

    Attributes:
        request: What carries them, the same at every try; None until they are encoded.
        trial: The refused batch that they were part of, if any.
        shorten_to: What its one entry is to weigh at most before it is sent, if that is too much.
    """

    entries: list[Entry]
    request: Request | None = None
    trial: Trial | None = None
    shorten_to: int | None = None

    @property
    def size_bytes(self) -> int:
        """What its entries weigh."""
        return sum(entry.size_bytes for entry in self.entries)

    @property
    def place(self) -> str:
        """Where it goes, without query and user."""
        if self.request is None:
            return "this machine"
        parts = urlsplit(self.request.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def packed(self, encoded: Encoded) -> tuple[list[Parcel], list[Entry]]:
        """Make a parcel of each request; give also the entries that are in none of them."""
        entries: dict[int, list[Entry]] = {}
        for entry in reversed(self.entries):
            entries.setdefault(id(entry.item), []).append(entry)
        parcels: list[Parcel] = []
        for request in encoded.requests:
            own = [entries[id(item)].pop() for item in request.items if entries.get(id(item))]
            if own or not request.items:
                parcels.append(Parcel(own, request, self.trial))
        return parcels, [entry for same in entries.values() for entry in same]

    def halves(self, trial: Trial | None) -> tuple[Parcel, Parcel]:
        """Cut it in two that are still to be encoded."""
        middle = len(self.entries) // 2
        first, second = self.entries[:middle], self.entries[middle:]
        return Parcel(first, trial=trial), Parcel(second, trial=trial)


def weigh(item: Item) -> int:
    """Say what an item weighs in memory, in bytes, about."""
    if isinstance(item, Run):
        return _weigh_run(item)
    if isinstance(item, Trace):
        return sum(_weigh_run(run) for run in item.runs)
    return ITEM_BYTES + _weigh_small(item)


def _weigh_run(run: Run) -> int:
    size = ITEM_BYTES + len(run.input or b"") + len(run.output or b"") + len(run.params or b"")
    if run.error is not None:
        size += len(run.error.message) + len(run.error.stack or "")
    if run.answer is not None:
        size += ITEM_BYTES + len(run.answer.logprobs or b"")
    if run.metadata or run.user_props:
        size += _weigh_values(run.metadata) + _weigh_values(run.user_props)
    return size


def _weigh_small(item: Feedback | UserEvent | Exchange) -> int:
    if isinstance(item, Feedback):
        return len(item.comment or "")
    if isinstance(item, UserEvent):
        return _weigh_values(item.properties)
    return len(item.prompt) + len(item.answer) + _weigh_values(item.properties)


def _weigh_values(values: Mapping[str, Any] | None) -> int:
    """Weigh plain JSON values: as objects they take about three times what they take as text."""
    return 3 * len(snapshot(values)) if values else 0
