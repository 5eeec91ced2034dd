"""What a run is told of a request and its reply: messages as LLMonitor wants them, facts for all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from instrument.context import Bound
from instrument.integrations.openai._answer import MAX_CHOICES, MAX_MODELS
from instrument.integrations.openai._calls import MAX_CALLS
from instrument.integrations.openai.chat import Answered, facts_of, output, read_request
from instrument.media import Payload
from instrument.run import Answer
from tests.integrations.chat_fixtures import (
    HELLO,
    JSON_TYPE,
    PARIS,
    STOP,
    USAGE,
    Case,
    call,
    chunk,
    delta,
    read,
    sse,
    whole,
)

ASKED = read_request(
    b'{"model": "m0", "messages": [], "stream": true, "user": "u"}', url="https://api.groq.com/v1"
)


def told(case: Case) -> Any:
    """Give the output of a reply as JSON."""
    return json.loads(output(read(case)) or b"null")


def streamed(*chunks: dict[str, Any]) -> Case:
    """Make a stream of these chunks."""
    return Case("streamed", sse(*chunks), {})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"content": "hi", "refusal": None, "annotations": []}, {"content": "hi"}),
        ({"content": None, "refusal": "no"}, {"content": None, "refusal": "no"}),
        ({"content": "4", "reasoning": "hm"}, {"content": "4", "reasoning_content": "hm"}),
        (
            {"content": "4", "reasoning": "hm", "reasoning_details": [{"text": "hm"}]},
            {"content": "4", "reasoning_content": "hm"},
        ),
        (
            {"content": "4", "reasoning_details": [{"summary": "hm"}]},
            {"content": "4", "thinking": "hm"},
        ),
        ({"content": "4", "reasoning": {"content": "hm"}}, {"content": "4", "thinking": "hm"}),
        (
            {"content": None, "tool_calls": [call("weather", PARIS, id="a", type="function")]},
            {
                "content": None,
                "tool_calls": [
                    {
                        "id": "a",
                        "type": "function",
                        "function": {"name": "weather", "arguments": PARIS},
                    }
                ],
            },
        ),
        (
            {
                "tool_calls": [
                    {"id": "a", "type": "custom", "custom": {"name": "sql", "input": "x"}}
                ]
            },
            {
                "content": None,
                "tool_calls": [
                    {"id": "a", "type": "custom", "custom": {"name": "sql", "input": "x"}}
                ],
            },
        ),
        (
            {"function_call": {"name": "f", "arguments": "{}"}},
            {"content": None, "function_call": {"name": "f", "arguments": "{}"}},
        ),
        ({"function_call": {"name": "", "arguments": ""}, "content": ""}, {"content": ""}),
        (
            {"audio": {"id": "au", "transcript": "hi", "data": "AAAA", "expires_at": 9}},
            {
                "content": None,
                "audio": {
                    "id": "au",
                    "transcript": "hi",
                    "data": "<audio, 3 bytes, sha256 709e80c88487a241>",
                    "expires_at": 9,
                },
            },
        ),
        (
            {"content": [{"type": "image_url", "image_url": {"url": "http://x"}}, {"text": "hi"}]},
            {
                "content": "hi",
                "content_parts": [{"type": "image_url", "image_url": {"url": "http://x"}}],
            },
        ),
        ({"content": "hi", "sources": {"a": 1}}, {"content": "hi", "sources": {"a": 1}}),
    ],
)
def test_message(fields: dict[str, Any], message: dict[str, Any]) -> None:
    """The output is the answer's message; what did not come is not in it."""
    assert told(Case("whole", whole(fields), {}, JSON_TYPE)) == {"role": "assistant"} | message


def test_streamed_as_whole() -> None:
    """A streamed answer is told as the same answer in one body is."""
    calls = [call("weather", PARIS, id="a", index=0)]
    pieces = (
        chunk(delta(role="assistant", content="h")),
        chunk(delta(content="i", tool_calls=calls)),
    )
    body = whole({"role": "assistant", "content": "hi", "tool_calls": calls})

    assert told(streamed(*pieces)) == told(Case("whole", body, {}, JSON_TYPE))


