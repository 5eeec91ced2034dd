"""What a status means, how long to wait, and what Retry-After says: plain functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Literal, TypeAlias

Action: TypeAlias = Literal["deliver", "retry", "split", "refuse", "park"]

_BY_STATUS: Mapping[int, Action] = {
    400: "refuse",
    408: "retry",
    413: "split",
    422: "refuse",
    425: "retry",
    429: "retry",
    501: "park",
}

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(r"\w{3}, (\d{2}) (\w{3}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT")
_SECONDS = re.compile(r"\d{1,12}(\.\d*)?")


def action(status: int) -> Action:
    """
    Say what a lane does about a reply by its status alone.

    `park` is for what a person has to put right: the key, the address, a redirection.
    """
    if 200 <= status < 300:
        return "deliver"
    known = _BY_STATUS.get(status)
    if known is not None:
        return known
    return "retry" if status >= 500 else "park"


def backoff(failures: int, *, base: float, cap: float, random: Callable[[], float]) -> float:
    """Choose a wait in seconds after so many failures in a row: full jitter, doubling, capped."""
    return random() * min(cap, base * 2.0 ** min(failures - 1, 32))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """
    Read Retry-After, in seconds or as a date; None when it is absent or garbage.

    A date is compared with the reply's own Date where there is one, so that a wrong clock on
    either side does not matter.

    Args:
        headers: Names in lower case.
        now: Wall clock, seconds since the epoch.
    """
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    until = http_date(value)
    if until is None:
        return None
    return max(0.0, until - (http_date(headers.get("date", "")) or now))


def http_date(text: str) -> float | None:
    """Read a date as HTTP writes it (`Sun, 06 Nov 1994 08:49:37 GMT`), or give None."""
    match = _DATE.fullmatch(text.strip())
    if match is None or match[2] not in _MONTHS:
        return None
    month = _MONTHS.index(match[2]) + 1
    day, year, hour, minute, second = (int(match[group]) for group in (1, 3, 4, 5, 6))
    try:
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=timezone.utc)
    except ValueError:
        return None
    return moment.timestamp()
