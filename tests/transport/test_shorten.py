"""Cutting the texts of an item that is too large: what stays, what goes, and that it says so."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instrument.run import Answer, Exchange, Feedback, Run, Snapshot, Trace, Usage, UserEvent
from instrument.transport.parcel import weigh
from instrument.transport.shorten import cut_text, level, shorten, shorten_json
from tests.transport.fakes import STARTED, Given, Http, run
from tests.transport.faultserver import Answer as Reply
from tests.transport.faultserver import FaultServer

CUT = re.compile(r"\[(\d+) bytes cut\]")
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=60,
)


def dumped(value: Any) -> Snapshot:
    return Snapshot(orjson.dumps(value))


def test_messages_keep_their_shape():
    """The longest text is cut in its middle; roles, order and short texts stay."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "begin " + "x" * 100_000 + " end"},
    ]
    whole = run(input=dumped(messages), output=dumped("ok"), usage=Usage(prompt=7))
    shorter = shorten(whole, 20_000)
    assert isinstance(shorter, Run)
    system, user = orjson.loads(shorter.input)

    assert system == messages[0]
    assert user["role"] == "user"
    assert user["content"].startswith("begin xxx")
    assert user["content"].endswith("xxx end")
    assert 19_000 < weigh(shorter) <= 20_000
    assert replace(shorter, input=whole.input) == whole


def test_the_note_counts_what_is_missing():
    """The note says how many bytes of UTF-8 were cut."""
    text = "å" * 5_000
    short = cut_text(text, 1_000)
    (missing,) = CUT.findall(short)

    assert len(short.encode()) <= 1_000
    assert short.count("å") * 2 + int(missing) == 10_000


@pytest.mark.parametrize("max_bytes", [1_000_000, 100_000, 10_000])
def test_tree(max_bytes):
    """Of a tree the heaviest runs are cut, and each run is still there."""
    runs = [run(n, parent_id="r", input=dumped("x" * 10 ** (n + 1))) for n in range(6)]
    shorter = shorten(Trace([*runs, run("r")]), max_bytes)
    assert isinstance(shorter, Trace)

    assert [each.id for each in shorter.runs] == [*"012345", "r"]
    assert weigh(shorter) <= max(max_bytes, 7 * 1_300)
    assert shorter.runs[0] is runs[0]


@pytest.mark.parametrize(
    "item",
    [
        run(metadata={"document": "x" * 50_000, "plan": "pro"}),
        run(params=dumped({"tools": ["x" * 50_000], "temperature": 1})),
        run(answer=Answer(model="m", logprobs=dumped([0.25] * 20_000))),
        Feedback(run_id="r", at=STARTED, comment="x" * 50_000),
        UserEvent(name="e", at=STARTED, properties={"text": "x" * 50_000, "n": 1}),
        Exchange(user_id="u", prompt="x" * 50_000, answer="y" * 50_000, at=STARTED),
    ],
    ids=lambda item: type(item).__name__,
)
def test_every_item(item):
    """Whatever is long in an item can be cut."""
    shorter = shorten(item, 8_000)

    assert shorter is not None
    assert weigh(shorter) <= 8_000
    assert type(shorter) is type(item)


@pytest.mark.parametrize("item", [run(), run(input=dumped("short")), Trace([run()])])
def test_nothing_to_cut(item):
    """An item without long texts cannot be made smaller, and that is said."""
    assert shorten(item, 10) is None


def test_many_members():
    """Of a list too long for its texts to matter both ends stay, of an object the first members."""
    short = orjson.loads(shorten_json(orjson.dumps(list(range(100_000))), 2_000))
    assert short[:3] == [0, 1, 2]
    assert short[-1] == 99_999
    assert sum(bool(CUT.search(str(each))) for each in short) == 1

    keys = orjson.loads(shorten_json(orjson.dumps({str(n): n for n in range(50_000)}), 2_000))
    assert keys["0"] == 0
    assert keys["…"] == "49900 cut"


@pytest.mark.parametrize(
    "data", [b"not json " * 1_000, b'{"a":' * 3_000, b'["\\ud800' + b"x" * 9_000]
)
def test_no_json(data):
    """What cannot be read becomes a text, or an object that holds one."""
    short = orjson.loads(shorten_json(data, 2_000))

    assert "cut" in str(short)
    assert isinstance(short, dict) == data.startswith(b"{")


def test_surrogates():
    """A text with lone surrogates, which a provider may send, is cut like any other."""
    data = b'[{"role":"user","content":"\\ud800' + b"x" * 9_000 + b'"}]'
    (message,) = orjson.loads(shorten_json(data, 2_000))

    assert CUT.search(message["content"])


@settings(max_examples=200, deadline=None)
@given(JSONS, st.integers(200, 3_000))
def test_any_json(value, max_bytes):
    """Whatever it is, what is left is JSON of the same type, and short enough."""
    data = orjson.dumps(value)
    short = shorten_json(data, max_bytes)

    assert len(short) <= max_bytes or len(data) <= max_bytes
    if isinstance(value, dict):
        assert isinstance(orjson.loads(short), dict)


@given(st.lists(st.integers(0, 1_000)), st.integers(0, 20_000))
def test_level(sizes, budget):
    """The largest are cut to one size, the others are left, and the whole fits."""
    cap = level(sizes, budget)

    assert sum(min(size, cap) for size in sizes) <= budget
    assert sum(sizes) > budget or cap >= max(sizes, default=0)


class Texts(Http):
    """A destination whose requests hold the inputs."""

    def describe(self, item: Any, started: Container[str]) -> str:
        return f"{item.id}:{(item.input or b'').decode()}"


def test_over_http(transport):
    """11: against a server with a limit of 20 KB a run of 200 KB arrives shortened, and is counted."""

    def limited(ids: list[str]) -> Reply:
        return Reply(413 if sum(map(len, ids)) > 20_000 else 200)

    with FaultServer(decide=limited) as server:
        made = transport(Texts(server.url))
        for n in range(30):
            made.publish(Given(run(n, input=dumped("x" * (200_000 if n == 13 else 900)))))
        flushed = made.flush(10.0)
        lane = made.stats()["lanes"]["http"]

    assert (flushed.delivered, flushed.dropped, lane["truncated"]) == (30, 0, 1)
    assert sorted(int(each.partition(":")[0]) for each in server.stored) == list(range(30))
    assert [each.partition(":")[0] for each in server.stored if CUT.search(each)] == ["13"]
