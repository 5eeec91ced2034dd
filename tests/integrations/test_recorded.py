"""
Recorded real traffic, served from loopback to the real SDK: every fact comes out right.

The recordings are other projects' and lie beside the checkout, not in it; without them the fixtures
of `test_chat.py` stand alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

openai = pytest.importorskip("openai", reason="the openai package is not installed")

from instrument.run import Run
from instrument.testing import FakeOpenAI, capture

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "openai_chat"
RECORDINGS = sorted(FOLDER.glob("*.json"))
KEPT_HEADERS = ("content-type", "x-request-id", "openai-processing-ms")


def replay(recording: dict[str, Any]) -> Run:
    """Serve a recording to the SDK, read it to the end, and give the run."""
    response = recording["response"]
    headers = {
        name: response["headers"][name] for name in KEPT_HEADERS if name in response["headers"]
    }
    with FakeOpenAI() as server, capture() as runs:
        server.reply(
            raw=response["body"].encode(),
            status=response["status"],
            content_type=headers.get("content-type", "application/json"),
            headers=headers,
        )
        with openai.OpenAI(base_url=server.url, api_key="k", max_retries=0) as client:
            ask(client, recording["request"]["body"])
    assert (len(runs), runs.open) == (1, [])
    return runs[0]


def ask(client: Any, body: dict[str, Any]) -> None:
    """Send the recorded body as it is, and read whatever comes."""
    kind = openai.types.chat.ChatCompletionChunk if body.get("stream") else object
    try:
        answer = client.post(
            "/chat/completions",
            cast_to=kind,
            body=body,
            stream=bool(body.get("stream")),
            stream_cls=openai.Stream[kind] if body.get("stream") else None,
        )
        if body.get("stream"):
            list(answer)
    except (openai.APIError, ValueError):
        pass  # what the SDK makes of odd answers is its own affair


@pytest.mark.skipif(not RECORDINGS, reason="no recordings beside this checkout")
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_facts_of_recorded_traffic(path: Path) -> None:
    """What was asked and answered is recorded as the recording's own facts say."""
    recording = json.loads(path.read_text())
    expected = recording["expected"]
    run = replay(recording)

    assert run.name == (expected["model_in_body"] or "unknown")
    assert answer_of(run) == {
        "model": expected["model_answered"],
        "id": expected["response_id"],
        "fingerprint": expected["system_fingerprint"],
        "tier": expected["service_tier"],
        "finish": [choice["finish_reason"] for choice in expected["choices"]],
    }
    assert usage_of(run) == expected["usage"]
    assert texts_of(run) == [choice["text"] or "" for choice in expected["choices"]]
    assert calls_of(run) == [
        [(call["id"], call["name"], call["arguments"]) for call in choice["tool_calls"] or []]
        for choice in expected["choices"]
    ]
    assert (run.error is not None) == (expected["error"] is not None)


def answer_of(run: Run) -> dict[str, Any]:
    """Give what the provider said of its answer."""
    assert run.answer is not None
    return {
        "model": run.answer.model,
        "id": run.answer.response_id,
        "fingerprint": run.answer.system_fingerprint,
        "tier": run.answer.service_tier,
        "finish": list(run.answer.finish_reasons),
    }


def usage_of(run: Run) -> dict[str, Any] | None:
    """Give the usage under the recording's names."""
    if run.usage is None:
        return None
    return {name: getattr(run.usage, name) for name in run.usage.__slots__}


def messages_of(run: Run) -> list[Any]:
    """Give the messages of the answer as a list."""
    output = orjson.loads(run.output or b"[]")
    return output if isinstance(output, list) else [output]


def texts_of(run: Run) -> list[str]:
    """Give the text of each choice."""
    return [message.get("content") or "" for message in messages_of(run)]


def calls_of(run: Run) -> list[list[tuple[Any, Any, Any]]]:
    """Give the tool calls of each choice."""
    return [
        [
            (call.get("id"), call["function"]["name"], call["function"]["arguments"])
            for call in message.get("tool_calls", [])
        ]
        for message in messages_of(run)
    ]
