"""
One chat completion as it is seen at the wire: what the tap gathers, and what it comes to.

The methods above the line run in the application's thread and only keep references and clock
readings. The ones below it run on the worker, where the bytes are read.
"""

from __future__ import annotations

import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from itertools import accumulate
from typing import Any, final

from ...context import Owner, current, lookouts, surroundings
from ...guard import guard
from ...recorder import LATER, Facts, OpenRun, Record, Recorder, describe
from ...run import Attempt, Error
from ...snapshot import snapshot
from .chat import Answered, AnswerReader, Asked, facts_of, read_request

FEED_BYTES = 64 * 1024
"""How much of a stream gathers in the application's memory before the worker reads it, in bytes."""

_FEED = guard("hand on a piece of a stream")
_END = guard("end a stream")
_REPLY = guard("read the reply of a failed request")
_ASKED = guard("read a request that was never sent")

_NO_HEADERS: Mapping[str, str] = {}

_REQUEST_ID_HEADERS = ("x-request-id", "apim-request-id", "x-ms-request-id", "request-id")

_REASONS = {
    "GeneratorExit": "abandoned",
    "KeyboardInterrupt": "interrupted",
    "SystemExit": "interrupted",
}


@final
class Feed:
    """A record that hands the worker a piece of a long stream."""

    __slots__ = ("_call", "_chunks", "size_bytes")

    def __init__(self, call: Call, chunks: list[bytes], size_bytes: int) -> None:
        self._call = call
        self._chunks = chunks
        self.size_bytes = size_bytes

    def decode(self) -> None:
        """Let the reader have the bytes; there is nothing to deliver yet."""
        self._call.read(self._chunks)

    def lost(self) -> None:
        """Remember that the full queue dropped this piece, so that the text has a hole."""
        self._call.lost_bytes += self.size_bytes


