"""A tree as a waterfall: where on the trace's time each run stands, in per cent of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import final

from ..run import Run
from ..tree import Status, Tree, status
from . import words

MAX_DEPTH = 12
"""Levels that are indented; what is deeper stands at the last of them."""

TICKS = 5
"""How many marks the time axis has, about."""


@final
@dataclass(frozen=True, slots=True)
class Stripe:
    """
    One run on the time axis, in per cent from the left.

    Attributes:
        first: Width until the first token came; None where that is not known.
    """

    run: Run
    status: Status
    depth: int
    left: float
    width: float
    first: float | None


@final
@dataclass(frozen=True, slots=True)
class Waterfall:
    """
    All runs of a trace on one time axis.

    Attributes:
        ticks: Where the marks of the axis stand, and what is written there.
        seconds: How long all of it is.
    """

    stripes: Sequence[Stripe]
    ticks: Sequence[tuple[float, str]]
    seconds: float


def draw(tree: Tree, now: datetime) -> Waterfall:
    """Lay a tree out on the time from its first start to its last end, an open run until *now*."""
    runs = [row.run for row in tree.rows]
    start = min(run.started_at for run in runs)
    last = max((run.ended_at or run.started_at for run in runs), default=start)
    still_open = any(run.duration is None for run in runs)
    end = max(last, now) if still_open and _lately(last, now) else last
    length = max((end - start).total_seconds(), 1e-6)
    stripes = [_stripe(row.run, row.depth, start, length) for row in tree.rows]
    return Waterfall(stripes, _ticks(length), length)


def _lately(last: datetime, now: datetime) -> bool:
    """Say whether an open run may still be going on; after an hour its program has long died."""
    return 0 <= (now - last).total_seconds() < 3_600


def _stripe(run: Run, depth: int, start: datetime, length: float) -> Stripe:
    begin = (run.started_at - start).total_seconds()
    taken = length - begin if run.duration is None else run.duration
    left = 100 * begin / length
    width = max(0.0, min(100 * taken / length, 100 - left))
    first = run.answer.time_to_first_token if run.answer else None
    until = None if first is None else max(0.0, min(100 * first / length, width))
    return Stripe(run, status(run), min(depth, MAX_DEPTH), left, width, until)


def _ticks(length: float) -> list[tuple[float, str]]:
    step = _round(length / TICKS)
    count = math.floor(length / step)
    return [(100 * number * step / length, _mark(number * step)) for number in range(count + 1)]


def _mark(seconds: float) -> str:
    if seconds == 0:
        return "0"
    return f"{seconds:g} s" if 1 <= seconds < 60 else words.seconds(seconds)


def _round(seconds: float) -> float:
    """Make a number 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(seconds))
    return float(next(unit * power for unit in (1, 2, 5, 10) if unit * power >= seconds * 0.999))
