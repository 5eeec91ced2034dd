"""
Every way to make a chat completion and to leave a stream, as plain functions of a client.

Each returns what the application saw, in a form that can be compared. `None` as a style's function
means that this release of `openai` has no such thing.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import openai
from pydantic import BaseModel

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Capital of France?"},
]
TOOL = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}},
}
ASK = {"model": "gpt-4o-mini", "messages": MESSAGES, "temperature": 0.5}
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
CHUNKS = ["Pa", "ri", "s", " ", "it", " ", "is", "."]
TEXT = "".join(CHUNKS)
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


class City(BaseModel):
    name: str


@dataclass(frozen=True)
class Style:
    """One way to call, what the server answers, and what must be recorded."""

    call: Callable[[Any], Any] | None
    script: dict[str, Any] = field(default_factory=dict)
    text: str | None = TEXT
    usage: bool = True
    partial: str | None = None
    error: str | None = None
    client: str = "openai"
    runs: int = 1


def see(value: Any) -> Any:
    """Turn what the application saw into something that can be compared."""
    if isinstance(value, BaseModel):
        return (kind(value), value.model_dump(warnings=False))
    if isinstance(value, (list, tuple)):
        return [see(item) for item in value]
    if isinstance(value, BaseException):
        return (kind(value), str(value), see(value.__cause__), kind(value.__context__))
    if value is None or isinstance(value, (str, bytes, int, float, bool, dict)):
        return value
    return kind(value)


def kind(value: Any) -> str:
    """Name a type."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def method_of(path: str) -> bool:
    """Say whether this release has that method (`chat.completions.parse`)."""
    owner: Any = openai.OpenAI(api_key="-", base_url="http://127.0.0.1:1")
    for name in path.split("."):
        owner = getattr(owner, name, None)
    return owner is not None


def resource(client: Any, method: str) -> Any:
    """Give the resource that has `parse` or `stream` in this release."""
    found = client.chat.completions
    return found if hasattr(found, method) else client.beta.chat.completions


# ---- plain ----


def create(client: Any) -> Any:
    return see(client.chat.completions.create(**ASK))


def create_generators(client: Any) -> Any:
    messages, tools = (m for m in MESSAGES), (t for t in [TOOL])
    return see(client.chat.completions.create(model="gpt-4o-mini", messages=messages, tools=tools))


def create_mutated_after(client: Any) -> Any:
    messages = [dict(m) for m in MESSAGES]
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=messages)
    messages[1]["content"] = "mutated"
    return see(answer)


def create_with_extras(client: Any) -> Any:
    headers = {"Authorization": "Bearer sk-secret", "X-Mine": "1"}
    answer = client.chat.completions.create(
        **ASK, extra_headers=headers, extra_body={"mine": {"a": [1, None]}}, extra_query={"q": "1"}
    )
    return see(answer), headers


def client_post(client: Any) -> Any:
    body = {"model": "gpt-4o-mini", "messages": MESSAGES}
    return see(client.post("/chat/completions", cast_to=object, body=body))


def with_options(client: Any) -> Any:
    return see(client.with_options(timeout=5, max_retries=1).chat.completions.create(**ASK))


def beta_create(client: Any) -> Any:
    return see(client.beta.chat.completions.create(**ASK))


def parse(client: Any) -> Any:
    answer = resource(client, "parse").parse(**ASK, response_format=City)
    return see(answer), see(answer.choices[0].message.parsed)


def parse_too_long(client: Any) -> Any:
    return raised(lambda: resource(client, "parse").parse(**ASK, response_format=City))


def raw(client: Any) -> Any:
    answer = client.chat.completions.with_raw_response.create(**ASK)
    return see(answer), see(answer.parse()), answer.status_code, answer.headers["x-request-id"]


def raw_stream(client: Any) -> Any:
    answer = client.chat.completions.with_raw_response.create(**ASK, **WITH_USAGE)
    stream = answer.parse()
    return see(answer), see(stream), see(list(stream))


