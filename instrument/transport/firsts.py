"""
What is done for the first time may import modules, and no fork may happen in the middle of that.

The child would have half of a module and its import lock, held by a thread that it does not have:
whoever needs the module there waits for ever, the application too.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from typing import final

CLIENT = "http client"
"""The making of the HTTP client, which all lanes share."""

HOLD_SECONDS = 1.0
"""How long a fork waits at most, in seconds, for all that is being done for the first time."""


@final
class Firsts:
    """
    A lock for each thing that is done for the first time; one that hangs delays no other.

    Args:
        names: All there is: the lanes by name, and `CLIENT`.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._locks = {name: threading.Lock() for name in names}
        self._over: set[str] = set()
        self._held: dict[int, list[threading.Lock]] = {}

    @contextlib.contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Do *what* within the block; from the second time on, this costs nothing."""
        if what in self._over:
            yield
            return
        with self._locks[what]:
            yield
            self._over.add(what)

    def hold(self) -> None:
        """Before a fork, wait until nothing of this is under way, and let nothing begin."""
        end = time.monotonic() + HOLD_SECONDS
        held = self._held.setdefault(threading.get_ident(), [])
        for lock in self._locks.values():
            if lock.acquire(timeout=max(0.0, end - time.monotonic())):
                held.append(lock)

    def release(self) -> None:
        """After the fork, in the parent, let things go on."""
        for lock in self._held.pop(threading.get_ident(), []):
            lock.release()
