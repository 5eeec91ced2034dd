"""
What tracing adds to a chat completion, in the caller's thread, beside the bare SDK.

    python tests/bench/bench_openai.py

The SDK talks to canned replies in memory, so that neither a socket nor a server blurs the picture.
Short blocks of bare and traced calls alternate, only this thread's CPU time is counted, call by
call, and the difference of the medians is shown: with its ratio to the bare SDK, and its budget.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import openai

from instrument.exporters._base import Limits
from instrument.integrations import openai as integration
from instrument.recorder import Recorder
from instrument.run import Item
from instrument.transport import Transport

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


def client() -> openai.OpenAI:
    """Make a client that talks to `reply`."""
    http = httpx.Client(transport=httpx.MockTransport(reply))
    return openai.OpenAI(api_key="-", base_url="http://bench/v1", http_client=http)


def plain(client: openai.OpenAI, prompt_bytes: int) -> Callable[[], None]:
    """Make a plain call with a prompt of so many bytes."""
    messages: Any = [{"role": "user", "content": "x" * prompt_bytes}]

    def call() -> None:
        client.chat.completions.create(model="gpt-4o-mini", messages=messages)

    return call


def streamed(client: openai.OpenAI) -> Callable[[], None]:
    """Make a streamed call, read to its end."""
    messages: Any = [{"role": "user", "content": "hello"}]

    def call() -> None:
        for _ in client.chat.completions.create(
            model="gpt-4o-mini", messages=messages, stream=True
        ):
            pass

    return call


def block(call: Callable[[], None], calls: int) -> list[float]:
    """Give the CPU seconds of this thread for each of so many calls, after one to warm up."""
    clock = time.thread_time
    spent = []
    call()
    for _ in range(calls):
        began = clock()
        call()
        spent.append(clock() - began)
    return spent


def compare(call: Callable[[], None], calls: int, rounds: int) -> tuple[float, float]:
    """Give the median bare CPU seconds a call, and what tracing adds to it."""
    transport = Transport([Nowhere()])
    bare, traced = [], []
    gc.disable()
    for _ in range(rounds):
        bare += block(call, calls)
        undo = integration.install(Recorder(transport.publish))
        traced += block(call, calls)
        undo()
        gc.collect()
    gc.enable()
    transport.shutdown()
    without = statistics.median(bare)
    return without, statistics.median(traced) - without


def main() -> int:
    """Measure, print, and fail when a budget is missed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=100)
    arguments.add_argument("--calls", type=int, default=20)
    options = arguments.parse_args()
    with client() as sdk:
        small = compare(plain(sdk, 2_000), options.calls, options.rounds)
        large = compare(plain(sdk, 100_000), options.calls, options.rounds)
        whole = compare(streamed(sdk), max(1, options.calls // 10), options.rounds)
    per_chunk = tuple(seconds / len(EVENTS) for seconds in whole)
    rows = [
        ("plain call, 2 KB", small, 20e-6),
        ("plain call, 100 KB", large, max(30e-6, 1.5 * small[1])),
        ("streamed chunk", per_chunk, 1e-6),
    ]
    print(
        f"openai {openai.__version__}, Python {sys.version.split()[0]}: CPU in the caller's thread"
    )
    print(f"{'':22}{'bare SDK':>12}{'added':>12}{'budget':>12}{'traced/bare':>13}")
    for name, (bare, added), budget in rows:
        ratio = (bare + added) / bare
        print(
            f"{name:22}{bare * 1e6:>9.1f} us{added * 1e6:>9.2f} us{budget * 1e6:>9.1f} us{ratio:>13.3f}"
        )
    return int(any(added > budget for _, (_, added), budget in rows))


if __name__ == "__main__":
    raise SystemExit(main())