def streaming_response_json(client: Any) -> Any:
    with client.chat.completions.with_streaming_response.create(**ASK) as answer:
        return see(answer), json.loads(answer.read())


def streaming_response_parse(client: Any) -> Any:
    with client.chat.completions.with_streaming_response.create(**ASK) as answer:
        return see(answer), see(answer.parse())


def streaming_response_lines(client: Any) -> Any:
    make = client.chat.completions.with_streaming_response.create
    with make(**ASK, **WITH_USAGE) as answer:
        return see(answer), list(answer.iter_lines())


def streaming_response_raw_bytes(client: Any) -> Any:
    make = client.chat.completions.with_streaming_response.create
    with make(**ASK, **WITH_USAGE) as answer:
        return see(answer), b"".join(answer.http_response.iter_raw())


def streaming_response_untouched(client: Any) -> Any:
    make = client.chat.completions.with_streaming_response.create
    with make(**ASK, **WITH_USAGE) as answer:
        return see(answer), answer.http_response.is_stream_consumed


def validation_error(client: Any) -> Any:
    return raised(lambda: client.chat.completions.create(model="gpt-4o-mini"))


def bad_request(client: Any) -> Any:
    return raised(lambda: client.chat.completions.create(**ASK))


# ---- streams, read and left ----


def stream(client: Any) -> Any:
    chunks = client.chat.completions.create(**ASK, **WITH_USAGE)
    return see(chunks), see(chunks.response), see(list(chunks))


def stream_next(client: Any) -> Any:
    chunks = client.chat.completions.create(**ASK, **WITH_USAGE)
    first = next(chunks)
    return see(first), see(list(chunks))


def stream_with(client: Any) -> Any:
    with client.chat.completions.create(**ASK, **WITH_USAGE) as chunks:
        return see(list(chunks))


def stream_helper(client: Any) -> Any:
    manager = resource(client, "stream").stream(**ASK, stream_options={"include_usage": True})
    with manager as events:
        return see(events), [event.type for event in events], see(events.get_final_completion())


def stream_helper_left(client: Any) -> Any:
    with resource(client, "stream").stream(**ASK) as events:
        for event in events:
            if event.type == "content.delta":
                return see(event)
    return None


def break_and_drop(client: Any) -> Any:
    chunks = client.chat.completions.create(**ASK, stream=True)
    seen = []
    for chunk in chunks:
        seen.append(see(chunk))
        if len(seen) == 3:
            break
    del chunks, chunk
    gc.collect()
    return seen


def break_and_resume(client: Any) -> Any:
    chunks = client.chat.completions.create(**ASK, **WITH_USAGE)
    for first in chunks:  # noqa: B007 - the last one is looked at
        break
    return see(first), see(list(chunks))


def close(client: Any) -> Any:
    chunks = client.chat.completions.create(**ASK, stream=True)
    first = next(chunks)
    chunks.close()
    return see(first)


def with_break(client: Any) -> Any:
    with client.chat.completions.create(**ASK, stream=True) as chunks:
        for chunk in chunks:
            return see(chunk)
    return None


def consumer_raises(client: Any) -> Any:
    def consume() -> None:
        with client.chat.completions.create(**ASK, stream=True) as chunks:
            for _ in chunks:
                raise LookupError("consumer")

    return raised(consume)


def never_read(client: Any) -> Any:
    chunks = client.chat.completions.create(**ASK, stream=True)
    name = see(chunks)
    del chunks
    gc.collect()
    return name


def dropped(client: Any) -> Any:
    seen: list[Any] = []

    def consume() -> None:
        for chunk in client.chat.completions.create(**ASK, stream=True):
            seen.append(see(chunk))

    problem = raised(consume)
    gc.collect()
    return seen, problem[0]


