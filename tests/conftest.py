"""Our own failures fail the test; every test leaves the package as it found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from instrument import client
from instrument.guard import guard, notices


@pytest.fixture(autouse=True)
def _strict() -> Iterator[None]:
    guard.strict = True
    yield
    guard.strict = False
    notices.clear()
    if client._client is not None:
        client.shutdown(1.0)
        client._client = None
