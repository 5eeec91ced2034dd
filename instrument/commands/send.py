"""Stored traces delivered afterwards, with progress and the ledger at the end."""

from __future__ import annotations

import argparse
from typing import Any

from .. import backfill, destinations
from ..backfill import counted
from ..run import ConfigError
from ..store import Store, StoreError
from .asking import environment, path_of
from .printing import complain, print_text, tell

HARMLESS = frozenset({"no_user", "not_expressible"})
"""Reasons for which a destination has no place for a run: nothing went wrong."""


def send(options: argparse.Namespace) -> int:
    """Deliver what is stored; exit code 1 when something did not arrive."""

    def progress(done: int, of: int) -> None:
        tell(f"{options.to}: {done:,} of {counted(of, 'trace')}")

    try:
        destination = destinations.find(options.to, environment())
        store = Store(path_of(options))
        result = backfill.send(
            destination,
            store,
            environment(),
            since=options.since,
            again=options.again,
            progress=progress,
        )
    except (ConfigError, StoreError) as error:
        complain(error)
        return 1
    except KeyboardInterrupt:
        tell("")
        complain("stopped; what had arrived by then is not sent again")
        return 1
    tell("")
    for line in lines(options.to, result):
        print_text(line)
    return 0 if is_well(result.ledger) else 1


def lines(name: str, result: backfill.Result) -> list[str]:
    """Write what came of it: the ledger, and what was left out of it."""
    ledger = result.ledger
    found = [f"{name}: {equation(ledger)}"]
    if result.before:
        found.append(f"{counted(result.before, 'item')} had been sent before: --again repeats them")
    if result.open:
        found.append(f"{counted(result.open, 'trace')} still open: send them when they have ended")
    if not is_well(ledger) and ledger.get("last_error"):
        found.append(f"the last error: {ledger['last_error']}")
    return found


def equation(ledger: dict[str, Any]) -> str:
    """Write accepted = delivered + waiting + dropped, with the reasons."""
    if not ledger["accepted"]:
        return "nothing new to send"
    parts = [f"{ledger['delivered']:,} delivered"]
    if ledger["queued"]:
        parts.append(f"{ledger['queued']:,} not delivered")
    parts += [f"{count:,} dropped ({reason})" for reason, count in ledger["dropped"].items()]
    return f"{counted(ledger['accepted'], 'item')} = {' + '.join(parts)}"


def is_well(ledger: dict[str, Any]) -> bool:
    """Say whether all that the destination has a place for has arrived."""
    lost = sum(count for reason, count in ledger["dropped"].items() if reason not in HARMLESS)
    return not lost and not ledger["queued"]
