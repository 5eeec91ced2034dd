"""
Chat completions on the wire: from the bytes of a request and of its reply to facts.

All of it is pure and runs on the worker. Nothing here raises for any bytes: what cannot be read is
not known, and None says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, final

import orjson

from ...context import Bound
from ...media import holds_payload, without_payloads
from ...recorder import Facts
from ...run import JSON, Answer, Snapshot
from ...snapshot import snapshot
from ._answer import AnswerBuilder, Answered, Fault
from ._calls import FunctionCall, ToolCall
from ._choice import Audio, Choice
from ._json import count_of, dict_of, objects_of, read, text_of
from ._provider import deployment_of, provider_of
from ._sse import Splitter, data_of

__all__ = [
    "AnswerReader",
    "Answered",
    "Asked",
    "Audio",
    "Choice",
    "Fault",
    "FunctionCall",
    "ToolCall",
    "facts_of",
    "output",
    "provider_of",
    "read_request",
]

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Size of a reply that is no stream, in bytes; of a larger one nothing is read."""

READ_BYTES = 16 * 1024
"""How much of a reply gathers before it is read, in bytes; small pieces are cheaper together."""

MAX_HEAD_BYTES = 4096
"""Bytes of white space that a reply may begin with."""

_BOM = b"\xef\xbb\xbf"
_SSE_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":")
_BODY_STARTS = (b"{", b"[", b"<")
_DONE = b"[DONE]"
_SSE_TYPE = "text/event-stream"
_NOT_PARAMS = frozenset({"model", "messages"})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """
    The facts of a request.

    Attributes:
        model: From the body, else the deployment that the URL names.
        messages: As sent, with markers in the place of payloads.
        params: Every other field of the body: a JSON object; None when the body is not one.
        user_id: `safety_identifier`, else `user`.
        n: How many choices are asked for.
    """

    provider: str
    model: str | None = None
    messages: Snapshot | None = None
    params: Snapshot | None = None
    stream: bool = False
    include_usage: bool = False
    user_id: str | None = None
    n: int = 1


def read_request(body: bytes, *, url: str) -> Asked:
    """Read the body of a request, and what its URL says about provider and model."""
    provider = provider_of(url)
    fields = read(body)
    if not isinstance(fields, dict):
        return Asked(provider=provider, model=deployment_of(url))
    if holds_payload(body):
        fields = dict_of(without_payloads(fields))
    messages = fields.get("messages")
    params = {key: value for key, value in fields.items() if key not in _NOT_PARAMS}
    return Asked(
        provider=provider,
        model=text_of(fields.get("model")) or deployment_of(url),
        messages=None if messages is None else snapshot(messages),
        params=snapshot(params),
        stream=fields.get("stream") is True,
        include_usage=dict_of(fields.get("stream_options")).get("include_usage") is True,
        user_id=text_of(fields.get("safety_identifier")) or text_of(fields.get("user")),
        n=count_of(fields.get("n")) or 1,
    )


