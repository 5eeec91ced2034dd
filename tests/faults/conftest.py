"""The transports of these tests are made, ended and checked as those of `tests/transport` are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.outage import Outage
from tests.transport.conftest import forgiving, transport

__all__ = ["forgiving", "real_outage", "transport"]

REAL_SECONDS = 25.0


@pytest.fixture(scope="session", autouse=True)
def real_outage(request: pytest.FixtureRequest) -> Iterator[Outage | None]:
    """Begin the outage that takes its time, if anybody asks for it: the other tests run meanwhile."""
    if all(each.name != "test_real_outage" for each in request.session.items):
        yield None
        return
    outage = Outage(REAL_SECONDS)
    yield outage
    outage.close()
