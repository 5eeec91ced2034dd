"""One wish to have everything delivered, and what came of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Flushed:
    """
    What a flush came to, summed over all lanes.

    Attributes:
        delivered: Items that arrived since it began.
        pending: Items that still wait.
        dropped: Items that were lost since it began; `stats()` has the reasons.
    """

    delivered: int
    pending: int
    dropped: int


@final
@dataclass(slots=True, eq=False)
class Flush:
    """
    A flush as the worker sees it.

    Attributes:
        deadline: When it is answered, whatever is left; by the monotonic clock.
        is_final: Whether the transport ends with it.
        upto: How many records the intake had taken when the worker heard of it.
        marks: The newest item of each lane, once all those records are dealt out.
    """

    deadline: float
    is_final: bool = False
    done: threading.Event = field(default_factory=threading.Event)
    upto: int = 0
    marks: list[int] | None = None
