"""A run as a test wants to read it: what was said as text, what was sent as plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from ..exporters._text import asked, called, gist, load, messages, text
from ..run import JSON, Run, Usage
from ..terminal.drawing import LINES, MARKS, label
from ..tree import Row, Status, Tree, grow, status

REPR_CHARS = 60
"""How much of a text stands in the `repr` of a run."""


@final
@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that an answer calls; arguments that are no JSON stay the text that they are."""

    name: str
    arguments: JSON


@final
class RunView:
    """
    A run to assert on; all that `Run` has is here as well.

    Attributes:
        run: The run itself.
    """

    __slots__ = ("run",)

    def __init__(self, run: Run) -> None:
        self.run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self.run, name)

    def __eq__(self, other: object) -> bool:
        return self.run == (other.run if isinstance(other, RunView) else other)

    def __hash__(self) -> int:
        return hash(self.run.id)

    def __repr__(self) -> str:
        said = [repr(shortened(each)) for each in (self.prompt, self.text) if each]
        failed = f" {self.run.error.type}" if self.run.error else ""
        return f"<{self.run.kind} {self.run.name}: {' -> '.join(said)}{failed}>"

    @property
    def status(self) -> Status:
        """How it stands: `ok`, `error`, `partial` or `open`."""
        return status(self.run)

    @property
    def prompt(self) -> str:
        """What the user said last, or what a tool or a chain was given, as text."""
        return asked(self.run)

    @property
    def text(self) -> str:
        """What was answered, as text; of several choices the first."""
        return next(iter(self.texts), "")

    @property
    def texts(self) -> list[str]:
        """The text of each choice; it is empty where a choice only calls tools."""
        found = messages(self.output)
        if not found:
            return [] if self.output is None else [gist(self.output)]
        return [text(each.get("content")) or text(each.get("refusal")) for each in found]

    @property
    def messages(self) -> Sequence[Mapping[str, JSON]]:
        """The messages that were sent."""
        return messages(self.input)

    @property
    def calls(self) -> list[ToolCall]:
        """The tools that the answer calls, those of all its choices."""
        return [call for each in messages(self.output) for call in calls_of(each)]

    @property
    def input(self) -> JSON:
        """What was sent, as plain values."""
        return load(self.run.input)

    @property
    def output(self) -> JSON:
        """What came back, as plain values."""
        return load(self.run.output)

    @property
    def params(self) -> Mapping[str, JSON]:
        """Every field of the request but model and messages."""
        found = load(self.run.params)
        return found if isinstance(found, dict) else {}

    @property
    def usage(self) -> Usage:
        """Tokens; a count that the provider did not send is None."""
        return self.run.usage or Usage()


def shortened(words: str) -> str:
    """Cut a text for a `repr`."""
    return words if len(words) <= REPR_CHARS else words[: REPR_CHARS - 1] + "…"


def calls_of(message: Mapping[str, JSON]) -> list[ToolCall]:
    """Read the tools that a message calls, in the new way or the old one."""
    found = called(message)
    entries = found if isinstance(found, list) else [found]
    return [tool_call(entry) for entry in entries if isinstance(entry, dict)]


def tool_call(call: Mapping[str, JSON]) -> ToolCall:
    """Read one call of a tool, as OpenAI and as LangChain write it."""
    inner = call.get("function") or call.get("custom") or call
    assert isinstance(inner, dict)
    given = next((inner[key] for key in ("arguments", "args", "input") if key in inner), None)
    return ToolCall(str(inner.get("name")), decoded(given))


def decoded(arguments: JSON) -> JSON:
    """Read arguments that are JSON in a text."""
    if not isinstance(arguments, str):
        return arguments
    try:
        value: JSON = json.loads(arguments)
    except ValueError:
        return arguments
    return value


def outline(runs: Sequence[Run]) -> str:
    """
    Draw the trees of runs by their names alone, so that the same calls give the same text.

    What did not go well has its mark and its error behind its name.
    """
    traces: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.started_at):
        traces.setdefault(run.trace_id, []).append(run)
    return "\n".join(line for of in traces.values() for line in outlined(grow(of)))


def outlined(tree: Tree) -> list[str]:
    """Draw one tree, from its last line to its first."""
    lines: list[str] = []
    later: set[int] = set()
    for row in reversed(tree.rows):
        bars = "".join(LINES["bar" if level in later else "gap"] for level in range(1, row.depth))
        elbow = LINES["tee" if row.depth in later else "end"] if row.depth else ""
        lines.append(bars + elbow + titled(row))
        later = {level for level in later if level < row.depth} | {row.depth}
    return lines[::-1]


def titled(row: Row) -> str:
    """Name a run, and say how it ended unless that was well."""
    state = status(row.run)
    if state == "ok":
        return label(row.run)
    why = row.run.error.type if row.run.error else row.run.partial or state
    return f"{label(row.run)}  {MARKS[state]} {why}"
