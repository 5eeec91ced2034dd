"""What is said in a run, as one text, from whatever shape the application or a provider gave it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.exporters import _text
from instrument.run import Answer, Snapshot
from instrument.snapshot import snapshot
from tests.exporters.cases import CALL, CALLS, T0, run

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["role", "content", "a"]), inner)
    ),
    max_leaves=8,
)
ANY_RUN = st.builds(
    lambda asked, answer, kind: run(kind=kind, input=snapshot(asked), output=snapshot(answer)),
    ANYTHING,
    ANYTHING,
    st.sampled_from(["llm", "chain"]),
)


@given(ANY_RUN)
def test_any_shape_has_a_text(item: Any) -> None:
    """Whatever an input or output holds, it has a text, and each message of it a known role."""
    value = _text.load(item.input)

    assert isinstance(_text.asked(item), str)
    assert isinstance(_text.answered(item) or "", str)
    assert isinstance(_text.only_calls(item), bool)
    assert all(isinstance(each, str) for each in _text.documents(value))
    flat = [_text.flat(each) for each in _text.messages(value)]
    assert {each["role"] for each in flat} <= {"system", "user", "assistant", "tool"}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Hello", "Hello"),
        (None, ""),
        (
            [{"type": "text", "text": "one"}, "two", {"type": "refusal", "refusal": "no"}],
            "one\ntwo\nno",
        ),
        (
            [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {}}],
            "see\n<image_url>",
        ),
        ([{}], "<part>"),
        ({"any": 1}, '{"any": 1}'),
    ],
)
def test_text_of_a_content(content: Any, text: str) -> None:
    """The parts of a content stand on lines of their own; what is no text is named."""
    assert _text.text(content) == text


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"role": "assistant", "content": None, "refusal": "No."}, "No."),
        ({"role": "assistant", "content": None, "audio": {"transcript": "Hi"}}, "Hi"),
        (CALLS, _text.dump([CALL])),
        ({**CALLS, "content": "Wait."}, "Wait.\n" + _text.dump([CALL])),
        ({"role": "assistant", "content": "", "function_call": {"name": "f"}}, '{"name": "f"}'),
        ({"role": "assistant"}, ""),
    ],
)
def test_what_a_message_says(message: Any, text: str) -> None:
    """Words, else a refusal, else what was spoken; then the calls of tools, as JSON."""
    assert _text.said(message) == text


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("developer", "system"),
        ("function", "tool"),
        ("human", "user"),
        ("ai", "assistant"),
        ("x", "user"),
    ],
)
def test_roles(given: str, known: str) -> None:
    """Every role is one of the four that destinations know."""
    assert _text.role({"role": given}) == known


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"question": "Hello"}, "Hello"),
        ({"question": "Hello", "top_k": 3}, "Hello"),
        ({"top_k": 3, "lang": "no"}, '{"top_k": 3, "lang": "no"}'),
        ({"wrapped": {"query": "Hello"}}, "Hello"),
        (["one", "two"], "one\ntwo"),
        ([1, 2], "[1, 2]"),
        (7, "7"),
        (None, ""),
    ],
)
def test_gist(value: Any, text: str) -> None:
    """The one text of a chain's value, by the usual keys, else its JSON."""
    assert _text.gist(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "a"),
        ([[{"role": "user", "content": "a"}]], "a"),
        ({"messages": [{"role": "human", "content": "a"}]}, "a"),
        ([{"role": "system", "content": "only this"}], "only this"),
        ("bare", "bare"),
    ],
)
def test_what_was_asked(value: Any, text: str) -> None:
    """The last words of the user; without a user the last words of all."""
    assert _text.asked(run(input=snapshot(value))) == text


def test_what_was_answered() -> None:
    """All choices of a model, but only the last message of an agent."""
    two = [{"role": "assistant", "content": text} for text in ("a", "b")]

    assert _text.answered(run(output=snapshot(two))) == "a\n\nb"
    assert _text.answered(run(kind="agent", output=snapshot({"messages": two}))) == "b"
    assert _text.answered(run(output=None)) is None


def test_only_calls() -> None:
    """A turn is nothing but calls when it has calls and no words."""
    assert _text.only_calls(run(output=snapshot(CALLS)))
    assert not _text.only_calls(run(output=snapshot({**CALLS, "content": "Wait."})))
    assert not _text.only_calls(run(output=None))


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (
            [{"page_content": "one", "metadata": {}}, "two", {"id": 1, "n": 2}],
            ["one", "two", '{"id": 1, "n": 2}'],
        ),
        ({"documents": ["one"]}, ["one"]),
        ("18C", ["18C"]),
        (None, []),
    ],
)
def test_documents(value: Any, texts: list[str]) -> None:
    """Each thing that a retriever or a tool gave is one text."""
    assert _text.documents(value) == texts


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        ((), None),
        (("stop",), "stop"),
        (("stop", "length"), ["stop", "length"]),
        ((None, None), None),
    ],
)
def test_finish_reason(reasons: tuple[str | None, ...], said: Any) -> None:
    """One reason is a word, several are a list, and none is absent."""
    assert _text.finish_reason(run(answer=Answer(finish_reasons=reasons))) == said
    assert _text.finish_reason(run(answer=None)) is None


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(timezone.utc)))
def test_both_forms_of_a_time_agree(at: datetime) -> None:
    """A time rounds to the nearest millisecond, the same in both of its forms."""
    written = datetime.fromisoformat(_text.iso(at).replace("Z", "+00:00"))

    assert len(_text.iso(at)) == len("2024-10-09T13:21:46.182Z")
    assert abs(written - at) <= timedelta(microseconds=500)
    assert _text.milliseconds(written) == _text.milliseconds(at)


def test_times_of_other_zones() -> None:
    """A time of another zone is written in UTC."""
    assert _text.iso(T0.astimezone(timezone(timedelta(hours=2)))) == "2024-10-09T13:21:43.682Z"


def test_latency_is_never_negative() -> None:
    """Seconds have three decimals and never run backwards."""
    assert [_text.seconds(each) for each in (1.23456, -0.1)] == [1.235, 0.0]


@given(st.text(st.characters()) | st.just("\ud83d\x00"))
def test_bodies_are_clean(text: str) -> None:
    """A body is JSON in UTF-8 without NULs and lone surrogates, whatever the texts held."""
    sent = orjson.loads(_text.body({text: [text, 1]}))
    [(key, values)] = sent.items()

    assert values == [key, 1]
    assert "\x00" not in key


def test_escaped_backslash_is_no_nul() -> None:
    """A text that spells out the escape of a NUL keeps it."""
    assert orjson.loads(_text.body(["\\u0000", "\x00"])) == ["\\u0000", ""]


def test_lone_surrogate_from_a_provider() -> None:
    """A snapshot with half of an emoji, which JSON lets through, can be read."""
    assert _text.load(Snapshot(b'["\\ud83d", 1]')) == ["?", 1]