def error_event(client: Any) -> Any:
    seen: list[Any] = []

    def consume() -> None:
        for chunk in client.chat.completions.create(**ASK, stream=True):
            seen.append(see(chunk))

    problem = raised(consume)
    gc.collect()
    return seen, problem


def closed_after_finish(client: Any) -> Any:
    with client.chat.completions.create(**ASK, stream=True) as chunks:
        for chunk in chunks:
            if chunk.choices and chunk.choices[0].finish_reason:
                return see(chunk)
    return None


def raised(call: Callable[[], Any]) -> Any:
    """Give what *call* raises, as the application sees it."""
    try:
        call()
    except BaseException as error:
        return see(error)
    raise AssertionError("nothing was raised")


# ---- the same, asynchronous ----


async def acreate(client: Any) -> Any:
    return see(await client.chat.completions.create(**ASK))


async def aclient_post(client: Any) -> Any:
    body = {"model": "gpt-4o-mini", "messages": MESSAGES}
    return see(await client.post("/chat/completions", cast_to=object, body=body))


async def aparse(client: Any) -> Any:
    answer = await resource(client, "parse").parse(**ASK, response_format=City)
    return see(answer), see(answer.choices[0].message.parsed)


async def araw(client: Any) -> Any:
    answer = await client.chat.completions.with_raw_response.create(**ASK)
    return see(answer), see(answer.parse()), answer.status_code


async def araw_stream(client: Any) -> Any:
    answer = await client.chat.completions.with_raw_response.create(**ASK, **WITH_USAGE)
    stream = answer.parse()
    return see(answer), see(stream), see([chunk async for chunk in stream])


async def astreaming_response_json(client: Any) -> Any:
    async with client.chat.completions.with_streaming_response.create(**ASK) as answer:
        return see(answer), json.loads(await answer.read())


async def astreaming_response_parse(client: Any) -> Any:
    async with client.chat.completions.with_streaming_response.create(**ASK) as answer:
        return see(answer), see(await answer.parse())


async def astreaming_response_lines(client: Any) -> Any:
    make = client.chat.completions.with_streaming_response.create
    async with make(**ASK, **WITH_USAGE) as answer:
        return see(answer), [line async for line in answer.iter_lines()]


async def abad_request(client: Any) -> Any:
    return await araised(client.chat.completions.create(**ASK))


async def astream(client: Any) -> Any:
    chunks = await client.chat.completions.create(**ASK, **WITH_USAGE)
    return see(chunks), see([chunk async for chunk in chunks])


async def astream_with(client: Any) -> Any:
    async with await client.chat.completions.create(**ASK, **WITH_USAGE) as chunks:
        return see([chunk async for chunk in chunks])


async def astream_helper(client: Any) -> Any:
    manager = resource(client, "stream").stream(**ASK, stream_options={"include_usage": True})
    async with manager as events:
        names = [event.type async for event in events]
        return see(events), names, see(await events.get_final_completion())


async def astream_helper_left(client: Any) -> Any:
    async with resource(client, "stream").stream(**ASK) as events:
        async for event in events:
            if event.type == "content.delta":
                return see(event)
    return None


async def abreak_and_drop(client: Any) -> Any:
    chunks = await client.chat.completions.create(**ASK, stream=True)
    seen = []
    async for chunk in chunks:
        seen.append(see(chunk))
        if len(seen) == 3:
            break
    del chunks, chunk
    gc.collect()
    await asyncio.sleep(0.05)
    gc.collect()
    return seen


async def aclose(client: Any) -> Any:
    chunks = await client.chat.completions.create(**ASK, stream=True)
    async for first in chunks:  # noqa: B007 - the last one is looked at
        break
    await chunks.close()
    return see(first)


async def awith_break(client: Any) -> Any:
    async with await client.chat.completions.create(**ASK, stream=True) as chunks:
        async for chunk in chunks:
            return see(chunk)
    return None


async def aconsumer_raises(client: Any) -> Any:
    async def consume() -> None:
        async with await client.chat.completions.create(**ASK, stream=True) as chunks:
            async for _ in chunks:
                raise LookupError("consumer")

    return await araised(consume())


