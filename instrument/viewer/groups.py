"""The lists of users and of threads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from ..store import Shared
from .asked import Asked
from .paging import pager
from .source import Source, View

PAGE_GROUPS = 50

Noun: TypeAlias = Literal["user", "thread"]

FIELDS: Mapping[Noun, Shared] = {"user": "user_id", "thread": "thread_id"}


def groups(source: Source, noun: Noun, asked: Asked) -> View:
    """Show the users or threads that have such letters in their id, those seen last first."""
    path = f"/{noun}s"
    view: View = {
        "title": f"{noun}s".capitalize(),
        "section": f"{noun}s".capitalize(),
        "noun": noun,
        "path": path,
        "asked": asked,
        "watch": "*" if asked.page == 1 else "",
    }
    store = source.store()
    if store is None:
        return {**view, "groups": [], "after": 0}
    after = store.latest()
    first = (asked.page - 1) * PAGE_GROUPS
    found = store.groups(FIELDS[noun], PAGE_GROUPS + 1, search=asked.q, offset=first)
    lines = {"after": after, "groups": found[:PAGE_GROUPS]}
    return {**view, **lines, **pager(asked, path, len(found), PAGE_GROUPS)}
