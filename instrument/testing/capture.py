"""Collect the runs of a block instead of sending them: no thread, no network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .. import integrations
from .. import recorder as recorders
from ..recorder import Carried, Recorder
from ..run import Item, Kind, Run

if TYPE_CHECKING:
    from .view import RunView


class Runs(list[Run]):
    """
    The runs of a block in the order in which they ended; those still open are in `open`.

    `llm`, `tools`, `roots` and `children` give them in a form that is made to be asserted on: see
    `view.RunView`.

    Attributes:
        items: What was recorded beside runs: feedback and user events.
    """

    def __init__(self) -> None:
        super().__init__()
        self.items: list[Item] = []
        self._open: dict[str, Run] = {}

    def __repr__(self) -> str:
        return repr(viewed(self))  # a test that fails prints it, with prompts cut to a line

    @property
    def open(self) -> list[Run]:
        """The runs that have begun and not ended."""
        return list(self._open.values())

    @property
    def llm(self) -> list[RunView]:
        """The model calls."""
        return self.of("llm")

    @property
    def tools(self) -> list[RunView]:
        """The runs of tools."""
        return self.of("tool")

    @property
    def roots(self) -> list[RunView]:
        """The runs that stand under no other."""
        return viewed([run for run in self if run.parent_id is None])

    def of(self, kind: Kind) -> list[RunView]:
        """Return the runs of one kind."""
        return viewed([run for run in self if run.kind == kind])

    def children(self, run: Run | RunView) -> list[RunView]:
        """Return the runs right below another, in the order in which they began."""
        below = [each for each in self if each.parent_id == run.id]
        return viewed(sorted(below, key=lambda each: each.started_at))

    def tree(self) -> str:
        """
        Draw what ran below what, by names alone: the same calls give the same text.

        A model call is its model's name, anything else has its kind before it; what failed, was
        left early or is still open says so behind its name.
        """
        from .view import outline

        return outline([*self, *self.open])

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


def viewed(runs: list[Run]) -> list[RunView]:
    """Make runs readable; imported late, because pytest imports this file in every test run."""
    from .view import RunView

    return [RunView(run) for run in runs]


@contextmanager
def capture() -> Iterator[Runs]:
    """
    Give the runs of the block, as they end.

    `with capture() as runs: ...`, then `assert runs.llm[0].usage.prompt == 9`. Works with and
    without `instrument()`; what is captured goes nowhere else.
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
        recorder.enabled = False  # what another library has wrapped stays, and is to pass through
        for take_back in reversed(undo):
            take_back()
        recorders.installed.remove(recorder)
        for other in others:
            other.enabled = True