def test_several_choices() -> None:
    """Several choices are told as a list, in the order of their indexes."""
    case = streamed(chunk(delta(1, content="b")), chunk(delta(0, content="a", role="critic")))

    assert told(case) == [
        {"role": "critic", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]


def test_nothing_came() -> None:
    """Without a choice there is no output."""
    assert output(Answered()) is None
    assert output(read(Case("error", b"gone", {}, "text/plain", 503))) is None


def test_facts() -> None:
    """A run is told its name, input, parameters and user, and what the reply says."""
    head = {"service_tier": "flex", "system_fingerprint": "fp", "usage": USAGE}
    answered = read(streamed(*HELLO, STOP, chunk(delta(1), **head)))
    facts = facts_of(ASKED, answered)

    assert (facts["name"], facts["input"], facts["params"]) == (
        "m0",
        b"[]",
        b'{"stream":true,"user":"u"}',
    )
    assert (facts["output"], facts["usage"]) == (output(answered), answered.usage)
    assert facts["bound"] == Bound(user_id="u")
    assert facts["answer"] == Answer(
        provider="groq",
        model="m1",
        finish_reasons=("stop", None),
        response_id="c1",
        system_fingerprint="fp",
        service_tier="flex",
        stream=True,
    )


def test_facts_of_an_open_run() -> None:
    """While there is no reply, nothing is said of one; without a model the name stays."""
    nameless = read_request(b"{}", url="https://api.groq.com/v1")

    assert facts_of(ASKED, None).keys() == {"name", "input", "params", "answer", "bound"}
    assert facts_of(nameless, None).keys() == {"input", "params", "answer", "bound"}


def test_logprobs() -> None:
    """Log probabilities are a list in the order of the choices; without any there is none."""
    probable = delta(content="a") | {"logprobs": {"content": [{"token": "a", "logprob": -0.5}]}}
    answer = facts_of(ASKED, read(streamed(chunk(probable, delta(1)))))["answer"]
    without = facts_of(ASKED, read(streamed(*HELLO)))["answer"]

    assert answer is not None
    assert without is not None
    assert json.loads(answer.logprobs or b"") == [probable["logprobs"], None]
    assert without.logprobs is None


def test_bounds() -> None:
    """A reply that names choices, models or calls without end is kept up to a bound."""
    many = range(MAX_CHOICES + 5)
    choices = read(streamed(*(chunk(delta(index, content="x")) for index in many)))
    models = read(streamed(*(chunk(model=f"m{index}") for index in many)))
    calls = read(
        streamed(chunk(delta(tool_calls=[{"index": index} for index in range(MAX_CALLS + 5)])))
    )

    assert [choice.text for choice in choices.choices] == ["x"] * MAX_CHOICES
    assert (len(models.models), models.model) == (MAX_MODELS, f"m{many[-1]}")
    assert len(calls.choices[0].tool_calls) == MAX_CALLS


def test_deep_blocks() -> None:
    """Reasoning in blocks without end is text up to a depth, and no more."""
    block: Any = "hm"
    for _ in range(200):
        block = {"thinking": [block]}

    assert told(streamed(chunk(delta(content="x", thinking=block)))) == {
        "role": "assistant",
        "content": "x",
    }


def test_payload_that_is_cut_or_broken() -> None:
    """Base64 without padding has the size of its file; what is no base64 has its own."""
    unpadded, broken = Payload(), Payload()
    unpadded.add("aGVs")
    unpadded.add("bG8")
    broken.add("A===")

    assert unpadded.mark("text/plain") == "<text/plain, 5 bytes, sha256 2cf24dba5fb0a30e>"
    assert "4 bytes" in broken.mark("text/plain")
