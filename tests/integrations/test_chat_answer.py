"""The reader of replies: every odd reply gives its facts, however its bytes are cut."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.integrations.openai import chat
from instrument.integrations.openai._sse import Splitter
from instrument.integrations.openai.chat import AnswerReader
from tests.integrations.chat_fixtures import (
    CASES,
    HELLO,
    SSE,
    STOP,
    Case,
    chunk,
    delta,
    facts,
    read,
    sse,
)

MEGABYTE = b"x" * 2**20

JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                sorted(
                    {
                        "choices",
                        "delta",
                        "message",
                        "index",
                        "content",
                        "text",
                        "role",
                        "tool_calls",
                        "type",
                    }
                    | {
                        "function",
                        "name",
                        "arguments",
                        "id",
                        "usage",
                        "prompt_tokens",
                        "error",
                        "audio",
                    }
                    | {
                        "data",
                        "transcript",
                        "logprobs",
                        "reasoning",
                        "thinking",
                        "finish_reason",
                        "model",
                    }
                    | {
                        "messages",
                        "n",
                        "stream_options",
                        "user",
                        "function_call",
                        "refusal",
                        "images",
                    }
                )
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=30,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_facts(case: Case) -> None:
    """The facts of each reply come out, also when it comes byte by byte."""
    found = facts(read(case))

    assert {key: found.get(key) for key in case.expected} == case.expected
    assert read(case, *(case.body[at : at + 1] for at in range(len(case.body)))) == read(case)


@given(st.data())
def test_any_cut(data: st.DataObject) -> None:
    """Where the bytes are cut changes nothing, inside a character, a line end or the first bytes."""
    case = data.draw(st.sampled_from(CASES))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(case.body)), max_size=6)))
    bounds = zip([0, *cuts], [*cuts, len(case.body)], strict=True)

    assert read(case, *(case.body[start:end] for start, end in bounds)) == read(case)


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"data", b":", b" ", b'{"choices":[]}', b"x"])),
    st.data(),
)
def test_any_cut_of_any_lines(parts: list[bytes], data: st.DataObject) -> None:
    """Line ends of every kind, in any order and cut anywhere, part the same events."""
    body = sse(*HELLO, done=False) * 90 + b"".join(parts)
    at = data.draw(st.integers(len(body) - len(b"".join(parts)), len(body)))
    case = Case("lines", body, {})

    assert read(case, body[:at], body[at:]) == read(case)


@given(st.binary(), st.sampled_from(["", SSE, "application/json"]), st.sampled_from([200, 500]))
def test_arbitrary_bytes(body: bytes, content_type: str, status: int) -> None:
    """No bytes make the reader raise."""
    answered = read(Case("bytes", body, {}, content_type, status))

    assert chat.output(answered) is None


@given(
    st.lists(
        st.sampled_from([b"data:", b" ", b"{", b'"error"', b":", b"7", b"}", b"\n", b"[DONE]"])
    )
)
def test_arbitrary_events(parts: list[bytes]) -> None:
    """No broken events make the reader raise."""
    answered = read(Case("events", b"data: " + b"".join(parts), {}))

    assert answered.choices == ()


@given(st.lists(JSONS, max_size=5), st.booleans())
def test_arbitrary_json(values: list[Any], whole: bool) -> None:
    """No JSON makes the reader raise, and what it gives can be written down."""
    body = json.dumps(values[:1]).encode() if whole else sse(*values)
    case = Case("json", body, {})
    asked = chat.read_request(b"{}", url="https://api.openai.com/v1")

    told = chat.facts_of(asked, read(case))
    assert read(case) == read(case)
    assert json.loads(told["output"] or b"null") is not False


def test_first_token() -> None:
    """The first token came with the event that held the first content, not with the role."""
    body = sse(*HELLO, STOP)
    case = Case("first", body, {})
    end = len(sse(*HELLO, done=False)) - len("\n\n")

    assert read(case).first_token_at == end
    assert read(Case("bom", b"\xef\xbb\xbf" + body, {})).first_token_at == end + 3
    assert read(Case("crlf", body.replace(b"\n", b"\r\n"), {})).first_token_at == end + 2
    assert read(Case("none", sse(HELLO[0]), {})).first_token_at is None


@pytest.mark.parametrize(
    "content",
    [
        {"reasoning": "hm"},
        {"refusal": "no"},
        {"tool_calls": [{"index": 0}]},
        {"function_call": {"name": "f"}},
        {"audio": {"data": "AAAA"}},
    ],
    ids=lambda content: next(iter(content)),
)
def test_first_token_of_another_kind(content: dict[str, Any]) -> None:
    """Reasoning, a refusal, a call and a sound are content too."""
    body = sse(HELLO[0], chunk(delta(**content)), done=False)

    assert read(Case("first", body, {})).first_token_at == len(body) - len("\n\n")


@given(st.lists(st.integers(0, 400), max_size=8))
def test_an_event_over_the_bound(cuts: list[int]) -> None:
    """An event over the bound is left out, however it is cut; those around it are read."""
    body = b"data: 1\r\n\r\n" + b"data: " + b"x" * 300 + b"\r\n\r\n" + b"data: 2\n\ndata: 3"
    bounds = sorted({0, *(min(at, len(body)) for at in cuts), len(body)})
    splitter = Splitter(5, max_event_bytes=100)
    fed = [splitter.feed(body[start:end]) for start, end in itertools.pairwise(bounds)]
    events = [*itertools.chain(*fed), splitter.finish()]

    assert [event for event in events if event[0]] == [
        (b"data: 1", 5 + 7),
        (b"data: 2", 5 + len(body) - 9),
        (b"data: 3", 5 + len(body)),
    ]


def test_a_body_over_the_bound() -> None:
    """Of a body over the bound nothing is kept, and nothing is read."""
    reader = AnswerReader("application/json")
    reader.feed(b'{"id": "')
    for _ in range(chat.MAX_BODY_BYTES // 2**20 + 1):
        reader.feed(MEGABYTE)
    reader.feed(b'"}')

    assert sum(map(len, reader._pieces)) < chat.READ_BYTES
    assert reader.finish() == chat.Answered()


def test_memory_is_the_text() -> None:
    """While a stream comes in, the text is kept and its bytes are not."""
    reader = AnswerReader(SSE)
    event = sse(chunk(delta(content="word "), obfuscation="x" * 400), done=False)
    for _ in range(2000):
        reader.feed(event)

    assert reader.finish().choices[0].text == "word " * 2000
    assert sum(map(len, reader._pieces)) < chat.READ_BYTES
