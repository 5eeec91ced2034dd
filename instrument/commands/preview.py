"""What the newest traces would become for a destination, as the exact requests; nothing is sent."""

from __future__ import annotations

import argparse
import re

from .. import backfill, destinations
from ..run import ConfigError
from ..store import Store, StoreError
from .asking import environment, filters_of, path_of
from .printing import complain, print_text

_UNSEEN = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
"""What would do something to a terminal and may stand in JSON as it is."""


def preview(options: argparse.Namespace) -> int:
    """Print requests."""
    path = path_of(options)
    try:
        destination = destinations.find(options.to, environment(), placeholder=True)
        trees = Store(path).newest(options.limit, filters_of(options))[::-1]
        encoded, items = backfill.requests_for(destination, trees, environment())
    except (ConfigError, StoreError) as error:
        complain(error)
        return 1
    texts = [backfill.picture(request, destination) for request in encoded.requests]
    if texts:
        print_text("\n\n".join(map(escaped, texts)))
    dropped = [f"{count} not sent: {reason}" for reason, count in encoded.dropped.items()]
    requests = backfill.counted(len(texts), "request")
    traces = backfill.counted(len(trees), "trace")
    summary = f"{requests} for {backfill.counted(items, 'item')} of {traces}"
    complain("; ".join([summary, *dropped, *unset(destination)]))
    return 0 if texts else 1


def unset(destination: destinations.Destination) -> list[str]:
    """Say that no key is set, if so."""
    name = destination.placeholder
    return [f"{name} is not set, so a placeholder stands for it"] if name else []


def escaped(text: str) -> str:
    """Write what would do something to a terminal as JSON can: the value stays the same."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
