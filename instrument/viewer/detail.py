"""One trace as a tree on a time axis, and one of its runs whole."""

from __future__ import annotations

from .. import cost
from ..run import Run
from ..store import StoreError
from ..terminal.drawing import total
from ..tree import Tree, status
from . import conversation, facts, waterfall, words
from .source import NotFoundError, Source, View

MAX_RUNS = 1_000
"""Runs of one trace that are drawn."""


def trace(source: Source, trace_id: str, run_id: str) -> View:
    """
    Show one trace.

    Args:
        source: Where it is.
        trace_id: Its id or that of any run in it, or the beginning of either.
        run_id: Which run is shown whole; "" for the root, or the one that *trace_id* names.

    Raises:
        NotFoundError: There is no such trace, or no such run in it.
    """
    store = source.needed()
    after = store.latest()
    try:
        tree = store.outline(trace_id, MAX_RUNS)
        run = None if tree is None else store.run(run_id or _named(tree, trace_id))
    except StoreError as error:  # the beginning of more than one id
        raise NotFoundError(str(error)) from error
    if tree is None:
        raise NotFoundError("There is no such trace; it may have grown too old.")
    if run is None or run.trace_id != tree.id:
        raise NotFoundError("There is no such run in this trace.")
    runs = [row.run for row in tree.rows]
    return {
        "title": tree.root.name,
        "section": "",
        "watch": tree.id,
        "after": after,
        "tree": tree,
        "root": tree.root,
        "root_status": status(tree.root),
        "fall": waterfall.draw(tree, source.now()),
        "tokens": words.tokens(total(runs)),
        "trace_cost": store.cost(tree.id),
        # The deepest first: where an error came from, before those who passed it on.
        "failed": [each for each in reversed(runs) if each.error is not None],
        "cut": MAX_RUNS if len(runs) == MAX_RUNS else 0,
        "feedback": tree.feedback.get(run.id, ()),
        **_whole(run),
    }


def raw(source: Source, run_id: str) -> bytes:
    """
    Write one run as JSON.

    Raises:
        NotFoundError: There is no such run.
    """
    run = source.needed().run(run_id)
    if run is None:
        raise NotFoundError("There is no such run; it may have grown too old.")
    return facts.raw(run)


def _named(tree: Tree, name: str) -> str:
    """Say which run is meant by what led to the tree."""
    return tree.root.id if tree.id.startswith(name) else name


def _whole(run: Run) -> View:
    return {
        "run": run,
        "cost": cost.dollars(cost.cost_of(run)),
        "run_status": status(run),
        "sent": conversation.asked(run),
        "got": conversation.answered(run),
        "facts": facts.facts(run),
    }
