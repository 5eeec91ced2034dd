"""
A trace as text: the tree as a person wants to see it in a terminal.

Pure: the same tree gives the same text. What came from outside cannot do anything to the terminal:
control characters show as symbols, and what would turn the direction of writing is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import TypeAlias, final

from ..cost import Price, dollars, written
from ..cost import total as total_cost
from ..run import Run, Usage
from ..tree import Row, Status, Tree, status
from .brief import answer, feedback, prompt
from .cells import cut, isolated, safe, width_of

MAX_RUNS = 500
"""How many runs of one trace are shown."""

NARROW = 80
"""Below so many columns, and where names would be cut, figures are written without explanations."""

LEAST_NAME = 20
"""Columns that names have at least, with the lines of the tree before them."""

LINES = {"bar": "│  ", "gap": "   ", "tee": "├─ ", "end": "└─ "}
MARKS: dict[Status, str] = {"ok": "✓", "error": "✗", "partial": "◐", "open": "○"}
STYLES = {
    "ok": "32",
    "error": "31",
    "partial": "33",
    "open": "36",
    "name": "1",
    "dim": "2",
    "plain": "",
}
"""What each part looks like in colour, in the numbers that terminals know."""

Cell: TypeAlias = "tuple[str, str]"
"""A text that is safe to print, and its style."""


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where a run stands in the drawing: what is left of its own line, and of the lines below."""

    head: str
    below: str


def render(
    tree: Tree,
    width: int = 100,
    colour: bool = False,
    zone: tzinfo | None = None,
    cost: Price | None = None,
) -> str:
    """
    Draw one trace, without a newline at the end.

    Args:
        tree: The trace.
        width: Columns of the terminal; no line is wider.
        colour: Whether to use colours.
        zone: The time zone of the times; None for this machine's.
        cost: What a run cost, where that is known; None leaves costs out.
    """
    rows = tree.rows[:MAX_RUNS]
    lines = [heading(tree, zone, width, cost), *drawing(tree, rows, width, cost)]
    if len(tree.rows) > len(rows):
        lines.append([(f"… and {len(tree.rows) - len(rows):,} more runs", "dim")])
    return "\n".join(paint(line, width, colour) for line in lines)


def heading(tree: Tree, zone: tzinfo | None, width: int, cost: Price | None) -> list[Cell]:
    """Write when it was, whose it is, and what it comes to; names are cut before figures are."""
    at = tree.root.started_at.astimezone(zone)
    when = f"{safe(tree.id[:8])}  {at:%Y-%m-%d %H:%M:%S}"
    comes_to = "".join(f"  {part}" for part in sums(tree, cost))
    names = "".join(f"  {safe(name)}" for name in whose(tree.root))
    room = width - width_of(when) - width_of(comes_to)
    return [(when + cut(names, max(room, 0)) + comes_to, "dim")]


def whose(run: Run) -> Iterator[str]:
    """Say who and what a run belongs to."""
    if run.user_id is not None:
        yield f"user {run.user_id}"
    if run.thread_id is not None:
        yield f"thread {run.thread_id}"
    yield from (f"#{tag}" for tag in run.tags)


def sums(tree: Tree, cost: Price | None) -> Iterator[str]:
    """Say what several runs come to; one alone says so itself."""
    if len(tree.rows) < 2:
        return
    runs = [row.run for row in tree.rows]
    yield f"{len(runs):,} runs"
    yield from filter(None, (tokens(total(runs)), cost and written(total_cost(runs, cost))))


def drawing(
    tree: Tree, rows: Sequence[Row], width: int, cost: Price | None = None
) -> Iterator[list[Cell]]:
    """Draw the runs: a line of figures for each, in columns, and what was said below it."""
    shown = [(row.run, place) for row, place in zip(rows, places(rows, width), strict=True)]
    longest = max(width_of(place.head) + 2 + width_of(label(run)) for run, place in shown)
    runs = [run for run, _ in shown]
    table, widths, room = tabled(runs, width, cost, short=width < NARROW)
    if longest > room:  # a name says more than the words beside a figure
        table, widths, room = tabled(runs, width, cost, short=True)
    column = min(longest, max(room, LEAST_NAME))
    for (run, place), cells in zip(shown, table, strict=True):
        yield trimmed([*name(run, place, column), *columns(cells, widths), *notes(run)])
        for line in said(tree, run):
            yield [(place.below, "dim"), *line]


def tabled(
    runs: Sequence[Run], width: int, cost: Price | None, *, short: bool
) -> tuple[Sequence[Sequence[str]], Sequence[int], int]:
    """Write the figures of all runs; say how wide each column is, and what is left for names."""
    table = [figures(run, cost, short=short) for run in runs]
    widths = [max(map(width_of, cells)) for cells in zip(*table, strict=True)]
    return table, widths, width - sum(each + 2 for each in widths if each)


def trimmed(line: Sequence[Cell]) -> list[Cell]:
    """Leave the empty cells at the end of a line out."""
    last = max(number for number, (words, _) in enumerate(line) if not words.isspace())
    return [*line[:last], (line[last][0].rstrip(), line[last][1])]


