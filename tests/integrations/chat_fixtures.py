"""Replies as real servers write them, odd ones among them, each with the facts that must come out."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from instrument.integrations.openai.chat import Answered, AnswerReader

SSE = "text/event-stream; charset=utf-8"
JSON_TYPE = "application/json"

PIXELS = bytes(range(256)) * 8
PICTURE = base64.b64encode(PIXELS).decode()
DIGEST = hashlib.sha256(PIXELS).hexdigest()[:16]


@dataclass(frozen=True)
class Case:
    """A reply, and what some of its facts are."""

    name: str
    body: bytes
    expected: dict[str, Any]
    content_type: str = SSE
    status: int = 200
    n: int = 1


def chunk(*choices: dict[str, Any], **head: Any) -> dict[str, Any]:
    """Make a chunk of a stream."""
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "model": "m1",
        "choices": [*choices],
    } | head


def delta(index: Any = 0, reason: Any = None, **fields: Any) -> dict[str, Any]:
    """Make one choice of a chunk."""
    return {"index": index, "delta": fields, "finish_reason": reason}


def piece(**fields: Any) -> dict[str, Any]:
    """Make a chunk that holds one piece of a tool call."""
    return chunk(delta(tool_calls=[call(**fields)]))


def call(name: str | None = None, arguments: Any = None, **head: Any) -> dict[str, Any]:
    """Make a tool call or a piece of one."""
    function = {"name": name, "arguments": arguments}
    return head | {"function": {key: value for key, value in function.items() if value is not None}}


def sse(*chunks: Any, end: str = "\n\n", prefix: str = "data: ", done: bool = True) -> bytes:
    """Write chunks as server-sent events; what is text already stands as it is."""
    events = [item if isinstance(item, str) else prefix + json.dumps(item) for item in chunks]
    return "".join(event + end for event in [*events, *(["data: [DONE]"] * done)]).encode()


def read(case: Case, *pieces: bytes) -> Answered:
    """Read the reply of a case, in these pieces."""
    reader = AnswerReader(case.content_type, status=case.status, n=case.n)
    for data in pieces or (case.body,):
        reader.feed(data)
    return reader.finish()


def facts(answered: Answered) -> dict[str, Any]:
    """Name the facts of an answer, those of its first choice and of its error among them."""
    first = [asdict(choice) for choice in answered.choices[:1]]
    texts = {choice.index: choice.text for choice in answered.choices}
    calls = [(c.id, c.name, c.arguments) for x in answered.choices[:1] for c in x.tool_calls]
    error = {"error": answered.error and asdict(answered.error)}
    usage = {"usage": answered.usage and asdict(answered.usage)}
    whole = {key: getattr(answered, key) for key in ANSWERED}
    return {
        **(first[0] if first else {}),
        **whole,
        **error,
        **usage,
        "texts": texts,
        "calls": calls,
    }


ANSWERED = ("model", "models", "response_id", "service_tier", "chunks", "done", "complete")

HELLO = (chunk(delta(role="assistant", content="")), chunk(delta(content="Hé")))
STOP = chunk(delta(reason="stop"))
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
COUNTED = {"prompt": 3, "completion": 2, "total": 5}
UNCOUNTED = dict.fromkeys(("cached", "reasoning", "audio_in", "audio_out"))
PARIS = '{"city": "Paris"}'
ROME = '{"city": "Rome"}'
TWO_CALLS = [("a", "weather", PARIS), ("b", "weather", ROME)]
ONE_CALL = [("a", "weather", PARIS)]
FILTERED = chunk(prompt_filter_results=[{"prompt_index": 0}], id="", model="")
LIMIT = {"message": "slow down", "type": "rate_limit", "code": "429", "param": None}


def whole(message: Any, reason: Any = "stop", **head: Any) -> bytes:
    """Write a body that is no stream, with one choice."""
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return json.dumps({"id": "c1", "model": "m1", "choices": [choice]} | head).encode()


STREAMS = [
    Case(
        "plain", sse(*HELLO, STOP), {"text": "Hé", "role": "assistant", "chunks": 3, "done": True}
    ),
    Case("crlf", sse(*HELLO, STOP, end="\r\n\r\n"), {"text": "Hé", "chunks": 3, "done": True}),
    Case("cr", sse(*HELLO, STOP, end="\r\r"), {"text": "Hé", "chunks": 3, "done": True}),
    Case("mixed line ends", sse(*HELLO, STOP, end="\n\r\n"), {"text": "Hé", "chunks": 3}),
    Case("many empty lines", sse(*HELLO, STOP, end="\n\n\n\n\n"), {"text": "Hé", "chunks": 3}),
    Case("no empty lines", sse(*HELLO, STOP, end="\n"), {"text": "Hé", "chunks": 3, "done": True}),
    Case("bom", b"\xef\xbb\xbf" + sse(*HELLO), {"text": "Hé", "done": True}),
    Case("no space", sse(*HELLO, prefix="data:"), {"text": "Hé", "chunks": 2}),
    Case("comments", sse(": ping", *HELLO, ":", ": ping"), {"text": "Hé", "chunks": 2}),
    Case(
        "fields", sse("retry: 9", "id: 1\nevent: x\ndata: {}", *HELLO), {"text": "Hé", "chunks": 3}
    ),
    Case(
        "data over many lines",
        sse(*HELLO, "data: " + json.dumps(STOP, indent=1).replace("\n", "\ndata: ")),
        {"text": "Hé", "chunks": 3, "finish_reason": "stop"},
    ),
    Case(
        "utf-8 unescaped",
        json.dumps(HELLO[1], ensure_ascii=False).encode().join([b"data: ", b"\n\n"]),
        {"text": "Hé"},
    ),
    Case("wrong content type", sse(*HELLO), {"text": "Hé", "done": True}, content_type=JSON_TYPE),
    Case("no content type", sse(*HELLO), {"text": "Hé", "done": True}, content_type=""),
    Case("stops at done", sse(*HELLO) + sse(*HELLO), {"text": "Hé", "chunks": 2}),
    Case("no done", sse(*HELLO, STOP, done=False), {"done": False, "complete": True}),
    Case("broken off", sse(*HELLO, done=False), {"text": "Hé", "complete": False}),
    Case("cut in an event", sse(*HELLO, done=False) + b'data: {"cho', {"text": "Hé", "chunks": 2}),
    Case("cut before the empty line", sse(*HELLO, done=False)[:-2], {"text": "Hé", "chunks": 2}),
    Case("one of two finished", sse(*HELLO, STOP, done=False), {"complete": False}, n=2),
    Case(
        "junk events", sse("data: {oops", "data: 7", "data: [1]", *HELLO, "data:"), {"text": "Hé"}
    ),
    Case("azure's first chunk", sse(FILTERED, *HELLO), {"response_id": "c1", "models": ("m1",)}),
    Case("choices null", sse(chunk(choices=None), *HELLO), {"text": "Hé", "chunks": 3}),
    Case("empty", b"", {"chunks": 0, "complete": False, "error": None, "texts": {}}),
    Case("models change", sse(*HELLO, chunk(model="m2")), {"model": "m2", "models": ("m1", "m2")}),
    Case(
        "tier and fingerprint come late",
        sse(*HELLO, chunk(service_tier="flex", system_fingerprint="fp"), chunk(service_tier=None)),
        {"service_tier": "flex"},
    ),
    Case(
        "usage in many chunks",
        sse(
            chunk(usage={"prompt_tokens": 3, "completion_tokens": None}), *HELLO, chunk(usage=USAGE)
        ),
        {"usage": COUNTED | UNCOUNTED},
    ),
    Case("usage null", sse(chunk(usage=USAGE), chunk(usage=None)), {"usage": COUNTED | UNCOUNTED}),
    Case("usage elsewhere", sse(*HELLO, chunk(x_groq={"usage": USAGE})), {"usage": None}),
    Case(
        "usage of wrong types",
        sse(chunk(usage={"prompt_tokens": True, "completion_tokens": "2", "total_tokens": 5.0})),
        {"usage": None},
    ),
    Case(
        "usage in parts",
        sse(
            chunk(
                usage={
                    **USAGE,
                    "prompt_tokens_details": {"cached_tokens": 1, "audio_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": -1},
                }
            )
        ),
        {"usage": COUNTED | {"cached": 1, "audio_in": 0, "reasoning": 2, "audio_out": None}},
    ),
    Case(
        "choices out of order",
        sse(
            *(
                chunk(delta(i, reason, content=text))
                for i, text, reason in [(1, "b", None), (0, "a", "stop"), (1, "B", "stop")]
            ),
            done=False,
        ),
        {"texts": {0: "a", 1: "bB"}, "complete": True},
        n=2,
    ),
    Case(
        "index as string",
        sse(chunk(delta("1", content="b")), chunk(delta(1, content="c"))),
        {"texts": {1: "bc"}},
    ),
    Case(
        "index missing",
        sse(chunk(delta(None, content="a"), delta(None, content="b"))),
        {"texts": {0: "a", 1: "b"}},
    ),
    Case(
        "finish reason changes",
        sse(chunk(delta(reason="length")), STOP, chunk(delta(reason=""))),
        {"finish_reason": "stop"},
    ),
    Case(
        "refusal",
        sse(chunk(delta(refusal="I ")), chunk(delta(refusal="won't", content=None))),
        {"refusal": "I won't", "text": None},
    ),
    Case(
        "whole message in a chunk",
        sse(chunk({"index": 0, "message": {"content": "all"}})),
        {"text": "all"},
    ),
    Case(
        "logprobs",
        sse(
            *(
                chunk(delta(content=t) | {"logprobs": {"content": [{"token": t}], "refusal": None}})
                for t in "ab"
            )
        ),
        {"logprobs": {"content": [{"token": "a"}, {"token": "b"}], "refusal": None}},
    ),
    Case(
        "content in parts",
        sse(
            chunk(
                delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}])
            ),
            chunk(delta(content=[{"type": "reasoning", "summary": [{"text": "m"}]}, "a"])),
            chunk(
                delta(content=[{"type": "text", "text": "b"}, {"type": "refusal", "refusal": "c"}])
            ),
        ),
        {"text": "ab", "thinking": "hmm", "refusal": "c", "reasoning": None},
    ),
    Case(
        "audio",
        sse(
            chunk(delta(audio={"id": "au", "transcript": "He"})),
            *(chunk(delta(audio={"data": PICTURE[at : at + 100]})) for at in range(0, 2000, 100)),
            chunk(delta(audio={"data": PICTURE[2000:], "transcript": "llo", "expires_at": 9})),
        ),
        {
            "audio": {
                "id": "au",
                "transcript": "Hello",
                "data_len": len(PICTURE),
                "expires_at": 9,
                "data": f"<audio, 2048 bytes, sha256 {DIGEST}>",
            }
        },
    ),
    Case(
        "extras",
        sse(chunk(delta(annotations=[{"a": 1}])), chunk(delta(annotations=[{"b": 2}], x=""))),
        {"extras": {"annotations": [{"a": 1}, {"b": 2}]}},
    ),
    Case(
        "legacy function",
        sse(
            chunk(delta(function_call={"name": "weather", "arguments": ""})),
            chunk(delta(function_call={"arguments": PARIS[:5]})),
            chunk(delta(function_call={"arguments": PARIS[5:]})),
        ),
        {"function_call": {"name": "weather", "arguments": PARIS}},
    ),
    Case(
        "lone surrogate",
        sse('data: {"choices":[{"delta":{"content":"a\\ud800b"}}]}'),
        {"text": "a?b"},
    ),
    Case(
        "not a number",
        sse('data: {"choices":[{"delta":{"content":"a"},"logprobs":NaN}]}'),
        {"text": "a", "logprobs": None},
    ),
]

REASONING = [
    Case(
        f"reasoning as {key}",
        sse(chunk(delta(**{key: "h"})), chunk(delta(**{key: "m"}))),
        {"reasoning": "hm", "text": None},
    )
    for key in ("reasoning_content", "reasoning", "reasoning_text")
] + [
    Case(
        "reasoning twice",
        sse(chunk(delta(reasoning="hm", reasoning_content="hm"))),
        {"reasoning": "hm"},
    ),
    Case(
        "reasoning empty",
        sse(chunk(delta(reasoning="hm", reasoning_content=""))),
        {"reasoning": "hm"},
    ),
    Case(
        "details",
        sse(chunk(delta(reasoning_details=[{"type": "reasoning.text", "text": "hm"}]))),
        {"thinking": "hm", "reasoning": None},
    ),
    Case("thinking", sse(chunk(delta(thinking="hm"))), {"thinking": "hm"}),
]

TOOLS = [
    Case(
        "one call",
        sse(
            piece(index=0, id="a", type="function", name="weather", arguments=""),
            piece(index=0, arguments=PARIS[:6]),
            piece(index=0, arguments=PARIS[6:]),
        ),
        {"calls": ONE_CALL},
    ),
    Case(
        "parallel",
        sse(
            piece(index=0, id="a", name="weather"),
            piece(index=1, id="b", name="weather"),
            piece(index=1, arguments=ROME),
            piece(index=0, arguments=PARIS),
        ),
        {"calls": TWO_CALLS},
    ),
    Case(
        "out of order",
        sse(
            piece(index=1, id="b", name="weather", arguments=ROME),
            piece(index=0, id="a", name="weather", arguments=PARIS),
        ),
        {"calls": TWO_CALLS},
    ),
    Case(
        "id and name late",
        sse(
            piece(index=0, arguments=PARIS), piece(index=0, name="weather"), piece(index=0, id="a")
        ),
        {"calls": ONE_CALL},
    ),
    Case(
        "id and name twice",
        sse(
            piece(index=0, id="a", name="weather", arguments=PARIS[:4]),
            piece(index=0, id="a", name="weather", arguments=PARIS[4:]),
        ),
        {"calls": ONE_CALL},
    ),
    Case(
        "name in pieces",
        sse(piece(index=0, id="a", name="wea"), piece(index=0, name="ther", arguments=PARIS)),
        {"calls": ONE_CALL},
    ),
    Case(
        "a new id in every piece",
        sse(
            piece(index=0, id="a", name="weather", arguments=PARIS[:4]),
            piece(index=0, id="z", arguments=PARIS[4:]),
        ),
        {"calls": ONE_CALL},
    ),
    Case(
        "no index, two in one chunk",
        sse(
            chunk(
                delta(
                    tool_calls=[
                        call(id="a", name="weather", arguments=PARIS),
                        call(id="b", name="weather", arguments=ROME),
                    ]
                )
            )
        ),
        {"calls": TWO_CALLS},
    ),
    Case(
        "no index, one after the other",
        sse(
            piece(id="a", name="weather", arguments=PARIS[:4]),
            piece(arguments=PARIS[4:]),
            piece(id="b", name="weather"),
            piece(arguments=ROME),
        ),
        {"calls": TWO_CALLS},
    ),
    Case(
        "no index and no id",
        sse(piece(name="weather", arguments=PARIS), piece(name="weather", arguments=ROME)),
        {"calls": [(None, "weather", PARIS), (None, "weather", ROME)]},
    ),
    Case(
        "no index, named again",
        sse(piece(name="weather", arguments=PARIS[:4]), piece(name="weather", arguments=PARIS[4:])),
        {"calls": [(None, "weather", PARIS)]},
    ),
    Case(
        "no index, found by id",
        sse(
            piece(id="a", name="weather"),
            piece(id="b", name="weather"),
            piece(id="a", arguments=PARIS),
            piece(id="b", arguments=ROME),
        ),
        {"calls": TWO_CALLS},
    ),
    Case(
        "index 0 for all",
        sse(
            piece(index=0, id="a", name="weather", arguments=PARIS),
            piece(index=0, id="b", name="weather", arguments=ROME),
        ),
        {"calls": TWO_CALLS},
    ),
    Case(
        "index as string",
        sse(
            piece(index="1", id="b", name="weather", arguments=ROME),
            piece(index="0", id="a", name="weather", arguments=PARIS),
        ),
        {"calls": TWO_CALLS},
    ),
    Case(
        "arguments as object",
        sse(piece(index=0, id="a", name="f", arguments={"x": 1})),
        {"calls": [("a", "f", '{"x":1}')]},
    ),
    Case(
        "no list",
        sse(chunk(delta(tool_calls=call(id="a", name="weather", arguments=PARIS)))),
        {"calls": ONE_CALL},
    ),
    Case(
        "custom",
        sse(
            chunk(
                delta(
                    tool_calls=[
                        {
                            "index": 0,
                            "id": "a",
                            "type": "custom",
                            "custom": {"name": "sql", "input": "select 1"},
                        }
                    ]
                )
            )
        ),
        {"calls": [("a", "sql", "select 1")]},
    ),
    Case(
        "whole, all alike",
        whole(
            {
                "tool_calls": [
                    call("weather", PARIS, id="a", index=0),
                    call("weather", ROME, id="b", index=0),
                ]
            }
        ),
        {"calls": TWO_CALLS},
        JSON_TYPE,
    ),
    Case(
        "whole, no arguments",
        whole({"tool_calls": [call("now", id="a")]}),
        {"calls": [("a", "now", "")]},
        JSON_TYPE,
    ),
]


def fault(message: str, **fields: Any) -> dict[str, Any]:
    """Write an error as it must come out."""
    none = {"type": None, "code": None, "param": None, "status": 200, "in_stream": False}
    return {"error": none | {"message": message} | fields}


IN_STREAM = {"type": "rate_limit", "code": "429", "in_stream": True}
ERRORS = [
    Case(
        "in the stream",
        sse(*HELLO, {"error": LIMIT}, done=False),
        fault("slow down", **IN_STREAM) | {"text": "Hé", "chunks": 2, "complete": False},
    ),
    Case(
        "event: error",
        sse(*HELLO, "event: error\ndata: " + json.dumps({"error": LIMIT})),
        fault("slow down", **IN_STREAM),
    ),
    Case(
        "event: error, bare",
        sse("event: error\ndata: " + json.dumps(LIMIT)),
        fault("slow down", **IN_STREAM),
    ),
    Case(
        "event: error, text",
        sse("event: error\ndata: overloaded"),
        fault("overloaded", in_stream=True),
    ),
    Case("error: line", sse("error: " + json.dumps(LIMIT)), fault("slow down", **IN_STREAM)),
    Case("text", sse({"error": "overloaded"}), fault("overloaded", in_stream=True)),
    Case("flag", sse({"error": True, "message": "no"}), fault("no", in_stream=True)),
    Case(
        "in a choice",
        sse(chunk(delta(reason="error") | {"error": {"message": "no", "code": 502}})),
        fault("no", code=502, in_stream=True) | {"finish_reason": "error"},
    ),
    Case("null is none", sse(chunk(delta(content="a"), error=None)), {"error": None, "text": "a"}),
    Case(
        "inside a 200",
        json.dumps({"error": {"message": "no", "code": 402}}).encode(),
        fault("no", code=402) | {"texts": {}, "complete": True},
        JSON_TYPE,
    ),
    Case(
        "object error",
        json.dumps({"object": "error", "message": "no", "code": 7}).encode(),
        fault("no", code=7),
        JSON_TYPE,
    ),
    Case(
        "bare",
        json.dumps({"message": "no", "error_code": 401}).encode(),
        fault("no", status=401),
        JSON_TYPE,
        401,
    ),
    Case(
        "detail",
        json.dumps({"detail": [{"loc": 1}]}).encode(),
        fault('[{"loc":1}]', status=422),
        JSON_TYPE,
        422,
    ),
    Case(
        "in a list",
        json.dumps([{"error": {"message": "no", "status": "X"}}]).encode(),
        fault("no", status=400),
        JSON_TYPE,
        400,
    ),
    Case(
        "json for a stream",
        json.dumps({"error": LIMIT}, indent=2).encode(),
        fault("slow down", type="rate_limit", code="429", status=429),
        SSE,
        429,
    ),
    Case(
        "html",
        b"<html>Bad Gateway</html>\n",
        fault("<html>Bad Gateway</html>", status=502),
        "text/html",
        502,
    ),
    Case("text page", b"upstream gone", fault("upstream gone", status=503), "text/plain", 503),
    Case(
        "text page of a 200", b"ok", {"error": None, "texts": {}, "complete": False}, "text/plain"
    ),
    Case("nothing", b"", fault("", status=500), JSON_TYPE, 500),
]

BODIES = [
    Case(
        "plain body",
        whole({"role": "assistant", "content": "hi"}, usage=USAGE, service_tier=""),
        {
            "text": "hi",
            "service_tier": "",
            "usage": COUNTED | UNCOUNTED,
            "complete": True,
            "chunks": 0,
        },
        JSON_TYPE,
    ),
    Case("said to be a stream", whole({"content": "hi"}), {"text": "hi", "complete": True}),
    Case("leading white space", b"\n" * 600 + whole({"content": "hi"}), {"text": "hi"}, JSON_TYPE),
    Case("body with a bom", b"\xef\xbb\xbf" + whole({"content": "hi"}), {"text": "hi"}, JSON_TYPE),
    Case("trailing garbage", whole({"content": "hi"}) + b"}}\n", {"text": "hi"}, JSON_TYPE),
    Case("truncated", whole({"content": "hi"})[:-9], {"texts": {}, "complete": False}, JSON_TYPE),
    Case(
        "same index twice",
        json.dumps({"choices": [{"index": 0, "message": {"content": c}} for c in "ab"]}).encode(),
        {"texts": {0: "a", 1: "b"}},
        JSON_TYPE,
    ),
    Case(
        "wrong types",
        json.dumps(
            {
                "id": 7,
                "model": [],
                "system_fingerprint": {},
                "usage": [],
                "choices": [
                    None,
                    {"message": []},
                    {
                        "message": {
                            "content": 7,
                            "role": 1,
                            "tool_calls": "x",
                            "audio": "y",
                            "function_call": 3,
                            "refusal": {},
                        },
                        "finish_reason": 1,
                        "logprobs": "z",
                    },
                ],
            }
        ).encode(),
        {"model": None, "response_id": None, "usage": None, "texts": {1: None, 2: None}},
        JSON_TYPE,
    ),
    Case(
        "huge number",
        whole({"content": "hi"}, usage={"prompt_tokens": 10**400}),
        {"text": "hi", "usage": None},
        JSON_TYPE,
    ),
    Case(
        "picture in the answer",
        whole({"content": None, "images": [{"url": PICTURE}]}),
        {
            "extras": {
                "images": [{"url": f"<application/octet-stream, 2048 bytes, sha256 {DIGEST}>"}]
            }
        },
        JSON_TYPE,
    ),
]

CASES = [*STREAMS, *REASONING, *TOOLS, *ERRORS, *BODIES]
