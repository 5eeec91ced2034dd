"""Trees that grow until their root ends."""

from __future__ import annotations

from collections import Counter
from typing import Any

from instrument.run import Run, Trace
from instrument.transport import Bounds
from instrument.transport.trees import Trees
from tests.transport.fakes import run


def forest(max_bytes: int = 10**7, **bounds: Any) -> tuple[Trees, Counter[str]]:
    lost: Counter[str] = Counter()

    def lose(reason: str, count: int, places: object) -> None:
        lost[reason] += count

    return Trees(Bounds(**bounds), max_bytes, lose), lost


def leaf(trace: str, name: str = "leaf", **fields: Any) -> Run:
    return run(name, trace_id=trace, parent_id="root", **fields)


def root(trace: str) -> Run:
    return run("root", trace_id=trace)


def ids(trace: Trace | None) -> list[str]:
    return [] if trace is None else [each.id for each in trace.runs]


def test_root_completes_its_tree():
    """The tree is given when its root ends, the root last, and is forgotten."""
    trees, lost = forest()
    assert trees.add(leaf("t", "a"), 0.0) is None
    assert trees.add(leaf("u", "b"), 0.0) is None

    trace = trees.add(root("t"), 1.0)
    assert ids(trace) == ["a", "root"]
    assert trace is not None
    assert trace.root.id == "root"
    assert trees.held == 1
    assert not lost


def test_late_run():
    """A run that ends after its root goes nowhere, counted."""
    trees, lost = forest()
    trees.add(root("t"), 0.0)

    assert trees.add(leaf("t"), 1.0) is None
    assert lost == {"late": 1}
    assert trees.held == 0


def test_expired_tree():
    """A tree whose root does not end in time is dropped, counted; its root still arrives, alone."""
    trees, lost = forest(tree_age=60.0)
    trees.add(leaf("t"), 0.0)
    trees.add(leaf("t"), 59.0)
    trees.add(leaf("u"), 30.0)
    assert trees.due() == 60.0
    trees.expire(60.0)

    assert lost == {"tree_expired": 2}
    assert trees.due() == 90.0
    assert ids(trees.add(root("t"), 61.0)) == ["root"]


def test_too_many_trees_runs_and_bytes():
    """The tree that was begun first makes room, by number, runs and bytes."""
    for bounds in ({"trees": 10}, {"queue_events": 10}, {"max_bytes": 12_000}):
        trees, lost = forest(**bounds)
        for number in range(30):
            trees.add(leaf(f"t{number}"), 0.0)

        assert 8 <= trees.held <= 12
        assert lost["queue_full"] == 30 - trees.held


def test_one_tree_that_is_too_large():
    """A tree that is too large by itself is dropped, too."""
    trees, lost = forest(max_bytes=10_000)
    for _ in range(30):
        trees.add(leaf("t"), 0.0)

    assert trees.held + lost["queue_full"] == 30
    assert trees.held < 10


def test_abandon():
    """The end drops all of them."""
    trees, lost = forest()
    for number in range(5):
        trees.add(leaf(f"t{number}"), 0.0)
    trees.abandon("exit")

    assert lost == {"exit": 5}
    assert trees.held == trees._bytes == 0
    assert trees.due() == float("inf")


def test_complete_trees_are_remembered_within_bounds():
    """Only so many ids of complete trees are kept."""
    trees, _ = forest(started_ids=10)
    for number in range(50):
        trees.add(root(f"t{number}"), 0.0)

    assert len(trees._complete) == 10
