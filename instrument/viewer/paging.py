"""Links from one part of a list to the next, and charts that link to lists."""

from __future__ import annotations

from ..store import Overview
from . import charts, words
from .asked import MAX_PAGE, Asked
from .source import View


def pager(asked: Asked, path: str, found: int, size: int) -> View:
    """
    Link to the pages beside this one.

    Args:
        asked: What this page shows.
        path: Where the list is.
        found: How many lines were found from this page on; more than *size* says that it goes on.
        size: Lines of one page.
    """
    page = asked.page
    first = (page - 1) * size
    return {
        "newer": asked.link(path, page=page - 1) if page > 1 else None,
        "older": asked.link(path, page=page + 1) if found > size and page < MAX_PAGE else None,
        "where": f"{first + 1:,} {words.DASH} {first + min(found, size):,}",
    }


def drawn(overview: Overview, asked: Asked) -> View:
    """Draw the charts of an overview; each bar leads to the list of its runs."""
    slots = overview.slots
    if not overview.totals.runs or not slots:
        return {"charts": []}
    return {
        "charts": charts.draw(overview, lambda since, until: asked.between("/", since, until)),
        "width": words.stretch(overview.width),
        "begin": words.mark(slots[0].at, overview.width),
        "end": words.mark(slots[-1].at, overview.width) if len(slots) > 1 else "",
    }
