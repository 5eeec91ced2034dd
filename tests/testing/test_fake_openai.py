"""The fake OpenAI server answers the real client as OpenAI would, and misbehaves when told to."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from openai import AsyncOpenAI, AzureOpenAI, OpenAI
from pydantic import BaseModel

from instrument.testing import FakeOpenAI

MESSAGES = [{"role": "user", "content": "What is the capital of Norway?"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.fixture
def server():
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def client(server):
    with OpenAI(base_url=server.url, api_key="test", max_retries=0, timeout=5) as client:
        yield client


def ask(client, **options):
    return client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, **options)


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_improvised_answer(client):
    """Without a script the prompt is answered, by a dated model, with usage and rate limits."""
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=MESSAGES)
    answer = raw.parse()

    assert answer.choices[0].message.content == "You said: What is the capital of Norway?"
    assert answer.model == "gpt-4o-mini-2024-07-18"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert raw.headers["x-request-id"] == "req_000001"
    assert raw.headers["x-ratelimit-remaining-requests"] == "9999"


def test_scripts_in_order(server, client):
    """Scripted replies are given in the order in which they were said."""
    server.reply(text="one")
    server.reply(text="two")

    assert [ask(client).choices[0].message.content for _ in range(2)] == ["one", "two"]


def test_unknown_word_in_a_script(server):
    """A script that says what does not exist is refused, with the words that do."""
    with pytest.raises(TypeError, match=r"knows body, chunks, .* not txet"):
        server.reply(txet="one")


def test_tool_calls_as_openai_writes_them(server, client):
    """A script takes tool calls in OpenAI's own form as well, and refuses what names no tool."""
    server.reply(tool_calls=[{"id": "c", "function": {"name": "look", "arguments": '{"a":1}'}}])

    call = ask(client).choices[0].message.tool_calls[0]

    assert (call.id, call.function.name, call.function.arguments) == ("c", "look", '{"a":1}')
    with pytest.raises(TypeError, match="such as"):
        server.reply(tool_calls=[("look", {"a": 1})])
    with pytest.raises(TypeError, match="such as"):
        server.reply(tool_calls=[{"function": {}}])


def test_stream(server, client):
    """A streamed answer comes in pieces that add up, without usage unless it was asked for."""
    server.reply(text="Oslo is the capital.")

    chunks = list(ask(client, stream=True))

    assert text_of(chunks) == "Oslo is the capital."
    assert len(chunks) == 6
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_stream_with_usage(client):
    """With include_usage the last chunk has the usage, and no choices."""
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))

    assert chunks[-1].choices == []
    assert chunks[-1].usage.prompt_tokens == 7


def test_several_choices(server, client):
    """With n = 2 each choice has its own text, plain and streamed."""
    server.reply(text=["Oslo", "Bergen"])
    server.reply(text=["Oslo", "Bergen"])

    plain = ask(client, n=2)
    streamed = list(ask(client, n=2, stream=True))

    assert [choice.message.content for choice in plain.choices] == ["Oslo", "Bergen"]
    assert {chunk.choices[0].index for chunk in streamed} == {0, 1}


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls(server, client, stream):
    """Tool calls have ids, names and JSON arguments, whole or assembled from a stream."""
    server.reply(tool_calls=[{"name": "weather", "arguments": {"city": "Oslo"}}])

    if stream:
        with client.chat.completions.stream(
            model="gpt-4o-mini", messages=MESSAGES, tools=[TOOL]
        ) as events:
            answer = events.get_final_completion()
    else:
        answer = ask(client, tools=[TOOL])

    (call,) = answer.choices[0].message.tool_calls
    assert (call.id, call.function.name) == ("call_1", "weather")
    assert call.function.arguments == '{"city":"Oslo"}'
    assert answer.choices[0].finish_reason == "tool_calls"


def test_forced_tool(client):
    """A request that insists on a tool gets a call of it, without a script."""
    answer = ask(client, tools=[TOOL], tool_choice="required")

    assert answer.choices[0].message.tool_calls[0].function.name == "weather"


def test_schema(client):
    """A request with a JSON schema gets a value that the schema allows, without a script."""

    class Town(BaseModel):
        name: str
        tags: list[str]
        size: int | None

    answer = client.chat.completions.parse(
        model="gpt-4o-mini", messages=MESSAGES, response_format=Town
    )

    assert answer.choices[0].message.parsed == Town(name="text", tags=["text"], size=1)


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, openai.BadRequestError), (429, openai.RateLimitError), (503, openai.APIStatusError)],
)
def test_error_status(server, client, status, error):
    """An HTTP error has the status, the error object and the headers that the script says."""
    server.reply(status=status, error={"code": "no_luck"}, retry_after=0.5)

    with pytest.raises(error) as caught:
        ask(client)

    assert caught.value.status_code == status
    assert caught.value.code == "no_luck"
    assert caught.value.response.headers["retry-after"] == "0.5"


