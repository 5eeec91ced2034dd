"""
Force files to the disk on a thread of its own.

A disk that is busy takes half a second and more for it. Whoever waited for that would leave in
memory, meanwhile, what a write alone would have made outlive the process.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import final

from ..guard import guard


@final
class Syncer:
    """
    A thread that does one piece of work when it is asked to, once for all who asked meanwhile.

    It is started when it is first needed; where no thread can be started, whoever asks does the work.
    One thread at a time may ask.

    Args:
        work: What is to be done, beside whatever else is done.
        own: Idents of the threads that are ours.
    """

    def __init__(self, work: Callable[[], object], own: set[int]) -> None:
        self._work = work
        self._own = own
        self._bell: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_asked = False

    def ask(self) -> None:
        """Have the work done, and do not wait for it."""
        if self._is_asked:
            return
        self._is_asked = True
        if self._thread is not None or self._start():
            self._bell.put(True)
        else:
            self._do()

    def close(self) -> list[threading.Thread]:
        """Let the thread end when it is through; give it if there is one."""
        thread, self._thread = self._thread, None
        if thread is None:
            return []
        self._bell.put(False)
        return [thread]

    def _start(self) -> bool:
        self._bell = queue.SimpleQueue()  # the thread before has its own
        thread = threading.Thread(
            target=self._serve, args=(self._bell,), name="instrument-syncer", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no more threads: the system's limit, or the end of the process
            return False
        self._thread = thread
        return True

    def _serve(self, bell: queue.SimpleQueue[bool]) -> None:
        ident = threading.get_ident()
        self._own.add(ident)
        try:
            while bell.get():
                self._do()
        finally:
            self._own.discard(ident)
            threading.current_thread()  # known again if gevent has renamed it, or its end is noisy

    def _do(self) -> None:
        self._is_asked = False  # first: what is written from now on has to be asked for again
        with guard("force the spool to the disk"):
            self._work()
