"""
Stored traces for a destination, afterwards: shown as the requests they would be, or delivered.

What was delivered stands in a small file beside the store, an id a line, so that nothing is sent
twice to the same project.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias, final

import orjson

from . import config
from .codec import encode
from .destinations import Destination
from .exporters._base import Encoded, Environment, HttpExporter, Request, Response, Verdict
from .privacy import filter_for
from .run import ConfigError, Item, Run, Trace
from .store import Filters, Store
from .transport import Transport
from .tree import Tree

CHUNK_ITEMS = 500
"""How many items are handed to the transport before they must be delivered."""

FLUSH_SECONDS = 30.0
"""How long the delivery of so many items is waited for."""

PAGE_TRACES = 500
"""How many traces are listed at a time."""

Progress: TypeAlias = "Callable[[int, int], None]"
"""Told how many items of how many were dealt with."""


def backend(destination: Destination) -> HttpExporter:
    """
    Give the exporter of a destination that is reached by HTTP.

    Raises:
        ConfigError: It is a place on this machine.
    """
    if isinstance(destination.exporter, HttpExporter):
        return destination.exporter
    raise ConfigError(f"{destination.name} is on this machine: use `show --json` for that")


def counted(number: int, word: str) -> str:
    """Write a number of things."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def offered(tree: Tree, *, whole_traces: bool) -> list[Run]:
    """
    Give the ended runs of a trace in the order in which a destination can follow them.

    Parents come before their children; where whole trees are wanted, the root comes last.
    """
    runs = [row.run for row in tree.rows if row.run.duration is not None]
    return runs[::-1] if whole_traces else runs


def requests_for(
    destination: Destination, trees: Sequence[Tree], env: Environment
) -> tuple[Encoded, int]:
    """
    Make the requests that traces would become; nothing is sent.

    Returns:
        The requests, and how many items they and what was dropped are.
    """
    exporter, process = backend(destination), privacy(destination, env)
    items: list[Item] = []
    for tree in trees:
        runs = [process(run) for run in offered(tree, whole_traces=exporter.whole_traces)]
        ended = [run for run in runs if isinstance(run, Run)]
        if exporter.whole_traces:
            items += [Trace(ended)] if ended and ended[-1].parent_id is None else []
        else:
            items += ended
    wanted = [item for item in items if exporter.wants(item)]
    return exporter.encode(wanted, ()), len(wanted)


def picture(request: Request, destination: Destination) -> str:
    """Write a request as it goes over the wire, its body laid out, keys masked."""
    headers = {"Content-Type": "application/json", **request.headers}
    lines = [f"{request.method} {request.url}"]
    lines += [f"{name.title()}: {value}" for name, value in headers.items()]
    body = orjson.dumps(orjson.loads(request.body), option=orjson.OPT_INDENT_2).decode()
    return destination.masked("\n".join([*lines, "", body]))


def privacy(destination: Destination, env: Environment) -> Callable[[Item], Item]:
    """
    Make what items pass before they leave: what the environment says of content and secrets.

    Users are hashed already, or not, as the store was written: twice would be another user.
    """
    settings = config.read({"exporters": [destination.exporter]}, env)
    return filter_for(capture_content=settings.capture_content, scan_secrets=settings.scan_secrets)


