"""
Who does the work: one thread of the process, replaced when it dies or is stuck.

When no thread can be started (the end of the process, a full system), whoever waits for a delivery
does the work instead. Nothing here takes a lock, so that it may be called from anywhere.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import final

from ..exporters._base import Exporter
from ..guard import guard, notices
from .bounds import Bounds, SpoolOptions
from .desk import Desk, Process, Word
from .flush import Flush

RESTART_SECONDS = 1.0
"""How long after a thread could not be started, or seemed stuck, the next look at it is."""

REST_SECONDS = 0.05
"""How long a fork waits for the threads to end."""

SETTLE_SECONDS = 0.005
"""How long the system takes at most to forget a thread that ended (Python 3.13 waits for that)."""

PAUSE_SECONDS = 0.1
"""How long the worker rests after a failure of its own."""


@final
class Worker:
    """The desk of one process, and the one thread at a time that works at it."""

    def __init__(
        self,
        exporters: Sequence[Exporter],
        process: Process,
        bounds: Bounds,
        clock: Callable[[], float],
        spool: SpoolOptions | None = None,
    ) -> None:
        self.pid = os.getpid()
        self.own: set[int] = set()
        self.desk = Desk(exporters, process, bounds, clock, self.own, spool)
        self.intake = self.desk.intake
        self.is_running = False
        self.is_closed = False
        self._clock = clock
        self._heartbeat = bounds.heartbeat
        self._vacancy = deque([True])
        self._shift: object = None
        self._thread: threading.Thread | None = None
        self._start_after = float("-inf")
        self._suspected = (float("inf"), 0.0)

    def start(self) -> bool:
        """Have a thread at work; False when the interpreter starts no more threads."""
        if self._clock() < self._start_after:
            return False
        try:
            self._vacancy.pop()  # atomic: one caller starts it, others find it taken
        except IndexError:
            return True
        self.is_running = True
        shift = self._shift = object()
        thread = self._thread = threading.Thread(
            target=self._main, args=(shift,), name="instrument-worker", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            self._start_after = self._clock() + RESTART_SECONDS
            self._leave(shift)
            return False
        return True

    def check(self) -> None:
        """Replace the thread if one step of it takes longer than `Bounds.heartbeat`."""
        since, now = self.desk.busy_since, self._clock()
        if now - since <= self._heartbeat:
            return
        if since != self._suspected[0]:  # it may be the whole process that stood still
            self._suspected = (since, now)
        if now - self._suspected[1] >= RESTART_SECONDS:
            notices.say("the worker was stuck", "the worker was stuck in a hook and is replaced")
            self.retire()
            self.start()

    def retire(self) -> None:
        """Take the work from whoever has it and does not come back from a hook."""
        self._leave(self._shift)

    def rest(self) -> None:
        """
        Have no thread for the moment of a fork, if there is nothing to do; `start` undoes it.

        Python warns a process that forks while it has threads, and such a warning is not the
        application's to get for ours.
        """
        thread = self._thread
        if thread is None or not self.is_running or threading.get_ident() in self.own:
            return
        if self.desk.totals()[1] == 0:
            self.desk.inbox.put(Word.REST)
            thread.join(REST_SECONDS)
            time.sleep(SETTLE_SECONDS)

    def drain(self, flush: Flush) -> None:
        """Work in this thread until *flush* is answered, unless somebody is at work already."""
        try:
            self._vacancy.pop()
        except IndexError:
            return
        shift = self._shift = object()
        self.is_running = True
        self._work(shift, flush.done.is_set)

    def _main(self, shift: object) -> None:
        self.desk.pool.open()  # at the end of the process it would be too late
        self._work(shift, lambda: False)
        threading.current_thread()  # known again if gevent has renamed it, or its end is noisy

    def _work(self, shift: object, until: Callable[[], bool]) -> None:
        ident = threading.get_ident()
        self.own.add(ident)
        try:
            self.desk.lose_in_hand()  # whoever had it did not survive it
            while self._shift is shift and not self.desk.is_finished and not until():
                self._turn(shift)
        finally:
            self.own.discard(ident)
            self._leave(shift)

    def _turn(self, shift: object) -> None:
        done = False
        with guard("run the transport"):
            self.desk.turn(lambda: self._shift is shift)
            done = True
        if self._shift is not shift:
            return
        if not done:
            self.desk.lose_in_hand()
            time.sleep(PAUSE_SECONDS)
        elif self.desk.wants_rest:
            self.desk.wants_rest = False
            for thread in self.desk.rest():
                thread.join(REST_SECONDS)
            self._leave(shift)

    def _leave(self, shift: object) -> None:
        """Give up the place; nothing happens when somebody else has it already."""
        if shift is not None and self._shift is shift:
            self._shift = None
            self.is_running = False
            self.desk.busy_since = float("inf")
            self._vacancy.append(True)
