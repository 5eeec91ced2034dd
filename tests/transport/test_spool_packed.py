"""Items as they lie in the spool: nothing is left out, and what JSON cannot hold is no failure."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Any

import orjson
import pytest

from instrument.codec import decode, encode
from instrument.run import Answer, Attempt, Error, Feedback, Run, Snapshot, Trace, Usage
from instrument.transport.packed import packed
from tests.transport.fakes import STARTED, run

FULL = run(
    "a",
    parent_id="p",
    input=Snapshot('{"ü": 1.0e2}'.encode()),
    output=Snapshot(b"[ ]"),
    error=Error("no", "ValueError", "at 1", 400),
    partial="closed",
    usage=Usage(1, 2, 3, 4, 5, 6, 7),
    params=Snapshot(b"{}"),
    answer=Answer(
        provider="openai",
        model="m",
        finish_reasons=("stop", None),
        response_id="r",
        request_id="q",
        system_fingerprint="f",
        service_tier="s",
        stream=True,
        time_to_first_token=0.25,
        processing_ms=1.5,
        rate_limits={"limit": "1"},
        attempts=(Attempt(0.1, 500), Attempt(0.2)),
        logprobs=Snapshot(b"[1]"),
    ),
    user_id="u",
    user_props={"plan": "pro"},
    thread_id="th",
    tags=("x", "y"),
    metadata={"k": [1, None, {"z": True}]},
)


def given(value: Any) -> dict[str, Any]:
    """Give the fields of a value."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def test_every_field():
    """No field of a run and of its parts is left out, and none comes back changed."""
    for value in (FULL, FULL.answer, FULL.usage):
        assert None not in given(value).values(), "this test gives a value to each field"
    data = packed(FULL)

    assert data is not None
    assert decode(data) == FULL
    assert set(orjson.loads(data)) == {"type", *given(FULL)}


def test_absent_is_absent():
    """What a run does not have it does not have after it lay on disk."""
    for item in (run("a"), run("a", duration=None), run("a", usage=Usage(), answer=Answer())):
        data = packed(item)
        assert data is not None
        assert decode(data) == item


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "\ud800"},
        {"metadata": {"n": 2**70}},
        {"metadata": MappingProxyType({"a": 1})},
        {"input": Snapshot(b'"\xff"')},
        {"metadata": {1: "one"}},
    ],
)
def test_what_json_cannot_hold(fields):
    """A value that JSON cannot hold is written as the codec does it."""
    item = run("a", **fields)

    assert packed(item) == encode(item)


def test_others():
    """Feedback is written as the codec does it; a whole tree is not, its runs are."""
    feedback = Feedback(run_id="a", at=STARTED, thumb="up")

    assert packed(feedback) == encode(feedback)
    assert packed(Trace([FULL])) is None
    assert isinstance(FULL, Run)
