"""
The application cannot tell whether it is traced: same bytes out, same objects and errors in.

Each style is run twice against a fake server at the wire, without us and with us.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

openai = pytest.importorskip("openai", reason="the openai package is not installed")

from instrument.run import Run
from instrument.testing import FakeOpenAI, capture
from instrument.testing.capture import Runs
from tests.integrations.styles import ASYNC, SYNC, USAGE, Style

SYNC_STYLES = pytest.mark.parametrize("style", SYNC.values(), ids=SYNC.keys())
ASYNC_STYLES = pytest.mark.parametrize("style", ASYNC.values(), ids=ASYNC.keys())

CLIENTS = {
    ("openai", False): openai.OpenAI,
    ("openai", True): openai.AsyncOpenAI,
    ("azure", False): openai.AzureOpenAI,
    ("azure", True): openai.AsyncAzureOpenAI,
}


def make_client(server: FakeOpenAI, name: str, *, asynchronous: bool) -> Any:
    """Make the client of a style."""
    options: dict[str, Any] = {"api_key": "sk-test", "max_retries": 0, "timeout": 10}
    if name == "azure":
        options.update(azure_endpoint=server.origin, api_version="2024-10-21")
    else:
        options.update(base_url=server.url)
    return CLIENTS[name, asynchronous](**options)


def requests_of(server: FakeOpenAI) -> list[Any]:
    """Give what the server received, but for the port, which differs from server to server."""
    port = server.origin.rpartition(":")[2]
    return [
        (
            request.method,
            request.path,
            [(k, v.replace(port, "PORT")) for k, v in request.headers],
            request.body,
        )
        for request in server.requests
    ]


def call(style: Style) -> tuple[Any, list[Any]]:
    """Run a synchronous style against a server of its own."""
    if style.call is None:
        pytest.skip(f"openai {openai.__version__} has no such method")
    with FakeOpenAI() as server:
        server.reply(**style.script)
        with make_client(server, style.client, asynchronous=False) as client:
            seen = style.call(client)
        return mask(seen, server), requests_of(server)


async def acall(style: Style) -> tuple[Any, list[Any]]:
    """Run an asynchronous style against a server of its own."""
    if style.call is None:
        pytest.skip(f"openai {openai.__version__} has no such method")
    with FakeOpenAI() as server:
        server.reply(**style.script)
        async with make_client(server, style.client, asynchronous=True) as client:
            seen = await style.call(client)
        return mask(seen, server), requests_of(server)


def mask(seen: Any, server: FakeOpenAI) -> Any:
    """Hide the port in what was seen."""
    address = server.origin.rpartition("/")[2]  # its port alone may be part of some other number
    return eval(repr(seen).replace(address, "ADDRESS"), {"nan": None})


@pytest.fixture
def _quiet() -> Iterator[None]:
    """A stream that nobody closes makes the SDK's own sockets warn; that is the application's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


@SYNC_STYLES
@pytest.mark.usefixtures("_quiet")
def test_sync_unchanged(style: Style) -> None:
    """The bytes on the wire and all that the application sees are the same with us as without."""
    without = call(style)
    with capture():
        traced = call(style)

    assert traced == without


@ASYNC_STYLES
@pytest.mark.usefixtures("_quiet")
async def test_async_unchanged(style: Style) -> None:
    """The same holds for the asynchronous client."""
    without = await acall(style)
    with capture():
        traced = await acall(style)

    assert traced == without


@SYNC_STYLES
@pytest.mark.usefixtures("_quiet")
def test_sync_recorded(style: Style) -> None:
    """Each style gives one ended run with the truth about it, and leaves none open."""
    with capture() as runs:
        call(style)
        gc.collect()

    assert_recorded(style, runs)


@ASYNC_STYLES
@pytest.mark.usefixtures("_quiet")
async def test_async_recorded(style: Style) -> None:
    """The same holds for the asynchronous client."""
    with capture() as runs:
        await acall(style)
        gc.collect()

    assert_recorded(style, runs)


def assert_recorded(style: Style, runs: Runs) -> None:
    """Compare the runs with what the style says of them."""
    assert runs.open == []
    assert len(runs) == style.runs
    for run in runs:
        assert (run.kind, run.name) == ("llm", "gpt-4o-mini")
        assert run.partial == style.partial
        assert (run.error and run.error.type) == style.error
        assert orjson.loads(run.input or b"[]")[-1]["content"] == "Capital of France?"
        assert_answer(style, run)


def assert_answer(style: Style, run: Run) -> None:
    """Compare a run's text and usage with what the style says of them."""
    assert (run.usage is not None) == style.usage
    if style.usage:
        assert run.usage is not None
        assert (run.usage.prompt, run.usage.completion, run.usage.total) == tuple(USAGE.values())
    if style.text is not None and not style.error:
        assert orjson.loads(run.output or b"{}").get("content") == style.text
