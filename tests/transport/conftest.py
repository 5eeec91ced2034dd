"""The transport's own failures are expected here, and stop where they should."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from instrument.exporters._base import Exporter
from instrument.guard import guard
from instrument.transport import Bounds, Transport
from tests.transport.fakes import QUICK, conserved


@pytest.fixture
def forgiving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the guard do its work, for tests in which something of ours fails on purpose."""
    monkeypatch.setattr(guard, "strict", False)


class Make:
    """Make transports, and end them."""

    def __init__(self) -> None:
        self.made: list[Transport] = []

    def __call__(
        self, *exporters: Exporter, bounds: Bounds = QUICK, **options: object
    ) -> Transport:
        self.made.append(Transport(exporters, bounds=bounds, **options))
        return self.made[-1]


@pytest.fixture
def transport() -> Iterator[Make]:
    """Make transports with `transport(exporter, ...)`; at the end each is conserved."""
    make = Make()
    yield make
    for each in make.made:
        each.shutdown(0.2)
        stats = conserved(each)
        assert all(lane["queued"] == 0 for lane in stats["lanes"].values())
