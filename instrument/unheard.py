"""
A signal that came in the moment before the main thread went to sleep, and was slept through.

Python calls a handler when the main thread comes back to Python. One that just then begins to wait
for something without an end, such as the lock of a queue, does not come back; without a handler the
process would be dead. But the system's part of Python's handler also writes a byte, and a thread
that waits for that raises the signal again, now that the main one sleeps and is woken by it.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import time
from collections.abc import Callable
from types import BuiltinFunctionType
from typing import Final, final

from .guard import guard

MAX_CALLS: Final = 20
"""How often a signal is raised at most until it is heard."""

CALL_SECONDS: Final = 0.05
"""How long is waited each time for that."""

READ_BYTES: Final = 64


def raise_until(is_heard: Callable[[], bool], number: int) -> None:
    """Raise a signal in this process, again and again, until it is heard or there is no hope."""
    for _ in range(MAX_CALLS):
        if is_heard():
            return
        os.kill(os.getpid(), number)
        time.sleep(CALL_SECONDS)


@final
class Unheard:
    """
    Raises a signal again until it is heard.

    Args:
        number: The signal.
        is_heard: Tells whether its handler has been called, or is not the one to care about.
    """

    def __init__(self, number: int, is_heard: Callable[[], bool]) -> None:
        self._number = number
        self._is_heard = is_heard
        self._ends: tuple[int, int] | None = None

    def watch(self) -> None:
        """
        Begin, in the main thread; not where somebody else, such as an event loop, reads the bytes.

        Whoever comes later and wants them takes the place of this, which then does nothing.
        """
        if self._ends is not None or not hasattr(os, "register_at_fork"):
            return
        if not isinstance(_thread.start_new_thread, BuiltinFunctionType):
            return  # a library of greenlets has replaced it, and all of them would wait here
        read, write = os.pipe()
        os.set_blocking(write, False)
        before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        if before >= 0:
            signal.set_wakeup_fd(before)
            os.close(read)
            os.close(write)
            return
        self._ends = read, write
        os.register_at_fork(after_in_child=self._after_fork)
        _thread.start_new_thread(self._listen, (read,))

    def close(self) -> None:
        """End; what is called in another thread than the main one leaves a thread that does nothing."""
        ends, self._ends = self._ends, None
        if ends is not None and _let_go(ends[1]):
            os.close(ends[1])  # which ends the thread

    def _after_fork(self) -> None:
        """In a forked child: what it is sent is not for the parent to hear of."""
        ends, self._ends = self._ends, None
        if ends is not None and _let_go(ends[1]):
            os.close(ends[0])
            os.close(ends[1])

    def _listen(self, read: int) -> None:
        with guard("listen for a signal"):
            is_first = True
            while numbers := os.read(read, READ_BYTES):
                if is_first and self._number in numbers:
                    is_first = False  # what is raised here writes bytes, too
                    time.sleep(CALL_SECONDS)
                    raise_until(lambda: self._is_heard() or self._ends is None, self._number)
            os.close(read)


def _let_go(write: int) -> bool:
    """Have no more bytes written there; False in another thread than the main one."""
    with contextlib.suppress(ValueError):
        before = signal.set_wakeup_fd(-1)
        if before != write:
            signal.set_wakeup_fd(before)
        return True
    return False
