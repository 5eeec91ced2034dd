"""What the tap on the SDK adds to a model's run under LangChain, and what stays LangChain's."""

from __future__ import annotations

import orjson
import pytest

pytest.importorskip("openai", reason="openai is not installed")
pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import RateLimitError
from pydantic import BaseModel, ValidationError

from instrument.testing import FakeOpenAI
from tests.integrations.langchain_fakes import traced

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")

BOTH = pytest.mark.parametrize("with_openai", [True, False], ids=["with the tap", "without"])
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 4,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 6},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


class Person(BaseModel):
    """Somebody."""

    name: str


@pytest.fixture
def server():
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def runs():
    with traced() as runs:
        yield runs
        runs.check()


def model_of(server, **more):
    return ChatOpenAI(
        **{"model": "gpt-4o", "base_url": server.url, "api_key": "hush", "max_retries": 0, **more}
    )


@BOTH
def test_plain(server, with_openai):
    """Either way a call is one run with messages, usage and finish reason; the key is nowhere."""
    server.reply(text="Oslo", usage=USAGE, model="gpt-4o-2024-08-06")
    with traced(with_openai=with_openai) as runs:
        model_of(server, temperature=0.5).invoke("Capital of Norway?")

    run = runs.one(kind="llm")
    assert (run.name, run.answer.model) == ("gpt-4o", "gpt-4o-2024-08-06")
    assert orjson.loads(run.input) == [{"role": "user", "content": "Capital of Norway?"}]
    assert orjson.loads(run.output) == {"role": "assistant", "content": "Oslo"}
    assert (run.usage.total, run.usage.cached, run.usage.reasoning) == (14, 6, 2)
    assert run.answer.finish_reasons == ("stop",)
    assert orjson.loads(run.params)["temperature"] == 0.5
    assert "hush" not in str(runs.ended)


@BOTH
def test_stream(server, with_openai):
    """So is a streamed one, with the time to its first token."""
    server.reply(text="Oslo it is", usage=USAGE)
    with traced(with_openai=with_openai) as runs:
        list(model_of(server, stream_usage=True).stream("Capital of Norway?"))

    run = runs.one(kind="llm")
    assert orjson.loads(run.output)["content"] == "Oslo it is"
    assert run.usage.total == 14
    assert 0 < run.answer.time_to_first_token <= run.duration


def test_what_only_the_wire_knows(server, runs):
    """Request id, attempts with their statuses and the exact parameters come from the wire."""
    server.reply(status=500)
    server.reply(text="Oslo")
    model_of(server, max_retries=1).bind(seed=7).invoke("hi")

    run = runs.one(kind="llm")
    assert [attempt.status for attempt in run.answer.attempts] == [500, 200]
    assert run.answer.request_id.startswith("req_")
    assert orjson.loads(run.params)["seed"] == 7
    assert run.error is None


def test_refused(server, runs):
    """A refused call fails with the application's exception and the status."""
    server.reply(status=429)

    with pytest.raises(RateLimitError) as raised:
        model_of(server).invoke("hi")

    run = runs.one(kind="llm")
    assert (run.error.status, run.error.type) == (429, type(raised.value).__name__)
    assert (run.output, run.usage) == (None, None)


def test_answer_that_does_not_fit(server, runs):
    """When the answer does not fit the schema the call failed, and what it said and cost stays."""
    server.reply(text='{"title": "x"}', usage=USAGE)

    with pytest.raises(ValidationError):
        model_of(server).with_structured_output(Person, method="json_schema").invoke("hi")

    run = runs.one(kind="llm")
    assert run.error is not None
    assert orjson.loads(run.output)["content"] == '{"title": "x"}'
    assert run.usage.total == 14


def test_stream_that_is_left(server, runs):
    """A stream that is left keeps its text, is partial, and has no usage."""
    server.reply(chunks=["a", "b", "c", "d"], pace=0.02)
    stream = model_of(server).stream("hi")
    for chunk in stream:
        if chunk.content == "b":
            break
    stream.close()

    run = runs.one(kind="llm")
    assert (run.partial, run.error, run.usage) == ("closed", None, None)
    assert orjson.loads(run.output)["content"] == "ab"


def test_choices(server, runs):
    """Several choices are several messages, and their usage counts once."""
    server.reply(text=["a", "b"], usage=USAGE)
    model_of(server, n=2).generate([[HumanMessage("hi")]])

    run = runs.one(kind="llm")
    assert [choice["content"] for choice in orjson.loads(run.output)] == ["a", "b"]
    assert run.usage.total == 14
    assert run.answer.finish_reasons == ("stop", "stop")


def test_tools(server, runs):
    """Tools are a parameter, their calls are in OpenAI's form, in output and input."""

    @tool
    def add(a: int) -> int:
        """Add."""
        return a

    server.reply(tool_calls=[{"name": "add", "arguments": {"a": 1}}])
    model = model_of(server).bind_tools([add])
    asked = model.invoke("hi")
    model.invoke([HumanMessage("hi"), asked, add.invoke(asked.tool_calls[0])])

    first, second = runs.of("llm")
    function = orjson.loads(first.output)["tool_calls"][0]["function"]
    assert (function["name"], orjson.loads(function["arguments"])) == ("add", {"a": 1})
    assert orjson.loads(first.params)["tools"][0]["function"]["name"] == "add"
    assert orjson.loads(second.input)[2]["tool_call_id"] == asked.tool_calls[0]["id"]


def test_per_call_model(server, runs):
    """A model chosen for one call is the run's name."""
    model_of(server).invoke("hi", model="gpt-4o-mini")

    assert runs.one(kind="llm").name == "gpt-4o-mini"
