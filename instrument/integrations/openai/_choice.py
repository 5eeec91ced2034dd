"""One choice of an answer, put together from a whole message or from the deltas of a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from typing import TypeAlias, final

from ...media import MAX_DEPTH, Payload, without_payloads
from ...run import JSON
from ._calls import CallBuilder, Calls, FunctionCall, ToolCall
from ._json import count_of, dict_of, list_of, text_of

REASONING_KEYS = ("reasoning_content", "reasoning", "reasoning_text")
"""How servers spell the text of reasoning; one that sends two of them means the same by both."""

_TRANSCRIPT = "audio.transcript"
_THINKING_KEYS = ("text", "thinking", "summary", "reasoning", "content")


@final
@dataclass(frozen=True, slots=True)
class Audio:
    """What was spoken: `data` is a marker with size and hash, `data_len` the base64's length."""

    id: str | None
    transcript: str | None
    data: str | None
    data_len: int
    expires_at: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """
    One choice of the answer; None is what never came.

    Attributes:
        reasoning: The reasoning that stands in a field of its own, however that is spelled.
        thinking: The reasoning that stands in blocks (of the content, `reasoning_details`, ...).
        logprobs: As the provider sends them, gathered over the chunks.
        extras: Lists and objects of the message that no standard names, without payloads.
    """

    index: int
    role: str | None = None
    text: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    thinking: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    function_call: FunctionCall | None = None
    audio: Audio | None = None
    finish_reason: str | None = None
    logprobs: Mapping[str, JSON] | None = None
    extras: Mapping[str, JSON] = field(default_factory=dict)


@final
class ChoiceBuilder:
    """
    A choice while it comes in.

    Args:
        whole: Whether the message comes in one piece, so that every tool call in it does.
    """

    __slots__ = (
        "_audio",
        "_calls",
        "_extras",
        "_function",
        "_logprobs",
        "_payload",
        "_texts",
        "_whole",
        "finish_reason",
        "index",
        "role",
    )

    def __init__(self, index: int, *, whole: bool) -> None:
        self.index = index
        self.role: str | None = None
        self.finish_reason: str | None = None
        self._whole = whole
        self._texts: dict[str, StringIO] = {}
        self._calls: Calls | None = None
        self._function: CallBuilder | None = None
        self._audio: dict[str, JSON] | None = None
        self._payload: Payload | None = None
        self._logprobs: dict[str, JSON] | None = None
        self._extras: dict[str, JSON] = {}

    def add(self, choice: Mapping[str, JSON]) -> None:
        """Add one entry of `choices`."""
        delta = choice.get("delta") or choice.get("message")
        if isinstance(delta, dict):
            self._add_delta(delta)
        reason = choice.get("finish_reason")
        if reason is not None and isinstance(reason, str):
            self.finish_reason = reason or self.finish_reason or ""
        logprobs = choice.get("logprobs")
        if logprobs is not None and isinstance(logprobs, dict):
            self._logprobs = _gather(self._logprobs or {}, logprobs)

    def _add_delta(self, delta: Mapping[str, JSON]) -> None:
        texts = self._texts
        for key, value in delta.items():
            if key in texts and type(value) is str:  # nearly every chunk of a stream
                texts[key].write(value)
            elif value is not None:
                _TAKE.get(key, _take_extra)(self, key, value)

    def has_begun(self) -> bool:
        """Tell whether any content came: text, reasoning, a call, a sound."""
        texts = any(text.tell() for text in self._texts.values())
        return texts or bool(self._calls) or bool(self._payload) or self._function is not None

    def done(self) -> Choice:
        """Give the choice as it stands."""
        return Choice(
            index=self.index,
            role=self.role,
            text=self._text("content"),
            refusal=self._text("refusal"),
            reasoning=self._reasoning(),
            thinking=self._text("thinking"),
            tool_calls=self._calls.done() if self._calls else (),
            function_call=self._function.function_call() if self._function else None,
            audio=self._sound(),
            finish_reason=self.finish_reason,
            logprobs=self._logprobs,
            extras=dict_of(without_payloads(self._extras)) if self._extras else self._extras,
        )

    def write(self, key: str, text: str) -> None:
        """Add text to what is gathered under *key*."""
        if key not in self._texts:
            self._texts[key] = StringIO()
        self._texts[key].write(text)

    def take_text(self, key: str, value: JSON) -> None:
        """Add a text, or the text of a list of parts."""
        if isinstance(value, str):
            self.write(key, value)
            return
        for part in list_of(value):
            if isinstance(part, str):
                self.write(key, part)
            elif isinstance(part, dict):
                self._take_part(key, part)

    def take_reasoning(self, key: str, value: JSON) -> None:
        """Add reasoning of a field of its own; blocks of it are thinking."""
        if isinstance(value, str):
            self.write(key, value)
        else:
            self.take_blocks(key, value)

    def take_blocks(self, _: str, value: JSON) -> None:
        """Add the text of blocks of reasoning, however deep it stands in them."""
        text = _inner_text(value)
        if text:
            self.write("thinking", text)

    def take_role(self, _: str, value: JSON) -> None:
        """Keep the role that was said first."""
        self.role = self.role or text_of(value)

    def take_calls(self, _: str, value: JSON) -> None:
        """Add tool calls or pieces of them."""
        self._calls = self._calls or Calls()
        self._calls.add(value, whole=self._whole)

    def take_function(self, _: str, value: JSON) -> None:
        """Add a function call of the older API, or a piece of one."""
        call = dict_of(value)
        self._function = self._function or CallBuilder()
        self._function.call(call.get("name"), call.get("arguments"))

    def take_audio(self, _: str, value: JSON) -> None:
        """Add a piece of what was spoken; of the sound, only the size and the hash stay."""
        if not isinstance(value, dict):
            return
        self._audio = {**(self._audio or {}), **{k: v for k, v in value.items() if k in _SOUND}}
        data = value.get("data")
        if isinstance(data, str) and data:
            self._payload = self._payload or Payload()
            self._payload.add(data)
        transcript = value.get("transcript")
        if isinstance(transcript, str):
            self.write(_TRANSCRIPT, transcript)

    def take_extra(self, key: str, value: JSON) -> None:
        """Keep a list (added to the one before) or an object that no standard names."""
        if isinstance(value, list) and value:
            self._extras[key] = [*list_of(self._extras.get(key)), *value]
        elif isinstance(value, dict) and value:
            self._extras[key] = value

    def _take_part(self, key: str, part: Mapping[str, JSON]) -> None:
        kind = part.get("type")
        if kind in ("thinking", "reasoning", "redacted_thinking"):
            self.take_blocks("", {key: value for key, value in part.items() if key != "type"})
        elif kind == "refusal":
            self.take_text("refusal", part.get("refusal"))
        elif isinstance(part.get("text"), str):
            self.take_text(key, part.get("text"))
        else:
            self.take_extra("content_parts", [dict(part)])

    def _text(self, key: str) -> str | None:
        gathered = self._texts.get(key)
        return None if gathered is None else gathered.getvalue()

    def _reasoning(self) -> str | None:
        said = [self._texts[key].getvalue() for key in REASONING_KEYS if key in self._texts]
        return max(said, key=bool, default=None)  # the first that is not empty

    def _sound(self) -> Audio | None:
        if self._audio is None:
            return None
        said = self._audio.get("id")
        payload = self._payload
        return Audio(
            id=said if isinstance(said, str) else None,
            transcript=self._text(_TRANSCRIPT),
            data=payload.mark("audio") if payload else None,
            data_len=payload.chars if payload else 0,
            expires_at=count_of(self._audio.get("expires_at")),
        )