@final
class Call(OpenRun):
    """One chat completion, from the call of the SDK's `request` to the end of the answer."""

    # Most calls are whole and well: what they do not need is not set up for each of them.
    _asked: Asked | None = None
    _error: Error | None = None
    _headers: Mapping[str, str] = _NO_HEADERS
    _owner: Owner | None = None
    _reader: AnswerReader | None = None
    _reason: str | None = None
    _size = 0  # of what is in _chunks
    _status: int | None = None
    _url: Any = ""
    _body = b""
    _first_sizes: Sequence[int] = ()  # where each chunk until the first feed ends
    lost_bytes = 0
    reading = False
    streaming = False
    unhook: Callable[[], None] | None = None

    def __init__(self, recorder: Recorder, options: Any) -> None:
        parent = current.get()
        if lookouts:
            around = surroundings()
            parent, self._owner = around.parent, around.owner
        OpenRun.__init__(self, recorder, "llm", "unknown", parent, LATER)
        self._options: Any = options
        self._attempts: list[list[Any]] = []
        self._chunks: list[bytes] = []
        self._times: list[float] = []  # when they came, by the clock
        self._first_times = self._times  # the same for those until the first feed

    @property
    def was_announced(self) -> bool:
        """Whether it was published as open: when the first attempt was sent."""
        return bool(self._attempts)

    def is_for(self, options: Any) -> bool:
        """Say whether this is the very call of these options, seen by another layer."""
        own = self._options
        if own is None:
            return False
        return own is options or (own.json_data is options.json_data is not None)

    def sent(self, url: Any, body: bytes) -> None:
        """Note an attempt; the first one makes the run visible."""
        self._attempts.append([self._clock() - self._t0, None])
        if len(self._attempts) > 1:
            return
        self._url = url
        self._body = body
        if self._owner is None and self.sampled:
            self._recorder.publish(Record(self, None, self.asked_facts, len(body)))

    def answered(self, response: Any) -> None:
        """Note the reply to the newest attempt: its status and headers, not its body."""
        self._status = response.status_code
        self._headers = response.headers
        if self._attempts:
            self._attempts[-1][1] = self._status

    def whole(self, body: bytes) -> None:
        """Take a body that the SDK has read at once."""
        self._chunks = [body]
        self._size = len(body)
        self._times.append(self._clock())

    def fail(self, error: BaseException) -> None:
        """End the run with what the application sees raised."""
        with _REPLY:
            self._refused(getattr(error, "response", None))
        if not self._attempts:
            with _ASKED:
                self._url, self._body = self._options.url, snapshot(self._options.json_data)
        self._error = describe(error, self._status)
        self._options = None
        self._settle(self.offset())

    def _refused(self, response: Any) -> None:
        """Read the reply that an error carries, if it is the one to this request."""
        request = getattr(response, "request", None)
        if request is None or self.streaming or request.url != self._url:
            return
        self.answered(response)
        if response.is_closed:
            self.whole(response.content)

    def track(self) -> None:
        """Count as a stream, which something has to end."""
        self.streaming = True
        self._recorder.streams.add(self)

    def returned(self) -> None:
        """
        End the run, unless its answer is a stream that is still to come.

        When nothing was sent, somebody between us and the SDK knew the answer (a cache), and there
        was no run.
        """
        self._options = None  # they hold the application's own messages
        if self._status is None and not self._attempts:
            self.discard()
        elif not self.streaming:
            self._settle(self._times[-1] - self._t0 if self._times else self.offset())

    def watch(self, chunks: Iterator[bytes]) -> Generator[bytes, None, None]:
        """
        Pass the chunks of a stream on, keeping a reference to each and the moment it came.

        What stands in the loop is done for every chunk; a call of a method would be half as much
        again.
        """
        clock = self._clock
        try:
            self.reading = True
            for chunk in chunks:
                self.reading = False
                self._chunks.append(chunk)
                self._times.append(clock())
                self._size += len(chunk)
                if self._size >= FEED_BYTES:
                    self._feed()
                yield chunk
                self.reading = True
        except BaseException as error:
            self.broke(error)
            raise
        self.drained()

    async def awatch(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Do what `watch` does, for an asynchronous stream."""
        clock = self._clock
        try:
            self.reading = True
            async for chunk in chunks:
                self.reading = False
                self._chunks.append(chunk)
                self._times.append(clock())
                self._size += len(chunk)
                if self._size >= FEED_BYTES:
                    self._feed()
                yield chunk
                self.reading = True
        except BaseException as error:
            self.broke(error)
            raise
        self.drained()

    def _feed(self) -> None:
        with _FEED:
            chunks, size_bytes = self._chunks, self._size
            self._chunks, self._size, self._times = [], 0, self._times[-1:]
            if self.sampled:
                self._recorder.publish(Feed(self, chunks, size_bytes))

    def broke(self, error: BaseException) -> None:
        """End a stream in which reading raised *error*, or that was dropped half-way."""
        self.reading = False
        with _END:
            if isinstance(error, Exception):
                self._error = describe(error, self._status)
            self._stop(_REASONS.get(type(error).__name__, "cancelled"))

    def drained(self) -> None:
        """End a stream that was read until the server had no more."""
        self.reading = False
        with _END:
            self._stop("truncated")

    def closed(self) -> None:
        """End a stream that is closed, unless its own iteration is about to say how it ended."""
        if not self.reading:
            cancelled = type(sys.exc_info()[1]).__name__ == "CancelledError"
            self._stop("cancelled" if cancelled else "closed")

    def left_open(self) -> None:
        """End a stream that is still open when the process ends."""
        self._stop("exit")

    def collected(self) -> None:
        """End a stream that nobody holds any more."""
        self._stop("abandoned" if self._times else "never_read")

    def _stop(self, reason: str) -> None:
        """End a stream; *reason* counts only if the bytes show that something is missing."""
        self._reason = self._reason or reason
        self._settle(self.offset())

    def _settle(self, duration: float) -> None:
        unhook, self.unhook = self.unhook, None
        if unhook is not None:
            self._recorder.streams.discard(self)
            unhook()
        if not self.discard():
            return
        size_bytes = len(self._body) + self._size
        if self._owner is not None:
            self._owner.absorb(self.facts, size_bytes)
        elif self.sampled:
            self._recorder.publish(Record(self, duration, self.facts, size_bytes))

    # ---- from here on: the worker's thread ----

    def asked_facts(self) -> Facts:
        """Say what was asked, for the run while it is open."""
        return facts_of(self._ask(), None)

    def facts(self) -> Facts:
        """Say all there is to say, for the run when it has ended."""
        self.read(self._chunks)
        self._chunks = []

        answered = self._answer_reader().finish()
        facts = facts_of(self._ask(), answered, **self._seen(answered))
        facts["error"] = self._error or _error_said(answered, self._status)
        if self.streaming and facts["error"] is None:
            self._judge(facts, answered)
        return facts

    def read(self, chunks: list[bytes]) -> None:
        """Let the reader have the next bytes of the answer."""
        reader = self._answer_reader()
        self._first_sizes = self._first_sizes or tuple(accumulate(map(len, chunks)))
        for chunk in chunks:
            reader.feed(chunk)

    def _ask(self) -> Asked:
        if self._asked is None:
            self._asked = read_request(self._body, url=str(self._url))
        return self._asked

    def _answer_reader(self) -> AnswerReader:
        if self._reader is None:
            kind = self._headers.get("content-type")
            self._reader = AnswerReader(kind, status=self._status or 200, n=self._ask().n)
        return self._reader

    def _judge(self, facts: Facts, answered: Answered) -> None:
        """Decide from the bytes whether a stream is whole, whatever closed it first."""
        if self.lost_bytes:
            facts["partial"] = "queue_full"
        elif answered.complete:
            if self._times:
                facts["duration"] = self._times[-1] - self._t0
        else:
            facts["partial"] = self._reason

    def _seen(self, answered: Answered) -> dict[str, Any]:
        """Give the fields of `Answer` that are in no body: what headers and clocks say."""
        header = self._headers.get
        return {
            "request_id": next(filter(None, map(header, _REQUEST_ID_HEADERS)), None),
            "processing_ms": _number(header("openai-processing-ms")),
            "rate_limits": _rate_limits(self._headers),
            "attempts": tuple([Attempt(offset, status) for offset, status in self._attempts]),
            "time_to_first_token": self._first_token(answered.first_token_at),
        }

    def _first_token(self, position: int | None) -> float | None:
        if position is None or not self.streaming:
            return None
        arrivals = zip(self._first_sizes, self._first_times, strict=False)
        return next((at - self._t0 for size, at in arrivals if size >= position), None)


def _error_said(answered: Answered, status: int | None) -> Error | None:
    """Find an error that came as the answer: in an event of the stream, or inside a 200."""
    said = answered.error
    if said is None:
        return None
    return Error(
        message=said.message or "the provider sent an error without a message",
        type=said.type or "APIError",
        status=said.status or status,
    )


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _rate_limits(headers: Mapping[str, str]) -> dict[str, str]:
    prefix = "x-ratelimit-"
    return {
        name[len(prefix) :]: value for name, value in headers.items() if name.startswith(prefix)
    }