def places(rows: Sequence[Row], width: int) -> list[Place]:
    """Work out the lines of the tree, from the last run to the first."""
    deepest = max(1, width // 8)  # below that, depth is no longer drawn
    found = []
    later = [False] * (deepest + 2)  # whether a level goes on further down
    for row in reversed(rows):
        depth = min(row.depth, deepest)
        bars = "".join(LINES["bar" if later[level] else "gap"] for level in range(1, depth))
        elbow = LINES["tee" if later[depth] else "end"] if depth else ""
        beside = LINES["bar" if later[depth] else "gap"] if depth else ""
        trunk = "│ " if later[depth + 1] else "  "
        found.append(Place(bars + elbow, bars + beside + trunk))
        later[depth] = True
        later[depth + 1 :] = [False] * (deepest + 1 - depth)
    return found[::-1]


def label(run: Run) -> str:
    """Name a run: a model by its name alone, all else with its kind before it."""
    return safe(run.name if run.kind == "llm" else f"{run.kind} {run.name}")


def name(run: Run, place: Place, column: int) -> list[Cell]:
    """Write the lines of the tree, the mark of the status and the name, as wide as the column."""
    state = status(run)
    room = column - width_of(place.head) - 2
    words = cut(label(run), max(8, room))
    padding = " " * max(0, room - width_of(words))
    return [(place.head, "dim"), (f"{MARKS[state]} ", state), (words + padding, "name")]


def figures(run: Run, cost: Price | None = None, *, short: bool) -> tuple[str, str, str, str]:
    """Write how long a run took, a stream to its first token, its tokens, and what it cost."""
    first = run.answer.time_to_first_token if run.answer else None
    return (
        "running" if run.duration is None else seconds(run.duration),
        "" if first is None else f"first{'' if short else ' token'} {seconds(first)}",
        tokens(run.usage, short=short),
        "" if cost is None else dollars(cost(run)),
    )


def columns(cells: Sequence[str], widths: Sequence[int]) -> list[Cell]:
    """Put figures into columns, as wide as the widest of each; a column without any is left out."""
    pairs = zip(cells, widths, strict=True)
    return [(f"  {cell:>{width}}", "plain") for cell, width in pairs if width]


def notes(run: Run) -> list[Cell]:
    """Write what is out of the ordinary about a run."""
    found: list[Cell] = []
    if run.answer is not None and len(run.answer.attempts) > 1:
        found.append((f"  {len(run.answer.attempts)} attempts", "partial"))
    if run.partial is not None:
        found.append((f"  partial: {safe(run.partial)}", "partial"))
    return found


def said(tree: Tree, run: Run) -> Iterator[list[Cell]]:
    """Write the first words of prompt and answer, the error, and what somebody thought of it."""
    for sign, words in (("→ ", prompt(run)), ("← ", answer(run))):
        if words:
            yield [(sign, "dim"), (words, "plain")]
    if run.error is not None:
        number = f" {run.error.status}" if run.error.status is not None else ""
        yield [(safe(f"{run.error.type}{number}: {run.error.message}"), "error")]
    for each in tree.feedback.get(run.id, ()):
        yield [(feedback(each), "open")]


def seconds(duration: float) -> str:
    """Write a duration so that it is read at a glance."""
    if duration < 0.0005:
        return "< 1 ms"
    if duration < 0.9995:
        return f"{duration * 1000:.0f} ms"
    if duration < 59.995:
        return f"{duration:.2f} s"
    minutes, rest = divmod(round(duration), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} m"


def tokens(usage: Usage | None, *, short: bool = False) -> str:
    """Write the tokens in and out, as far as they are known."""
    if usage is None or (usage.prompt is None and usage.completion is None):
        return ""
    if usage.completion is None and usage.prompt == usage.total:  # as of embeddings
        return f"{usage.prompt:,}{'' if short else ' tokens'}"
    sent, received = ("?" if n is None else f"{n:,}" for n in (usage.prompt, usage.completion))
    return f"{sent} → {received}{'' if short else ' tokens'}"


def total(runs: Sequence[Run]) -> Usage:
    """Add the tokens of model calls up; chains and agents may repeat those of their calls."""
    usages = [run.usage for run in runs if run.usage and run.kind in {"llm", "embedding"}]
    prompts = [usage.prompt for usage in usages if usage.prompt is not None]
    completions = [usage.completion for usage in usages if usage.completion is not None]
    return Usage(
        sum(prompts) if prompts else None,
        sum(completions) if completions else None,
    )


def paint(line: Sequence[Cell], width: int, colour: bool) -> str:
    """Put a line together, no wider than the terminal."""
    text = []
    room = width
    for words, style in line:
        shown = cut(words, room)
        text.append(styled(isolated(shown), STYLES[style] if colour else ""))
        room -= width_of(shown)
        if shown != words:
            break
    return "".join(text)


def styled(text: str, code: str) -> str:
    """Give a text its style."""
    return f"\x1b[{code}m{text}\x1b[0m" if code and text else text
