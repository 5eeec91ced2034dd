"""Runs of the store added up, for the terminal: tokens, cost, latency and errors."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson

from ..cost import available, written
from ..run import Usage
from ..store import Filters, Store, StoreError, Totals
from ..terminal.drawing import seconds, tokens
from ..terminal.table import table
from .asking import path_of
from .printing import colour, columns, complain, print_text

MOST = 20
"""How many models and users are listed on the terminal; JSON has all of them."""

HEAD = ("calls", "errors", "tokens", "cost", "p50", "p95", "first")

NO_PRICES = "for costs: pip install 'llm-instrument[cost]'"


def stats(options: argparse.Namespace) -> int:
    """Print what the runs of the store come to."""
    path, filters = path_of(options), Filters(since=options.since)
    try:
        store = Store(path)
        totals = store.totals(filters)
        models, users = store.by("model", filters), store.by("user_id", filters)
    except StoreError as error:
        complain(error)
        return 1
    if not totals.runs:
        complain(f"no runs in {path}" + (" since then" if options.since else ""))
        return 1
    if options.json:
        print_text(orjson.dumps(values(options.since, totals, models, users)).decode())
        return 0
    traces = store.count(filters)
    parts = [
        heading(totals, traces, options.since),
        drawn("model", models, options),
        drawn("user", users, options),
        "" if available() else NO_PRICES,
    ]
    print_text("\n\n".join(part for part in parts if part))
    return 0


def heading(totals: Totals, traces: int, since: datetime | None) -> str:
    """Say in one line how much it is in all."""
    parts = [
        f"{counted(traces, 'trace')} of {counted(totals.runs, 'run')}",
        counted(totals.calls, "model call"),
        tokens(Usage(totals.prompt_tokens, totals.completion_tokens)),
        "" if totals.cost is None else written(totals.cost),
        f"{totals.errors:,} failed" if totals.errors else "",
        f"{totals.open:,} open" if totals.open else "",
        f"since {since.astimezone():%Y-%m-%d %H:%M}" if since else "",
    ]
    return ", ".join(part for part in parts if part)


def counted(number: int, word: str) -> str:
    """Write a number of things."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def drawn(name: str, groups: Mapping[str, Totals], options: argparse.Namespace) -> str:
    """Draw one table: a line for each model, or for each user that has called one."""
    found = {value: totals for value, totals in groups.items() if totals.calls}
    if not found:
        return ""
    shown = list(found.items())[:MOST]
    rows = [(value, *cells(totals)) for value, totals in shown]
    drawing = table((name, *HEAD), rows, columns(options.width), colour())
    left = len(found) - len(shown)
    return drawing + (f"\n… and {counted(left, f'more {name}')}" if left else "")


def cells(totals: Totals) -> tuple[str, ...]:
    """Write the figures of one line."""
    times = (totals.p50, totals.p95, totals.ttft_p50)
    return (
        f"{totals.calls:,}",
        f"{totals.errors:,}" if totals.errors else "",
        tokens(Usage(totals.prompt_tokens, totals.completion_tokens), short=True),
        "" if totals.cost is None else written(totals.cost),
        *("" if each is None else seconds(each) for each in times),
    )


def values(
    since: datetime | None,
    totals: Totals,
    models: Mapping[str, Totals],
    users: Mapping[str, Totals],
) -> dict[str, Any]:
    """Write everything as plain values."""
    return {
        "since": since,
        "totals": line(totals),
        "models": {name: line(each) for name, each in models.items()},
        "users": {name: line(each) for name, each in users.items()},
    }


def line(totals: Totals) -> dict[str, Any]:
    """Write the figures of one line as plain values; what is not known is null."""
    cost = totals.cost
    known = None if cost is None or cost.known is None else float(cost.known)
    unpriced = totals.calls if cost is None else cost.unknown
    return {**asdict(totals), "cost": known, "calls_without_cost": unpriced}
