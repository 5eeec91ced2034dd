"""Where the process may be frozen after an answer, the end of a root run has everything delivered."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import instrument
from instrument.config import read
from instrument.serverless import ROOT_SECONDS, freezes
from instrument.testing import FakeOpenAI
from tests.fakes.kept import Kept
from tests.transport.fakes import Http, eventually
from tests.transport.faultserver import FaultServer, Hang

MESSAGES = [{"role": "user", "content": "The capital of France?"}]


@pytest.fixture
def begin() -> Iterator[Callable[..., None]]:
    """Trace to a destination that gets a run after a while, unless somebody flushes."""

    def to(exporter: object, **options: object) -> None:
        instrument.instrument(exporters=[exporter], flush_interval=20, **options)

    yield to
    instrument.shutdown(0.1)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, False),
        ({"AWS_LAMBDA_FUNCTION_NAME": "f"}, True),
        ({"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}, True),
        ({"K_SERVICE": "s", "FUNCTION_TARGET": "main"}, True),
        ({"K_SERVICE": "s"}, False),
        ({"FUNCTIONS_WORKER_RUNTIME": "python"}, True),
        ({"VERCEL": "1"}, True),
        ({"AWS_REGION": "eu-north-1", "PORT": "80"}, False),
    ],
)
def test_platforms(env: dict[str, str], expected: bool) -> None:
    """The platforms are known by their own variables; argument and variable stand above that."""
    assert freezes(env) is expected
    assert read({}, env).flush_at_root_end is expected
    for word, chosen in (("1", True), ("0", False)):
        asked = {**env, "INSTRUMENT_FLUSH_AT_ROOT_END": word}
        assert read({}, asked).flush_at_root_end is chosen
        assert read({"flush_at_root_end": not chosen}, asked).flush_at_root_end is not chosen


def test_end_of_a_root(begin: Callable[..., None]) -> None:
    """When a root run has ended, it and all below it have arrived; before that nothing waits."""
    kept = Kept()
    begin(kept, flush_at_root_end=True)
    with instrument.trace("root"):
        with instrument.trace("child"):
            pass
        assert kept.names == []

    assert sorted(kept.names) == ["child", "root"]


def test_off(begin: Callable[..., None]) -> None:
    """Without it, runs wait for their batch, and records go to the transport as they are."""
    kept = Kept()
    begin(kept)
    with instrument.trace("root"):
        pass
    recorder = instrument.client.recorder()

    assert kept.names == []
    assert recorder.publish.__self__ is instrument.client._client.transport


def test_bare_call(begin: Callable[..., None]) -> None:
    """A model call by itself is a root: when the answer is there, its run has arrived."""
    openai = pytest.importorskip("openai")
    kept = Kept()
    begin(kept, flush_at_root_end=True)
    with FakeOpenAI() as server:
        client = openai.OpenAI(base_url=server.url, api_key="test")
        client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
        assert kept.names == ["gpt-4o-mini"]

        for _ in client.chat.completions.create(model="m", messages=MESSAGES, stream=True):
            pass
        assert kept.names == ["gpt-4o-mini", "m"]


def test_langchain(begin: Callable[..., None]) -> None:
    """A chain is one tree, and is delivered when it ends."""
    runnables = pytest.importorskip("langchain_core.runnables")
    kept = Kept()
    begin(kept, flush_at_root_end=True)
    chain = runnables.RunnableLambda(lambda x: x + 1) | runnables.RunnableLambda(lambda x: x * 2)
    chain.invoke(1)

    assert len(kept.names) == 3


def test_event_loop_is_not_blocked(begin: Callable[..., None]) -> None:
    """In an event loop nothing waits: the delivery is begun at once, and the loop goes on."""
    with FaultServer(Hang()) as server:
        begin(Http(server.url), flush_at_root_end=True)

        async def main() -> float:
            began = time.monotonic()
            with instrument.trace("root"):
                await asyncio.sleep(0)
            return time.monotonic() - began

        assert asyncio.run(main()) < 0.2
        assert eventually(lambda: len(server.requests) == 1, 2.0)


def test_event_loop_flush(begin: Callable[..., None]) -> None:
    """In an event loop `await asyncio.to_thread(instrument.flush)` waits, and blocks nobody."""
    kept = Kept()
    begin(kept, flush_at_root_end=True)

    async def main() -> None:
        with instrument.trace("root"):
            await asyncio.sleep(0)
        await asyncio.to_thread(instrument.flush)

    asyncio.run(main())
    assert kept.names == ["root"]


def test_hanging_backend(begin: Callable[..., None]) -> None:
    """A backend that hangs holds the end of a root up for no more than its bound."""
    with FaultServer(*[Hang()] * 3) as server:
        begin(Http(server.url), flush_at_root_end=True)
        began = time.monotonic()
        with instrument.trace("root"):
            pass

        assert time.monotonic() - began < ROOT_SECONDS + 0.5


def test_down_backend(begin: Callable[..., None]) -> None:
    """A backend that is down is not waited for longer and longer: its next try is too far away."""
    begin(Http("http://127.0.0.1:9/"), flush_at_root_end=True)
    began = time.monotonic()
    for _ in range(5):
        with instrument.trace("root"):
            pass

    assert time.monotonic() - began < 5 * ROOT_SECONDS


LAMBDA = """
import os, signal, instrument
instrument.instrument()
def handler(event, context):
    with instrument.trace("handler"):
        return {"statusCode": 200}
handler({}, None)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize("name", ["AWS_LAMBDA_FUNCTION_NAME", "VERCEL"])
def test_frozen_for_ever(name: str, tmp_path: Path) -> None:
    """A process that never runs again after its answer has delivered what it did."""
    path = tmp_path / "runs.jsonl"
    env = {"INSTRUMENT_EXPORTERS": "jsonl", "INSTRUMENT_JSONL": str(path), name: "1"}
    root = Path(__file__).resolve().parent.parent
    subprocess.run(
        [sys.executable, "-c", LAMBDA],
        env={**os.environ, "PYTHONPATH": str(root), "INSTRUMENT_FLUSH_INTERVAL": "20", **env},
        timeout=20,
        check=False,
    )

    assert '"handler"' in path.read_text()
