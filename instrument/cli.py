"""
The command line: `instrument`, or `python -m instrument`.

Exit codes: 0 done, 1 there is nothing to show, 2 wrong usage; `run` has the program's own, or 127
when there is no such program and 126 when it cannot be started.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from . import launch, terminal, viewer
from .exporters.sqlite import store_path
from .store import Store, StoreError

MISSING, NOT_EXECUTABLE = 127, 126
"""The shell's exit codes for a program that is not there, and for one that does not start."""

RUN_HELP = """\
Run a program traced, which need not know about it. Its arguments, input,
signals and exit code are as they would be without. Python processes that it
starts are traced as well."""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Do what the command line says.

    Args:
        arguments: Else those of this process.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # All that follows `run` is the program's, options among it, which argparse would claim.
    if words[:1] == ["run"] and words[1:2] not in ([], ["-h"], ["--help"]):
        return start(words[1:])
    options = parser().parse_args(words)
    code: int = options.do(options)
    return code


def parser() -> argparse.ArgumentParser:
    """Describe the commands and their options."""
    top = argparse.ArgumentParser(
        prog="instrument", description="Trace OpenAI and LangChain calls, and look at them."
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run = commands.add_parser(
        "run",
        help="run a program traced",
        description=RUN_HELP,
        usage="instrument run [-h] (SCRIPT | -m MODULE | -c CODE | COMMAND) [ARG ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.set_defaults(do=lambda _: run.error("say which program"))
    look = commands.add_parser(
        "show",
        help="print the newest traces as trees",
        description="Print the newest traces of the local store as trees, the newest last.",
    )
    look.add_argument("--limit", type=positive, default=10, metavar="N", help="traces (10)")
    look.add_argument("--store", metavar="FILE", help="else INSTRUMENT_STORE, .instrument/runs.db")
    look.add_argument("--width", type=positive, metavar="N", help="columns (the terminal's)")
    look.set_defaults(do=show)
    page = commands.add_parser(
        "view",
        help="open the local web page",
        description="Serve a web page over the local store, to this machine alone, until Ctrl-C.",
    )
    page.add_argument("--port", type=int, default=0, metavar="N", help="where to listen (any free)")
    page.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    page.add_argument("--store", metavar="FILE", help="else INSTRUMENT_STORE, .instrument/runs.db")
    page.set_defaults(do=view)
    return top


def positive(text: str) -> int:
    """Read a whole number above zero."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def start(program: Sequence[str]) -> int:
    """Become the program, or say why not."""
    try:
        return launch.run(program)
    except launch.ProgramNotFoundError as error:
        complain(error)
        return MISSING
    except OSError as error:
        complain(f"{program[0]} cannot be started: {error.strerror}")
        return NOT_EXECUTABLE


def show(options: argparse.Namespace) -> int:
    """Print the newest traces."""
    path = Path(options.store) if options.store else store_path(os.environ)
    try:
        trees = Store(path).newest(options.limit)
    except StoreError as error:
        complain(error)
        return 1
    if not trees:
        complain(f"no runs yet in {path}")
        return 1
    width = options.width or shutil.get_terminal_size().columns
    print_text(
        "\n\n".join(terminal.render(tree, width, colour=colour()) for tree in reversed(trees))
    )
    return 0


def view(options: argparse.Namespace) -> int:
    """Serve the web page."""
    path = Path(options.store) if options.store else store_path(os.environ)
    try:
        return viewer.serve(path, port=options.port, open_browser=not options.no_browser)
    except viewer.ViewError as error:
        complain(error)
        return 1


def colour() -> bool:
    """Say whether to use colours: on a terminal, unless NO_COLOR or a dumb one says otherwise."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


def print_text(text: str) -> None:
    """Print, whatever the terminal's character set, and until the reader has had enough."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except BrokenPipeError:
        # `| head` closed the pipe; what Python would flush at its end has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(message: object) -> None:
    """Say what is wrong, on stderr."""
    print(f"instrument: {message}", file=sys.stderr)
