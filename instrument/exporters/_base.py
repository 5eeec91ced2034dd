"""
What an exporter is: one destination, in one file.

A module of this folder whose name does not begin with an underscore is an exporter, found by that
name (`INSTRUMENT_EXPORTERS=llmonitor`). It has

 - `ENV`: names of the environment variables that turn it on by being set (`()`: never by itself);
 - `from_env(env)`: make the exporter, or raise `ConfigError` with the remedy.

An exporter is one of two: an `HttpExporter` turns items into requests and reads the replies, both
as plain functions, and never sees a socket; a `LocalExporter` writes items itself. Each has a lane
of its own, so neither needs a thought about threads, retries or its neighbours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, final, runtime_checkable

from ..run import Item

Environment: TypeAlias = Mapping[str, str]
"""The environment variables, given by whoever makes the exporter."""


@final
@dataclass(frozen=True, slots=True)
class Limits:
    """
    How much one batch may hold; the lane learns a lower byte limit when a backend says 413.

    Attributes:
        max_items: Items in one batch.
        max_bytes: What they weigh, unless it is one item alone.
        max_item_bytes: What one item weighs at most, and no less than a batch; the longest texts of
            a larger one are cut before it goes to a backend. One that refuses it nevertheless, with
            a 413, gets less of it.
    """

    max_items: int = 100
    max_bytes: int = 1_000_000
    max_item_bytes: int = 8_000_000


@final
@dataclass(frozen=True, slots=True)
class Request:
    """
    One HTTP request, and the items that it delivers.

    Attributes:
        url: Absolute, without credentials.
        headers: All but Content-Type (JSON), Content-Encoding and User-Agent, which the sender adds;
            it compresses unless there is a Content-Encoding already (`identity`).
        body: JSON, not compressed. The lane sends the same bytes at every try.
        items: What the body holds; an item is in exactly one request of a batch.
    """

    url: str
    body: bytes
    items: Sequence[Item]
    headers: Mapping[str, str] = field(default_factory=dict)
    method: Literal["POST", "PUT"] = "POST"


@final
@dataclass(frozen=True, slots=True)
class Encoded:
    """A batch as requests, and the items that this destination cannot express, by reason."""

    requests: Sequence[Request]
    dropped: Mapping[str, int] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class Response:
    """A reply: status, headers in lower case, and at most the first 64 KiB of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_page(self) -> bool:
        """Whether it is a page for people: a proxy's, a login's or an application's, and no API's."""
        return self.body.lstrip()[:1] == b"<"


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What a reply said about the items of its request, each of which is in one of the three.

    Attributes:
        delivered: How many items the backend has.
        dropped: How many it refused for good, by reason.
        retry: Those to send again.
    """

    delivered: int
    dropped: Mapping[str, int] = field(default_factory=Counter)
    retry: Sequence[Item] = ()


class Exporter(Protocol):
    """
    What both kinds have.

    Attributes:
        name: Name of the lane, in `stats()` and in log lines.
        limits: Bounds of one batch.
        whole_traces: True for a destination that takes a tree as one `Trace` when its root ends,
            instead of its runs one by one.
    """

    name: str
    limits: Limits
    whole_traces: bool

    def wants(self, item: Item) -> bool:
        """
        Say whether this destination has a use for such an item at all.

        Called on the worker for every item. An open run (`duration is None`) is for destinations
        that show a run while it runs; all others answer False to it.
        With `whole_traces` it is asked about the tree, and never about the runs of one.
        """


@runtime_checkable
class HttpExporter(Exporter, Protocol):
    """A backend behind HTTP: pure functions from items to requests and from replies to verdicts."""

    def encode(self, items: Sequence[Item], started: Container[str]) -> Encoded:
        """
        Turn items, oldest first, into requests.

        Pure: the same items give the same bytes.

        Args:
            items: What `wants` let in.
            started: Ids of runs that this destination has already.
        """

    def verdict(self, request: Request, response: Response) -> Verdict | None:
        """
        Read a reply; None leaves the decision to the lane, by the HTTP status.

        The lane's decision: 2xx delivered, unless the reply is a web page; 408, 425, 429 and 5xx again later; 413, 400 and 422 in
        halves until the bad item is found; anything else stops the lane and keeps what it holds.
        """


@runtime_checkable
class LocalExporter(Exporter, Protocol):
    """A destination on this machine, which writes by itself on a thread of the transport's."""

    def write(self, items: Sequence[Item]) -> Mapping[str, int]:
        """
        Write items, oldest first, and return those that were dropped, by reason.

        Raises:
            Exception: Nothing was written; the lane tries again later, and counts.
        """

    def close(self) -> None:
        """Let go of files. Called once, when the transport ends."""
