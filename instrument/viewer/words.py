"""Figures and times as a person reads them at a glance."""

from __future__ import annotations

from datetime import datetime, timezone

from ..cost import Cost, written
from ..run import Usage
from ..terminal.drawing import seconds as _seconds

ABSENT = "—"
"""What stands for a figure that is not known."""

DASH = "\u2013"
"""What stands between the beginning and the end of something."""

_UNITS = ((1e9, "B"), (1e6, "M"), (1e3, "k"))
_STRETCHES = (
    *((31_536_000, "year"), (2_592_000, "30 days"), (604_800, "week"), (86_400, "day")),
    *((3_600, "hour"), (60, "minute"), (1, "second")),
)


def number(value: float | None) -> str:
    """Write a whole number in full."""
    return ABSENT if value is None else f"{value:,.0f}"


def short(value: float | None) -> str:
    """Write a number in three digits: `950`, `12.3k`, `4.56M`."""
    if value is None:
        return ABSENT
    for unit, name in _UNITS:
        if value >= unit * 0.9995:
            scaled = value / unit
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f}{name}"
    return f"{value:,.0f}"


def seconds(duration: float | None) -> str:
    """Write a duration."""
    return ABSENT if duration is None else _seconds(duration)


def percent(part: int, whole: int) -> str:
    """Write a share; the little that is not nothing stays visible."""
    if not whole:
        return ABSENT
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "< 0.1 %"
    return f"{share:.1f} %" if 0 < share < 10 else f"{share:.0f} %"


def clock(at: datetime, now: datetime | None = None) -> str:
    """Write a time of this machine's zone to the second, or the minute when it is another day's."""
    local = at.astimezone()
    return f"{local:%H:%M:%S}" if not _day(at, now) else f"{_day(at, now)} {local:%H:%M}"


def span(begin: datetime, end: datetime, now: datetime | None = None) -> str:
    """Write from when to when, no more exactly than that takes."""
    form = "%H:%M" if (end - begin).total_seconds() >= 60 else "%H:%M:%S"
    days = (_day(begin, now), _day(end, now))
    until = days[1] if days[1] != days[0] else ""
    parts = (
        days[0],
        begin.astimezone().strftime(form),
        DASH,
        until,
        end.astimezone().strftime(form),
    )
    return " ".join(part for part in parts if part)


def mark(at: datetime, width: float, now: datetime | None = None) -> str:
    """Write where a stretch of so many seconds begins."""
    if width >= 86_400:
        return _day(at, now) or "today"
    form = "%H:%M" if width >= 60 else "%H:%M:%S"
    return f"{_day(at, now)} {at.astimezone().strftime(form)}".lstrip()


def _day(at: datetime, now: datetime | None) -> str:
    """Write the day of a time, "" for today."""
    local = at.astimezone()
    today = (now or datetime.now(timezone.utc)).astimezone()
    if local.date() == today.date():
        return ""
    return f"{local.day} {local:%b}" + ("" if local.year == today.year else f" {local:%Y}")


def full(at: datetime) -> str:
    """Write a time with all there is to say."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def stretch(width: float) -> str:
    """Name a length of time: `30 minutes`, `1 day`."""
    size, name = next((size, name) for size, name in _STRETCHES if width >= size or size == 1)
    count = round(width / size)
    if name[0].isdigit():
        return name
    return f"{count} {name}{'' if count == 1 else 's'}"


def plural(count: int, noun: str) -> str:
    """Write how many of something there are."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def tokens(usage: Usage | None) -> str:
    """Write the tokens in and out of one run, as far as they are known."""
    if usage is None:
        return ""
    return both(usage.prompt, usage.completion)


def both(sent: int | None, received: int | None) -> str:
    """Write tokens in and out."""
    if sent is None and received is None:
        return ""
    return (
        f"{'?' if sent is None else short(sent)} → {'?' if received is None else short(received)}"
    )


def money(cost: Cost | None) -> str:
    """Write what something cost, as far as that is known."""
    return "" if cost is None else written(cost)
