"""Hostile values, recorded through the public API and sent by a real exporter: nobody is harmed."""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import json
import sqlite3
import time
import unittest.mock
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest

import instrument
from instrument.exporters.llmonitor import from_env
from tests.fakes.angry import Angry
from tests.transport.faultserver import FaultServer


class AngryDump:
    def model_dump(self, **_: Any) -> Any:
        raise RuntimeError("model_dump")

    to_dict = dict = json = model_dump


class Slow:
    """Takes ten seconds to be shown."""

    def __repr__(self) -> str:
        time.sleep(10)
        return "slow"

    __str__ = __repr__


class Interrupting:
    def __repr__(self) -> str:
        raise KeyboardInterrupt

    __str__ = __repr__


class AngryMapping(Mapping[str, Any]):
    """A mapping that raises whenever anybody looks into it, or the first few times."""

    def __init__(self, error: type[BaseException], times: int = 1000) -> None:
        self.error = error
        self.times = times

    def __getitem__(self, key: str) -> Any:
        return 1

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        self.times -= 1
        if self.times >= 0:
            raise self.error
        return iter(["a"])


def circular() -> Any:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


def cursor() -> Any:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        return connection.cursor()


def deep() -> Any:
    value: list[Any] = []
    for _ in range(3000):
        value = [value]
    return value


VALUES: dict[str, Callable[[], Any]] = {
    "circular": circular,
    "deep": deep,
    "raises at every touch": Angry,
    "model_dump raises": AngryDump,
    "mapping that raises": lambda: AngryMapping(RuntimeError),
    "slow repr": Slow,
    "repr that interrupts": Interrupting,
    "nan": lambda: [float("nan"), float("inf"), -float("inf")],
    "surrogate": lambda: {"\ud800": "\udfff"},
    "bytes": lambda: b"\x00\xff",
    "datetime": lambda: dt.datetime(2026, 1, 2, tzinfo=dt.timezone.utc),
    "large integer": lambda: {2**70: -(2**70)},
    "tuple as key": lambda: {("a", 1): 1, None: 2},
    "set": lambda: {1, "a"},
    "decimal": lambda: Decimal("1.5"),
    "function": lambda: lambda: None,
    "mock": unittest.mock.MagicMock,
    "cursor": cursor,
    "generator": lambda: (n for n in range(3)),
    "module and type": lambda: [json, dict, Ellipsis, NotImplemented],
    "ten million characters": lambda: "x" * 10_000_000,
}

PROJECT = "b0000000-0000-4000-8000-000000000001"


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as made:
        url = made.url.removesuffix("/runs")
        llmonitor = from_env({"LLMONITOR_APP_ID": PROJECT, "LLMONITOR_API_URL": url})
        instrument.instrument(exporters=[llmonitor])
        yield made
        instrument.shutdown(1.0)


def recorded(value: Any) -> str:
    with instrument.context(metadata={"value": value}):
        with instrument.trace("step", input=value) as run:
            run.output = value
    return run.id


def events(server: FaultServer) -> dict[str, list[dict[str, Any]]]:
    """Read what arrived, as strict JSON, by run."""
    by_run: dict[str, list[dict[str, Any]]] = {}
    for seen in server.requests:
        is_packed = seen.headers.get("content-encoding") == "gzip"
        body = gzip.decompress(seen.raw) if is_packed else seen.raw
        for event in json.loads(body, parse_constant=pytest.fail)["events"]:
            by_run.setdefault(event["runId"], []).append(event)
    return by_run


def conserved() -> dict[str, Any]:
    stats = instrument.stats()
    (lane,) = stats["lanes"].values()
    kept = lane["delivered"] + lane["queued"] + lane["spooled"]
    assert lane["accepted"] == kept + sum(lane["dropped"].values()), stats
    return lane


@pytest.mark.parametrize("make", VALUES.values(), ids=VALUES)
def test_hostile(server: FaultServer, forgiving: None, make: Callable[[], Any]) -> None:
    """43, 44, 45: nothing is raised, at once; the run arrives, and so do its neighbours."""
    value = make()
    before = recorded("before")
    began = time.perf_counter()
    hostile = recorded(value)
    took = time.perf_counter() - began
    after = recorded("after")
    instrument.flush()

    arrived = events(server)
    assert set(arrived) == {before, hostile, after}
    assert {event["type"] for event in arrived[hostile]} == {"chain"}
    assert arrived[hostile][-1]["event"] == "end"
    assert {event.get("output") for event in arrived[after]} >= {"after"}
    assert conserved()["dropped"] == {}
    assert took < (1.0 if isinstance(value, str) else 0.3)


def test_generators_are_not_consumed(server: FaultServer) -> None:
    """44: what can be read once is left to whoever it is for."""
    values = [(n for n in range(3)), iter([1, 2]), map(str, [1])]
    for value in values:
        recorded(value)

    assert [list(value) for value in values] == [[0, 1, 2], [1, 2], ["1"]]


def test_size_is_bounded(server: FaultServer) -> None:
    """43: ten million characters are cut, with a mark, and travel with the others."""
    hostile = recorded("x" * 10_000_000)
    instrument.flush()

    (end,) = (event for event in events(server)[hostile] if event["event"] == "end")
    assert len(end["output"]) < 4 * 1024 * 1024
    assert "more characters" in end["output"]


def test_state_at_capture(server: FaultServer) -> None:
    """46: what is changed after it was recorded arrives as it was."""
    messages = [{"role": "user", "content": "first"}]
    run_id = recorded(messages)
    messages[0]["content"] = "changed"
    messages.append({"role": "user", "content": "added"})
    instrument.flush()

    assert "changed" not in str(events(server)[run_id])
    assert "added" not in str(events(server)[run_id])
    assert "first" in str(events(server)[run_id])


@pytest.mark.parametrize("times", [1, 100])
def test_interrupts_pass(server: FaultServer, forgiving: None, times: int) -> None:
    """45: Ctrl-C in the middle of a capture is the application's, and is not swallowed."""
    with pytest.raises(KeyboardInterrupt):
        recorded(AngryMapping(KeyboardInterrupt, times))
