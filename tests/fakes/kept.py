"""A destination for tests that need none at the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from instrument.exporters._base import Limits
from instrument.run import Item, Run


class Kept:
    """A destination that keeps what it gets."""

    limits = Limits()
    whole_traces = False

    def __init__(self, name: str = "kept") -> None:
        self.name = name
        self.items: list[Item] = []

    @property
    def names(self) -> list[str]:
        return [item.name for item in self.items if isinstance(item, Run) and item.duration]

    def wants(self, item: Item) -> bool:
        return True

    def write(self, items: Sequence[Item]) -> Mapping[str, int]:
        self.items += items
        return {}

    def close(self) -> None:
        return None