_Take: TypeAlias = "Callable[[ChoiceBuilder, str, JSON], None]"

_SOUND = frozenset({"id", "expires_at"})

_take_extra: _Take = ChoiceBuilder.take_extra

_TAKE: Mapping[str, _Take] = {
    "content": ChoiceBuilder.take_text,
    "refusal": ChoiceBuilder.take_text,
    "role": ChoiceBuilder.take_role,
    "tool_calls": ChoiceBuilder.take_calls,
    "function_call": ChoiceBuilder.take_function,
    "audio": ChoiceBuilder.take_audio,
    "thinking": ChoiceBuilder.take_blocks,
    "thinking_blocks": ChoiceBuilder.take_blocks,
    "reasoning_details": ChoiceBuilder.take_blocks,
    **dict.fromkeys(REASONING_KEYS, ChoiceBuilder.take_reasoning),
}


def _gather(gathered: dict[str, JSON], more: Mapping[str, JSON]) -> dict[str, JSON]:
    """Add the log probabilities of one chunk to those before: lists grow, the rest is replaced."""
    for key, value in more.items():
        before = gathered.get(key)
        if isinstance(value, list) and isinstance(before, list):
            before.extend(value)
        elif value is not None or key not in gathered:
            gathered[key] = value
    return gathered


def _inner_text(value: JSON, depth: int = 0) -> str:
    """Join the texts that stand in blocks of reasoning."""
    if isinstance(value, str):
        return value
    if depth > MAX_DEPTH:
        return ""
    if isinstance(value, list):
        return "".join(_inner_text(item, depth + 1) for item in value)
    if isinstance(value, dict):
        inner = (value.get(key) for key in _THINKING_KEYS)
        return next(filter(None, (_inner_text(item, depth + 1) for item in inner)), "")
    return ""
