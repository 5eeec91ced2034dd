"""Runs form the tree that a person reads, whatever is missing."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.run import Error, Feedback, Run
from instrument.tree import grow, status

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)


def a_run(run_id: str, parent: str | None = None, at: float = 0.0, **fields: Any) -> Run:
    """Make a run of which a test says what matters to it."""
    start = NOW + timedelta(seconds=at)
    given: dict[str, Any] = {"kind": "chain", "name": run_id, "started_at": start, "duration": 1.0}
    return Run(id=run_id, trace_id="t", parent_id=parent, **{**given, **fields})


def drawn(tree):
    """Write a tree as names behind their depth."""
    return [f"{row.depth}{row.run.id}" for row in tree.rows]


def test_order():
    """Parents stand before their children, and children by their start."""
    runs = [a_run("b", "a", 2), a_run("d", "b", 3), a_run("c", "a", 1), a_run("a")]

    tree = grow(runs)

    assert drawn(tree) == ["0a", "1c", "1b", "2d"]
    assert (tree.id, tree.root.id) == ("t", "a")


def test_without_the_root():
    """Where the root is missing, its children stand at the top, the earliest first."""
    assert drawn(grow([a_run("b", "gone", 2), a_run("c", "gone", 1)])) == ["0c", "0b"]


def test_a_root_that_began_later():
    """The run without a parent is the root, even if a clock says that another began earlier."""
    assert grow([a_run("a", None, 5), a_run("b", "gone", 1)]).root.id == "a"


def test_a_circle():
    """Runs that are each other's parents are shown, once."""
    assert drawn(grow([a_run("b", "a", 1), a_run("a", "b", 0), a_run("c", "c", 2)])) == [
        "0a", "1b", "0c",
    ]  # fmt: skip


def test_a_deep_tree():
    """A tree may be deeper than Python's stack."""
    runs = [a_run("0"), *(a_run(str(n), str(n - 1), n) for n in range(1, 5000))]

    assert grow(runs).rows[-1].depth == 4999


def test_feedback():
    """What was said about a run is found by the run's id, in order."""
    said = [Feedback(run_id="a", at=NOW, score=n) for n in (1.0, 2.0)]

    assert grow([a_run("a")], said).feedback == {"a": said}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=10))
def test_no_run_is_lost(pairs):
    """Whatever parents are named, every run stands in the tree exactly once."""
    runs = [a_run(f"{n}-{one}", f"{other}-{other}") for n, (one, other) in enumerate(pairs)]

    assert sorted(row.run.id for row in grow(runs).rows) == sorted(run.id for run in runs)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "ok"),
        ({"duration": None}, "open"),
        ({"partial": "closed"}, "partial"),
        ({"error": Error("m", "T")}, "error"),
        ({"error": Error("m", "T"), "partial": "closed"}, "error"),
        ({"error": Error("m", "T"), "duration": None}, "error"),
    ],
)
def test_status(fields, expected):
    """A run is in one of four states, an error before all others."""
    assert status(a_run("a", **fields)) == expected
