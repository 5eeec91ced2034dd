"""
Chat completions as OpenAI writes them: plain functions from a request and a script to JSON.

Nothing here is random and no clock is read, so that the same requests in the same order get the
same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import orjson

if TYPE_CHECKING:
    from typing_extensions import NotRequired

CREATED = 1_735_689_600
"""When every answer says that it was made, in seconds since the epoch: 2025-01-01, UTC."""

DATED = {
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
}
"""The snapshot that answers when an alias is asked for."""

SAMPLES: Mapping[str, Any] = {
    "string": "text",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "null": None,
}


class ToolCall(TypedDict):
    """A tool call of a script; arguments may be JSON text, which need not be valid."""

    name: str
    arguments: NotRequired[Mapping[str, Any] | str]
    id: NotRequired[str]


class Script(TypedDict, total=False):
    """
    What a reply is to say; all of it optional.

    Attributes:
        text: The answer; a list of texts is one for each choice (`n` > 1).
        tool_calls: The tools that the answer calls, also as OpenAI writes them.
        message: Further fields of the answer's message (`refusal`, `reasoning_content`, `audio`).
        finish_reason: Else `tool_calls` or `stop`, by what the answer holds.
        usage: Else counted in words; None leaves it out.
        model: The model that answers, else the one asked for, dated where that is an alias.
        chunks: The pieces of a streamed answer. Strings are its text, framed as OpenAI does. As
            soon as one is a mapping (an event's JSON) or bytes (sent as they are), the list is
            sent as it is, and nothing is added to it.
        status: HTTP status; from 400 on the body is an error object.
        error: The error object, or fields of it. With status 200 it comes in the body, or in a
            stream as an event after the chunks, which ends it.
        body: The whole JSON body.
        raw: The whole body as bytes, with `content_type` (else `application/json`).
        headers: More headers, or other values for those that OpenAI sends.
        retry_after: Seconds of a Retry-After header.
        delay: Seconds before the first byte.
        pace: Seconds between the pieces of a stream.
        drop: Close the connection in the middle of the body, or before any of it (`"at once"`).
        hang: Send as much as `drop` would, and then nothing more.
    """

    text: str | Sequence[str]
    tool_calls: Sequence[ToolCall | Mapping[str, Any]]
    message: Mapping[str, Any]
    finish_reason: str
    usage: Mapping[str, Any] | None
    model: str
    chunks: Sequence[str | Mapping[str, Any] | bytes]
    status: int
    error: Mapping[str, Any]
    body: Any
    raw: bytes
    content_type: str
    headers: Mapping[str, str]
    retry_after: float
    delay: float
    pace: float
    drop: bool | Literal["at once"]
    hang: bool


def improvise(asked: Mapping[str, Any]) -> Script:
    """Answer a request that no script was written for: by its schema, its tools, or its words."""
    schema = (asked.get("response_format") or {}).get("json_schema", {}).get("schema")
    if schema is not None:
        return {"text": orjson.dumps(sample(schema, schema)).decode()}
    forced = forced_tool(asked)
    if forced is not None:
        arguments = sample(forced.get("parameters", {}), forced.get("parameters", {}))
        return {"tool_calls": [{"name": forced["name"], "arguments": arguments}]}
    last = (list(asked.get("messages") or []) or [{}])[-1]
    said = text_of(last.get("content"))
    if last.get("role") == "tool":
        return {"text": f"The tool says: {said}"}
    return {"text": f"You said: {said}" if said else "Hello! How can I help?"}


def forced_tool(asked: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Find the function that the request insists on."""
    choice = asked.get("tool_choice")
    offered = [tool["function"] for tool in asked.get("tools") or [] if "function" in tool]
    if choice == "required":
        return offered[0] if offered else None
    if not isinstance(choice, dict):
        return None
    name = choice.get("function", {}).get("name")
    return next((function for function in offered if function["name"] == name), None)


def sample(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Make a small value that a JSON schema allows; `$ref` is looked up in *root*."""
    if "$ref" in schema:
        return sample(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    for key in ("enum", "examples"):
        if schema.get(key):
            return schema[key][0]
    if "const" in schema:
        return schema["const"]
    if schema.get("anyOf"):
        return sample(schema["anyOf"][0], root)
    if schema.get("type") == "array":
        return [sample(schema.get("items", {}), root)]
    if schema.get("type", "object") == "object":
        fields = schema.get("properties", {}).items()
        return {name: sample(field, root) for name, field in fields}
    return SAMPLES.get(str(schema["type"]))


def text_of(content: Any) -> str:
    """Read the text of a message, whose content may be a list of parts."""
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content).strip()
    return str(content or "")


def texts(script: Script, count: int) -> list[str | None]:
    """Lay out the text of each choice: one for all, or each its own."""
    text = script.get("text")
    chunks = script.get("chunks", ())
    if text is None and chunks:
        text = "".join(chunk for chunk in chunks if isinstance(chunk, str))
    if text is None:
        text = None if script.get("tool_calls") or script.get("message") else ""
    if text is None or isinstance(text, str):
        return [text] * count
    return [text[index % len(text)] for index in range(count)]


def calls(script: Script) -> list[dict[str, Any]]:
    """Write the tool calls of a script as OpenAI does."""
    written = []
    given: Sequence[Mapping[str, Any]] = script.get("tool_calls", ())
    for index, call in enumerate(given):
        inner = call.get("function", call)
        arguments = inner.get("arguments", {})
        if not isinstance(arguments, str):
            arguments = orjson.dumps(arguments).decode()
        function = {"name": inner["name"], "arguments": arguments}
        call_id = call.get("id", f"call_{index + 1}")
        written.append({"id": call_id, "type": "function", "function": function})
    return written


def message(script: Script, text: str | None) -> dict[str, Any]:
    """Write the message of one choice."""
    result: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if script.get("tool_calls"):
        result["tool_calls"] = calls(script)
    return {**result, **script.get("message", {})}


def finish_reason(script: Script) -> str:
    """Say why the answer ends."""
    return script.get("finish_reason", "tool_calls" if script.get("tool_calls") else "stop")


def count_words(text: str) -> int:
    """Count as many tokens as there are words and marks."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def usage(script: Script, asked: Mapping[str, Any], count: int) -> Mapping[str, Any] | None:
    """Count the tokens of a call, as far as words are tokens."""
    if "usage" in script:
        return script["usage"]
    prompt = sum(count_words(text_of(one.get("content"))) for one in asked.get("messages") or [])
    said = [text or "" for text in texts(script, count)]
    said += [call["function"]["arguments"] for call in calls(script)]
    completion = sum(map(count_words, said))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def frame(script: Script, asked: Mapping[str, Any], answer_id: str, kind: str) -> dict[str, Any]:
    """Write what a whole answer and each of its chunks have in common."""
    model = str(asked.get("model") or "gpt-4o-mini")
    return {
        "id": answer_id,
        "object": kind,
        "created": CREATED,
        "model": script.get("model", DATED.get(model, model)),
        "service_tier": "default",
        "system_fingerprint": "fp_fake",
    }


def completion(script: Script, asked: Mapping[str, Any], answer_id: str) -> dict[str, Any]:
    """Write a whole answer."""
    count = int(asked.get("n") or 1)
    choices = [
        {
            "index": index,
            "message": message(script, text),
            "logprobs": None,
            "finish_reason": finish_reason(script),
        }
        for index, text in enumerate(texts(script, count))
    ]
    result = {**frame(script, asked, answer_id, "chat.completion"), "choices": choices}
    counted = usage(script, asked, count)
    return result if counted is None else {**result, "usage": counted}


def events(script: Script, asked: Mapping[str, Any], answer_id: str) -> Iterator[bytes]:
    """Write a streamed answer, event by event."""
    chunks = script.get("chunks", ())
    if all(isinstance(chunk, str) for chunk in chunks):
        yield from framed(script, asked, answer_id)
    else:
        yield from (chunk if isinstance(chunk, bytes) else event(chunk) for chunk in chunks)
    if "error" in script:
        yield event({"error": error_object(script)})


def framed(script: Script, asked: Mapping[str, Any], answer_id: str) -> Iterator[bytes]:
    """Write the chunks of an answer; one that is to break off has neither reason, usage nor end."""
    count = int(asked.get("n") or 1)
    wants_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
    common = frame(script, asked, answer_id, "chat.completion.chunk")
    common.update({"usage": None} if wants_usage else {})
    streams = [deltas(script, text) for text in texts(script, count)]
    for index, delta in interleave(streams):
        yield event({**common, "choices": [choice(index, delta, None)]})
    if script.get("drop") or script.get("hang") or "error" in script:
        return
    for index in range(count):
        yield event({**common, "choices": [choice(index, {}, finish_reason(script))]})
    counted = usage(script, asked, count)
    if wants_usage and counted is not None:
        yield event({**common, "choices": [], "usage": counted})
    yield event(b"[DONE]")


def interleave(streams: Sequence[Iterable[Any]]) -> Iterator[tuple[int, Any]]:
    """Take from each stream in turn, with its index, until all are empty."""
    for row in zip_longest(*streams):
        yield from ((index, delta) for index, delta in enumerate(row) if delta is not None)


def choice(index: int, delta: Mapping[str, Any], reason: str | None) -> dict[str, Any]:
    """Write one choice of a chunk."""
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}


def deltas(script: Script, text: str | None) -> Iterator[dict[str, Any]]:
    """Write one choice as the pieces in which it comes: role, fields, text, then tool calls."""
    yield {"role": "assistant", "content": None if text is None else "", "refusal": None}
    for name, value in script.get("message", {}).items():
        for piece in pieces(value) if isinstance(value, str) else [value]:
            yield {name: piece}
    chunks = [chunk for chunk in script.get("chunks", ()) if isinstance(chunk, str)]
    for piece in chunks or pieces(text or ""):
        yield {"content": piece}
    for index, call in enumerate(calls(script)):
        start = {**call["function"], "arguments": ""}
        yield {"tool_calls": [{"index": index, **call, "function": start}]}
        for piece in pieces(call["function"]["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def pieces(text: str) -> list[str]:
    """Cut a text before each word."""
    return re.findall(r"\s*\S+|\s+$", text)


def event(data: bytes | str | Mapping[str, Any]) -> bytes:
    """Write one server-sent event."""
    return b"data: %b\n\n" % (data if isinstance(data, bytes) else orjson.dumps(data))


def error_object(script: Script) -> dict[str, Any]:
    """Write an error as OpenAI does."""
    status = script.get("status", 500)
    kind = "invalid_request_error" if status < 429 else "server_error"
    kind = "rate_limit_error" if status == 429 else kind
    standard = {"message": "The fake server was told to fail.", "type": kind}
    return {**standard, "param": None, "code": None, **script.get("error", {})}
