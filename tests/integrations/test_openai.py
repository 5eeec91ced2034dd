"""What is recorded of chat completions beyond the styles: order, places, attempts, timing, odd clients."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
import types
from typing import Any

import orjson
import pytest

openai = pytest.importorskip("openai", reason="the openai package is not installed")

import instrument
from instrument import recorder as recorders
from instrument.integrations import openai as integration
from instrument.recorder import Recorder
from instrument.run import Run
from instrument.testing import FakeOpenAI, capture

ASK: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


def client_of(server: FakeOpenAI, **options: Any) -> Any:
    """Make a client of that server."""
    return openai.OpenAI(
        **{"base_url": server.url, "api_key": "sk-test", "max_retries": 0, **options}
    )


def test_client_made_before() -> None:
    """A client, its resources and a raw wrapper that were made and used before are traced too."""
    with FakeOpenAI() as server, client_of(server) as client:
        completions = client.chat.completions
        raw = completions.with_raw_response
        raw.create(**ASK)
        with capture() as runs:
            completions.create(**ASK)
            raw.create(**ASK).parse()
        completions.create(**ASK)

    assert len(runs) == 2


def test_module_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module-level client is traced as any other."""
    with FakeOpenAI() as server, capture() as runs:
        monkeypatch.setattr(openai, "base_url", f"{server.url}/")
        monkeypatch.setattr(openai, "api_key", "sk-test")
        openai.chat.completions.create(**ASK)
        openai._reset_client()

    assert [run.name for run in runs] == ["gpt-4o"]


def test_other_requests() -> None:
    """Requests that are no chat completions pass untouched and leave no run."""
    with FakeOpenAI() as server, client_of(server) as client, capture() as runs:
        with pytest.raises(openai.NotFoundError):
            client.models.list()
        with pytest.raises(openai.NotFoundError):
            client.embeddings.create(model="m", input="x")

    assert (list(runs), runs.open) == ([], [])


