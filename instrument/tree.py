"""Runs -> the tree they form, in the order in which a person reads it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, final

from .run import Feedback, Run

Status: TypeAlias = Literal["open", "ok", "partial", "error"]


@final
@dataclass(frozen=True, slots=True)
class Row:
    """
    A run and how deep it stands in its tree.

    Attributes:
        depth: 0 for a root, and for a run whose parent is not there.
    """

    depth: int
    run: Run


@final
@dataclass(frozen=True, slots=True)
class Tree:
    """
    The runs of one trace.

    Attributes:
        rows: Parents before their children, children by their start. Never empty.
        feedback: What was said about runs of the tree, by the run's id.
    """

    id: str
    rows: Sequence[Row]
    feedback: Mapping[str, Sequence[Feedback]] = field(default_factory=dict)

    @property
    def root(self) -> Run:
        """The run at the top; when that is not there, the earliest that is."""
        return self.rows[0].run


def status(run: Run) -> Status:
    """Say in one word how a run stands."""
    if run.error is not None:
        return "error"
    if run.duration is None:
        return "open"
    return "ok" if run.partial is None else "partial"


def grow(runs: Iterable[Run], feedback: Iterable[Feedback] = ()) -> Tree:
    """
    Make the tree of a trace, whatever is missing: no run is lost, and none stands in it twice.

    Args:
        runs: The runs of one trace, at least one, in any order.
        feedback: What was said about them, oldest first.
    """
    ordered = sorted(runs, key=lambda run: (run.parent_id is not None, run.started_at))
    said = defaultdict(list)
    for each in feedback:
        said[each.run_id].append(each)
    return Tree(ordered[0].trace_id, tuple(_walk(ordered)), said)


def _walk(runs: Sequence[Run]) -> Iterator[Row]:
    """Go through *runs*, roots first, without recursion: a tree may be any number deep."""
    ids = {run.id for run in runs}
    children = defaultdict(list)
    for run in reversed(runs):
        children[run.parent_id].append(run)
    tops = [run for run in runs if run.parent_id not in ids]
    seen: set[str] = set()
    for top in (*tops, *runs):  # what no top leads to stands in a circle
        stack = [] if top.id in seen else [Row(0, top)]
        while stack:
            row = stack.pop()
            if row.run.id in seen:
                continue
            seen.add(row.run.id)
            yield row
            stack.extend(Row(row.depth + 1, child) for child in children[row.run.id])
