"""Figures in columns: a name at the left, numbers at the right, no wider than the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from .cells import cut, isolated, safe, width_of
from .drawing import styled

LEAST_NAME = 12
"""Columns that the names have at least."""

GAP = "  "


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], width: int, colour: bool = False
) -> str:
    """
    Draw rows under their head.

    A column in which no row has anything is left out, and so are the last ones for which there is
    no room.

    Args:
        head: What the columns are called, the names' first.
        rows: As many cells in each, "" for what is not known.
        width: Columns of the terminal; names are cut for it.
        colour: Whether to use colours.
    """
    kept = [0, *(n for n in range(1, len(head)) if any(row[n] for row in rows))]
    lines = [[safe(line[n]) for n in kept] for line in (head, *rows)]
    widths = [max(map(width_of, cells)) for cells in zip(*lines, strict=True)]
    while len(widths) > 2 and needed(widths) > width:
        widths.pop()
    widths[0] = max(min(widths[0], LEAST_NAME), min(widths[0], width - needed([0, *widths[1:]])))
    drawn = [cut(drawn_line(line, widths), width) for line in lines]
    return "\n".join([styled(drawn[0], "2" if colour else ""), *map(isolated, drawn[1:])])


def needed(widths: Sequence[int]) -> int:
    """Say how wide a line is at least: its names may be cut."""
    return min(widths[0], LEAST_NAME) + sum(each + len(GAP) for each in widths[1:])


def drawn_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Put the cells of a line into their columns."""
    name = cut(cells[0], widths[0])
    padded = [name + " " * (widths[0] - width_of(name))]
    for cell, width in zip(cells[1:], widths[1:], strict=False):
        padded.append(" " * (width - width_of(cell)) + cell)
    return GAP.join(padded).rstrip()