def test_facts() -> None:
    """Model asked and answered, messages, parameters, ids, times and limits are all recorded."""
    with FakeOpenAI() as server, client_of(server) as client, capture() as runs:
        server.reply(
            text="Hi!", usage={"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
        )
        client.chat.completions.create(
            **ASK,
            temperature=0.5,
            extra_headers={"Authorization": "Bearer sk-secret"},
            extra_body={"mine": 1},
            user="u-1",
        )

    run, answer = runs[0], runs[0].answer
    assert answer is not None
    assert (run.name, answer.model, answer.provider) == ("gpt-4o", "gpt-4o-2024-08-06", "local")
    assert orjson.loads(run.params or b"") == {"temperature": 0.5, "mine": 1, "user": "u-1"}
    assert (run.user_id, answer.finish_reasons) == ("u-1", ("stop",))
    assert (answer.request_id, answer.processing_ms) == ("req_000001", 12.0)
    assert answer.rate_limits["remaining-requests"] == "9999"
    assert [attempt.status for attempt in answer.attempts] == [200]
    assert (run.duration or 0) > 0
    assert "sk-secret" not in repr(run)


def test_first_token_time() -> None:
    """The time to the first token is when it came, and a stream ends when its last chunk came."""
    chunks = ["a", "b", "c", "d"]
    with FakeOpenAI() as server, client_of(server) as client, capture() as runs:
        server.reply(chunks=chunks, pace=0.05, delay=0.1)
        stream = client.chat.completions.create(**ASK, stream=True)
        texts = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
        time.sleep(0.2)

    first = runs[0].answer and runs[0].answer.time_to_first_token
    assert [text for text in texts if text] == chunks
    assert first is not None
    assert 0.1 <= first < (runs[0].duration or 0)
    assert (runs[0].duration or 9) - first < 0.4


@pytest.mark.parametrize("failures", [[500], [429, 503], ["at once"]])
def test_attempts(failures: list[Any]) -> None:
    """Tries that the SDK makes by itself are one run, with the status of each."""
    with FakeOpenAI() as server, client_of(server, max_retries=3) as client, capture() as runs:
        for failure in failures:
            if failure == "at once":
                server.reply(drop="at once")
            else:
                server.reply(status=failure, headers={"retry-after-ms": "10"})
        client.chat.completions.create(**ASK)

    expected = [None if failure == "at once" else failure for failure in failures]
    answer = runs[0].answer
    assert answer is not None
    assert [attempt.status for attempt in answer.attempts] == [*expected, 200]
    offsets = [attempt.offset for attempt in answer.attempts]
    assert offsets == sorted(offsets)


def test_attempts_that_all_fail() -> None:
    """When every try fails, the run ends once, failed, with the last status."""
    with FakeOpenAI() as server, client_of(server, max_retries=1) as client, capture() as runs:
        for _ in range(2):
            server.reply(status=503, headers={"retry-after-ms": "10"})
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(**ASK)

    assert len(runs) == 1
    assert runs[0].error is not None
    assert runs[0].error.status == 503
    assert runs[0].answer is not None
    assert [attempt.status for attempt in runs[0].answer.attempts] == [503, 503]


def test_choices_out_of_order() -> None:
    """With n = 2 and the second choice first, each choice keeps its own text."""

    def event(index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "finish_reason": finish}
        return {
            "id": "c",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [choice],
        }

    script: list[Any] = [
        event(1, {"role": "assistant", "content": "B1"}),
        event(0, {"role": "assistant", "content": "A1"}),
        event(1, {"content": "B2"}, "stop"),
        event(0, {"content": "A2"}),
        event(0, {}, "length"),
        b"data: [DONE]\n\n",
    ]
    with FakeOpenAI() as server, client_of(server) as client, capture() as runs:
        server.reply(chunks=script)
        seen = [
            (chunk.choices[0].index, chunk.choices[0].delta.content)
            for chunk in client.chat.completions.create(**ASK, n=2, stream=True)
        ]

    output = orjson.loads(runs[0].output or b"")
    assert seen == [(1, "B1"), (0, "A1"), (1, "B2"), (0, "A2"), (0, None)]
    assert [message["content"] for message in output] == ["A1A2", "B1B2"]
    assert runs[0].answer is not None
    assert runs[0].answer.finish_reasons == ("length", "stop")


def test_long_stream() -> None:
    """A stream far longer than what is kept of it in memory is recorded whole."""
    chunks = [f"word{n} " for n in range(3000)]
    with FakeOpenAI() as server, client_of(server) as client, capture() as runs:
        server.reply(chunks=chunks)
        for _ in client.chat.completions.create(**ASK, stream=True):
            pass

    assert orjson.loads(runs[0].output or b"")["content"] == "".join(chunks)
    assert runs[0].partial is None


def check_places(runs: list[Run], count: int) -> None:
    """See that each call stands under its own block."""
    blocks = {run.id: run.name for run in runs if run.kind == "chain"}
    calls = [run for run in runs if run.kind == "llm"]
    assert len(calls) == count
    for call in calls:
        asked = orjson.loads(call.input or b"")[0]["content"]
        assert blocks[call.parent_id or ""] == asked


def test_two_hundred_threads() -> None:
    """Two hundred concurrent calls in threads each stand under their own block."""
    with FakeOpenAI() as server, client_of(server, timeout=60) as client, capture() as runs:

        def work(n: int) -> None:
            with instrument.trace(f"block {n}"):
                messages = [{"role": "user", "content": f"block {n}"}]
                client.chat.completions.create(model="gpt-4o", messages=messages)

        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            list(pool.map(work, range(200)))

    check_places(runs, 200)


async def test_two_hundred_tasks() -> None:
    """Two hundred concurrent tasks too, half of them streaming."""
    with FakeOpenAI() as server, capture() as runs:

        async def work(client: Any, n: int) -> None:
            with instrument.trace(f"block {n}"):
                messages = [{"role": "user", "content": f"block {n}"}]
                answer = await client.chat.completions.create(
                    model="gpt-4o", messages=messages, stream=bool(n % 2)
                )
                if n % 2:
                    assert [chunk async for chunk in answer]

        options = {"base_url": server.url, "api_key": "sk-test", "timeout": 60}
        async with openai.AsyncOpenAI(**options) as client:
            await asyncio.gather(*(work(client, n) for n in range(200)))

    check_places(runs, 200)


def test_captured_inside_instrumented() -> None:
    """A block that captures sees everything whole while instrument() is on, which sees nothing."""
    records: list[Any] = []
    undo = integration.install(recorder := Recorder(records.append))
    recorders.installed.append(recorder)
    with FakeOpenAI() as server, client_of(server) as client:
        with capture() as runs:
            client.chat.completions.create(**ASK)
            list(client.chat.completions.create(**ASK, stream=True))
        inside = len(records)
        client.chat.completions.create(**ASK)
    recorders.installed.remove(recorder)
    undo()

    assert [(run.name, len(run.answer.attempts)) for run in runs if run.answer] == [
        ("gpt-4o", 1)
    ] * 2
    assert [
        message["content"] for run in runs for message in [orjson.loads(run.output or b"")]
    ] == ["You said: hi"] * 2
    assert (inside, len(records)) == (0, 2)


def test_taken_back() -> None:
    """Taking the patches back leaves the SDK's own functions, and installing twice is possible."""
    from openai._base_client import AsyncAPIClient, SyncAPIClient

    before = [dict(vars(owner)) for owner in (SyncAPIClient, AsyncAPIClient)]
    undo = integration.install(Recorder([].append))
    assert [dict(vars(owner)) for owner in (SyncAPIClient, AsyncAPIClient)] != before
    undo()

    assert [dict(vars(owner)) for owner in (SyncAPIClient, AsyncAPIClient)] == before


def test_somebody_on_top() -> None:
    """When somebody else has wrapped our wrapper, theirs stays, and ours lets everything through."""
    from openai._base_client import SyncAPIClient

    original = SyncAPIClient.__dict__["request"]
    records: list[Any] = []
    recorder = Recorder(records.append)
    undo = integration.install(recorder)
    ours = SyncAPIClient.request
    theirs: list[int] = []

    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        theirs.append(1)
        return ours(self, *args, **kwargs)

    try:
        SyncAPIClient.request = wrapper
        recorder.enabled = False
        undo()
        with FakeOpenAI() as server, client_of(server) as client:
            client.chat.completions.create(**ASK)
        assert SyncAPIClient.__dict__["request"] is wrapper
    finally:
        SyncAPIClient.request = original

    assert (theirs, records) == ([1], [])


def test_missing_layer(caplog: pytest.LogCaptureFixture) -> None:
    """A release without one of the methods is said once, and the call is not hurt."""

    class Client:
        def request(self, *args: Any, **kwargs: Any) -> str:
            return "answer"

    class Module:
        SyncAPIClient = Client

    from instrument.integrations.openai._tap import Patch

    patch = Patch(Recorder([].append))
    patch.apply(Module)

    class Options:
        url = "/chat/completions"
        method = "post"

    assert Client().request(object, Options()) == "answer"
    assert "no SyncAPIClient._build_request: less is recorded" in caplog.text
    patch.undo()


class ForeignError(Exception):
    """The shape of other HTTP libraries' errors."""

    response = types.SimpleNamespace(
        status_code=418, headers={"x-request-id": "of somebody else"}, text="teapot"
    )


@pytest.mark.parametrize("where", ["_prepare_options", "_prepare_request"])
def test_foreign_error(where: str) -> None:
    """An error with a foreign `response` passes unchanged, and the run ends with it and its input."""

    def fail(*_: Any) -> None:
        raise ForeignError("no token")

    with FakeOpenAI() as server, capture() as runs:
        made = type("Client", (openai.OpenAI,), {where: fail})
        with (
            made(base_url=server.url, api_key="sk", max_retries=0) as client,
            pytest.raises(ForeignError),
        ):
            client.chat.completions.create(**ASK)

    assert [
        (run.name, run.error and run.error.type, run.error and run.error.status) for run in runs
    ] == [("gpt-4o", "ForeignError", None)]
    assert orjson.loads(runs[0].input or b"") == ASK["messages"]
    assert runs[0].answer is not None
    assert runs[0].answer.request_id is None


def test_path_without_a_slash() -> None:
    """`client.post` takes the path without its first slash too, and as a whole URL."""
    body = {"model": "m", "messages": []}
    with FakeOpenAI() as server, client_of(server) as client, capture() as runs:
        client.post("chat/completions", cast_to=object, body=body)
        client.post(f"{server.url}/chat/completions", cast_to=object, body=body)

    assert [run.name for run in runs] == ["m", "m"]


def test_wrapped_below_us_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that wrapped `request` on the client's own class before us hides nothing from us."""
    from openai._base_client import SyncAPIClient

    original = SyncAPIClient.request
    monkeypatch.setattr(
        openai.OpenAI,
        "request",
        lambda self, *args, **kwargs: original(self, *args, **kwargs),
        raising=False,
    )
    with FakeOpenAI() as server, client_of(server) as client, capture() as runs:
        client.chat.completions.create(**ASK)

    assert len(runs) == 1
    assert runs[0].answer is not None
    assert len(runs[0].answer.attempts) == 1


def test_subclass_with_its_own_request() -> None:
    """A subclass whose `request` calls ours is still one run."""

    class Client(openai.OpenAI):
        def request(self, *args: Any, **kwargs: Any) -> Any:
            return super().request(*args, **kwargs)

    with FakeOpenAI() as server, capture() as runs:
        with Client(base_url=server.url, api_key="sk", max_retries=0) as client:
            client.chat.completions.create(**ASK)

    assert len(runs) == 1


def test_passed_by(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A client whose calls pass us by is not traced, and that is said."""
    with FakeOpenAI() as server, client_of(server) as client:
        original = client.request
        monkeypatch.setattr(client, "request", lambda *args, **kwargs: original(*args, **kwargs))
        with capture() as runs:
            client.chat.completions.create(**ASK)

    assert (list(runs), "call instrument() before that" in caplog.text) == ([], True)


def test_request_inside_a_request() -> None:
    """A request that is made while another is on its way (for a token, say) is not mixed up with it."""
    with FakeOpenAI() as server, client_of(server) as other, capture() as runs:

        class Client(openai.OpenAI):
            def _prepare_request(self, request: Any) -> None:
                with pytest.raises(openai.NotFoundError):
                    other.models.list()

        with Client(base_url=server.url, api_key="sk", max_retries=0) as client:
            client.chat.completions.create(**ASK)

    assert len(runs) == 1
    assert runs[0].answer is not None
    assert [attempt.status for attempt in runs[0].answer.attempts] == [200]
    assert runs[0].error is None
