"""Traces of the store on the terminal: the newest as trees or as JSON, and new ones as they end."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from .. import terminal
from ..codec import encode
from ..cost import cost_of
from ..exporters._text import load
from ..run import Run
from ..store import Filters, Store, StoreError
from ..tree import Tree, status
from .asking import filters_of, is_meant, path_of
from .printing import colour, columns, complain, print_text

POLL_SECONDS = 0.5
"""How often `--follow` looks for new runs."""

REMEMBERED = 10_000
"""How many traces `--follow` remembers as printed."""


def show(options: argparse.Namespace) -> int:
    """Print the newest traces that are meant, and with `--follow` those that come."""
    path, filters = path_of(options), filters_of(options)
    if options.follow:
        return follow(path, filters, options)
    try:
        trees = Store(path).newest(options.limit, filters)
    except StoreError as error:
        complain(error)
        return 1
    if not trees:
        complain(f"no such runs in {path}" if filters != Filters() else f"no runs yet in {path}")
        return 1
    texts = [written(tree, options) for tree in reversed(trees)]
    print_text(("\n" if options.json else "\n\n").join(texts))
    return 0


def follow(path: Path, filters: Filters, options: argparse.Namespace) -> int:
    """Print what is there, then each trace as its root ends, until Ctrl-C."""
    try:
        for tree in arriving(path, filters, options.limit):
            if not print_text(written(tree, options) + ("" if options.json else "\n")):
                return 0
    except KeyboardInterrupt:
        return 0
    except StoreError as error:
        complain(error)
        return 1
    return 0


def arriving(path: Path, filters: Filters, limit: int) -> Iterator[Tree]:
    """Go through the newest traces, then those whose root ends from now on; never ends by itself."""
    store = awaited(path)
    after = store.latest()
    seen: dict[str, None] = {}
    for tree in reversed(store.newest(limit, filters)):
        if tree.root.duration is not None:
            seen[tree.id] = None
            yield tree
    while True:
        after, changed = store.changed(after)
        for trace_id in changed:
            tree_now = store.trace(trace_id)
            if tree_now is not None and trace_id not in seen and is_over(tree_now, filters):
                seen[trace_id] = None
                yield tree_now
        while len(seen) > REMEMBERED:
            del seen[next(iter(seen))]
        if not changed:
            time.sleep(POLL_SECONDS)


def awaited(path: Path) -> Store:
    """
    Open the store, or wait for the run that makes it.

    Raises:
        StoreError: There is one, and it cannot be read.
    """
    if not path.exists():
        complain(f"waiting for the first run in {path}")
        while not path.exists():
            time.sleep(POLL_SECONDS)
        time.sleep(POLL_SECONDS)  # whoever makes it is still at work
    return Store(path)


def is_over(tree: Tree, filters: Filters) -> bool:
    """Say whether a trace has ended and is one of those that are meant."""
    return tree.root.duration is not None and any(is_meant(row.run, filters) for row in tree.rows)


def written(tree: Tree, options: argparse.Namespace) -> str:
    """Write a trace as it is to be printed."""
    if options.json:
        return orjson.dumps(trace_values(tree)).decode()
    return terminal.render(tree, columns(options.width), colour=colour(), cost=cost_of)


def trace_values(tree: Tree) -> dict[str, Any]:
    """Write a trace as plain values, a run for each row."""
    feedback = [each for of in tree.feedback.values() for each in of]
    return {
        "trace_id": tree.id,
        "runs": [run_values(row.run) for row in tree.rows],
        "feedback": [orjson.loads(encode(each)) for each in feedback],
    }


def run_values(run: Run) -> dict[str, Any]:
    """Write a run as plain values: what was said as it is, not as JSON in a text."""
    values: dict[str, Any] = orjson.loads(encode(run))
    for name in ("input", "output", "params"):
        if name in values:
            values[name] = load(getattr(run, name))
    cost = cost_of(run)
    known = {} if cost is None else {"cost": float(cost)}
    return {**values, "status": status(run), **known}