@final
class AnswerReader:
    """
    Read a reply as it comes in, cut at any byte.

    Whether it is a stream of events or one body is decided by its first bytes, and by its content
    type when those may be either. Kept is the text, and of the bytes only the unfinished event (or
    the body, until the end).

    Args:
        content_type: The reply's header, if known.
        status: HTTP status of the reply: what is no JSON is an error only if this says so.
        n: How many choices were asked for.
    """

    def __init__(self, content_type: str | None = None, *, status: int = 200, n: int = 1) -> None:
        self._says_sse = _SSE_TYPE in (content_type or "").lower()
        self._builder = AnswerBuilder(status=status, n=n)
        self._pieces: list[bytes] = []
        self._size_bytes = 0
        self._events: Splitter | None = None
        self._is_body = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the reply."""
        self._pieces.append(data)
        self._size_bytes += len(data)
        if self._size_bytes < READ_BYTES:
            return
        if not self._is_body:
            self._read(self._gathered())
        elif self._size_bytes > MAX_BODY_BYTES:
            self._pieces.clear()

    def finish(self) -> Answered:
        """Give the facts; to be called once, when the reply has ended or will not go on."""
        if not self._is_body:
            self._read(self._gathered())
        if self._events is None:
            self._read_body(b"".join(self._pieces) if self._size_bytes <= MAX_BODY_BYTES else b"")
        else:
            self._read_event(*self._events.finish())
        return self._builder.answered()

    def _gathered(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size_bytes = 0
        return data

    def _read(self, data: bytes) -> None:
        """Read the events that *data* ends; of the first bytes, decide whether they are events."""
        if self._events is None:
            start = len(_BOM) if data.startswith(_BOM) else 0
            data = data[start:]
            if not self._is_stream(data[:MAX_HEAD_BYTES].lstrip()):
                self._is_body = True
                self._pieces = [data]
                self._size_bytes = len(data)
                return
            self._events = Splitter(start)
        for text, offset in self._events.feed(data):
            self._read_event(text, offset)

    def _is_stream(self, head: bytes) -> bool:
        return head.startswith(_SSE_STARTS) or (self._says_sse and head[:1] not in _BODY_STARTS)

    def _read_event(self, text: bytes, offset: int) -> None:
        if self._builder.done:
            return
        if text.startswith(b"data:"):
            try:  # one line of JSON, as nearly every event is
                chunk = orjson.loads(text[5:])
            except ValueError:
                self._read_lines(text, offset)
            else:
                self._take(chunk, offset, is_error=False)
        else:
            self._read_lines(text, offset)

    def _read_lines(self, text: bytes, offset: int) -> None:
        lines, is_error = data_of(text)
        if not lines:
            return
        if is_error or not isinstance(read(lines[0]), dict):
            lines = [b"\n".join(lines)]
        for line in lines:  # more than one are events that no empty line parts
            self._read_data(line, offset, is_error=is_error)

    def _read_data(self, data: bytes, offset: int, *, is_error: bool) -> None:
        chunk = read(data)
        if is_error and not isinstance(chunk, dict):
            chunk = {"error": data.decode("utf-8", "replace") or "error"}
        if data.lstrip().startswith(_DONE):
            self._builder.done = True
        elif not self._builder.done:
            self._take(chunk, offset, is_error=is_error)

    def _take(self, chunk: JSON, offset: int, *, is_error: bool) -> None:
        if isinstance(chunk, dict):
            self._builder.add_chunk(chunk, offset, is_error=is_error)

    def _read_body(self, raw: bytes) -> None:
        body = objects_of(read(raw))
        if body:
            self._builder.add_body(body[0])
        else:
            self._builder.add_page(raw.decode("utf-8", "replace"))


def output(answered: Answered) -> Snapshot | None:
    """Write the answer's message, or the list of them when there are several; None for nothing."""
    messages = [_message(choice) for choice in answered.choices]
    if not messages:
        return None
    return snapshot(messages[0] if len(messages) == 1 else messages)


def facts_of(asked: Asked, answered: Answered | None, **seen: Any) -> Facts:
    """
    Give the facts of a run: those of its request, and of its reply as far as there is one.

    Args:
        asked: What its request says.
        answered: What its reply says; None while there is none.
        seen: Fields of `run.Answer` that are in neither body, for whoever knows them.
    """
    facts = Facts(
        input=asked.messages,
        params=asked.params,
        answer=_answer(asked, answered or Answered(), seen),
        bound=Bound(user_id=asked.user_id),
    )
    if asked.model is not None:
        facts["name"] = asked.model
    if answered is not None:
        facts["output"] = output(answered)
        facts["usage"] = answered.usage
    return facts


def _answer(asked: Asked, answered: Answered, seen: Mapping[str, Any]) -> Answer:
    return Answer(
        provider=asked.provider,
        model=answered.model,
        finish_reasons=tuple(choice.finish_reason for choice in answered.choices),
        response_id=answered.response_id,
        system_fingerprint=answered.system_fingerprint,
        service_tier=answered.service_tier,
        stream=asked.stream,
        logprobs=_logprobs(answered),
        **seen,
    )


def _message(choice: Choice) -> dict[str, Any]:
    """Write a choice as the message it is; what did not come is not there."""
    called = choice.function_call
    optional: Mapping[str, Any] = {
        "tool_calls": [_tool_call(call) for call in choice.tool_calls],
        "function_call": called and {"name": called.name, "arguments": called.arguments},
        "refusal": choice.refusal,
        "reasoning_content": choice.reasoning,
        "thinking": None if choice.reasoning else choice.thinking,
        "audio": choice.audio and _sound(choice.audio),
        **choice.extras,
    }
    message: dict[str, Any] = {"role": choice.role or "assistant", "content": choice.text}
    return message | {key: value for key, value in optional.items() if value}


def _tool_call(call: ToolCall) -> dict[str, JSON]:
    inner = ("custom", "input") if call.type == "custom" else ("function", "arguments")
    kind, arguments = inner
    return {
        "id": call.id,
        "type": call.type,
        kind: {"name": call.name, arguments: call.arguments},
    }


def _sound(audio: Audio) -> dict[str, JSON]:
    return {key: value for key, value in asdict(audio).items() if value and key != "data_len"}


def _logprobs(answered: Answered) -> Snapshot | None:
    logprobs = [choice.logprobs for choice in answered.choices]
    return snapshot(logprobs) if any(logprobs) else None
