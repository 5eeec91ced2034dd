"""
A signal that came in the moment before the main thread went to sleep, and was slept through.

Python calls a handler when the main thread comes back to Python. One that just then begins to wait
for something without an end, such as the lock of a queue, does not come back; without a handler the
process would be dead. But the system's part of Python's handler also writes a byte, and a thread
that waits for that wakes the main one, by a signal that means nothing. Whoever is woken for nothing
sleeps on: a byte may also come from a child, in the moment after a fork.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from time import sleep  # the real one, whatever a library of greenlets makes of it later
from types import BuiltinFunctionType
from typing import Any, Final, final

from .guard import guard

MAX_CALLS: Final = 20
"""How often a signal is raised at most until another is heard."""

CALL_SECONDS: Final = 0.05
"""How long is waited each time for that."""

REST_SECONDS: Final = 0.1
SETTLE_SECONDS: Final = 0.002
"""How long the thread's end is waited for before a fork, and then until the system knows of it."""

READ_BYTES: Final = 64

WAKE: Final[int] = getattr(signal, "SIGURG", 0)
"""A signal that the system ignores where nobody handles it, and that nobody uses today; or 0."""


WARNS: Final[bool] = sys.version_info[:2] >= (3, 12)
"""Whether Python warns of a fork where there are threads: it does since 3.12."""


def raise_until(is_heard: Callable[[], bool], raise_signal: Callable[[], object]) -> None:
    """Raise a signal, again and again, until it is heard or there is no hope."""
    for _ in range(MAX_CALLS):
        if is_heard():
            return
        raise_signal()
        sleep(CALL_SECONDS)


def in_main_thread() -> bool:
    """Say whether this is the thread in which handlers are called and can be set."""
    return threading.current_thread() is threading.main_thread()


@final
class Unheard:
    """
    Wakes the main thread when a signal has come and its handler was not called.

    Args:
        number: The signal.
        is_heard: Tells whether its handler has been called, or is not the one to care about.
    """

    def __init__(self, number: int, is_heard: Callable[[], bool]) -> None:
        self._number = number
        self._is_heard = is_heard
        self._ends: tuple[int, int] | None = None
        self._is_over = _thread.allocate_lock()
        self._is_displaced = False

    def watch(self) -> None:
        """
        Begin, in the main thread; not where somebody else, such as an event loop, reads the bytes.

        Whoever comes later and wants them takes the place of this, which then does nothing.
        """
        if not isinstance(_thread.start_new_thread, BuiltinFunctionType):
            return  # a library of greenlets has replaced it, and all of them would wait here
        is_free = WAKE and signal.getsignal(WAKE) in (signal.SIG_DFL, _do_nothing)
        if self._ends is None and is_free and in_main_thread() and "trio" not in sys.modules:
            with guard("watch for a signal"):
                self._begin()

    def _begin(self) -> None:
        read, write = os.pipe()
        os.set_blocking(write, False)
        before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        if before >= 0:
            signal.set_wakeup_fd(before, warn_on_full_buffer=False)
            _forward(read, before)
            os.close(read)
            os.close(write)
            return
        signal.signal(WAKE, _do_nothing)
        self._ends = read, write
        self._is_displaced = False
        self._is_over = _thread.allocate_lock()
        self._is_over.acquire()
        _thread.start_new_thread(self._listen, (read, self._is_over))

    def close(self) -> bool:
        """
        End; say whether it has.

        The pipe stays where somebody else has the bytes now, who may give the place back, and in
        another thread than the main one; it comes to nothing.
        """
        if self._ends is None or not in_main_thread():
            return False
        self._is_displaced = not _let_go(self._ends[1])
        if not self._is_displaced:
            os.close(self._ends[1])  # which ends the thread
            self._ends = None
        return not self._is_displaced

    def rest(self) -> None:
        """
        Have no thread during a fork, where Python warns of that and there is no other one.

        It counts them once more after the fork, so `watch` is called again when there is something
        to deliver, and no sooner.
        """
        is_alone = WARNS and threading.active_count() == 1
        if is_alone and not self._is_displaced and self.close():
            self._is_over.acquire(timeout=REST_SECONDS)
            sleep(SETTLE_SECONDS)

    def forget(self) -> None:
        """In a forked child: what is left of the parent's is not for the parent to hear of."""
        ends, self._ends = self._ends, None
        if ends is not None and _let_go(ends[1]):
            os.close(ends[0])
            os.close(ends[1])

    def _listen(self, read: int, is_over: Any) -> None:
        main = threading.main_thread().ident
        with guard("listen for a signal"):
            while numbers := os.read(read, READ_BYTES):
                if self._number in numbers and main is not None:
                    sleep(CALL_SECONDS)
                    raise_until(self._is_done, lambda: signal.pthread_kill(main, WAKE))
            os.close(read)
        is_over.release()

    def _is_done(self) -> bool:
        return self._ends is None or self._is_heard()


def _do_nothing(*_: Any) -> None:
    """Be the handler of a signal that is sent only to wake somebody."""


def _forward(read: int, write: int) -> None:
    """Give bytes that came to the wrong pipe to whom they are for."""
    os.set_blocking(read, False)
    with suppress(OSError):
        os.write(write, os.read(read, READ_BYTES))


def _let_go(write: int) -> bool:
    """Have no more bytes written there; False where they are not."""
    before = signal.set_wakeup_fd(-1)
    if before != write:
        signal.set_wakeup_fd(before, warn_on_full_buffer=False)
        return False
    if signal.getsignal(WAKE) is _do_nothing:
        signal.signal(WAKE, signal.SIG_DFL)
    return True
