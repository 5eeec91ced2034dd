"""
What tracing adds to a chat completion, in the caller's thread, beside the bare SDK.

    python tests/bench/bench_openai.py

The SDK talks to canned replies in memory, so that neither a socket nor a server blurs the picture.
Bare and traced calls alternate, only this thread's CPU time is counted, call by call, and the
difference of the medians is shown: with its ratio to the bare SDK, and its budget.

The budgets are for the caller's own part, measured while the worker sleeps. What the two threads
cost each other when both are at work (the interpreter's lock, caches) is shown below it: it depends
on the machine, and on the calls being made back to back, with no network between them.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import openai

from instrument.exporters._base import Limits
from instrument.integrations.openai._tap import Patch
from instrument.recorder import Recorder
from instrument.run import Item
from instrument.transport import Bounds, Transport

if "httpx2" in sys.modules:
    import httpx2 as httpx
else:
    import httpx

CHUNKS = 400
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Paris. " * 40},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 500, "completion_tokens": 80, "total_tokens": 580},
}


class Nowhere:
    """A destination that takes everything and keeps nothing."""

    name = "nowhere"
    limits = Limits()
    whole_traces = False

    def wants(self, item: Item) -> bool:
        return True

    def write(self, items: Any) -> dict[str, int]:
        return {}

    def close(self) -> None:
        return None


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """Write one event of a stream."""
    event = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(event).encode() + b"\n\n"


EVENTS = [chunk({"content": "word "}) for _ in range(CHUNKS)] + [
    chunk({}, "stop"),
    b"data: [DONE]\n\n",
]


class Pieces(httpx.SyncByteStream):
    """A body that arrives piece by piece."""

    def __iter__(self) -> Any:
        return iter(EVENTS)


def reply(request: Any) -> Any:
    """Answer from memory."""
    if b'"stream":true' in request.content:
        headers = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=headers, stream=Pieces(), request=request)
    headers = {"x-request-id": "r", "openai-processing-ms": "12"}
    return httpx.Response(200, headers=headers, json=ANSWER, request=request)


class Traced(openai.OpenAI):
    """
    A client that alone is patched.

    So calls of both can alternate: patching and unpatching the one class would throw away, each
    time, what the interpreter has learnt about it.
    """


def client(kind: type[openai.OpenAI]) -> openai.OpenAI:
    """Make a client that talks to `reply`."""
    http = httpx.Client(transport=httpx.MockTransport(reply))
    return kind(api_key="-", base_url="http://bench/v1", http_client=http)


def plain(client: Any, prompt_bytes: int) -> Callable[[], None]:
    """Make a plain call with a prompt of so many bytes."""
    messages: Any = [{"role": "user", "content": "x" * prompt_bytes}]

    def call() -> None:
        client.chat.completions.create(model="gpt-4o-mini", messages=messages)

    return call


def streamed(client: Any) -> Callable[[], None]:
    """Make a streamed call, read to its end."""
    messages: Any = [{"role": "user", "content": "hello"}]

    def call() -> None:
        for _ in client.chat.completions.create(
            model="gpt-4o-mini", messages=messages, stream=True
        ):
            pass

    return call


ASLEEP = Bounds(flush_interval=3600, first_items=0, wake_events=10**6, wake_bytes=2**40)
"""The worker sleeps while calls are measured, and works in between: the caller's part alone."""

PAUSE = 50
"""Calls after which what is queued is delivered."""

Pair = tuple[Callable[[], None], Callable[[], None]]


def compare(pair: Pair, calls: int, transport: Transport) -> tuple[float, float]:
    """Give the median bare CPU seconds a call, and what tracing adds to it."""
    clock = time.thread_time
    spent: tuple[list[float], list[float]] = ([], [])
    for number in range(calls):
        for call, times in zip(pair, spent, strict=True):
            began = clock()
            call()
            times.append(clock() - began)
        if number % PAUSE == 0:
            transport.flush()
            gc.collect()
    bare, traced = (statistics.median(times) for times in spent)
    return bare, traced - bare


def measure(make: Callable[[Any], Callable[[], None]], calls: int, bounds: Bounds | None) -> Any:
    """Compare what *make* makes of an untraced and of a traced client."""
    transport = Transport([Nowhere()], bounds=bounds)
    patch = Patch(Recorder(transport.publish))
    patch.apply(SimpleNamespace(SyncAPIClient=Traced, AsyncAPIClient=openai.AsyncOpenAI))
    with client(openai.OpenAI) as bare, client(Traced) as traced:
        pair = (make(bare), make(traced))
        compare(pair, 1 + calls // 5, transport)  # to warm up
        gc.disable()
        result = compare(pair, calls, transport)
        gc.enable()
    patch.undo()
    transport.shutdown()
    return result


def main() -> int:
    """Measure, print, and fail when a budget is missed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--calls", type=int, default=2000)
    calls = arguments.parse_args().calls
    small = measure(lambda sdk: plain(sdk, 2_000), calls, ASLEEP)
    busy = measure(lambda sdk: plain(sdk, 2_000), calls, None)
    large = measure(lambda sdk: plain(sdk, 100_000), calls, ASLEEP)
    whole = measure(streamed, calls // 10, ASLEEP)
    streams = measure(streamed, calls // 10, None)
    one, other = (tuple(part / len(EVENTS) for part in each) for each in (whole, streams))
    rows = [
        ("plain call, 2 KB", small, 20e-6),
        ("  with the worker at work", busy, None),
        ("plain call, 100 KB", large, max(30e-6, 1.5 * small[1])),
        ("streamed chunk", one, 1e-6),
        ("  with the worker at work", other, None),
    ]
    print(
        f"openai {openai.__version__}, Python {sys.version.split()[0]}: CPU in the caller's thread"
    )
    print(f"{'':28}{'bare SDK':>12}{'added':>12}{'budget':>12}{'traced/bare':>13}")
    for name, (bare, added), budget in rows:
        limit = "" if budget is None else f"{budget * 1e6:.1f} us"
        figures = f"{bare * 1e6:>9.1f} us{added * 1e6:>9.2f} us{limit:>12}"
        print(f"{name:28}{figures}{(bare + added) / bare:>13.3f}")
    return int(any(budget and added > budget for _, (_, added), budget in rows))


if __name__ == "__main__":
    raise SystemExit(main())
