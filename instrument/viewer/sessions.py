"""One user and one thread: their traces in sessions, which half an hour of quiet parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import final
from urllib.parse import urlencode

from ..store import EVERYTHING, Filters, Session, Store, Summary
from ..store.reader import SESSION_GAP
from . import words
from .asked import Asked
from .groups import Noun
from .paging import drawn
from .source import NotFoundError, Source, View

PAGE_SESSIONS = 10
PAGE_TRACES = 50
SESSION_TRACES = 50
"""Traces of one session that are shown; a link leads to all."""

_SECOND = timedelta(seconds=1)


@final
@dataclass(frozen=True, slots=True)
class Sitting:
    """A session on the page; *more* leads to the list of its traces when not all are shown."""

    title: str
    note: str
    traces: Sequence[Summary]
    more: str | None = None


def user(source: Source, user_id: str, page: int) -> View:
    """
    Show the sessions of one user, the newest first.

    Raises:
        NotFoundError: Nobody of that id was seen.
    """
    store = source.needed()
    after = store.latest()
    found = store.sessions(user_id)
    first = (page - 1) * PAGE_SESSIONS
    shown = found[first : first + PAGE_SESSIONS]
    if not shown:
        raise NotFoundError("There is no such user.")
    asked = Asked(user=user_id)
    overview = source.overview(Filters(user_id=user_id), after)
    return {
        **_page("user", user_id, page, more=len(found) > first + PAGE_SESSIONS),
        "after": after,
        "note": words.plural(len(found), "session"),
        "sessions": [_of_user(store, asked, each) for each in shown],
        **drawn(overview, asked),
    }


def thread(source: Source, thread_id: str, page: int) -> View:
    """
    Show the traces of one thread in the order in which they came; its end is the first page.

    Raises:
        NotFoundError: There is no thread of that id.
    """
    store = source.needed()
    after = store.latest()
    filters = replace(EVERYTHING, thread_id=thread_id)
    found = store.summaries(PAGE_TRACES + 1, filters, offset=(page - 1) * PAGE_TRACES)
    if not found:
        raise NotFoundError("There is no such thread.")
    overview = source.overview(filters, after)
    return {
        **_page("thread", thread_id, page, more=len(found) > PAGE_TRACES),
        "after": after,
        "note": words.plural(overview.totals.runs, "run"),
        "sessions": [_sitting(each) for each in part(found[:PAGE_TRACES][::-1])],
        **drawn(overview, Asked(thread=thread_id)),
    }


def part(traces: Sequence[Summary], gap: float = SESSION_GAP) -> list[list[Summary]]:
    """
    Part traces wherever nothing happened for longer than *gap* seconds.

    Args:
        traces: In the order in which they began.
        gap: From the end of all before to the next beginning.
    """
    parts: list[list[Summary]] = []
    end: datetime | None = None
    for each in traces:
        if end is None or (each.started_at - end).total_seconds() > gap:
            parts.append([])
        parts[-1].append(each)
        end = max(_end(each), end or each.started_at)
    return parts


def _end(trace: Summary) -> datetime:
    return trace.started_at + timedelta(seconds=trace.duration)


def _of_user(store: Store, asked: Asked, session: Session) -> Sitting:
    until = session.ended_at + _SECOND
    filters = Filters(user_id=asked.user, since=session.started_at, until=until)
    traces = store.summaries(SESSION_TRACES + 1, filters)
    counts = [words.plural(session.runs, "run")]
    if session.events:
        counts.append(words.plural(session.events, "event"))
    more = asked.between("/", session.started_at, until + _SECOND)
    return Sitting(
        words.span(session.started_at, session.ended_at),
        " · ".join(counts),
        traces[:SESSION_TRACES],
        more if len(traces) > SESSION_TRACES else None,
    )


def _sitting(traces: Sequence[Summary]) -> Sitting:
    title = words.span(traces[0].started_at, max(map(_end, traces)))
    return Sitting(title, words.plural(len(traces), "trace"), traces)


def _page(noun: Noun, name: str, page: int, *, more: bool) -> View:
    def link(number: int) -> str:
        turned = {"page": str(number)} if number > 1 else {}
        return f"/{noun}?{urlencode({'id': name, **turned})}"

    return {
        "title": name,
        "section": f"{noun}s".capitalize(),
        "list_path": f"/{noun}s",
        "all_href": Asked().link("/", **{noun: name}),
        "id": name,
        "watch": "*" if page == 1 else "",
        "newer": link(page - 1) if page > 1 else None,
        "older": link(page + 1) if more else None,
        "where": f"page {page:,}",
    }
