"""
Run a program that never heard of us, traced: `python -m instrument run ...`.

The program takes the place of this process, so its arguments, `__main__`, working folder, standard
streams, signals and exit code are as they would be without us. All that differs is one folder at
the front of `PYTHONPATH`; see `_bootstrap/sitecustomize.py`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import config

BOOTSTRAP = Path(__file__).resolve().parent / "_bootstrap"
IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFZ", "SIGXFSZ")
"""Signals that Python ignores from its start, and that a program must find as they were."""

STARTED = "RUN_BY_INSTRUMENT"
"""Holds the id of the process that `run` becomes: this one alone says why it is not traced."""

ENDING = "cm"
"""Options of Python after which everything is the program's."""

VALUED = re.compile(rf"-(?P<flags>[^WX{ENDING}]*)(?P<last>[WX{ENDING}])(?P<value>.*)", re.DOTALL)
"""Letters of Python's options, up to the first that has a value, in the same word or the next."""

WITHOUT_VALUE = re.compile(r"-[A-VYZa-z]+")
LONG_VALUED = frozenset({"--check-hash-based-pycs"})


class ProgramNotFoundError(LookupError):
    """There is neither a script nor a command of that name."""


def run(arguments: Sequence[str]) -> int:
    """
    Become the program.

    Args:
        arguments: Options of Python's own, if any; a script, `-m` and a module, `-c` and code, `-`
            for code from stdin, or the name of a command; then what the program itself is given.

    Returns:
        The program's exit code, on systems where a process cannot become another one.

    Raises:
        ProgramNotFoundError: There is no such program.
        OSError: It cannot be started.
    """
    command = find(arguments)
    env = dict(os.environ)
    if not config.disabled(env) and not is_hindered(command):
        env["PYTHONPATH"] = path_with_bootstrap(env)
        env[STARTED] = str(os.getpid())
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":
        for name in IGNORED_BY_PYTHON:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
        os.execve(command[0], command, env)  # noqa: S606 - what the user asked to run
    return subprocess.call(command, env=env)  # noqa: S603 - what the user asked to run


def find(arguments: Sequence[str]) -> list[str]:
    """
    Find what to execute: the interpreter with a script or module, or a command as it is.

    Raises:
        ProgramNotFoundError: There is no such program.
    """
    options, program = parted(arguments)
    python = [sys.executable, *interpreter_options()]
    if not program or is_python(program[0]):
        return [*python, *arguments]
    # The scripts that are installed beside this interpreter come before others of that name.
    folders = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    command = shutil.which(program[0], path=folders)
    if command is not None and not options:
        return [command, *program[1:]]
    if Path(program[0]).is_file():
        return [*python, *arguments]
    if command is not None and is_python_script(Path(command)):
        return [*python, *options, command, *program[1:]]
    what = f"Python script {program[0]!r}" if options else f"script or command {program[0]!r}"
    raise ProgramNotFoundError(f"there is no {what}")


def is_python(target: str) -> bool:
    """Say whether this is the interpreter's to run, whatever commands there are."""
    if target in {"-m", "-c", "-"} or target.endswith((".py", ".pyz")):
        return True
    return Path(target, "__main__.py").is_file()


def is_python_script(path: Path) -> bool:
    """Say whether a command is a script whose first line names a Python."""
    with path.open("rb") as file:
        line = file.readline(256)
    return line.startswith(b"#!") and b"python" in line


def parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """
    Part Python's own options from the program: `-uOm mod x` is `-uO`, and `-m mod x`.

    What Python does not know stays among its options, for it to say so; `--` ends them.
    """
    options: list[str] = []
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            return options, rest
        found = None if word.startswith("--") else VALUED.search(word)
        if found is not None and found["last"] in ENDING:
            options += [f"-{found['flags']}"] if found["flags"] else []
            return options, [
                f"-{found['last']}",
                *([found["value"]] if found["value"] else []),
                *rest,
            ]
        options.append(word)
        if rest and (word in LONG_VALUED or (found is not None and not found["value"])):
            options.append(rest.pop(0))
    return options, rest


def interpreter_options() -> list[str]:
    """Repeat the options that this interpreter was started with (`-X dev`, `-W error`)."""
    return parted(sys.orig_argv[1:])[0]


def path_with_bootstrap(env: Mapping[str, str]) -> str:
    """Put the folder of our `sitecustomize` before whatever `PYTHONPATH` says."""
    before = env.get("PYTHONPATH")
    entries = before.split(os.pathsep) if before else []
    # An empty entry stays: it is the working folder.
    return os.pathsep.join([str(BOOTSTRAP), *(each for each in entries if each != str(BOOTSTRAP))])


def is_hindered(command: Sequence[str]) -> bool:
    """Say whether something keeps the program from being traced, and on stderr what it is."""
    if command[0] == sys.executable:
        options, program = parted(command[1:])
        reason = isolated(options) or shadowed(program)
    else:
        reason = shadowed([])
    if reason is not None:
        sys.stderr.write(f"instrument: not traced, because {reason}\n")
    return reason is not None


def isolated(options: Sequence[str]) -> str | None:
    """Name the option that keeps Python from reading `PYTHONPATH` or `sitecustomize`."""
    flags = "".join(word for word in options if WITHOUT_VALUE.fullmatch(word))
    found = next((flag for flag in "IES" if flag in flags), None)
    return found and f"Python loads nothing of ours with -{found}: leave it out"


def shadowed(program: Sequence[str]) -> str | None:
    """Name the module of our name that the program has beside it, which ours must not replace."""
    has_folder = bool(program) and program[0] not in {"-m", "-c", "-"}
    folder = Path(program[0]).parent if has_folder else Path.cwd()
    named = [folder / "instrument.py", folder / "instrument" / "__init__.py"]
    ours = Path(__file__).with_name("__init__.py")
    other = next((path for path in named if path.is_file() and not path.samefile(ours)), None)
    return None if other is None else f"{other} has our name: rename it"
