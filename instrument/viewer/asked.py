"""What an address of the page asks for: filters and a page number, read and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any, cast, final
from urllib.parse import urlencode

from ..run import KINDS
from ..store import Filters
from ..tree import Status

RANGES: Mapping[str, tuple[str, timedelta]] = {
    "15m": ("Last 15 minutes", timedelta(minutes=15)),
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}
STATUSES: Mapping[str, str] = {"ok": "OK", "error": "Error", "partial": "Partial", "open": "Open"}
MAX_PAGE = 10_000
"""Pages that a list has at most."""

_TEXTS = ("q", "status", "kind", "model", "user", "thread", "tag", "range", "since", "until")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """
    The parameters of a list, as they stand in its address; "" is not asked for.

    Attributes:
        since: A time of this machine's zone, as browsers write it (`2026-03-01T12:00`).
        page: From 1.
        problems: What was asked for and not understood, in sentences.
    """

    q: str = ""
    status: str = ""
    kind: str = ""
    model: str = ""
    user: str = ""
    thread: str = ""
    tag: str = ""
    range: str = ""
    since: str = ""
    until: str = ""
    page: int = 1
    problems: tuple[str, ...] = ()

    def filters(self, now: datetime) -> Filters:
        """Ask the store for it; a range counts from *now*."""
        since = now - RANGES[self.range][1] if self.range else moment(self.since)
        return Filters(
            search=self.q or None,
            status=cast("Status", self.status) if self.status else None,
            kind=self.kind or None,
            model=self.model or None,
            user_id=self.user or None,
            thread_id=self.thread or None,
            tag=self.tag or None,
            since=since,
            until=None if self.range else moment(self.until),
        )

    def given(self) -> dict[str, str]:
        """Return what was asked for, by the names that stand in the address."""
        named = {name: getattr(self, name) for name in _TEXTS}
        return {name: value for name, value in named.items() if value}

    @property
    def narrow(self) -> bool:
        """Say whether anything is left out by what was asked for."""
        return bool(self.given())

    @property
    def more(self) -> bool:
        """Say whether one of the filters is asked for that most do not need."""
        return bool(self.user or self.thread or self.tag or self.kind or self.since or self.until)

    def link(self, path: str, **changes: Any) -> str:
        """Write the address of the same list with some parameters changed, at its first page."""
        other = replace(self, **{"page": 1, **changes})
        named = other.given()
        if other.page > 1:
            named["page"] = str(other.page)
        query = urlencode(named)
        return f"{path}?{query}" if query else path

    def between(self, path: str, since: datetime, until: datetime) -> str:
        """Write the address of the same list, of a stretch of time alone."""
        return self.link(path, range="", since=written(since), until=written(until))


def read(query: Mapping[str, str]) -> Asked:
    """Read an address; what is not understood is left out and said."""
    given = {name: query.get(name, "").strip() for name in _TEXTS}
    bad = [name for name, good in _CHECKS.items() if given[name] and not good(given[name])]
    good = {name: "" if name in bad else value for name, value in given.items()}
    if good["range"]:  # it counts from now, and the two would only contradict it
        good["since"] = good["until"] = ""
    page = query.get("page", "")
    number = int(page) if page.isdecimal() and page.isascii() and len(page) < 9 else 1
    problems = tuple(f"“{given[name]}” is no {_WORDS.get(name, name)}." for name in bad)
    return Asked(**good, page=min(max(1, number), MAX_PAGE), problems=problems)


def moment(text: str) -> datetime | None:
    """Read a time of this machine's zone, or None where there is none."""
    try:
        return datetime.fromisoformat(text).astimezone(timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None


def written(at: datetime) -> str:
    """Write a time of this machine's zone, as short as a browser takes it."""
    local = at.astimezone().replace(tzinfo=None)
    return local.isoformat(timespec="seconds" if local.second else "minutes")


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "status": STATUSES.__contains__,
    "kind": KINDS.__contains__,
    "range": RANGES.__contains__,
    "since": lambda text: moment(text) is not None,
    "until": lambda text: moment(text) is not None,
}
_WORDS = {"since": "time", "until": "time", "range": "stretch of time"}
