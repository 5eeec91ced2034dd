"""Items as they lie in the spool: nothing is left out, and what JSON cannot hold is no failure."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st

from instrument.codec import encode
from instrument.run import Answer, Attempt, Error, Feedback, Run, Snapshot, Trace, Usage
from instrument.transport.packed import (
    ANSWER,
    ATTEMPT,
    ERROR,
    PARTS,
    RUN,
    TEXTS,
    USAGE,
    packed,
    unpacked,
)
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


def written(item: Run) -> bytes:
    data = packed(item)
    assert data is not None
    return data


def test_every_field():
    """No field of a run and of its parts is left out, and none comes back changed."""
    for value in (FULL, FULL.answer, FULL.usage):
        assert None not in given(value).values(), "this test gives a value to each field"
    assert unpacked(written(FULL)) == FULL
    assert {*RUN, *PARTS, *TEXTS} == {*given(FULL), "logprobs"}
    assert {*ANSWER, "attempts", "logprobs"} == set(given(FULL.answer))


@pytest.mark.parametrize(
    ("names", "kind"), [(USAGE, Usage), (ERROR, Error), (ATTEMPT, Attempt)], ids=str
)
def test_order(names, kind):
    """What is read by place is in the order of its fields."""
    assert names == tuple(field.name for field in dataclasses.fields(kind))


def test_absent_is_absent():
    """What a run does not have it does not have after it lay on disk."""
    for item in (run("a"), run("a", duration=None), run("a", usage=Usage(), answer=Answer())):
        assert unpacked(written(item)) == item


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "\ud800"},
        {"metadata": {"n": 2**70}},
        {"metadata": MappingProxyType({"a": 1})},
        {"input": Snapshot(b'"\xf5'), "output": Snapshot(b'\xff"')},
        {"metadata": {1: "one"}},
    ],
)
def test_what_json_cannot_hold(fields):
    """A value that JSON cannot hold is written as the codec does it."""
    item = run("a", **fields)

    assert packed(item) == encode(item)


def test_texts_as_they_are():
    """A text comes back byte for byte, whatever it is."""
    item = run("a", input=Snapshot(b'"\xff\n"'), output=Snapshot(b""), params=Snapshot(b"\n"))

    assert unpacked(written(item)) == item


@given_any(st.binary(max_size=60))
def test_garbage(data):
    """What nobody wrote is no item, and says so."""
    for garbage in (data, b"[" + data, b"[1,true,null,null,0,0,0,0,[]]\n" + data):
        with pytest.raises(ValueError):
            unpacked(garbage)


def test_another_layout():
    """A run in the order of another version is not misread."""
    with pytest.raises(ValueError, match="layout 2"):
        unpacked(written(FULL).replace(b"[1,", b"[2,", 1))


def test_others():
    """Feedback is written as the codec does it; a whole tree is not, its runs are."""
    feedback = Feedback(run_id="a", at=STARTED, thumb="up")

    assert packed(feedback) == encode(feedback)
    assert packed(Trace([FULL])) is None
    assert isinstance(FULL, Run)
