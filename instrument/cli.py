"""
The command line: `instrument`, or `python -m instrument`.

Exit codes: 0 done, 1 there is nothing to show or something is to be put right, 2 wrong usage; `run`
has the program's own, or 127 when there is no such program and 126 when it cannot be started.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from . import launch, viewer
from .commands.asking import add_filters, add_since, add_store, path_of, positive
from .commands.printing import complain

MISSING, NOT_EXECUTABLE = 127, 126
"""The shell's exit codes for a program that is not there, and for one that does not start."""

if TYPE_CHECKING:
    # The only name that argparse has for what `add_subparsers` returns.
    Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - see above

RUN_HELP = """\
Run a program traced, which need not know about it. Its arguments, input,
signals and exit code are as they would be without. Python processes that it
starts are traced as well.

PROGRAM is a script (app.py), -m MODULE, -c CODE, - (code from stdin), or a
command that is installed (gunicorn, pytest, uvicorn). Options of Python's own
(-u, -X dev, -W error) may stand before it."""


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
        usage="instrument run [-h] [PYTHON OPTION ...] PROGRAM [ARG ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.set_defaults(do=lambda _: run.error("say which program"))
    for add in (add_show, add_stats, add_view, add_doctor, add_preview, add_send):
        add(commands)
    return top


def add_show(commands: Commands) -> None:
    """Describe `show`."""
    look = commands.add_parser(
        "show",
        help="print the newest traces as trees",
        description="Print the newest traces of the local store as trees, the newest last.",
    )
    look.add_argument("--limit", type=positive, default=10, metavar="N", help="traces (10)")
    look.add_argument("--follow", action="store_true", help="go on with those that end from now on")
    look.add_argument("--json", action="store_true", help="a line of JSON for each trace")
    add_filters(look)
    add_store(look)
    look.add_argument("--width", type=positive, metavar="N", help="columns (the terminal's)")
    look.set_defaults(do=show)


def add_stats(commands: Commands) -> None:
    """Describe `stats`."""
    figures = commands.add_parser(
        "stats",
        help="print tokens, cost, latency and errors",
        description="Add up the runs of the local store, by model and by user.",
    )
    figures.add_argument("--json", action="store_true", help="all of it as one JSON object")
    add_since(figures)
    add_store(figures)
    figures.add_argument("--width", type=positive, metavar="N", help="columns (the terminal's)")
    figures.set_defaults(do=stats)


def add_view(commands: Commands) -> None:
    """Describe `view`."""
    page = commands.add_parser(
        "view",
        help="open the local web page",
        description="Serve a web page over the local store, to this machine alone, until Ctrl-C.",
    )
    page.add_argument("--port", type=int, default=0, metavar="N", help="where to listen (any free)")
    page.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    add_store(page)
    page.set_defaults(do=view)


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
    """Print traces as trees."""
    from .commands.show import show

    return show(options)


def stats(options: argparse.Namespace) -> int:
    """Print what the runs come to."""
    from .commands.stats import stats

    return stats(options)


def doctor(options: argparse.Namespace) -> int:
    """Print what works here and what does not."""
    from .commands.doctor import doctor

    return doctor(options)


def preview(options: argparse.Namespace) -> int:
    """Print what traces would become for a destination."""
    from .commands.preview import preview

    return preview(options)


def send(options: argparse.Namespace) -> int:
    """Deliver stored traces."""
    from .commands.send import send

    return send(options)


def view(options: argparse.Namespace) -> int:
    """Serve the web page."""
    try:
        return viewer.serve(
            path_of(options), port=options.port, open_browser=not options.no_browser
        )
    except viewer.ViewError as error:
        complain(error)
        return 1


def add_doctor(commands: Commands) -> None:
    """Describe `doctor`."""
    look = commands.add_parser(
        "doctor",
        help="say what works here and what does not",
        description=(
            "Look at versions, patches, destinations, store and spool. Each backend whose key is "
            "set is sent one run named `instrument doctor`. Ends with 1 if something is to be put "
            "right."
        ),
    )
    look.add_argument("--no-probe", dest="probe", action="store_false", help="send nothing")
    look.add_argument("--json", action="store_true", help="all of it as one JSON object")
    look.set_defaults(do=doctor)


def add_preview(commands: Commands) -> None:
    """Describe `preview`."""
    dry = commands.add_parser(
        "preview",
        help="print what a destination would be sent",
        description=(
            "Print the exact requests that the newest traces would become for a destination, "
            "keys masked. Nothing is sent, and no key is needed."
        ),
    )
    dry.add_argument("--to", required=True, metavar="NAME", help="the destination")
    dry.add_argument("--limit", type=positive, default=1, metavar="N", help="traces (1)")
    add_filters(dry)
    add_store(dry)
    dry.set_defaults(do=preview)


def add_send(commands: Commands) -> None:
    """Describe `send`."""
    late = commands.add_parser(
        "send",
        help="deliver stored traces to a destination",
        description=(
            "Deliver what is stored to a destination whose key is set, oldest first. What was "
            "sent before by this command is left out. What a program sent by itself is not known "
            "here: LLMonitor and HoneyHive know it again by its ids."
        ),
    )
    late.add_argument("--to", required=True, metavar="NAME", help="the destination")
    add_since(late)
    late.add_argument("--again", action="store_true", help="send also what was sent before")
    add_store(late)
    late.set_defaults(do=send)
