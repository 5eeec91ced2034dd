"""
SIGTERM: deliver first, and then let the signal do what it would have done.

That is for those who ask for it, and for the workers of `multiprocessing`: `with Pool() as pool:`
ends them by this signal, always. Elsewhere a process that dies of it dies at once with us too,
because a handler in Python runs only when the main thread comes back to Python.

A signal may arrive anywhere, also while the main thread holds a lock that a delivery needs. So the
delivery is done on a thread of its own, for which the handler waits; and where the main thread was
stopped in our code or in a logging call, the handler does not wait but returns, and the thread
raises the signal once more when it is through.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any, final

from .guard import guard, notices
from .patches import Patches
from .unheard import Unheard, in_main_thread, raise_until

STEP_SECONDS = 0.005
"""How often the handler looks whether the delivery is through."""

GRACE_SECONDS = 0.5
"""How long after its deadline a delivery is waited for."""

OURS = __name__.partition(".")[0]

Deliver = Callable[[bool], object]


@final
class _Delivery:
    """
    One delivery in one process.

    Attributes:
        is_over: Whether it is through.
        calls_back: Whether the signal is to be raised again then.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.is_over = False
        self.calls_back = False
        self._claim = deque([True])

    def claims_after_all(self) -> bool:
        """Decide for the handler: has the thread ended before it could know that it is to call?"""
        return self.is_over and self.claim()

    def claim(self) -> bool:
        """Decide who takes the signal further: the thread, or the handler that it was too late for."""
        try:
            return self._claim.pop()
        except IndexError:
            return False


@final
class Sigterm:
    """
    The handler, and what was there before it.

    Args:
        deliver: Called on another thread, with True when the process ends thereafter.
        seconds: How long it may take.
        is_inherited: Whether a forked child has it, too. Else a fork is as without it: the child
            dies of the signal at once and for certain, until somebody installs this there. Python
            lets a child forget a signal that has a handler and comes while it is made.
    """

    def __init__(self, deliver: Deliver, seconds: float, *, is_inherited: bool = True) -> None:
        self._deliver = deliver
        self._seconds = seconds
        self._is_inherited = is_inherited
        self._before: Any = signal.SIG_DFL
        self._is_on = False
        self._delivery: _Delivery | None = None
        self._was_called = False
        self._unheard = Unheard(signal.SIGTERM, self._is_heard)
        self._rests = False
        _follow(self)

    def install(self) -> None:
        """Handle the signal from now on; one that is ignored stays so."""
        before = _current()
        if before is signal.SIG_IGN:
            return
        if before is None:
            notices.say(
                "SIGTERM is not ours", "SIGTERM has a handler that is not Python's: it stays"
            )
            return
        self._before = before
        try:
            signal.signal(signal.SIGTERM, self)
        except ValueError:
            notices.say(
                "SIGTERM in a thread",
                "flush_on_sigterm works only when instrument() is called in the main thread",
            )
            return
        self._is_on = True
        Patches().when_imported("trio", self._make_room)
        self.watch()

    def _make_room(self, _: Any) -> None:
        """Leave Python's own way to tell of signals to trio, which minds a stranger there."""
        self._unheard.close()

    def watch(self) -> None:
        """Have the signal heard although the main thread goes to sleep just when it comes."""
        if self._is_on:
            self._unheard.watch()

    def uninstall(self) -> None:
        """Put back what was there; a handler that came after ours stays, and ours does nothing."""
        self._is_on = False
        self._unheard.close()
        if _current() is self:
            try:
                signal.signal(signal.SIGTERM, self._before)
            except ValueError:  # in another thread: ours stays, and only passes the signal on
                return

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Deliver, and take the signal further, now or when it comes back."""
        self._was_called = True
        if self._is_on and not self._delivered(frame):
            return
        if callable(self._before):
            self._before(number, frame)
        elif _current() is self:  # else whoever has called us decides what comes next
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def before_fork(self) -> None:
        """Have the child begin as without us, if it is not to have this handler."""
        self._unheard.rest()
        if not self._is_inherited and in_main_thread() and _current() is self:
            self._rests = True
            signal.signal(signal.SIGTERM, self._before)

    def after_fork(self) -> None:
        """Go on in the parent."""
        if self._rests and in_main_thread():
            self._rests = False
            signal.signal(signal.SIGTERM, self)

    def in_child(self) -> None:
        """Begin anew in the child."""
        self._unheard.forget()
        self._rests = self._was_called = False
        if not self._is_inherited:
            self.uninstall()

    def _is_heard(self) -> bool:
        """Say whether the signal has come here, or goes to a handler of the application's."""
        return self._was_called or _current() is not self

    def _delivered(self, frame: FrameType | None) -> bool:
        """Deliver; False when the signal comes back after that."""
        delivery = self._delivery
        if delivery is None or delivery.pid != os.getpid():
            delivery = self._delivery = self._begin()
        is_through = not may_lock(frame) and self._waited(delivery)
        if not (is_through or delivery.is_over):
            delivery.calls_back = True
            if not delivery.claims_after_all():
                return False
        self._delivery = None
        return True

    def _begin(self) -> _Delivery:
        delivery = _Delivery()
        try:
            # Not a thread of `threading`, whose own lock may be what the main thread holds.
            _thread.start_new_thread(self._run, (delivery,))
        except RuntimeError:  # there are no more threads: the end is near, and atexit delivers
            delivery.is_over = True
        return delivery

    def _run(self, delivery: _Delivery) -> None:
        with guard("deliver before SIGTERM"):
            self._deliver(self._before is signal.SIG_DFL and _current() is self)
        delivery.is_over = True
        if delivery.calls_back and delivery.claim():
            # The main thread may just go to sleep, and not hear it the first time.
            raise_until(
                lambda: self._delivery is not delivery,
                lambda: os.kill(os.getpid(), signal.SIGTERM),
            )

    def _waited(self, delivery: _Delivery) -> bool:
        """Wait for the delivery as long as it may take; False where nobody may wait."""
        end = time.monotonic() + self._seconds + GRACE_SECONDS
        try:
            with guard("wait before SIGTERM"):
                while not delivery.is_over and time.monotonic() < end:
                    time.sleep(STEP_SECONDS)
                return True
        except BaseException:  # another signal's, such as Ctrl-C: this one is not lost
            delivery.calls_back = True
            raise
        return False


