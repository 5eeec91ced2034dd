"""What other libraries and the application's own subclasses do around the methods that are wrapped."""

from __future__ import annotations

import inspect
import io
from typing import Any

import orjson
import pytest

openai = pytest.importorskip("openai", reason="the openai package is not installed")

from openai._base_client import AsyncAPIClient, SyncAPIClient
from openai.types.chat import ChatCompletion

from instrument.testing import FakeOpenAI, capture

ASK: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
WRAPPED = ("request", "_build_request", "_should_retry", "_process_response")


def looks() -> list[tuple[str, str, bool]]:
    """Describe the wrapped methods as somebody who is about to wrap them would look at them."""
    methods = [
        getattr(owner, name) for owner in (SyncAPIClient, AsyncAPIClient) for name in WRAPPED
    ]
    return [
        (method.__qualname__, str(inspect.signature(method)), inspect.iscoroutinefunction(method))
        for method in methods
    ]


def test_methods_look_the_same() -> None:
    """Name, signature and whether a method is a coroutine function are as they were."""
    before = looks()
    with capture():
        assert looks() == before


def test_wrapper_that_stays() -> None:
    """A wrapper of ours that somebody holds after the block has ended records nothing."""
    original = SyncAPIClient.__dict__["request"]
    try:
        with FakeOpenAI() as server, openai.OpenAI(base_url=server.url, api_key="sk") as client:
            with capture() as runs:
                ours = SyncAPIClient.request
                SyncAPIClient.request = lambda *args, **kwargs: ours(*args, **kwargs)
            client.chat.completions.create(**ASK)
    finally:
        SyncAPIClient.request = original

    assert (list(runs), runs.open) == ([], [])


def test_subclass_that_tries_again() -> None:
    """Two tries of a subclass's own, for the same call, are one run with two attempts."""

    class Client(openai.OpenAI):
        def request(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().request(*args, **kwargs)
            except openai.RateLimitError:
                return super().request(*args, **kwargs)

    with FakeOpenAI() as server, capture() as runs:
        server.reply(status=429)
        with Client(base_url=server.url, api_key="sk", max_retries=0) as client:
            client.chat.completions.create(**ASK)

    assert len(runs) == 1
    assert runs[0].error is None
    assert runs[0].answer is not None
    assert len(runs[0].answer.attempts) == 2
    assert orjson.loads(runs[0].output or b"")["content"] == "You said: hi"


def test_answer_from_a_cache() -> None:
    """A call that somebody answers without asking the provider is no run."""

    class Client(openai.OpenAI):
        def request(self, *args: Any, **kwargs: Any) -> Any:
            return "known"

    with capture() as runs, Client(base_url="http://127.0.0.1:1", api_key="sk") as client:
        assert client.chat.completions.create(**ASK) == "known"

    assert (list(runs), runs.open) == ([], [])


def test_body_from_a_file() -> None:
    """A body that is sent from a file is left to be sent; what the answer says is recorded."""
    if "content" not in inspect.signature(openai.OpenAI.post).parameters:
        pytest.skip("this release of openai sends no files as a body")
    body = orjson.dumps(ASK)
    with FakeOpenAI() as server, capture() as runs:
        with openai.OpenAI(base_url=server.url, api_key="sk", max_retries=0) as client:
            headers = {"content-type": "application/json"}
            client.post(
                "/chat/completions",
                cast_to=ChatCompletion,
                content=io.BytesIO(body),
                options={"headers": headers},
            )
        assert server.requests[0].body == body

    assert runs[0].answer is not None
    assert runs[0].answer.provider == "local"
    assert [attempt.status for attempt in runs[0].answer.attempts] == [200]
    assert orjson.loads(runs[0].output or b"")["content"] == "You said: hi"
