"""
Run a program that never heard of us, traced: `python -m instrument run ...`.

The program takes the place of this process, so its arguments, `__main__`, working folder, standard
streams, signals and exit code are as they would be without us. All that differs is one folder at
the front of `PYTHONPATH`; see `_bootstrap/sitecustomize.py`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from . import config

BOOTSTRAP = Path(__file__).resolve().parent / "_bootstrap"
IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFZ", "SIGXFSZ")
"""Signals that Python ignores from its start, and that a program must find as they were."""


class ProgramNotFoundError(LookupError):
    """There is neither a script nor a command of that name."""


def run(arguments: Sequence[str]) -> int:
    """
    Become the program.

    Args:
        arguments: A script, `-m` and a module, `-c` and code, or the name of a command; then what
            the program itself is to be given.

    Returns:
        The program's exit code, on systems where a process cannot become another one.

    Raises:
        ProgramNotFoundError: There is no such program.
        OSError: It cannot be started.
    """
    command = find(arguments)
    env = dict(os.environ)
    if not config.disabled(env) and not shadowed(arguments):
        env["PYTHONPATH"] = path_with_bootstrap(env)
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
    target = arguments[0]
    python = [sys.executable, *interpreter_options(), *arguments]
    if target in {"-m", "-c"} or target.endswith((".py", ".pyz")):
        return python
    if Path(target, "__main__.py").is_file():
        return python
    # The scripts that are installed beside this interpreter come before others of that name.
    folders = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    command = shutil.which(target, path=folders)
    if command is not None:
        return [command, *arguments[1:]]
    if Path(target).is_file():
        return python
    raise ProgramNotFoundError(f"there is no script or command {target!r}")


def interpreter_options() -> list[str]:
    """Repeat the options that this interpreter was started with (`-X dev`, `-W error`)."""
    words = sys.orig_argv[1:]
    options = list(takewhile(lambda word: word not in {"-m", sys.argv[0]}, words))
    return options if len(options) < len(words) else []


def path_with_bootstrap(env: Mapping[str, str]) -> str:
    """Put the folder of our `sitecustomize` before whatever `PYTHONPATH` says."""
    entries = env.get("PYTHONPATH", "").split(os.pathsep)
    kept = [entry for entry in entries if entry and entry != str(BOOTSTRAP)]
    return os.pathsep.join([str(BOOTSTRAP), *kept])


def shadowed(arguments: Sequence[str]) -> bool:
    """
    Say whether the program has a module of our name beside it, which ours must not replace.

    Says so on stderr as well, because the program will not be traced.
    """
    folder = Path(arguments[0]).parent if arguments[0] != "-m" else Path.cwd()
    named = [folder / "instrument.py", folder / "instrument" / "__init__.py"]
    ours = Path(__file__).with_name("__init__.py")
    others = [path for path in named if path.is_file() and not path.samefile(ours)]
    for path in others:
        sys.stderr.write(f"instrument: not traced, because {path} has our name: rename it\n")
    return bool(others)
