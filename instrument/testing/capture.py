"""Collect the runs of a block instead of sending them: no thread, no network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .. import integrations
from .. import recorder as recorders
from ..recorder import Carried, Recorder
from ..run import Item, Run


class Runs(list[Run]):
    """The runs of a block in the order in which they ended; those still open are in `open`."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[Item] = []
        self._open: dict[str, Run] = {}

    @property
    def open(self) -> list[Run]:
        """The runs that have begun and not ended."""
        return list(self._open.values())

    @property
    def llm(self) -> list[Run]:
        """The model calls among them."""
        return [run for run in self if run.kind == "llm"]

    def publish(self, record: Carried) -> None:
        """Take a record, at once and in this thread."""
        item = record.decode()
        if item is None:
            return
        if not isinstance(item, Run):
            self.items.append(item)
        elif item.duration is None:
            self._open[item.id] = item
        else:
            self._open.pop(item.id, None)
            self.append(item)


@contextmanager
def capture() -> Iterator[Runs]:
    """
    Give the runs of the block, as they end.

    `with capture() as runs: ...`, then `assert runs.llm[0].usage.prompt == 9`. Works with and without `instrument()`; what is captured goes nowhere else.
    """
    runs = Runs()
    recorder = Recorder(runs.publish)
    others = list(recorders.installed)
    for other in others:
        other.enabled = False
    recorders.installed.append(recorder)
    undo = integrations.install_all(recorder)
    try:
        yield runs
    finally:
        for take_back in reversed(undo):
            take_back()
        recorders.installed.remove(recorder)
        for other in others:
            other.enabled = True
