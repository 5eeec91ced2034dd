"""The public API as an application uses it; mypy reads this file and nothing runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import instrument
from instrument import (
    ConfigError,
    context,
    feedback,
    flush,
    interaction,
    shutdown,
    stats,
    trace,
    track,
    uninstrument,
)
from instrument.testing import FakeOpenAI, capture

instrument.instrument()
instrument.instrument(
    exporters=["sqlite"],
    user_id="u1",
    capture_content=False,
    scan_secrets=True,
    hash_user_ids="a long random text",
    redact=lambda value: value,
    sample_rate=0.5,
    flush_interval=2.0,
)

with context(
    user_id="u1", user_props={"plan": "pro"}, thread_id="t1", tags=["a"], metadata={"k": 1}
):
    pass


@trace
def plain(question: str) -> str:
    """Keep the signature."""
    return question


@trace(kind="tool")
async def asynchronous(question: str) -> int:
    """Keep the signature."""
    return len(question)


@trace("named")
def steps(count: int) -> Iterator[int]:
    """Keep the signature."""
    yield from range(count)


@trace
async def asynchronous_steps(count: int) -> AsyncIterator[int]:
    """Keep the signature."""
    for number in range(count):
        yield number


async def use() -> None:
    """Use what the decorators gave back."""
    text: str = plain("a")
    number: int = await asynchronous(text)
    numbers: list[int] = [*steps(number)]
    numbers += [each async for each in asynchronous_steps(1)]


with trace("block", kind="chain", input={"a": 1}) as run:
    run.output = "done"
    identity: str | None = run.id

feedback("id", thumb="up", score=1.0, comment="good", user_id="u1")
track("Sign Up", user_id="u1", properties={"plan": "pro"})
told: str | None = interaction("hi", "hello", model="m", user_id="u1", thread_id="t1")
delivered: int = flush(timeout=1.0).delivered
pending: int = shutdown(timeout=1.0).pending
ledger: dict[str, Any] = stats()
uninstrument()

try:
    instrument.instrument(exporters=["nowhere"])
except ConfigError as error:
    sentence: str = str(error)

with capture() as runs, FakeOpenAI() as server:
    server.reply(text="hi", tool_calls=[{"name": "f", "arguments": {}}], drop="at once")
    url: str = server.url
    body: bytes = server.requests[0].body
    models: list[str] = [each.name for each in runs.llm]
