"""Recorded traffic of real providers, where it is at hand: every fact of every pair is right."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from instrument.integrations.openai.chat import (
    Answered,
    AnswerReader,
    Asked,
    Choice,
    facts_of,
    read_request,
)

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "openai_chat"
PAIRS = sorted(FOLDER.glob("*.json"))
NONE_AT_HAND = pytest.param(None, marks=pytest.mark.skip(reason=f"no recordings in {FOLDER.name}"))

NOT_PARAMS = {"tools", "functions", "stream"}
LONG = 1024


@pytest.fixture(params=PAIRS or [NONE_AT_HAND], ids=lambda path: getattr(path, "stem", "none"))
def pair(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Give one recorded request with its reply and the facts of both."""
    recorded: dict[str, Any] = json.loads(request.param.read_text())
    return recorded


def asked(pair: dict[str, Any]) -> Asked:
    """Read the request of a pair."""
    return read_request(json.dumps(pair["request"]["body"]).encode(), url=pair["request"]["uri"])


def answered(pair: dict[str, Any], pieces: list[bytes]) -> Answered:
    """Read the reply of a pair, in these pieces."""
    reply = pair["response"]
    kind = reply["headers"].get("content-type")
    reader = AnswerReader(kind, status=reply["status"], n=asked(pair).n)
    for data in pieces:
        reader.feed(data)
    return reader.finish()


def said(choice: Choice) -> dict[str, Any]:
    """Write a choice as the recordings' facts do."""
    fields = asdict(choice)
    audio = (
        {key: fields["audio"][key] for key in ("id", "transcript", "data_len")}
        if choice.audio
        else None
    )
    logprobs = None if choice.logprobs is None else len(choice.logprobs.get("content") or ())
    fields |= {"audio": audio, "logprobs": logprobs, "tool_calls": [*fields["tool_calls"]]}
    return {key: fields[key] for key in fields.keys() - {"thinking", "extras"}}


def unloaded(value: Any) -> Any:
    """Put one word in the place of each payload and of each marker for one."""
    match value:
        case dict():
            return {key: unloaded(item) for key, item in value.items()}
        case list():
            return [unloaded(item) for item in value]
        case str() if ", sha256 " in value or (len(value) > LONG and " " not in value):
            return "payload"
    return value


def test_asked(pair: dict[str, Any]) -> None:
    """What was asked is what the request says."""
    want = pair["expected"]
    found = asked(pair)
    params = json.loads(found.params or b"")

    assert (found.provider, found.model) == (want["provider"], want["model_requested"])
    assert (found.stream, found.include_usage) == (want["stream"], want["include_usage"])
    assert (params.get("tools"), params.get("functions")) == (want["tools"], want["functions"])
    assert unloaded(json.loads(found.messages or b"")) == unloaded(want["messages"])
    assert {
        key: value for key, value in params.items() if key not in NOT_PARAMS and value is not None
    } == want["params"]


def test_answered(pair: dict[str, Any]) -> None:
    """What was answered is what the reply says."""
    want = pair["expected"]
    found = answered(pair, [pair["response"]["body"].encode()])
    usage, error = (value and asdict(value) for value in (found.usage, found.error))

    assert (found.model, found.response_id) == (want["model_answered"], want["response_id"])
    assert found.system_fingerprint == want["system_fingerprint"]
    assert found.service_tier == want["service_tier"]
    assert (usage, error) == (want["usage"], want["error"])
    assert [said(choice) for choice in found.choices] == want["choices"]
    assert found.chunks == (want.get("n_chunks") or 0)
    assert found.done == want.get("done", False)


def test_cut(pair: dict[str, Any]) -> None:
    """By event, byte by byte at the start and in pieces of any size, the facts are the same."""
    body = pair["response"]["body"].encode()
    cuts = sorted(random.Random(pair["id"]).choices(range(len(body) + 1), k=50))
    bounds = zip([0, *cuts], [*cuts, len(body)], strict=True)
    ways = [
        [event + b"\n\n" for event in body.split(b"\n\n")],
        [*(body[at : at + 1] for at in range(200)), body[200:]],
        [body[start:end] for start, end in bounds],
    ]
    whole = answered(pair, [body])

    assert [answered(pair, pieces) == whole for pieces in ways] == [True, True, True]


def test_told(pair: dict[str, Any]) -> None:
    """The answer's message holds the text and the calls; a list of them when there are several."""
    found = answered(pair, [pair["response"]["body"].encode()])
    told = facts_of(asked(pair), found)
    output = json.loads(told["output"] or b"[]")
    messages = output if isinstance(output, list) else [output]

    assert [message["content"] for message in messages] == [x.text for x in found.choices]
    assert [
        [call["function"]["name"] for call in message.get("tool_calls", ())] for message in messages
    ] == [[call.name for call in choice.tool_calls] for choice in found.choices]
    assert told["name"] == pair["expected"]["model_requested"]
