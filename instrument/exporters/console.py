"""
The console: one compact tree on stderr for each trace, as its root ends.

Quiet when stderr is no terminal, so that a log file of a service does not fill with trees, unless
it is asked for by `INSTRUMENT_CONSOLE=1`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO, final

from ..cost import Price, cost_of
from ..run import Item, Trace
from ..terminal import render
from ..tree import grow
from ._base import Environment, Limits

ENV = ()

WIDTH = 100
"""Columns where nobody says how many there are."""

_NO = frozenset({"", "0", "false", "no", "off"})


def from_env(env: Environment) -> Console:
    """Make the exporter; `INSTRUMENT_CONSOLE=1` prints also where stderr is no terminal."""
    plain = env.get("NO_COLOR") or env.get("TERM") == "dumb"
    return Console(
        force=env.get("INSTRUMENT_CONSOLE", "").strip().lower() not in _NO,
        colour=False if plain else None,
    )


@final
class Console:
    """
    Print traces for a person who watches.

    Args:
        force: Print also where stderr is no terminal.
        colour: Whether to use colours; None means on a terminal.
        stream: Where to print; None means `sys.stderr` as it is at that moment.
        cost: What a run cost, where that is known; None leaves costs out.
    """

    name = "console"
    limits = Limits()
    whole_traces = True

    def __init__(
        self,
        *,
        force: bool = False,
        colour: bool | None = None,
        stream: TextIO | None = None,
        cost: Price | None = cost_of,
    ) -> None:
        self._force = force
        self._colour = colour
        self._stream = stream
        self._cost = cost

    def wants(self, item: Item) -> bool:
        """Take whole traces, while there is somebody to see them."""
        stream = self._output()
        return isinstance(item, Trace) and (self._force or is_terminal(stream))

    def write(self, items: Sequence[Item]) -> Mapping[str, int]:
        """Print each trace, with one write, so that other output does not fall into it."""
        stream = self._output()
        traces = [item for item in items if isinstance(item, Trace)]
        for done, trace in enumerate(traces):
            if not put(stream, self._drawn(trace, stream)):
                return {"stream_closed": len(traces) - done}
        return {}

    def close(self) -> None:
        """Leave the stream as it is: it is not ours."""

    def _output(self) -> TextIO | None:
        return self._stream or sys.stderr

    def _drawn(self, trace: Trace, stream: TextIO | None) -> str:
        seen = is_terminal(stream)
        colour = seen if self._colour is None else self._colour and seen
        return render(grow(trace.runs), columns_of(stream), colour, cost=self._cost) + "\n\n"


def is_terminal(stream: TextIO | None) -> bool:
    """Say whether a person sees what is written there."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False


def columns_of(stream: TextIO | None) -> int:
    """Say how many columns there are."""
    try:
        return (os.get_terminal_size(stream.fileno()).columns if stream else 0) or WIDTH
    except (OSError, ValueError):
        return WIDTH


def put(stream: TextIO | None, text: str) -> bool:
    """Write a text, whatever the stream's character set; False when it takes no more."""
    if stream is None:
        return False
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):
        return False
    return True
