"""The console: one tree for each trace, where somebody sees it."""

import io
import os
import pty
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from instrument.exporters._base import LocalExporter
from instrument.exporters.console import Console, columns_of, from_env, put
from instrument.run import Trace
from instrument.transport import Transport
from tests.exporters.cases import GOLDEN

ROOT = Path(__file__).resolve().parents[2]
PLAIN = Trace(GOLDEN["plain"]())
CHAIN = Trace(GOLDEN["chain"]())

PROGRAM = """
from instrument import instrument, shutdown, trace
instrument()
with trace("forecast", kind="agent") as run:
    with trace("weather", kind="tool", input="Oslo") as tool:
        tool.output = "4 degrees"
shutdown()
"""


def console(**options):
    """Make a console that prints into a text."""
    stream = io.StringIO()
    return Console(stream=stream, cost=None, **{"force": True, **options}), stream


def test_one_tree_for_each_trace():
    """Each trace is a tree like those of `instrument show`, with an empty line after it."""
    made, stream = console()

    assert made.write([PLAIN, CHAIN]) == {}
    trees = stream.getvalue().split("\n\n")
    assert trees[2] == ""
    assert "gpt-4o" in trees[0]
    assert "└─" in trees[1]


def test_cost_is_shown():
    """What a call cost stands beside its tokens, where that is known."""
    stream = io.StringIO()
    Console(force=True, stream=stream, cost=lambda _: Decimal("0.0021")).write([PLAIN])

    assert "9 → 3 tokens  $0.0021" in stream.getvalue()


def test_quiet_where_nobody_sees_it():
    """Without a terminal nothing is taken at all, unless somebody asks."""
    quiet, _ = console(force=False)

    assert not quiet.wants(PLAIN)
    assert console()[0].wants(PLAIN)
    assert not console()[0].wants(PLAIN.root)


@pytest.mark.parametrize(("value", "wanted"), [("1", True), ("0", False), ("", False)])
def test_settings(value, wanted, monkeypatch):
    """INSTRUMENT_CONSOLE=1 prints also where stderr is no terminal."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())

    assert from_env({"INSTRUMENT_CONSOLE": value}).wants(PLAIN) is wanted


def test_closed_stream():
    """A stream that is closed, or not there, loses the traces and delays nobody."""
    made, stream = console()
    stream.close()

    assert made.write([PLAIN, CHAIN]) == {"stream_closed": 2}
    assert not put(None, "text")
    assert columns_of(stream) == 100


def test_narrow_character_set():
    """A stream that cannot print a character prints a stand-in."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")

    assert Console(force=True, stream=stream, cost=None).write([CHAIN]) == {}
    assert b"gpt-4o" in raw.getvalue()


def test_by_the_transport():
    """The runs of a tree reach it together, when the root has ended."""
    made, stream = console()
    assert isinstance(made, LocalExporter)
    transport = Transport([made])
    for run in CHAIN.runs:
        transport.publish(Carried(run))
    transport.shutdown(5.0)

    assert stream.getvalue().count("4 runs") + stream.getvalue().count("3 runs") == 1


class Carried:
    size_bytes = 0

    def __init__(self, item):
        self._item = item

    def decode(self):
        return self._item


def run_program(stderr, **env):
    """Run a traced program whose stderr goes there."""
    clean = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**clean, "INSTRUMENT_EXPORTERS": "console", "PYTHONPATH": str(ROOT), **env},
        stderr=stderr,
        check=True,
    )


def test_on_a_terminal():
    """On a terminal it is printed, in colours, and no line is wider than the terminal."""
    ours, theirs = pty.openpty()
    run_program(theirs, TERM="xterm", PYTHONIOENCODING="utf-8")
    os.close(theirs)
    printed = os.read(ours, 100_000).decode()
    os.close(ours)

    assert "agent forecast" in printed
    assert "tool weather" in printed
    assert "\x1b[" in printed


def test_in_a_pipe():
    """A program whose stderr is a file or a pipe prints nothing, or when asked, without colours."""
    assert run_program(subprocess.PIPE).stderr == b""

    printed = run_program(subprocess.PIPE, INSTRUMENT_CONSOLE="1").stderr
    assert b"tool weather" in printed
    assert b"\x1b" not in printed
