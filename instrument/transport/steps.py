"""What a lane asks to be done, and what it is told came of it."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from ..exporters._base import Encoded, Request, Response, Verdict
from ..run import Item


@final
@dataclass(frozen=True, slots=True)
class Encode:
    """Make requests of these items."""

    items: Sequence[Item]
    started: Container[str]


@final
@dataclass(frozen=True, slots=True)
class Shorten:
    """Cut this item's texts until it weighs no more than that."""

    item: Item
    max_bytes: int


@final
@dataclass(frozen=True, slots=True)
class Send:
    """Send this request."""

    request: Request


@final
@dataclass(frozen=True, slots=True)
class Write:
    """Write these items on this machine."""

    items: Sequence[Item]


@final
@dataclass(frozen=True, slots=True)
class Reply:
    """A reply came; *verdict* is what the exporter read in it, None when that is left to us."""

    response: Response
    verdict: Verdict | None


@final
@dataclass(frozen=True, slots=True)
class Shortened:
    """What is left of the item; None when there is nothing to cut."""

    item: Item | None


@final
@dataclass(frozen=True, slots=True)
class Written:
    """The items were written, but for those dropped, by reason."""

    dropped: Mapping[str, int]


@final
@dataclass(frozen=True, slots=True)
class Failure:
    """
    The step came to nothing.

    Attributes:
        kind: `again` for what may pass, `setup` for what a person has to put right (a certificate,
            an address, a proxy's password).
        text: What to say of it: no key, no prompt.
    """

    kind: Literal["again", "setup"]
    text: str


Step: TypeAlias = "Encode | Shorten | Send | Write"
Outcome: TypeAlias = "Encoded | Shortened | Reply | Written | Failure"
CRASHED = Failure("again", "a failure of our own, see above")