async def acancelled_create(client: Any) -> Any:
    task = asyncio.create_task(client.chat.completions.create(**ASK))
    await asyncio.sleep(0.15)
    task.cancel()
    return await araised(task)


async def acancelled_stream(client: Any) -> Any:
    seen: list[Any] = []

    async def consume() -> None:
        async with await client.chat.completions.create(**ASK, stream=True) as chunks:
            async for chunk in chunks:
                seen.append(see(chunk))

    task = asyncio.create_task(consume())
    await asyncio.sleep(0.3)
    task.cancel()
    problem = await araised(task)
    return len(seen) > 0, problem


async def anever_read(client: Any) -> Any:
    chunks = await client.chat.completions.create(**ASK, stream=True)
    name = see(chunks)
    del chunks
    gc.collect()
    return name


async def adropped(client: Any) -> Any:
    seen: list[Any] = []

    async def consume() -> None:
        async for chunk in await client.chat.completions.create(**ASK, stream=True):
            seen.append(see(chunk))

    problem = await araised(consume())
    gc.collect()
    return seen, problem[0]


async def aerror_event(client: Any) -> Any:
    seen: list[Any] = []

    async def consume() -> None:
        async for chunk in await client.chat.completions.create(**ASK, stream=True):
            seen.append(see(chunk))

    problem = await araised(consume())
    gc.collect()
    await asyncio.sleep(0.05)
    gc.collect()
    return seen, problem


async def araised(call: Any) -> Any:
    """Give what awaiting *call* raises, as the application sees it."""
    try:
        await call
    except BaseException as error:
        return see(error)
    raise AssertionError("nothing was raised")


def has(name: str, call: Any) -> Any:
    """Give *call* if this release has that method on its chat completions, else None."""
    found = method_of(f"chat.completions.{name}") or method_of(f"beta.chat.completions.{name}")
    return call if found else None


PLAIN = {"text": TEXT, "usage": USAGE}
STREAM = {"chunks": CHUNKS, "usage": USAGE}
SLOW = {"chunks": CHUNKS * 10, "pace": 0.05}
JSON_CITY = {"text": '{"name": "Paris"}', "usage": USAGE}
LEFT: dict[str, Any] = {"usage": False, "text": None}
REFUSED = {"status": 400, "error": {"message": "no such model", "type": "invalid_request_error"}}
BROKEN = {"chunks": CHUNKS, "error": {"message": "the model broke", "type": "server_error"}}
HALF = {"chunks": CHUNKS, "drop": True}

