"""The end of uvicorn, which `atexit` never hears of."""

import asyncio
import os
import signal
from types import SimpleNamespace

import pytest

from instrument.ends import Uvicorn

if os.name == "nt":
    pytest.skip("POSIX signals", allow_module_level=True)


class Recording:
    """What is to be done before the end; how often it was."""

    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1


@pytest.fixture
def deliver():
    return Recording()


def uvicorn(signals=()):
    """Make a module as uvicorn's is, with a server that was sent *signals*."""

    class Server:
        def __init__(self):
            self._captured_signals = list(signals)

        async def shutdown(self, sockets=None):
            return sockets

    return SimpleNamespace(Server=Server)


def test_uvicorn_that_was_told_to_end(deliver):
    """After its shutdown by SIGTERM everything is delivered, and its own result is given."""
    module = uvicorn([signal.SIGTERM])
    Uvicorn(deliver).apply(module)

    assert asyncio.run(module.Server().shutdown(sockets=["one"])) == ["one"]
    assert deliver.count == 1


@pytest.mark.parametrize("signals", [(), (signal.SIGINT,)])
def test_uvicorn_that_ends_in_order(deliver, signals):
    """Where atexit comes afterwards, nothing is done before."""
    module = uvicorn(signals)
    Uvicorn(deliver).apply(module)
    asyncio.run(module.Server().shutdown())

    assert deliver.count == 0


def test_uvicorn_is_as_it_was(deliver):
    """What was put on is taken back, and what came later stays and does nothing of ours."""
    module = uvicorn([signal.SIGTERM])
    before = module.Server.__dict__["shutdown"]
    put = Uvicorn(deliver)
    put.apply(module)
    wrapped = module.Server.__dict__["shutdown"]
    put.undo()

    assert module.Server.__dict__["shutdown"] is before
    module.Server.shutdown = wrapped
    asyncio.run(module.Server().shutdown())
    assert deliver.count == 0
    put.apply(module)
    assert module.Server.__dict__["shutdown"] is wrapped


@pytest.mark.parametrize("module", [SimpleNamespace(), SimpleNamespace(Server=type("S", (), {}))])
def test_another_uvicorn(deliver, module):
    """A release without the server, or without its shutdown, is left alone."""
    put = Uvicorn(deliver)
    put.apply(module)
    put.undo()
