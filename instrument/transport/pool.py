"""Threads that do what lanes decided, so that nobody who waits delays anybody."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import final

from ..exporters._base import Encoded, Exporter, HttpExporter, LocalExporter, Response, Verdict
from ..guard import guard
from ..run import Item
from .firsts import Firsts
from .lane import Lane
from .sender import Sender
from .shorten import shorten
from .steps import (
    CRASHED,
    Encode,
    Failure,
    Outcome,
    Reply,
    Send,
    Shorten,
    Shortened,
    Step,
    Write,
    Written,
)


@final
class Job:
    """
    One step of one lane, done by whichever thread is free.

    Attributes:
        deadline: When the worker stops waiting for it; infinity for what cannot be abandoned.
    """

    def __init__(self, lane: Lane, step: Step, deadline: float) -> None:
        self.lane = lane
        self.step = step
        self.deadline = deadline
        self.outcome: Outcome = CRASHED
        self.thread: threading.Thread | None = None
        self._claim = deque([True])

    def claim(self) -> bool:
        """Decide who has the last word: the thread that did it, or the worker that gave it up."""
        try:
            return self._claim.pop()
        except IndexError:
            return False


@final
class Pool:
    """
    At most so many daemon threads, and none when the interpreter refuses to start one.

    Args:
        report: Takes a job that is done, from any thread.
        own: Idents of the threads that are ours.
        firsts: What a fork waits for.
    """

    def __init__(
        self,
        size: int,
        sender: Sender,
        report: Callable[[Job], None],
        own: set[int],
        firsts: Firsts,
    ) -> None:
        self._size = size
        self._firsts = firsts
        self._sender = sender
        self._report = report
        self._own = own
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._busy = 0

    def open(self) -> None:
        """Start the threads now: at the end of the process it would be too late."""
        while len(self._threads) < self._size:
            thread = threading.Thread(target=self._serve, name="instrument-sender", daemon=True)
            self._threads.add(thread)
            try:
                thread.start()
            except RuntimeError:  # no more threads: the system's limit, or the end of the process
                self._threads.discard(thread)
                return

    def close(self) -> list[threading.Thread]:
        """Let the threads end when they are through; give those that may still run."""
        threads = list(self._threads)
        self._threads.clear()
        for _ in threads:
            self._jobs.put(None)
        return threads

    @property
    def is_alone(self) -> bool:
        """Whether there is no thread, so that a job is done by whoever gives it."""
        return not self._threads

    @property
    def has_room(self) -> bool:
        """Whether a job would begin at once."""
        return self.is_alone or self._busy < len(self._threads)

    def give(self, job: Job) -> None:
        """Have *job* done."""
        self.open()
        if self.is_alone:
            self._do(job)
            return
        self._busy += 1
        self._jobs.put(job)

    def done(self) -> None:
        """Take note that a job that was given is over; called by the worker."""
        self._busy = max(0, self._busy - 1)

    def abandon(self, job: Job) -> bool:
        """Stop waiting for *job*, and put a new thread in the place of the one that is stuck."""
        if not job.claim():
            return False
        self.done()
        if job.thread is not None:
            self._threads.discard(job.thread)
        return True

    def _serve(self) -> None:
        thread, ident = threading.current_thread(), threading.get_ident()
        self._own.add(ident)
        try:
            while (job := self._jobs.get()) is not None:
                job.thread = thread
                if not self._do(job):
                    return
        finally:
            self._own.discard(ident)
            self._threads.discard(thread)
            threading.current_thread()  # known again if gevent has renamed it, or its end is noisy

    def _do(self, job: Job) -> bool:
        """Do *job* and report it; False when it was abandoned meanwhile."""
        is_wanted = False
        try:
            with guard(f"deliver to {job.lane.name}"):
                job.outcome = self._perform(job)
        finally:  # also when an exporter ends the thread: the lane must hear of it
            is_wanted = job.claim()
            if is_wanted:
                self._report(job)
        return is_wanted

    def _perform(self, job: Job) -> Outcome:
        if isinstance(job.step, Send):
            return perform(job.step, job.lane.exporter, self._sender, job.deadline)
        with self._firsts.of(job.lane.name):
            return perform(job.step, job.lane.exporter, self._sender, job.deadline)


def perform(step: Step, exporter: Exporter, sender: Sender, deadline: float) -> Outcome:
    """Do one step, in this thread."""
    if isinstance(step, Encode) and isinstance(exporter, HttpExporter):
        encoded: object = exporter.encode(step.items, step.started)
        return encoded if isinstance(encoded, Encoded) else CRASHED
    if isinstance(step, Shorten):
        shorter: Item | None = None
        with guard("shorten an item"):
            shorter = shorten(step.item, step.max_bytes)
        return Shortened(shorter)
    if isinstance(step, Send) and isinstance(exporter, HttpExporter):
        response = sender.send(step.request, deadline)
        if isinstance(response, Failure):
            return response
        return Reply(response, read(exporter, step, response))
    if isinstance(step, Write) and isinstance(exporter, LocalExporter):
        return write(exporter, step)
    return Failure("setup", "the exporter is neither for HTTP nor for this machine")


def write(exporter: LocalExporter, step: Write) -> Written | Failure:
    """Have items written; what the system says against it is for the user to read."""
    try:
        return Written(exporter.write(step.items) or {})
    except OSError as error:
        if error.errno is None:  # its text is not the system's, and may hold anything
            raise
        place = getattr(exporter, "path", None) or "its file"
        return Failure("again", f"{place} cannot be written: {os.strerror(error.errno)}")


def read(exporter: HttpExporter, step: Send, response: Response) -> Verdict | None:
    """Ask the exporter what it reads in a reply; when it fails, the status decides."""
    with guard(f"read a reply for {exporter.name}"):
        verdict: object = exporter.verdict(step.request, response)
        return verdict if isinstance(verdict, Verdict) else None
    return None
