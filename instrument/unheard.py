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
import time
import weakref
from collections.abc import Callable
from types import BuiltinFunctionType
from typing import Any, Final, final

from .guard import guard
from .patches import Patches

MAX_CALLS: Final = 20
"""How often a signal is raised at most until another is heard."""

CALL_SECONDS: Final = 0.05
"""How long is waited each time for that."""

REST_SECONDS: Final = 0.1
SETTLE_SECONDS: Final = 0.002
"""How long the thread's end is waited for before a fork, and then until the system knows of it."""

READ_BYTES: Final = 64


def raise_until(is_heard: Callable[[], bool], raise_signal: Callable[[], object]) -> None:
    """Raise a signal, again and again, until it is heard or there is no hope."""
    for _ in range(MAX_CALLS):
        if is_heard():
            return
        raise_signal()
        time.sleep(CALL_SECONDS)


@final
class Unheard:
    """
    Wakes the main thread when a signal has come and its handler was not called.

    Python warns a process that forks while it has threads, so there is none at a fork. And it lets a
    child forget a signal that came while it was made, so this one waits until the child is ready.

    Args:
        number: The signal.
        is_heard: Tells whether its handler has been called, or is not the one to care about.
        begin_child: Called in a forked child, before the signal may come there.
    """

    def __init__(
        self, number: int, is_heard: Callable[[], bool], begin_child: Callable[[], object]
    ) -> None:
        self._number = number
        self._is_heard = is_heard
        self._begin_child = begin_child
        self._ends: tuple[int, int] | None = None
        self._is_over = _thread.allocate_lock()
        self._rests = False
        self._masked: dict[int, set[int]] = {}

    def watch(self) -> None:
        """
        Begin, in the main thread; not where somebody else, such as an event loop, reads the bytes.

        Whoever comes later and wants them takes the place of this, which then does nothing.
        """
        _follow(self)
        if not isinstance(_thread.start_new_thread, BuiltinFunctionType):
            return  # a library of greenlets has replaced it, and all of them would wait here
        wake = _meaningless()
        if self._ends is None and wake is not None and "trio" not in sys.modules:
            self._begin(wake)

    def _begin(self, wake: int) -> None:
        read, write = os.pipe()
        os.set_blocking(write, False)
        before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        if before >= 0:
            signal.set_wakeup_fd(before, warn_on_full_buffer=False)
            os.close(read)
            os.close(write)
            return
        signal.signal(wake, _do_nothing)
        self._ends = read, write
        self._is_over = _thread.allocate_lock()
        self._is_over.acquire()
        _thread.start_new_thread(self._listen, (read, wake, self._is_over))

    def close(self) -> None:
        """
        End.

        The pipe stays where somebody else has the bytes now, who may give the place back, and in
        another thread than the main one; it comes to nothing.
        """
        if self._ends is not None and _let_go(self._ends[1]):
            os.close(self._ends[1])  # which ends the thread
            self._ends = None

    def rest(self) -> None:
        """Have no thread during a fork, and the signal wait in this one."""
        if not self._is_heard():
            masked = signal.pthread_sigmask(signal.SIG_BLOCK, {self._number})
            self._masked[_thread.get_ident()] = masked
        if self._ends is not None:
            self.close()
            self._rests = self._ends is None
            if self._rests and self._is_over.acquire(timeout=REST_SECONDS):
                time.sleep(SETTLE_SECONDS)

    def go_on(self) -> None:
        """
        After a fork, in the parent, undo what `rest` did.

        Python counts the threads after this. So where there is none, none begins: `watch` is called
        again when there is something to deliver.
        """
        self._unmask()
        if self._rests:
            self._rests = False
            if threading.active_count() > 1:
                self.watch()

    def forget(self) -> None:
        """In a forked child: what is left of the parent's is not for the parent to hear of."""
        self._rests = False
        ends, self._ends = self._ends, None
        if ends is not None and _let_go(ends[1]):
            os.close(ends[0])
            os.close(ends[1])
        self._begin_child()
        self._unmask()
        self._masked.clear()

    def _unmask(self) -> None:
        masked = self._masked.pop(_thread.get_ident(), None)
        if masked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)

    def _listen(self, read: int, wake: int, is_over: Any) -> None:
        main = threading.main_thread().ident
        with guard("listen for a signal"):
            while numbers := os.read(read, READ_BYTES):
                if self._number in numbers and main is not None:
                    time.sleep(CALL_SECONDS)
                    raise_until(self._is_done, lambda: signal.pthread_kill(main, wake))
            os.close(read)
        is_over.release()

    def _is_done(self) -> bool:
        return self._ends is None or self._is_heard()


def _meaningless() -> int | None:
    """Find a signal that nobody uses; None where the system has none to spare."""
    first, last = getattr(signal, "SIGRTMIN", 0), getattr(signal, "SIGRTMAX", 0)
    free = (signal.SIG_DFL, _do_nothing)
    return next((wake for wake in range(last, first, -1) if signal.getsignal(wake) in free), None)


def _do_nothing(*_: Any) -> None:
    """Be the handler of such a signal."""


def _let_go(write: int) -> bool:
    """Have no more bytes written there; False where they are not, or in another thread."""
    try:
        before = signal.set_wakeup_fd(-1)
    except ValueError:
        return False
    if before != write:
        signal.set_wakeup_fd(before, warn_on_full_buffer=False)
    return before == write


_followed: weakref.WeakSet[Unheard] = weakref.WeakSet()
_is_following: list[bool] = []


def _follow(unheard: Unheard) -> None:
    """Have *unheard* rest at a fork, and let go when the one comes who minds it."""
    _followed.add(unheard)
    if not _is_following:
        _is_following.append(True)
        os.register_at_fork(
            before=lambda: _tell(Unheard.rest),
            after_in_parent=lambda: _tell(Unheard.go_on),
            after_in_child=lambda: _tell(Unheard.forget),
        )
        Patches().when_imported("trio", lambda _: _tell(Unheard.close))


def _tell(what: Callable[[Unheard], None]) -> None:
    for unheard in list(_followed):
        with guard("hear of a fork"):
            what(unheard)
