"""The store over time as small charts: where each bar and line stands, in units of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeAlias, final

from ..cost import dollars
from ..store import Overview, Slot, Totals
from . import words

WIDTH, HEIGHT = 600.0, 100.0
"""The units of a chart; the page stretches it to the room that it has."""

GAP = 0.18
"""Which part of a slot stays empty beside its bar."""

Value: TypeAlias = Callable[[Totals], "float | None"]


@final
@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, and what it looks like."""

    look: str
    y: float
    height: float


@final
@dataclass(frozen=True, slots=True)
class Bar:
    """
    One stretch of time.

    Attributes:
        at: Where it begins; *width* is all of its room.
        label: What it says when it is pointed at.
        href: The list of its runs.
    """

    x: float
    width: float
    boxes: Sequence[Box]
    label: str
    href: str


@final
@dataclass(frozen=True, slots=True)
class Line:
    """
    A curve, in pieces where there is nothing between.

    Attributes:
        pieces: Each the points of one piece, as SVG writes them.
    """

    look: str
    pieces: Sequence[str]


@final
@dataclass(frozen=True, slots=True)
class Chart:
    """
    One chart with what it says in words.

    Attributes:
        top: What the upper edge stands for.
        parts: Looks and names of what is drawn, for the legend.
    """

    title: str
    headline: str
    note: str
    top: str
    parts: Sequence[tuple[str, str]]
    bars: Sequence[Bar]
    lines: Sequence[Line] = ()


@final
@dataclass(frozen=True, slots=True)
class Kind:
    """
    What a chart shows: values that are stacked, or values that are lines; and how to say them.

    Attributes:
        known: Whether there is anything to show.
    """

    title: str
    stacked: Sequence[tuple[str, str, Value]]
    lines: Sequence[tuple[str, str, Value]]
    headline: Callable[[Totals], str]
    note: Callable[[Totals], str]
    write: Callable[[float], str]
    known: Callable[[Totals], bool] = lambda _: True


def _fine(totals: Totals) -> float:
    return totals.runs - totals.errors


def _failed(totals: Totals) -> float:
    return totals.errors


def _share(totals: Totals) -> float | None:
    return 100 * totals.errors / totals.runs if totals.runs else None


def _all_tokens(totals: Totals) -> int | None:
    if totals.prompt_tokens is None and totals.completion_tokens is None:
        return None
    return (totals.prompt_tokens or 0) + (totals.completion_tokens or 0)


def _spent(totals: Totals) -> float | None:
    known = totals.cost.known if totals.cost else None
    return None if known is None else float(known)


def _cost_note(totals: Totals) -> str:
    unknown = totals.cost.unknown if totals.cost else 0
    return f"{words.number(unknown)} unpriced" if unknown else "at list prices"


def _run_note(totals: Totals) -> str:
    parts = [words.plural(totals.calls, "model call")]
    if totals.open:
        parts.append(f"{words.number(totals.open)} open")
    return " · ".join(parts)


KINDS = (
    Kind(
        "Runs",
        (("fine", "ok", _fine), ("bad", "failed", _failed)),
        (),
        lambda totals: words.number(totals.runs),
        _run_note,
        words.short,
    ),
    Kind(
        "Error rate",
        (("bad", "failed", _share),),
        (),
        lambda totals: words.percent(totals.errors, totals.runs),
        lambda totals: words.plural(totals.errors, "error"),
        lambda value: f"{value:.3g} %",
    ),
    Kind(
        "Latency of model calls",
        (),
        (("low", "p50", lambda totals: totals.p50), ("high", "p95", lambda totals: totals.p95)),
        lambda totals: words.seconds(totals.p50),
        lambda totals: f"p50 · p95 {words.seconds(totals.p95)}",
        words.seconds,
    ),
    Kind(
        "Tokens",
        (
            ("fine", "in", lambda totals: totals.prompt_tokens),
            ("high", "out", lambda totals: totals.completion_tokens),
        ),
        (),
        lambda totals: words.short(_all_tokens(totals)),
        lambda totals: (
            f"{words.short(totals.prompt_tokens)} in · {words.short(totals.completion_tokens)} out"
        ),
        words.short,
    ),
    Kind(
        "Cost",
        (("fine", "cost", _spent),),
        (),
        lambda totals: words.money(totals.cost),
        _cost_note,
        lambda value: dollars(Decimal(repr(value))),
        known=lambda totals: _spent(totals) is not None,
    ),
)


def draw(overview: Overview, href: Callable[[datetime, datetime], str]) -> list[Chart]:
    """
    Draw the charts.

    Args:
        overview: What they show.
        href: Writes the address of the runs of a stretch of time.
    """
    return [_chart(kind, overview, href) for kind in KINDS if kind.known(overview.totals)]


def _chart(kind: Kind, overview: Overview, href: Callable[[datetime, datetime], str]) -> Chart:
    slots = overview.slots
    shown = [*kind.stacked, *kind.lines]
    top = max((_height(kind, slot.totals) for slot in slots), default=0.0)
    scale = HEIGHT / top if top else 0.0
    room = WIDTH / max(1, len(slots))
    length = timedelta(seconds=overview.width)
    return Chart(
        title=kind.title,
        headline=kind.headline(overview.totals),
        note=kind.note(overview.totals),
        top=kind.write(top) if top else "",
        parts=[(look, name) for look, name, _ in shown] if len(shown) > 1 else [],
        bars=[
            Bar(
                number * room,
                room,
                _boxes(kind, slot.totals, scale),
                _label(kind, slot, length),
                href(slot.at, slot.at + length),
            )
            for number, slot in enumerate(slots)
        ],
        lines=[Line(look, _pieces(slots, value, scale, room)) for look, _, value in kind.lines],
    )


def _height(kind: Kind, totals: Totals) -> float:
    stacked = sum(value(totals) or 0 for _, _, value in kind.stacked)
    return max([stacked, *(value(totals) or 0 for _, _, value in kind.lines)])


def _boxes(kind: Kind, totals: Totals, scale: float) -> list[Box]:
    boxes = []
    floor = HEIGHT
    for look, _, value in kind.stacked:
        amount = value(totals)
        if amount:
            height = max(amount * scale, 1.5)
            floor -= height
            boxes.append(Box(look, max(0.0, floor), height))
    return boxes


def _pieces(slots: Sequence[Slot], value: Value, scale: float, room: float) -> list[str]:
    pieces: list[list[str]] = [[]]
    for number, slot in enumerate(slots):
        amount = value(slot.totals)
        if amount is None:
            pieces.append([])
            continue
        y = HEIGHT - amount * scale
        # A flat stretch across most of the slot: one alone is a dash, not a point nobody sees.
        edges = (number + GAP, number + 1 - GAP)
        pieces[-1].extend(f"{edge * room:.1f},{y:.1f}" for edge in edges)
    return [" ".join(piece) for piece in pieces if piece]


def _label(kind: Kind, slot: Slot, length: timedelta) -> str:
    values = [
        f"{name} {kind.write(amount)}"
        for _, name, value in (*kind.stacked, *kind.lines)
        if (amount := value(slot.totals)) is not None
    ]
    said = ", ".join(values) or "nothing"
    return f"{words.span(slot.at, slot.at + length)}: {said}"