def test_error_event(server, client):
    """An error in the middle of a stream comes as an event after the chunks."""
    server.reply(chunks=["Os", "lo"], error={"message": "overloaded"})
    stream = ask(client, stream=True)
    seen = []

    with pytest.raises(openai.APIError, match="overloaded"):
        seen.extend(chunk for chunk in stream)

    stream.close()


def test_error_object_in_an_answer(server, client):
    """With status 200 the error object is the body."""
    server.reply(error={"message": "overloaded"})

    assert ask(client).model_extra["error"]["message"] == "overloaded"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("drop", [True, "at once"])
def test_dropped_connection(server, stream, drop):
    """A dropped connection ends the body early, or comes before any reply."""
    server.reply(text="Oslo is the capital.", drop=drop)
    body = {"model": "m", "messages": MESSAGES, "stream": stream}

    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(f"{server.url}/chat/completions", json=body)


def test_chunks_before_the_drop(server, client):
    """The pieces of a stream that is dropped arrive before the connection ends."""
    server.reply(chunks=["Os", "lo"], drop=True)
    stream = ask(client, stream=True)
    seen = [next(stream), next(stream), next(stream)]

    assert text_of(seen) == "Oslo"
    with pytest.raises((openai.APIConnectionError, httpx.HTTPError)):
        next(stream)
    stream.close()


@pytest.mark.parametrize("stream", [False, True])
def test_hang(server, client, stream):
    """A reply that hangs runs into the client's timeout."""
    server.reply(text="Oslo", hang=True)

    with pytest.raises((openai.APITimeoutError, httpx.ReadTimeout)):
        list(ask(client.with_options(timeout=0.2), stream=stream))


def test_raw_bodies(server):
    """Malformed bodies, other content types and chunks of any shape go out as they are."""
    server.reply(raw=b"<html>", content_type="text/html", status=502)
    server.reply(chunks=[b": keep-alive\r\n\r\nda", b"ta: {}\n\n", {"choices": None}])
    server.reply(body=[1])

    url = f"{server.url}/chat/completions"
    html, stream, array = (httpx.post(url, json={}) for _ in range(3))

    assert (html.status_code, html.headers["content-type"]) == (502, "text/html")
    assert html.content == b"<html>"
    assert stream.content == b': keep-alive\r\n\r\ndata: {}\n\ndata: {"choices":null}\n\n'
    assert array.json() == [1]


def test_requests_are_kept(server, client):
    """Every request is kept with its method, path, headers in their own case, and bytes."""
    ask(client)

    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.header("Authorization") == "Bearer test"
    assert ("Host", server.origin.removeprefix("http://")) in request.headers
    assert request.json()["messages"] == MESSAGES


def test_chunked_request(server):
    """A request in chunked encoding is put together."""
    parts = iter([b'{"messages": [{"role": "user", ', b'"content": "hi"}]}'])

    reply = httpx.post(f"{server.url}/chat/completions", content=parts)

    assert reply.json()["choices"][0]["message"]["content"] == "You said: hi"


def test_what_is_no_chat_completion(server):
    """Another path is not found, and a body that is no JSON object is refused."""
    assert httpx.get(f"{server.url}/models").status_code == 404
    assert httpx.post(f"{server.url}/chat/completions", content=b"{").status_code == 400


def test_azure(server):
    """Azure's paths are answered, and its streams begin with a chunk without choices."""
    with AzureOpenAI(
        azure_endpoint=server.origin, api_key="test", api_version="2024-10-21"
    ) as client:
        chunks = list(ask(client, stream=True))

    assert chunks[0].choices == []
    assert server.requests[0].path.startswith("/openai/deployments/gpt-4o-mini/chat/completions?")


async def test_async_client(server):
    """The async client is answered as well."""
    async with AsyncOpenAI(base_url=server.url, api_key="test") as client:
        answer = await ask(client)

    assert answer.choices[0].message.content.startswith("You said:")


def test_many_at_once(server, client):
    """Sixty-four threads get an answer each, over connections that stay open."""
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda _: ask(client), range(256)))

    assert len({answer.id for answer in answers}) == 256
    assert len(server.requests) == 256


def test_pace(server, client):
    """Pieces of a stream are paced, so that a first token comes well before the last."""
    server.reply(chunks=["a", "b", "c"], pace=0.03)
    begin = time.perf_counter()

    assert text_of(ask(client, stream=True)) == "abc"
    assert time.perf_counter() - begin >= 0.09


def test_end_of_the_block():
    """Leaving the block ends every thread, also one that hangs, and frees the port."""
    before = threading.active_count()
    with FakeOpenAI() as server:
        server.reply(hang=True)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/chat/completions", json={}, timeout=0.1)

    assert threading.active_count() == before
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)