_followed: weakref.WeakSet[Sigterm] = weakref.WeakSet()
_is_following: list[bool] = []


def _follow(handler: Sigterm) -> None:
    """Tell *handler* of forks, after whoever comes later has been told that there will be one."""
    _followed.add(handler)
    if not _is_following and hasattr(os, "register_at_fork"):
        _is_following.append(True)
        os.register_at_fork(
            before=lambda: _tell(Sigterm.before_fork),
            after_in_parent=lambda: _tell(Sigterm.after_fork),
            after_in_child=lambda: _tell(Sigterm.in_child),
        )


def _tell(what: Callable[[Sigterm], None]) -> None:
    for handler in list(_followed):
        with guard("hear of a fork"):
            what(handler)


def watch_worker(handler: Sigterm) -> None:
    """Have *handler* on if this is a worker whose end by SIGTERM nobody handles or ignores."""
    with guard("watch for the end of a worker"):
        if not in_main_thread():
            return
        current = _current()
        if isinstance(current, Sigterm):  # one that was asked for, perhaps by the parent
            current.watch()
        elif current is signal.SIG_DFL and is_worker():
            handler.install()


def is_worker() -> bool:
    """Say whether `multiprocessing` started this process."""
    module = sys.modules.get("multiprocessing.process")
    if module is None:
        return False
    # While a spawned one imports the program, it knows no parent yet.
    begins = getattr(module.current_process(), "_inheriting", False)
    return begins or module.parent_process() is not None


def _current() -> Any:
    """Give the handler that there is; None for one that is not Python's."""
    return signal.getsignal(signal.SIGTERM)


def may_lock(frame: FrameType | None) -> bool:
    """
    Say whether the main thread was stopped where it may hold a lock that a delivery needs.

    That is in code of ours, in the standard library called by it, and in whatever a logging call
    leads to: handlers are called with their locks held.
    """
    is_inside = True
    while frame is not None:
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package == "logging" or (is_inside and package == OURS):
            return True
        is_inside = is_inside and package in sys.stdlib_module_names
        frame = frame.f_back
    return False