SYNC: dict[str, Style] = {
    "create": Style(create, PLAIN),
    "create, generators": Style(create_generators, PLAIN),
    "create, mutated after": Style(create_mutated_after, PLAIN),
    "create, extra headers, body and query": Style(create_with_extras, PLAIN),
    "client.post": Style(client_post, PLAIN),
    "with_options": Style(with_options, PLAIN),
    "beta": Style(beta_create if method_of("beta.chat.completions.create") else None, PLAIN),
    "azure": Style(create, PLAIN, client="azure"),
    "azure, streamed": Style(stream, STREAM, client="azure"),
    "parse": Style(has("parse", parse), JSON_CITY, text=JSON_CITY["text"]),
    "parse, cut off": Style(
        has("parse", parse_too_long),
        {**JSON_CITY, "finish_reason": "length"},
        text=JSON_CITY["text"],
        error="LengthFinishReasonError",
    ),
    "raw": Style(raw, PLAIN),
    "raw, streamed": Style(raw_stream, STREAM),
    "streaming response, JSON": Style(streaming_response_json, PLAIN),
    "streaming response, parsed": Style(streaming_response_parse, PLAIN),
    "streaming response, lines": Style(streaming_response_lines, STREAM),
    "streaming response, raw bytes": Style(streaming_response_raw_bytes, STREAM),
    "streaming response, not touched": Style(
        streaming_response_untouched, SLOW, usage=False, text=None, partial="closed"
    ),
    "wrong arguments": Style(validation_error, PLAIN, runs=0),
    "refused": Style(bad_request, REFUSED, text=None, usage=False, error="BadRequestError"),
    "rate limited": Style(
        bad_request, {"status": 429}, text=None, usage=False, error="RateLimitError"
    ),
    "error page": Style(
        bad_request,
        {"status": 503, "raw": b"<html>bad</html>", "content_type": "text/html"},
        text=None,
        usage=False,
        error="InternalServerError",
    ),
    "connection refused half-way": Style(
        bad_request, {"drop": "at once"}, text=None, usage=False, error="APIConnectionError"
    ),
    "stream": Style(stream, STREAM),
    "stream, no usage asked": Style(
        with_break, {"chunks": []}, text="", usage=False, partial="closed"
    ),
    "stream, next": Style(stream_next, STREAM),
    "stream, with": Style(stream_with, STREAM),
    "stream helper": Style(has("stream", stream_helper), STREAM),
    "stream helper, left": Style(has("stream", stream_helper_left), SLOW, **LEFT, partial="closed"),
    "break and drop": Style(break_and_drop, SLOW, **LEFT, partial="abandoned"),
    "break and resume": Style(break_and_resume, STREAM),
    "close": Style(close, SLOW, **LEFT, partial="closed"),
    "with, break": Style(with_break, SLOW, **LEFT, partial="closed"),
    "consumer raises": Style(consumer_raises, SLOW, **LEFT, partial="closed"),
    "never read": Style(never_read, SLOW, **LEFT, partial="never_read"),
    "connection dropped": Style(dropped, HALF, **LEFT, error="RemoteProtocolError"),
    "error event": Style(error_event, BROKEN, usage=False, error="server_error"),
    "closed after the finish reason": Style(closed_after_finish, STREAM, usage=False),
}

ASYNC: dict[str, Style] = {
    "create": Style(acreate, PLAIN),
    "client.post": Style(aclient_post, PLAIN),
    "azure": Style(acreate, PLAIN, client="azure"),
    "azure, streamed": Style(astream, STREAM, client="azure"),
    "parse": Style(has("parse", aparse), JSON_CITY, text=JSON_CITY["text"]),
    "raw": Style(araw, PLAIN),
    "raw, streamed": Style(araw_stream, STREAM),
    "streaming response, JSON": Style(astreaming_response_json, PLAIN),
    "streaming response, parsed": Style(astreaming_response_parse, PLAIN),
    "streaming response, lines": Style(astreaming_response_lines, STREAM),
    "refused": Style(abad_request, REFUSED, text=None, usage=False, error="BadRequestError"),
    "stream": Style(astream, STREAM),
    "stream, with": Style(astream_with, STREAM),
    "stream helper": Style(has("stream", astream_helper), STREAM),
    "stream helper, left": Style(
        has("stream", astream_helper_left), SLOW, **LEFT, partial="closed"
    ),
    "break and drop": Style(abreak_and_drop, SLOW, **LEFT, partial="abandoned"),
    "close": Style(aclose, SLOW, **LEFT, partial="closed"),
    "with, break": Style(awith_break, SLOW, **LEFT, partial="closed"),
    "consumer raises": Style(aconsumer_raises, SLOW, **LEFT, partial="closed"),
    "create, cancelled": Style(
        acancelled_create, {"delay": 5.0}, text=None, usage=False, error="CancelledError"
    ),
    "stream, cancelled": Style(acancelled_stream, SLOW, **LEFT, partial="cancelled"),
    "never read": Style(anever_read, SLOW, **LEFT, partial="never_read"),
    "connection dropped": Style(adropped, HALF, **LEFT, error="RemoteProtocolError"),
    "error event": Style(aerror_event, BROKEN, usage=False, error="server_error"),
}
