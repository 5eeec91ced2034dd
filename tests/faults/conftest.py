"""
The transports of these tests are made, ended and checked as those of `tests/transport` are.

What takes its time at the default settings begins with the session, if its test is among those that
run, so that the others run meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.outage import HungEnds, Outage
from tests.transport.conftest import forgiving, transport

__all__ = ["forgiving", "hung_ends", "real_outage", "transport"]

REAL_SECONDS = 25.0


def is_wanted(request: pytest.FixtureRequest, name: str) -> bool:
    """Say whether a test is among those that run."""
    return any(each.name == name for each in request.session.items)


@pytest.fixture(scope="session", autouse=True)
def real_outage(request: pytest.FixtureRequest) -> Iterator[Outage | None]:
    """Begin the outage at the default settings."""
    if not is_wanted(request, "test_real_outage"):
        yield None
        return
    outage = Outage(REAL_SECONDS)
    yield outage
    outage.close()


@pytest.fixture(scope="session", autouse=True)
def hung_ends(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HungEnds | None]:
    """Begin the programs whose ends take their time."""
    if not is_wanted(request, "test_end_with_every_backend_hung"):
        yield None
        return
    ends = HungEnds(str(tmp_path_factory.mktemp("hung") / "spool"))
    yield ends
    ends.close()
