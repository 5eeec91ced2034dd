"""What was found out about this installation, a line for each thing; exit code 1 for a problem."""

from __future__ import annotations

import argparse
import logging
import textwrap
from collections.abc import Iterator
from dataclasses import asdict

import orjson

from ..doctor import Finding, Sections, State, examine, is_well
from ..terminal.cells import safe, width_of
from ..terminal.drawing import styled
from .asking import environment
from .printing import colour, columns, print_text, tell

MARKS: dict[State, tuple[str, str]] = {
    "ok": ("✓", "32"),
    "note": ("·", "33"),
    "problem": ("✗", "31"),
}


LEAST_TEXT = 30
"""Columns that a text has at least."""


def doctor(options: argparse.Namespace) -> int:
    """Print what was found."""
    # What goes wrong is printed below; the log would say it a second time.
    logging.getLogger("instrument").addHandler(logging.NullHandler())
    sections = examine(
        environment(), probe=options.probe, doing=lambda what: tell(f"instrument: {what} …")
    )
    tell("")
    well = is_well(sections)
    if options.json:
        values = {name: [asdict(each) for each in section] for name, section in sections.items()}
        print_text(orjson.dumps({"ok": well, **values}).decode())
    else:
        print_text("\n".join(lines(sections)))
    return 0 if well else 1


def lines(sections: Sections) -> Iterator[str]:
    """Write each section under its name, in columns, and the sum of it."""
    colours = colour()
    width = max(width_of(each.what) for section in sections.values() for each in section)
    for name, section in sections.items():
        yield styled(name, "1" if colours else "")
        for each in section:
            yield from written(each, width, colours=colours)
    problems = sum(each.state == "problem" for section in sections.values() for each in section)
    yield ""
    yield "all is well" if not problems else f"{problems} to put right"


def written(finding: Finding, width: int, *, colours: bool) -> Iterator[str]:
    """Write one finding, its text in as many lines as it needs."""
    mark, code = MARKS[finding.state]
    what = finding.what + " " * (width - width_of(finding.what))
    room = max(LEAST_TEXT, columns() - width - len("  ✓   "))
    first, *more = textwrap.wrap(safe(finding.text), room, break_on_hyphens=False) or [""]
    yield f"  {styled(mark, code if colours else '')} {what}  {first}"
    yield from (" " * (width + len("  ✓   ")) + each for each in more)
