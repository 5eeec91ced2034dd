"""Our own failures fail the test; every test leaves the package as it found it."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from instrument import client
from instrument.guard import guard, notices

# How long an example takes says more about the machine's other work than about ours.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

# Whoever starts the tests in the background may have these ignored, and so would have what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_finish() -> None:
    """Have the collector pass over all that was imported: many tests have it look for what is left."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _strict() -> Iterator[None]:
    guard.strict = True
    yield
    guard.strict = False
    notices.clear()
    if client._client is not None:
        client.shutdown(1.0)
        client._client = None
