"""When a lane may try again: a state machine that is told what happened and never waits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias, final

from .bounds import Bounds
from .policy import backoff

State: TypeAlias = Literal["closed", "open", "half_open", "paused", "parked"]


@final
class Breaker:
    """
    How a backend is doing; the table of states stands in `lane`.

    Args:
        chance: Random numbers from 0.0 to 1.0, for the jitter.

    Attributes:
        not_before: When the next step may be taken, by the monotonic clock.
    """

    def __init__(self, bounds: Bounds, chance: Callable[[], float]) -> None:
        self.state: State = "closed"
        self.not_before = -math.inf
        self._bounds = bounds
        self._chance = chance
        self._failures = 0
        self._leaving = False

    def trying(self) -> None:
        """A step begins."""
        if self.state in {"open", "paused"}:
            self.state = "half_open"

    def recovered(self) -> None:
        """The backend is well."""
        self.state = "closed"
        self._failures = 0
        self.not_before = -math.inf

    def failed(self, now: float, asked: float | None, *, afresh: bool = False) -> None:
        """
        A step came to nothing that may pass: the next is as asked for, else by backoff.

        Args:
            now: By the monotonic clock.
            asked: Seconds that the backend asked for, if it did.
            afresh: Part of it got through, so that the failures before it do not count.
        """
        self._failures = 1 if afresh else self._failures + 1
        self._wait(now, asked)

    def refused_all(self, now: float) -> None:
        """The backend wants nothing of what it gets, so it counts as down."""
        self._failures = max(self._failures + 1, self._bounds.breaker_failures)
        self._wait(now, None)

    def park(self, now: float) -> bool:
        """A person has to put something right; True when this is news."""
        self._failures += 1
        self.not_before = now + self._bounds.probe_interval
        is_news = self.state != "parked"
        self.state = "parked"
        return is_news

    def hurry(self, now: float) -> None:
        """
        Prepare for the end: a wait of our own choosing is cut short, and later ones are short.

        A backend that was down gets one try, one that was not gets a few. What a backend or a
        refused key imposes stays.
        """
        self._leaving = True
        if self.state in {"closed", "open"}:
            self.not_before = min(self.not_before, now)

    def _wait(self, now: float, asked: float | None) -> None:
        bounds = self._bounds
        is_down = self._failures >= bounds.breaker_failures
        if asked:
            self.state = "paused"
            self.not_before = now + min(asked, bounds.pause_cap)
            return
        self.state = "open" if is_down else "closed"
        if is_down and self._leaving:
            self.not_before = math.inf
            return
        cap = bounds.exit_backoff_cap if self._leaving else bounds.backoff_cap
        wait = backoff(self._failures, base=bounds.backoff_base, cap=cap, random=self._chance)
        self.not_before = now if asked == 0 and self._failures == 1 else now + wait
