"""Items as they lie in the spool: nothing is left out, and what JSON cannot hold is no failure."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st

from instrument.codec import encode
from instrument.run import Answer, Attempt, Error, Feedback, Item, Snapshot, Trace, Usage
from instrument.transport.packed import (
    ANSWER,
    ATTEMPT,
    ERROR,
    MOST_BYTES,
    PARTS,
    RUN,
    TEXTS,
    USAGE,
    packed,
    unpacked,
)
from instrument.transport.segment import VERSION
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


def written(*items: Item) -> bytes:
    """Write items that lie side by side."""
    ((count, data),) = packed(items)
    assert count == len(items)
    assert data is not None
    return data


def test_every_field():
    """No field of a run and of its parts is left out, and none comes back changed."""
    for value in (FULL, FULL.answer, FULL.usage, FULL.error, FULL.answer.attempts[0]):
        assert None not in given(value).values(), "this test gives a value to each field"
    assert unpacked(written(FULL)) == [FULL]
    assert {*RUN, *PARTS, *TEXTS} == set(given(FULL))
    assert {*ANSWER, "logprobs"} == set(given(FULL.answer))


def test_order():
    """What is read by place is in the order of its fields."""
    assert tuple(given(Usage())) == USAGE
    assert tuple(given(Attempt(0.5))) == ATTEMPT
    assert tuple(given(Error("no", "ValueError"))) == ERROR


RUNS = (
    run("a"),
    run("a", duration=None),
    run("a", usage=Usage(), answer=Answer()),
    run("a", error=Error("no", "ValueError")),
    run("a", answer=Answer(attempts=(Attempt(0.5),))),
    FULL,
)


def test_absent_is_absent():
    """What a run does not have it does not have after it lay on disk."""
    for item in RUNS:
        assert unpacked(written(item)) == [item]


@given_any(st.lists(st.sampled_from(RUNS), min_size=1, max_size=40))
def test_side_by_side(runs):
    """Each of many runs has after it what it had, and nothing of its neighbours."""
    assert unpacked(written(*runs)) == runs


FEEDBACK = Feedback(run_id="a", at=STARTED, thumb="up")


@given_any(st.lists(st.sampled_from([FULL, FEEDBACK, run("n", metadata={"n": 2**70})]), max_size=9))
def test_one_that_cannot_lie_with_others(items):
    """What is no run, or no JSON, is written by itself; its neighbours and the order stay."""
    pieces = list(packed(items)) if items else []
    read = [item for _, data in pieces for item in unpacked(data or b"")]

    assert [count for count, _ in pieces] == [len(unpacked(data or b"")) for _, data in pieces]
    assert [type(item) for item in read] == [type(item) for item in items]
    assert [item for item in read if item in (FULL, FEEDBACK)] == [
        item for item in items if item in (FULL, FEEDBACK)
    ]


def test_not_too_much_at_once():
    """Large runs are written in several pieces, one larger than that by itself."""
    large = run("a", input=Snapshot(b" " * (MOST_BYTES // 3)))
    huge = run("b", input=Snapshot(b" " * (2 * MOST_BYTES)))
    pieces = list(packed([large, large, huge, large, large, large]))

    assert [item for _, data in pieces for item in unpacked(data or b"")] == [
        *(large, large, huge),
        *(large, large, large),
    ]
    assert all(len(data or b"") <= MOST_BYTES or count == 1 for count, data in pieces)


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

    assert list(packed([item])) == [(1, encode(item))]


def test_texts_as_they_are():
    """A text comes back byte for byte, whatever it is."""
    item = run("a", input=Snapshot(b'"\xff\n"'), output=Snapshot(b""), params=Snapshot(b"\n"))

    assert unpacked(written(item, FULL)) == [item, FULL]


@given_any(st.binary(max_size=60))
def test_garbage(data):
    """What nobody wrote is no item, and says so."""
    for garbage in (data, b"[" + data, b"[[[]],[null],[null],[0,0,0,0]]\n" + data):
        with pytest.raises(ValueError):
            unpacked(garbage)


def test_order_of_this_version():
    """Fields lie in this order in files of this version: another order is another number."""
    assert VERSION == 3
    assert written(FULL).decode() == (
        '[[["a","t","p","llm","m","2026-01-02T00:00:00+00:00",0.5,"closed",'
        '"u",{"plan":"pro"},"th",["x","y"],{"k":[1,null,{"z":true}]},["no","ValueError","at 1",400]]],'
        "[[1,2,3,4,5,6,7]],"
        '[["openai","m",["stop",null],"r","q","f","s",true,0.25,1.5,{"limit":"1"},[[0.1,500],[0.2,null]]]],'
        "[13,3,2,3]]\n"
        '{"ü": 1.0e2}[ ]{}[1]'
    )


def test_others():
    """Feedback is written as the codec does it; a whole tree is not, its runs are."""
    assert list(packed([FEEDBACK])) == [(1, encode(FEEDBACK))]
    assert list(packed([Trace([FULL])])) == [(1, None)]
