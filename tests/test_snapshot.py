"""Any object becomes JSON bytes: at once, bounded, and without a trace of us in it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import pathlib
import tracemalloc
import uuid
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from instrument.snapshot import MAX_SNAPSHOT_BYTES, clean, plain, shorten, snapshot
from tests.fakes.angry import Angry


class Model(BaseModel):
    name: str
    inner: Any = None


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


class AngryModel(BaseModel):
    name: str = "n"

    def model_dump(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("model_dump")


class AngryDict(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("items")


def circular() -> Any:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


def deep() -> Any:
    value: list[Any] = []
    for _ in range(3000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, 2.5, None, True, "ü"]}, {"a": [1, 2.5, None, True, "ü"]}),
        (
            Model(name="n", inner=Model(name="m")),
            {"name": "n", "inner": {"name": "m", "inner": None}},
        ),
        (Point(1, Point(2)), {"x": 1, "y": {"x": 2, "y": None}}),
        (Colour.RED, "red"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (Decimal("1.50"), "1.50"),
        (pathlib.PurePosixPath("/a"), "/a"),
        ({1: "int", None: "none"}, {"1": "int", "null": "none"}),
        ({"a"}, ["a"]),
        (b"12345", "<5 bytes>"),
        (float("nan"), None),
        ("\ud800", "?"),
        ({"\ud800": 2**70}, {"?": str(2**70)}),
        ({("a", 1): 1}, {"<builtins.tuple>": 1}),
        (len, "<builtins.builtin_function_or_method>"),
        (AngryModel(), {"name": "n"}),
    ],
)
def test_values(value: Any, expected: Any) -> None:
    """What JSON can say is said, and what it cannot stands as a short note of its type."""
    assert orjson.loads(snapshot(value)) == expected


@pytest.mark.parametrize(
    "make", [circular, deep, Angry, lambda: [Angry(), 1], lambda: {"a": AngryDict(b=1)}]
)
def test_hostile(make: Any) -> None:
    """Cycles, depth and objects that raise at every touch still give JSON."""
    assert orjson.loads(snapshot(make())) is not None


def test_neighbours_unharmed() -> None:
    """One value that cannot be written down does not hurt those beside it."""
    assert plain([1, Angry(), {"a": "b"}])[::2] == [1, {"a": "b"}]  # type: ignore[index,call-overload]


def test_generator_untouched() -> None:
    """A generator is named, not consumed."""
    generator = (n for n in [1, 2])

    assert plain({"g": generator}) == {"g": "<builtins.generator>"}
    assert list(generator) == [1, 2]


def test_now() -> None:
    """A snapshot is the state of that moment, whatever happens to the object later."""
    messages = [{"content": "before"}]
    data = snapshot(messages)
    messages[0]["content"] = "after"

    assert orjson.loads(data) == [{"content": "before"}]


def test_bounded() -> None:
    """A snapshot over its bound loses the tails of its longest strings, and says how much."""
    data = snapshot({"long": "x" * (2 * MAX_SNAPSHOT_BYTES), "short": "kept"})

    assert len(data) <= MAX_SNAPSHOT_BYTES
    assert orjson.loads(data)["short"] == "kept"
    assert orjson.loads(data)["long"].endswith("more characters]")


def test_shorten_gives_up_in_words() -> None:
    """What cannot be shortened to the bound is replaced by a note."""
    assert shorten(snapshot(["x"] * 1000), max_bytes=100) == b'"<too large>"'


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner)
    ),
    max_leaves=30,
)


@given(JSON_LIKE)
def test_anything(value: Any) -> None:
    """Whatever the value, the result is JSON in UTF-8 that reads back."""
    orjson.loads(snapshot(value))


@given(st.text(st.characters(exclude_categories=[])))
def test_clean(text: str) -> None:
    """A cleaned text can be encoded, and keeps every character but lone surrogates."""
    kept = [c for c in text if not "\ud800" <= c <= "\udfff"]

    assert [c for c in clean(text).encode().decode() if c != "?"] == [c for c in kept if c != "?"]


def test_snapshot_holds_no_more_than_its_bytes():
    """What is kept of a value takes the memory that the queue counts, not that of a large buffer."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [snapshot({"text": "x" * 5_000}) for _ in range(100)]
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert grown < 2 * sum(map(len, kept))
