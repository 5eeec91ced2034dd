"""The answer, put together from a whole body or from the chunks of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from ...recorder import MAX_MESSAGE_CHARS
from ...run import JSON, Usage
from ._choice import Choice, ChoiceBuilder
from ._json import count_of, dict_of, index_of, list_of, text_of, write

MAX_CHOICES = 1024
"""Choices of one answer that are kept."""

MAX_MODELS = 16
"""Names of models of one answer that are kept."""

_MESSAGE_KEYS = ("message", "detail", "msg", "error_description", "error_message", "title")


_NO_COUNTS = Usage()


@final
@dataclass(frozen=True, slots=True)
class Fault:
    """
    An error as the provider wrote it.

    Attributes:
        status: HTTP status of the reply, also when the error came later, in its stream.
        in_stream: Whether it came in a stream that had begun well.
    """

    message: str
    type: str | None = None
    code: str | int | None = None
    param: str | None = None
    status: int | None = None
    in_stream: bool = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """
    The facts of an answer, as far as it came.

    Attributes:
        model: The model that answered; the last that was named, should there be several.
        models: Every model that was named, in order.
        choices: In the order of their indexes.
        usage: None when the provider sent none.
        chunks: Chunks of the stream, error events not counted; 0 for a body that is no stream.
        done: Whether the stream said `[DONE]`.
        complete: Whether the answer is all there: `[DONE]`, or a finish reason for each choice
            that was asked for, or a whole JSON body.
        first_token_at: Offset in the response at which the event ended that held the first content.
    """

    model: str | None = None
    models: tuple[str, ...] = ()
    response_id: str | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    error: Fault | None = None
    chunks: int = 0
    done: bool = False
    complete: bool = False
    first_token_at: int | None = None


@final
class AnswerBuilder:
    """
    An answer while it comes in.

    Args:
        status: HTTP status of the reply.
        n: How many choices were asked for.
    """

    def __init__(self, *, status: int, n: int) -> None:
        self._status = status
        self._n = n
        self._models: dict[str, None] = {}
        self._model: str | None = None
        self._id: str | None = None
        self._fingerprint: str | None = None
        self._tier: str | None = None
        self._choices: dict[int, ChoiceBuilder] = {}
        self._usage: dict[str, JSON] = {}
        self._error: Fault | None = None
        self._chunks = 0
        self._first_token_at: int | None = None
        self._is_whole = False
        self.done = False

    def add_chunk(self, chunk: Mapping[str, JSON], offset: int, *, is_error: bool) -> None:
        """Add one chunk of a stream, that ended at *offset*."""
        self._head(chunk)
        choices = chunk.get("choices")
        if is_error or chunk.get("error") or chunk.get("object") == "error":
            self._fail(chunk, in_stream=True)
            if not choices:
                return
        self._chunks += 1
        if isinstance(choices, list):
            self._take(choices, whole=False)
            if self._first_token_at is None and self._has_begun():
                self._first_token_at = offset

    def add_body(self, body: Mapping[str, JSON]) -> None:
        """Take a whole JSON body."""
        self._is_whole = True
        self._head(body)
        self._fingerprint = _string(body.get("system_fingerprint"))
        self._tier = _string(body.get("service_tier"))
        choices = list_of(body.get("choices"))
        self._take(choices, whole=True)
        refused = self._status >= 400 or body.get("object") == "error"
        if body.get("error") or (refused and not choices):
            self._fail(body, in_stream=False)

    def add_page(self, text: str) -> None:
        """Take a body that is no JSON: the message of an error, if the status says it is one."""
        if self._status >= 400:
            self._error = Fault(text.strip()[:MAX_MESSAGE_CHARS], status=self._status)

    def answered(self) -> Answered:
        """Give the facts as they stand."""
        return Answered(
            model=self._model,
            models=tuple(self._models),
            response_id=self._id,
            system_fingerprint=self._fingerprint,
            service_tier=self._tier,
            choices=tuple(self._choices[index].done() for index in sorted(self._choices)),
            usage=usage_of(self._usage) if self._usage else None,
            error=self._error,
            chunks=self._chunks,
            done=self.done,
            complete=self.done or self._is_whole or self._has_finished(),
            first_token_at=self._first_token_at,
        )

    def _head(self, chunk: Mapping[str, JSON]) -> None:
        get = chunk.get
        model = get("model")
        if model != self._model and isinstance(model, str) and model:
            self._model = model
            if len(self._models) < MAX_MODELS:
                self._models[model] = None
        self._id = self._id or text_of(get("id"))
        fingerprint = get("system_fingerprint")
        if fingerprint:
            self._fingerprint = text_of(fingerprint) or self._fingerprint
        tier = get("service_tier")
        if tier:
            self._tier = text_of(tier) or self._tier
        usage = get("usage")
        if usage and isinstance(usage, dict):
            self._usage = usage

    def _take(self, choices: list[JSON], *, whole: bool) -> None:
        for place, choice in enumerate(choices):
            if not isinstance(choice, dict):
                continue
            index = choice.get("index")
            known = self._choices.get(index) if type(index) is int and not whole else None
            builder = known or self._builder(index, place, whole=whole)
            builder.add(choice)
            if choice.get("error") and self._error is None:
                self._fail(choice, in_stream=not whole)

    def _builder(self, said: JSON, place: int, *, whole: bool) -> ChoiceBuilder:
        """Find a choice or begin it; one over the bound is read, and forgotten."""
        index = index_of(said)
        if index is None or (whole and index in self._choices):
            index = place
        builder = self._choices.get(index)
        if builder is None:
            builder = ChoiceBuilder(index, whole=whole)
            if len(self._choices) < MAX_CHOICES:
                self._choices[index] = builder
        return builder

    def _fail(self, body: Mapping[str, JSON], *, in_stream: bool) -> None:
        said = body.get("error")
        details = said if isinstance(said, dict) else dict(body)
        code = details.get("code")
        self._error = Fault(
            message=_message(said if isinstance(said, str) else details),
            type=text_of(details.get("type")),
            code=code if type(code) is int else text_of(code),
            param=text_of(details.get("param")),
            status=self._status,
            in_stream=in_stream,
        )

    def _has_begun(self) -> bool:
        return any(choice.has_begun() for choice in self._choices.values())

    def _has_finished(self) -> bool:
        finished = sum(bool(choice.finish_reason) for choice in self._choices.values())
        return finished == len(self._choices) and finished >= self._n


def usage_of(usage: Mapping[str, JSON]) -> Usage | None:
    """Read token counts; None when there is not one."""
    asked = dict_of(usage.get("prompt_tokens_details"))
    answered = dict_of(usage.get("completion_tokens_details"))
    counts = Usage(
        prompt=count_of(usage.get("prompt_tokens")),
        completion=count_of(usage.get("completion_tokens")),
        total=count_of(usage.get("total_tokens")),
        cached=count_of(asked.get("cached_tokens")),
        reasoning=count_of(answered.get("reasoning_tokens")),
        audio_in=count_of(asked.get("audio_tokens")),
        audio_out=count_of(answered.get("audio_tokens")),
    )
    return None if counts == _NO_COUNTS else counts


def _string(value: JSON) -> str | None:
    return value if isinstance(value, str) else None


def _message(said: JSON) -> str:
    """Find the sentence in an error; else the error itself is the message."""
    for key in _MESSAGE_KEYS:
        if not isinstance(said, dict):
            break
        if said.get(key):
            said = said[key]
    text = said if isinstance(said, str) else write(said)
    return text[:MAX_MESSAGE_CHARS]
