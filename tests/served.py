"""A server that `instrument run` starts, for the time of a `with` block, and what it leaves behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from typing_extensions import Self

from tests.programs import launcher

SECONDS = 20.0
"""How long anything is waited for."""

AT_ONCE = 4
"""Requests at once, so that no worker has them all."""


def free_port() -> int:
    """Find a port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def wait_for(condition: Callable[[], Any]) -> Any:
    """Wait until something is so, and return it."""
    until = time.monotonic() + SECONDS
    while not (found := condition()) and time.monotonic() < until:
        time.sleep(0.05)
    assert found
    return found


class Served:
    """
    A server and its children, in a session of their own.

    Args:
        words: What `instrument run` is given; `PORT` stands for the port.
    """

    def __init__(self, folder: Path, env: dict[str, str], *words: str) -> None:
        self.port = free_port()
        self.answers: list[str] = []
        self._out = (folder / "out.txt").open("w+b")
        self.process = subprocess.Popen(
            launcher(*(word.replace("PORT", str(self.port)) for word in words)),
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        wait_for(self.get)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._out.close()

    def get(self) -> str | None:
        """Ask once; the answer, which is kept, or None while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=SECONDS) as reply:
                self.answers.append(reply.read().decode())
                return self.answers[-1]
        except (urllib.error.URLError, ConnectionError):
            assert self.process.poll() is None, self.output()
            return None

    def get_until(self, condition: Callable[[], Any]) -> None:
        """Ask again and again, several times at once, until something is so."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            wait_for(lambda: all(self._asked(pool)) and condition())

    def _asked(self, pool: ThreadPoolExecutor) -> Iterator[str | None]:
        return pool.map(lambda _: self.get(), range(AT_ONCE))

    def end(self, number: int = signal.SIGTERM, *, group: bool = False) -> int:
        """Send a signal, to the whole group as a terminal does; return the exit code."""
        (os.killpg if group else os.kill)(self.process.pid, number)
        return self.process.wait(SECONDS)

    def is_gone(self) -> bool:
        """Say whether no process is left of the session, zombies of nobody aside."""
        try:
            os.killpg(self.process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return True
        return False

    def output(self) -> str:
        """Read what was written to stdout and stderr."""
        self._out.seek(0)
        return self._out.read().decode()