@final
class Sent:
    """
    The ids of what one project has been sent, in a file beside the store.

    Args:
        path: The file; it is made by the first note.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ids = set(path.read_text().split()) if path.exists() else set()

    def __contains__(self, item: object) -> bool:
        return all(name in self._ids for name in names_of(item))

    def note(self, items: Iterable[Item]) -> None:
        """Write down that these have arrived, at once."""
        names = [name for item in items for name in names_of(item)]
        self._ids.update(names)
        with self.path.open("a") as file:
            file.writelines(f"{name}\n" for name in names)


def beside(store: Path, destination: Destination) -> Path:
    """Name the file that says what a destination has been sent of a store."""
    return store.with_name(f"{store.name}.sent-{destination.name}-{destination.fingerprint}")


def names_of(item: object) -> list[str]:
    """Say by what an item is known again: a run's id, the ids of a tree's, else its content."""
    if isinstance(item, Run):
        return [item.id]
    if isinstance(item, Trace):
        return [run.id for run in item.runs]
    storable: Any = item
    return [hashlib.sha256(encode(storable)).hexdigest()[:32]]


@final
class Witness:
    """
    An exporter that tells what has arrived, and is otherwise the one that it stands for.

    Args:
        exporter: Who does the work.
        arrived: Told of items that are not to be sent again.
    """

    def __init__(self, exporter: HttpExporter, arrived: Callable[[Sequence[Item]], None]) -> None:
        self.name = exporter.name
        self.limits = exporter.limits
        self.whole_traces = exporter.whole_traces
        self._exporter = exporter
        self._arrived = arrived

    def wants(self, item: Item) -> bool:
        """Ask the exporter."""
        return self._exporter.wants(item)

    def encode(self, items: Sequence[Item], started: Container[str]) -> Encoded:
        """Have the exporter do it."""
        return self._exporter.encode(items, started)

    def verdict(self, request: Request, response: Response) -> Verdict | None:
        """Have the exporter read the reply, and tell what has arrived."""
        verdict = self._exporter.verdict(request, response)
        if verdict is not None or 200 <= response.status < 300:
            again = {id(item) for item in (verdict.retry if verdict else ())}
            self._arrived([item for item in request.items if id(item) not in again])
        return verdict


@final
@dataclass(slots=True)
class Stored:
    """An item of the store on its way to the worker."""

    item: Item
    size_bytes: int = 0

    def decode(self) -> Item:
        """Give the item."""
        return self.item


@final
@dataclass(frozen=True, slots=True)
class Result:
    """
    What came of a delivery.

    Attributes:
        ledger: Of the lane: accepted = delivered + queued + dropped (by reason).
        before: Items that had been sent earlier.
        open: Traces that have not ended, which are left for later.
    """

    ledger: dict[str, Any]
    before: int
    open: int


def send(
    destination: Destination,
    store: Store,
    env: Environment,
    *,
    since: datetime | None = None,
    again: bool = False,
    progress: Progress = lambda done, of: None,
) -> Result:
    """
    Deliver what is stored through the real transport, oldest first.

    Raises:
        ConfigError: The destination cannot be used.
        StoreError: The store cannot be read.
    """
    exporter = backend(destination)
    sent = Sent(beside(store.path, destination))
    ids = trace_ids(store, since)
    transport = Transport([Witness(exporter, sent.note)], process=privacy(destination, env))
    counts = {"before": 0, "open": 0}
    waiting = 0
    told: list[Item] = [item for item in store.events(since) if exporter.wants(item)]
    batches: Iterator[list[Item]] = chain(of_traces(store, ids, exporter, counts), [told])
    for done, items in enumerate(batches):
        fresh = items if again else unsent(items, sent, exporter)
        counts["before"] += len(items) - len(fresh)
        for item in fresh:
            transport.publish(Stored(item))
        waiting += len(fresh)
        progress(done, len(ids))
        if waiting >= CHUNK_ITEMS or items is told:
            waiting = 0
            if transport.flush(FLUSH_SECONDS).pending:
                break
    ledger = transport.stats()["lanes"][exporter.name]
    transport.shutdown(1.0)
    return Result(ledger, counts["before"], counts["open"])


def unsent(items: list[Item], sent: Sent, exporter: HttpExporter) -> list[Item]:
    """Leave out what has arrived; a tree that is wanted whole is known by its root."""
    if exporter.whole_traces and items and isinstance(items[-1], Run):
        return [] if items[-1] in sent else items
    return [item for item in items if item not in sent]


def trace_ids(store: Store, since: datetime | None) -> list[str]:
    """List the traces that are meant, oldest first."""
    filters = Filters(since=since)
    ids: dict[str, None] = {}
    while page := store.summaries(PAGE_TRACES, filters, offset=len(ids)):
        before = len(ids)
        ids.update(dict.fromkeys(each.id for each in page))
        if len(ids) == before:  # new ones came meanwhile and moved the pages
            break
    return list(ids)[::-1]


def of_traces(
    store: Store, ids: Iterable[str], exporter: HttpExporter, counts: dict[str, int]
) -> Iterator[list[Item]]:
    """Go through traces that have ended, as the items that the exporter wants of them."""
    for trace_id in ids:
        tree = store.trace(trace_id)
        if tree is None or tree.root.duration is None:
            counts["open"] += tree is not None
            yield []
            continue
        runs = offered(tree, whole_traces=exporter.whole_traces)
        if exporter.whole_traces:
            is_whole = runs[-1].parent_id is None
            yield [*runs] if is_whole and exporter.wants(Trace(runs)) else []
        else:
            yield [run for run in runs if exporter.wants(run)]
