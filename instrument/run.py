"""
The vocabulary: what a run is, and what is said about it.

Everything here is a frozen value. Text that came from the application or from a provider is kept
as a `Snapshot`, one JSON text in UTF-8: immutable, of known size, and ready to be embedded in a
request as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NewType, TypeAlias, final

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"

Snapshot = NewType("Snapshot", bytes)
"""One JSON text in UTF-8, taken at the moment the run began or ended."""

Kind: TypeAlias = Literal[
    "llm", "chain", "agent", "tool", "retriever", "embedding", "chat", "convo"
]
"""What a run did; `chat` and `convo` are the user's own scopes (one user turn, a conversation)."""

KINDS: tuple[Kind, ...] = (
    "llm",
    "chain",
    "agent",
    "tool",
    "retriever",
    "embedding",
    "chat",
    "convo",
)


class ConfigError(ValueError):
    """A setting is wrong; the sentence says what to do. Raised by `instrument()` alone."""


@final
@dataclass(frozen=True, slots=True)
class Usage:
    """
    Tokens as the provider counted them; `None` is a count that it did not send.

    `cached`, `reasoning`, `audio_in` and `audio_out` are parts of `prompt` and `completion`, never
    additions to them.
    """

    prompt: int | None = None
    completion: int | None = None
    total: int | None = None
    cached: int | None = None
    reasoning: int | None = None
    audio_in: int | None = None
    audio_out: int | None = None


@final
@dataclass(frozen=True, slots=True)
class Error:
    """Why a run failed, as the application saw it; `status` is the HTTP status, if there was one."""

    message: str
    type: str
    stack: str | None = None
    status: int | None = None


@final
@dataclass(frozen=True, slots=True)
class Attempt:
    """
    One try of the SDK to get an answer.

    Attributes:
        offset: Seconds from the start of the run to the moment this try's request was built.
        status: HTTP status of the reply; None when no reply came.
    """

    offset: float
    status: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    What the provider said about its answer, beside the answer itself.

    Attributes:
        provider: Name of the provider, from the request's host (`openai`, `azure`, `groq`, ...).
        model: The model that answered, which may be a dated snapshot of the one asked for.
        finish_reasons: One for each choice, in the order of the choices.
        stream: Whether the answer was asked for as a stream.
        time_to_first_token: Seconds from the start of the run to the first token of a stream.
        processing_ms: The provider's own figure (`openai-processing-ms`), in milliseconds.
        rate_limits: The reply's `x-ratelimit-*` headers, without that prefix.
        logprobs: Log probabilities of the choices, a JSON list in the order of the choices.
    """

    provider: str | None = None
    model: str | None = None
    finish_reasons: tuple[str | None, ...] = ()
    response_id: str | None = None
    request_id: str | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    stream: bool | None = None
    time_to_first_token: float | None = None
    processing_ms: float | None = None
    rate_limits: Mapping[str, str] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()
    logprobs: Snapshot | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """
    One traced operation. It is published twice: open, then ended.

    Attributes:
        id: UUIDv4 in its 36-character form.
        trace_id: Id of the run at the root of the tree.
        name: For an llm run the model that was asked for, else what the operation is called.
        started_at: Wall clock, UTC; never before the parent's.
        duration: Seconds, by a monotonic clock; None while the run is open.
        input: For an llm run the list of messages as sent.
        output: For an llm run the answer's message, or a list of them when there were several
            choices. On an error: what had come before it.
        partial: Why the output is not the whole answer (`closed`, `cancelled`, ...), else None.
        params: For an llm run every field of the request but model and messages: a JSON object.
        user_props: What the application bound about the user, for backends that keep it.
        metadata: What the application bound to the run, as plain JSON values.
    """

    id: str
    trace_id: str
    parent_id: str | None
    kind: Kind
    name: str
    started_at: datetime
    duration: float | None = None
    input: Snapshot | None = None
    output: Snapshot | None = None
    error: Error | None = None
    partial: str | None = None
    usage: Usage | None = None
    params: Snapshot | None = None
    answer: Answer | None = None
    user_id: str | None = None
    user_props: Mapping[str, JSON] | None = None
    thread_id: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, JSON] = field(default_factory=dict)

    @property
    def ended_at(self) -> datetime | None:
        """When the run ended, UTC, or None while it is open."""
        if self.duration is None:
            return None
        return self.started_at + timedelta(seconds=self.duration)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """
    What somebody thought of a run, sent after the fact.

    Attributes:
        score: Any number; its scale is the application's own.
        thumb: The verdict that every backend understands.
    """

    run_id: str
    at: datetime
    thumb: Literal["up", "down"] | None = None
    score: float | None = None
    comment: str | None = None
    user_id: str | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class UserEvent:
    """Something a user did (`Sign Up`, `Copy answer`), for destinations that count such things."""

    name: str
    at: datetime
    user_id: str | None = None
    thread_id: str | None = None
    properties: Mapping[str, JSON] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """
    A prompt and its answer as the application tells them, for destinations that count such pairs.

    Attributes:
        at: When the answer was there.
        latency: Seconds from the prompt to the answer.
        assistant_id: Who answered, often the name of a model.
        prompt_event: What the destination is to call the prompt.
        answer_event: What it is to call the answer.
    """

    user_id: str
    prompt: str
    answer: str
    at: datetime
    latency: float | None = None
    assistant_id: str | None = None
    thread_id: str | None = None
    properties: Mapping[str, JSON] | None = None
    prompt_event: str = "Prompt"
    answer_event: str = "Generation"


@final
@dataclass(frozen=True, slots=True)
class Trace:
    """The ended runs of one tree, root last, for destinations that want whole trees."""

    runs: Sequence[Run]

    @property
    def root(self) -> Run:
        """The run that has no parent in this tree."""
        return self.runs[-1]


Item: TypeAlias = "Run | Feedback | UserEvent | Exchange | Trace"
"""What a lane carries to a destination."""
