"""Items are written as JSON and read back without loss."""

from __future__ import annotations

from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.codec import decode, encode
from instrument.run import (
    KINDS,
    Answer,
    Attempt,
    Error,
    Exchange,
    Feedback,
    Run,
    Snapshot,
    Usage,
    UserEvent,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=timezone.utc)

text = st.text(st.characters(exclude_categories=["Cs"]))
maybe_text = st.none() | text
numbers = st.integers(-(2**63), 2**64 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | floats | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(text, json_values, max_size=3)
snapshots = json_values.map(lambda value: Snapshot(orjson.dumps(value)))
times = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(timezone.utc))
counts = st.none() | numbers
errors = st.builds(Error, text, text, maybe_text, st.none() | st.integers(100, 599))
usages = st.builds(Usage, counts, counts, counts, counts, counts, counts, counts)
attempts = st.builds(Attempt, floats, st.none() | st.integers(100, 599))
answers = st.builds(
    Answer,
    provider=maybe_text,
    model=maybe_text,
    finish_reasons=st.lists(maybe_text, max_size=3).map(tuple),
    stream=st.none() | st.booleans(),
    time_to_first_token=st.none() | floats,
    rate_limits=st.dictionaries(text, text, max_size=2),
    attempts=st.lists(attempts, max_size=3).map(tuple),
    logprobs=st.none() | snapshots,
)
runs = st.builds(
    Run,
    id=text,
    trace_id=text,
    parent_id=maybe_text,
    kind=st.sampled_from(KINDS),
    name=text,
    started_at=times,
    duration=st.none() | floats,
    input=st.none() | snapshots,
    output=st.none() | snapshots,
    error=st.none() | errors,
    partial=maybe_text,
    usage=st.none() | usages,
    params=st.none() | snapshots,
    answer=st.none() | answers,
    user_id=maybe_text,
    user_props=st.none() | objects,
    thread_id=maybe_text,
    tags=st.lists(text, max_size=3).map(tuple),
    metadata=objects,
)
feedback = st.builds(
    Feedback,
    run_id=text,
    at=times,
    thumb=st.sampled_from([None, "up", "down"]),
    score=st.none() | floats,
    comment=maybe_text,
    user_id=maybe_text,
)
user_events = st.builds(
    UserEvent, name=text, at=times, user_id=maybe_text, thread_id=maybe_text, properties=objects
)
exchanges = st.builds(
    Exchange,
    user_id=text,
    prompt=text,
    answer=text,
    at=times,
    latency=st.none() | floats,
    properties=st.none() | objects,
)


def a_run(**fields: Any) -> Run:
    """Make a run of which a test says only what matters to it."""
    given = {"id": "r", "trace_id": "r", "parent_id": None, "kind": "llm", "name": "gpt-4o"}
    return Run(**{**given, "started_at": NOW, **fields})


@given(runs | feedback | user_events | exchanges)
def test_round_trip(item):
    """Whatever an item holds, it is the same after writing and reading."""
    assert decode(encode(item)) == item


@pytest.mark.parametrize(
    "data", [b'{ "a" :1.0e2}', b"123456789012345678901234567890", '"\u00fc\U0001f600"'.encode()]
)
def test_snapshots_keep_their_bytes(data):
    """A snapshot comes back byte for byte, with its spaces and numbers as they were written."""
    run = a_run(input=Snapshot(data), output=Snapshot(data))

    assert decode(encode(run)).input == data


def test_absent_is_left_out():
    """What a run does not say takes no room, and comes back as absent, never as 0."""
    data = encode(a_run(usage=Usage(prompt=3)))

    assert orjson.loads(data)["usage"] == {"prompt": 3}
    assert decode(data).usage == Usage(prompt=3)


@pytest.mark.parametrize("name", ["a\ud800b", "\udfff"])
def test_lone_surrogates(name):
    """A name that UTF-8 cannot hold is written with a question mark instead of not at all."""
    run = a_run(name=name, metadata={name: [name]}, answer=Answer(model=name), duration=1.5)

    read = decode(encode(run))

    assert read.name == name.encode("utf-8", "replace").decode()
    assert read.duration == 1.5
    assert read.started_at == NOW


def test_numbers_over_64_bits():
    """A number that the JSON writer refuses becomes a string, and the run is kept."""
    assert decode(encode(a_run(metadata={"n": 2**70}))).metadata == {"n": str(2**70)}


@pytest.mark.parametrize("name", ["plain", "\ud800"])
def test_what_is_no_json(name):
    """Against the contract of a run: a value that is no JSON stands as its type."""
    metadata = MappingProxyType({"a": {1, 2}, "b": MappingProxyType({"c": 1})})

    read = decode(encode(a_run(name=name, metadata=metadata)))

    assert read.metadata == {"a": "<builtins.set>", "b": {"c": 1}}


def test_broken_snapshot():
    """A snapshot that is no UTF-8, against its contract, costs its odd bytes and not the run."""
    assert decode(encode(a_run(input=Snapshot(b'"\xff"')))).input == '"\ufffd"'.encode()


def test_fields_of_a_newer_version():
    """A field that this version does not know is passed over."""
    data = orjson.dumps({**orjson.loads(encode(a_run())), "later": 1})

    assert decode(data) == a_run()


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"null", b'{"type":"span"}', b'{"type":"run"}', b"\xff",
     b'{"type":"run","started_at":"soon"}', b'{"type":"run","usage":3}'],
)  # fmt: skip
def test_what_is_no_item(data):
    """What nobody encoded is refused with a ValueError, whatever it is."""
    with pytest.raises(ValueError, match=r".*"):
        decode(data)
