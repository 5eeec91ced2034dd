"""Our own failures fail the test; every test leaves the package as it found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from instrument import client
from instrument.guard import guard, notices

# How long an example takes says more about the machine's other work than about ours.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def _strict() -> Iterator[None]:
    guard.strict = True
    yield
    guard.strict = False
    notices.clear()
    if client._client is not None:
        client.shutdown(1.0)
        client._client = None
