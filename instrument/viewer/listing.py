"""The list of traces, and what of it is new."""

from __future__ import annotations

from collections.abc import Iterator

from ..run import KINDS
from . import asked as asking
from .asked import Asked
from .paging import drawn, pager
from .source import Source, View

PAGE_TRACES = 50
MAX_CHANGES = 1_000

_TITLES = {"q": "search", "since": "from", "until": "to", "range": "time"}


def traces(source: Source, asked: Asked) -> View:
    """Show the newest traces that have such a run, and what all such runs come to."""
    view: View = {
        "title": "Traces",
        "section": "Traces",
        "asked": asked,
        "path": source.path,
        "watch": "*" if asked.page == 1 else "",
        "statuses": asking.STATUSES,
        "ranges": [(name, title) for name, (title, _) in asking.RANGES.items()],
        "kinds": [(kind, kind) for kind in KINDS],
        "active": list(_active(asked)),
    }
    store = source.store()
    if store is None:
        return {
            **view,
            "traces": [],
            "charts": [],
            "models": [],
            "tags": [],
            "after": 0,
            "scanned": None,
        }
    after = store.latest()
    filters = asked.filters(source.moment())
    found = store.summaries(PAGE_TRACES + 1, filters, offset=(asked.page - 1) * PAGE_TRACES)
    return {
        **view,
        "after": after,
        "models": _options(source.values("model"), asked.model),
        "tags": source.values("tag"),
        "traces": found[:PAGE_TRACES],
        "scanned": store.scanned(filters),
        **drawn(source.overview(filters, after), asked),
        **pager(asked, "/", len(found), PAGE_TRACES),
    }


def changes(source: Source, after: int) -> View:
    """Say which traces were written to since, and the number to ask with the next time."""
    store = source.store()
    last, ids = store.changed(after, MAX_CHANGES) if store else (0, [])
    return {"after": last, "ids": ids}


def _options(models: list[str], chosen: str) -> list[tuple[str, str]]:
    """Offer the models that there are, and the one that was asked for though it is not."""
    offered = models if not chosen or chosen in models else [chosen, *models]
    return [(model, model) for model in offered]


def _active(asked: Asked) -> Iterator[tuple[str, str, str]]:
    """List the filters in use: name, value, and the address without it."""
    for name, value in asked.given().items():
        text = asking.RANGES[value][0] if name == "range" else value
        text = text.replace("T", " ") if name in {"since", "until"} else text
        yield _TITLES.get(name, name), text, asked.link("/", **{name: ""})
