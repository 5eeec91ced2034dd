"""Records, exporters and bounds for the tests of the transport, and the invariant they all share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from instrument.exporters._base import Encoded, Limits, Request, Response, Verdict
from instrument.run import Item, Run
from instrument.transport import Bounds, Transport

STARTED = datetime(2026, 1, 2, tzinfo=timezone.utc)

QUICK = Bounds(
    flush_interval=0.03,
    first_interval=0.03,
    backoff_base=0.02,
    backoff_cap=0.1,
    exit_backoff_cap=0.1,
    request_deadline=0.7,
    connect_timeout=0.4,
    transfer_timeout=0.5,
)
"""The default bounds, with times that suit a test."""


def run(run_id: object = "r", **fields: Any) -> Run:
    """Make an ended run; `duration=None` makes an open one."""
    given = {"trace_id": "t", "parent_id": None, "kind": "llm", "name": "m", "duration": 0.5}
    return Run(id=str(run_id), started_at=STARTED, **{**given, **fields})


class Given:
    """A record that holds an item, or a function that makes one."""

    def __init__(
        self, item: Item | Callable[[], Item | None] | None, size_bytes: int = 2048
    ) -> None:
        self.item = item
        self.size_bytes = size_bytes
        self.is_lost = False

    def decode(self) -> Item | None:
        return self.item() if callable(self.item) else self.item

    def lost(self) -> None:
        self.is_lost = True


class Http:
    """A destination behind HTTP, whose body is the list of the ids it carries."""

    def __init__(
        self,
        url: str = "http://backend.test/runs",
        name: str = "http",
        *,
        limits: Limits | None = None,
        headers: Mapping[str, str] | None = None,
        whole_traces: bool = False,
    ) -> None:
        self.name = name
        self.url = url
        self.limits = limits or Limits()
        self.headers = dict(headers or {})
        self.whole_traces = whole_traces

    def wants(self, item: Item) -> bool:
        return True

    def encode(self, items: Sequence[Item], started: Container[str]) -> Encoded:
        body = json.dumps([self.describe(item, started) for item in items]).encode()
        return Encoded([Request(self.url, body, items, self.headers)])

    def describe(self, item: Any, started: Container[str]) -> str:
        return str(getattr(item, "id", item))

    def verdict(self, request: Request, response: Response) -> Verdict | None:
        return None


class Local:
    """A destination on this machine: a list."""

    whole_traces = False

    def __init__(self, name: str = "local", limits: Limits | None = None) -> None:
        self.name = name
        self.limits = limits or Limits()
        self.items: list[Item] = []
        self.failures = 0
        self.closed = 0

    @property
    def ids(self) -> list[str]:
        return [item.id for item in self.items if isinstance(item, Run)]

    def wants(self, item: Item) -> bool:
        return True

    def write(self, items: Sequence[Item]) -> Mapping[str, int]:
        if self.failures:
            self.failures -= 1
            raise OSError("the disk is full")
        self.items.extend(items)
        return {}

    def close(self) -> None:
        self.closed += 1


def publish(transport: Transport, ids: Sequence[object]) -> list[str]:
    """Publish an ended run for each id; give the ids as they are sent."""
    for each in ids:
        transport.publish(Given(run(each)))
    return [str(each) for each in ids]


def conserved(transport: Transport) -> dict[str, Any]:
    """Assert that nothing was lost without a count, in the intake and in every lane."""
    stats = transport.stats()
    intake = stats["intake"]
    assert intake["accepted"] == intake["passed"] + intake["queued"] + sum(
        intake["dropped"].values()
    ), stats
    for lane in stats["lanes"].values():
        left = lane["queued"] + lane["spooled"]
        assert lane["accepted"] == lane["delivered"] + left + sum(lane["dropped"].values()), stats
        assert min(lane["queued"], lane["spooled"]) >= 0, stats
    return stats


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    """Wait until *condition* holds; False when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
