"""What can be asked of the store, and the values that come back."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal, TypeAlias, final

from ..cost import Cost
from ..exporters._sqlite_search import indexable
from ..snapshot import clean
from ..tree import Status

Field: TypeAlias = Literal[
    "model", "user_id", "thread_id", "tag", "status", "kind", "provider", "name"
]
"""What runs can be grouped by."""

Shared: TypeAlias = Literal["user_id", "thread_id"]
"""What many traces can have in common, so that a page of its own is about it."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """
    Which runs are meant: all that is given must hold of one and the same run.

    Attributes:
        search: Words that its name, error, prompt or answer holds; "in quotes" for words that
            follow each other. The last word may be the beginning of one, from three letters on.
            In scripts without spaces between words, any part of a text is found.
        model: The model that was asked for.
        since: It began at this time or later.
        until: It began before this time.
    """

    search: str | None = None
    status: Status | None = None
    kind: str | None = None
    name: str | None = None
    model: str | None = None
    user_id: str | None = None
    thread_id: str | None = None
    tag: str | None = None
    since: datetime | None = None
    until: datetime | None = None


EVERYTHING = Filters()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """
    A trace as one line of a list.

    Attributes:
        status: Of the root; likewise *name*, *kind*, *ttft*, *prompt*, *answer* and *tags*.
        duration: Seconds from the first start to the last end that is known.
        ttft: Seconds to the first token.
        runs: How many runs it has; *errors* of them failed, *open* have not ended.
        prompt: The first words.
        error: Type and message of the root's error, the first words.
        models: The models that it called.
        cost: What its calls cost; None when there are no prices.
    """

    id: str
    name: str
    kind: str
    status: Status
    started_at: datetime
    duration: float
    ttft: float | None
    runs: int
    errors: int
    open: int
    prompt_tokens: int | None
    completion_tokens: int | None
    user_id: str | None
    thread_id: str | None
    prompt: str
    answer: str
    error: str = ""
    models: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    cost: Cost | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """
    Runs added up.

    Attributes:
        calls: Runs that called a model; tokens and percentiles are theirs alone.
        prompt_tokens: None when no provider sent a count; likewise *completion_tokens*.
        p50: Seconds in which half of the calls had ended.
        ttft_p50: Seconds in which half of the streams had their first token.
        cost: What the calls cost; None when there are no prices.
    """

    runs: int = 0
    calls: int = 0
    errors: int = 0
    open: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    p50: float | None = None
    p95: float | None = None
    ttft_p50: float | None = None
    ttft_p95: float | None = None
    cost: Cost | None = None


@final
@dataclass(frozen=True, slots=True)
class Value:
    """One model, user, tag ...: how many runs have it, and when the last of them began."""

    value: str
    runs: int
    last_at: datetime


@final
@dataclass(frozen=True, slots=True)
class Bucket:
    """The runs that began in one stretch of time."""

    at: datetime
    runs: int
    errors: int
    prompt_tokens: int | None
    completion_tokens: int | None


@final
@dataclass(frozen=True, slots=True)
class Slot:
    """What began in one stretch of time; there are no figures of first tokens."""

    at: datetime
    totals: Totals


@final
@dataclass(frozen=True, slots=True)
class Overview:
    """
    Runs over time.

    Attributes:
        width: Seconds of one stretch.
        totals: All of them added up; there are no figures of first tokens.
        slots: Every stretch, oldest first, also those without a run.
    """

    width: float
    totals: Totals
    slots: Sequence[Slot]


@final
@dataclass(frozen=True, slots=True)
class Group:
    """
    A user or a thread, and what its runs come to.

    Attributes:
        traces: How many of its runs are roots.
        prompt_tokens: None when no provider sent a count; likewise *completion_tokens*.
        cost: What its calls cost; None when there are no prices.
    """

    value: str
    first_at: datetime
    last_at: datetime
    traces: int
    runs: int
    errors: int
    open: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: Cost | None = None


@final
@dataclass(frozen=True, slots=True)
class Session:
    """What a user did without a long pause: how many runs, and how many other events."""

    started_at: datetime
    ended_at: datetime
    runs: int
    events: int


def at(seconds: float) -> datetime:
    """Read a time of the store, in seconds since the epoch, as UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc)


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least *share* (0 to 1) of the values do not exceed."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


Condition: TypeAlias = "tuple[str, dict[str, object]]"

_EQUAL = ("status", "kind", "name", "model", "user_id", "thread_id")


def where(filters: Filters, *, indexed: bool) -> Condition:
    """
    Write filters as a condition on `runs AS r`, and its values.

    Args:
        filters: Which runs are meant.
        indexed: Whether the store has a full-text index.
    """
    values: dict[str, object] = {}
    terms = ["1"]
    for name in _EQUAL:
        if (value := getattr(filters, name)) is not None:
            terms.append(f"r.{name} = :{name}")
            values[name] = clean(value)
    if filters.tag is not None:
        terms.append("r.n IN (SELECT n FROM tags WHERE tag = :tag)")
        values["tag"] = clean(filters.tag)
    for name, at, sign in (("since", filters.since, ">="), ("until", filters.until, "<")):
        if at is not None:
            terms.append(f"r.started {sign} :{name}")
            values[name] = at.timestamp()
    if filters.search and filters.search.strip():
        condition, values["search"] = _search(clean(filters.search), indexed)
        terms.append(condition)
    return " AND ".join(terms), values


def is_scanned(filters: Filters, *, indexed: bool) -> bool:
    """Say whether a search is for what the index does not hold: nothing but signs."""
    text = (filters.search or "").strip()
    return bool(text) and (not indexed or match(clean(text)) is None)


def _search(text: str, indexed: bool) -> tuple[str, str]:
    """Look words up in the index; where there is none for them, look through the newest texts."""
    words = match(text) if indexed else None
    if words is not None:
        return INDEXED, words
    escaped = re.sub(r"([\\%_])", r"\\\1", text.strip())
    return f"{_NEWEST} AND {_LIKE}", f"%{escaped}%"


SCANNED_RUNS = 5_000
"""How many of the newest runs are looked through for what the index does not hold."""

INDEXED = "r.n IN (SELECT rowid FROM search WHERE search MATCH :search)"
_NEWEST = f"r.n > (SELECT max(n) FROM runs) - {SCANNED_RUNS}"  # noqa: S608 - the text is ours
_LIKE = r"""EXISTS (
    SELECT 1 FROM texts x WHERE x.n = r.n AND (
        x.title LIKE :search ESCAPE '\' OR x.prompt LIKE :search ESCAPE '\'
        OR x.answer LIKE :search ESCAPE '\'
    )
)"""

LEAST_BEGINNING = 3
"""Letters of the beginning of a word by which it is found: nearly every run has one with fewer."""


def match(text: str) -> str | None:
    """Write what a person typed as a question to the index; None when that cannot answer it."""
    if "\x00" in text:
        return None
    text = clean(text)  # as the texts of the store were
    parts = (quoted or word for quoted, word in re.findall(r'"([^"]*)"|([^\s"]+)', text))
    words = [part for part in map(indexable, parts) if any(char.isalnum() for char in part)]
    if not words:
        return None
    quoted = text.rstrip().endswith('"')
    beginning = not quoted and len(words[-1].split()[-1]) >= LEAST_BEGINNING
    return " ".join(f'"{word}"' for word in words) + ("*" if beginning else "")
