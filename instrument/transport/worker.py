"""
The one thread that makes items of records, deals them out to the lanes and keeps their time.

It decides nothing about deliveries (lanes do) and waits for nobody (the pool does). One turn of it
takes records, gives out the steps that are due, answers who flushes, and sleeps until something is
due or somebody rings. When no thread can be started, `run` works in the caller's thread as well.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, final

from ..exporters._base import Exporter, LocalExporter
from ..guard import guard, notices
from ..recorder import Carried
from ..run import Exchange, Feedback, Item, Run, Trace, UserEvent
from .bounds import Bounds
from .flush import Flush
from .intake import Intake, tell
from .lane import Lane
from .pool import Job, Pool
from .sender import Sender
from .steps import Failure, Send

Process: TypeAlias = Callable[[Item], "Item | None"]
"""Called with each item before any destination; returns what may leave, None for nothing."""

RECORDS_PER_TURN = 256
"""Records that are read before the lanes are looked after again."""

GRACE_SECONDS = 0.5
"""How long after its deadline a request is waited for: it should end by itself."""

RESTART_SECONDS = 1.0
"""How long after a refusal to start a thread the next try is."""

PAUSE_SECONDS = 0.1
"""How long the worker rests after a failure of its own."""


_ITEMS = (Run, Feedback, UserEvent, Exchange, Trace)


@final
class Worker:
    """All that belongs to one process: intake, lanes, pool, and the thread that drives them."""

    def __init__(
        self,
        exporters: Sequence[Exporter],
        process: Process,
        bounds: Bounds,
        clock: Callable[[], float],
    ) -> None:
        self.pid = os.getpid()
        self.bounds = bounds
        self.clock = clock
        self.process = process
        self.own: set[int] = set()
        self.is_running = False
        self.is_closed = False
        self.is_finished = False
        self.busy_since = math.inf
        self._inbox: queue.SimpleQueue[Flush | Job | None] = queue.SimpleQueue()
        self.intake = Intake(bounds, self.ring)
        share = bounds.lane_bytes(len(exporters))
        self.lanes = [Lane(exporter, bounds, max_bytes=share) for exporter in exporters]
        self._sender = Sender(bounds, clock)
        size = min(bounds.max_senders, len(self.lanes))
        self._pool = Pool(size, self._sender, self._inbox.put, self.own)
        self._vacancy = deque([True])
        self._shift: object = None
        self._thread: threading.Thread | None = None
        self._start_after = -math.inf
        self._suspected = (math.inf, 0.0)
        self._in_hand: Carried | None = None
        self._flushes: list[Flush] = []
        self._jobs: dict[Lane, Job] = {}
        self._first_lane = 0

    # For other threads

    def ring(self) -> None:
        """Wake the worker."""
        self._inbox.put(None)

    def ask(self, flush: Flush) -> None:
        """Have everything delivered that was recorded until now; sets `flush.done`."""
        self._inbox.put(flush)

    def start(self) -> bool:
        """Have a thread at work; False when the interpreter starts no more threads."""
        if self.clock() < self._start_after:
            return False
        try:
            self._vacancy.pop()  # atomic: one caller starts it, others find it taken
        except IndexError:
            return True
        self.is_running = True
        shift = self._shift = object()
        self._thread = threading.Thread(
            target=self._main, args=(shift,), name="instrument-worker", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:
            self._start_after = self.clock() + RESTART_SECONDS
            self._leave(shift)
            return False
        return True

    def check(self) -> None:
        """Replace the worker if one step of it has been taking longer than `heartbeat`."""
        since, now = self.busy_since, self.clock()
        if now - since <= self.bounds.heartbeat:
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

    def drain(self, flush: Flush) -> None:
        """Do the worker's work in this thread until *flush* is answered, unless one is at work."""
        try:
            self._vacancy.pop()
        except IndexError:
            return
        ident = threading.get_ident()
        shift = self._shift = object()
        self.is_running = True
        self.own.add(ident)
        try:
            self.run(shift, flush.done.is_set)
        finally:
            self.own.discard(ident)
            self._leave(shift)

    def totals(self) -> tuple[int, int, int]:
        """Give how much was delivered, waits, and was dropped: all lanes and the intake."""
        sums = [lane.ledger.totals() for lane in self.lanes]
        held = sum(lane.trees.held for lane in self.lanes if lane.trees is not None)
        delivered, queued, dropped = (sum(column) for column in zip((0, 0, 0), *sums, strict=True))
        return (
            delivered,
            queued + held + self.intake.queued,
            dropped + self.intake.dropped_total,
        )

    # The thread

    def _main(self, shift: object) -> None:
        ident = threading.get_ident()
        self.own.add(ident)
        try:
            self._pool.open()
            self.run(shift)
        finally:
            self.own.discard(ident)
            self._leave(shift)

    def _leave(self, shift: object) -> None:
        """Give up the place; nothing happens when somebody else has it already."""
        if self._shift is shift:
            self._shift = None
            self.is_running = False
            self.busy_since = math.inf
            self._vacancy.append(True)

    def run(self, shift: object, until: Callable[[], bool] = lambda: False) -> None:
        """Work until the end, until replaced, or until told."""
        if self._in_hand is not None:  # whoever had it did not survive it
            self._lose_in_hand()
        while self._shift is shift and not self.is_finished and not until():
            with guard("run the transport"):
                self._turn(shift)
                continue
            if self._shift is shift and self._in_hand is not None:
                self._lose_in_hand()
            time.sleep(PAUSE_SECONDS)

    def _turn(self, shift: object) -> None:
        self.busy_since = self.clock()
        self._read(shift)
        if self._shift is not shift:
            return
        now = self.clock()
        self._give_up(now)
        self._give_out(now)
        self._answer(self.clock())
        if not self.is_finished:
            self._wait(shift)

    def _wait(self, shift: object) -> None:
        """Sleep until something is due or somebody rings, and hear what there is to hear."""
        patience = self._patience(self.clock())
        is_idle = patience > self.bounds.flush_interval
        if self.intake.arm(idle=is_idle):
            patience = 0.0
        self.busy_since = math.inf
        try:
            self._hear(self._inbox.get(timeout=None if patience == math.inf else patience))
        except queue.Empty:
            return
        self._catch_up()

    def _catch_up(self) -> None:
        """Hear all that was said meanwhile."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._hear(self._inbox.get_nowait())

    def _hear(self, message: Flush | Job | None) -> None:
        if isinstance(message, Flush):
            message.upto = self.intake.accepted
            self._flushes.append(message)
        elif message is not None:
            self._pool.done()
            if self._jobs.get(message.lane) is message:
                del self._jobs[message.lane]
                message.lane.done(message.outcome, self.clock())

    def _patience(self, now: float) -> float:
        """Say how long nothing is due, in seconds."""
        if any(flush.marks is None for flush in self._flushes):
            return 0.0
        times = [job.deadline + GRACE_SECONDS for job in self._jobs.values()]
        times += [flush.deadline for flush in self._flushes]
        times += [lane.trees.due() for lane in self.lanes if lane.trees is not None]
        if self._pool.has_room:
            times += [lane.due() for lane in self.lanes]
        return max(0.0, min(times, default=math.inf) - now)

    # Records

    def _read(self, shift: object) -> None:
        for _ in range(RECORDS_PER_TURN):
            record = self._in_hand = self.intake.take()
            if record is None:
                return
            self._deal(record, shift)
            if self._shift is not shift:
                return
            self._in_hand = None
            self.busy_since = self.clock()

    def _deal(self, record: Carried, shift: object) -> None:
        """Make an item of *record* and offer it to all lanes."""
        made = self._make(record)
        if self._shift is not shift:  # it took so long that somebody else has the work now
            return
        if isinstance(made, str):
            self.intake.drop(made)
            return
        if made is not None:
            now = self.clock()
            for lane in self.lanes:
                with guard(f"offer an item to {lane.name}"):
                    lane.offer(made, now)
        self.intake.passed += 1

    def _make(self, record: Carried) -> Item | str | None:
        """Decode and process *record*; None for nothing to deliver, else the reason of its loss."""
        item: Item | None = None
        reason = "decode_error"
        with guard("read a record"):
            item = record.decode()
            if item is None:  # a step of a long stream
                return None
            reason = "hook_error"
        if item is not None:
            with guard("process an item"):
                item = self.process(item)
                if item is None:
                    return "redacted"
                if isinstance(item, _ITEMS):
                    return item
        return reason

    def _lose_in_hand(self) -> None:
        record, self._in_hand = self._in_hand, None
        self.intake.drop("hook_error")
        if record is not None:
            tell(record)

    # Steps

    def _give_out(self, now: float) -> None:
        """Have the steps done that are due, each lane in its turn."""
        self._first_lane += 1
        start = self._first_lane % max(1, len(self.lanes))
        for lane in (*self.lanes[start:], *self.lanes[:start]):
            lane.expire(now)
            if not lane.due() <= now or not self._pool.has_room:
                continue
            step = lane.take(now)
            if step is not None:
                deadline = self._deadline(now) if isinstance(step, Send) else math.inf
                job = self._jobs[lane] = Job(lane, step, deadline)
                self._pool.give(job)

    def _deadline(self, now: float) -> float:
        """Say when a request has to be over: sooner when all wait for this one thread."""
        deadline = now + self.bounds.request_deadline
        if not self._pool.is_alone:
            return deadline
        waiting = sum(lane.due() <= now for lane in self.lanes) + 1
        for flush in self._flushes:
            deadline = min(deadline, now + max(0.0, flush.deadline - now) / waiting)
        return deadline

    def _give_up(self, now: float) -> None:
        """Stop waiting for requests that are long past their deadline."""
        for lane, job in list(self._jobs.items()):
            if now >= job.deadline + GRACE_SECONDS and self._pool.abandon(job):
                del self._jobs[lane]
                lane.done(Failure("again", "no reply in time"), now)

    # Flushes

    def _answer(self, now: float) -> None:
        for flush in list(self._flushes):
            if not self._is_answered(flush, now):
                continue
            self._flushes.remove(flush)
            if flush.is_final:
                self.finish()
            flush.done.set()

    def _is_answered(self, flush: Flush, now: float) -> bool:
        if now >= flush.deadline:
            return True
        if flush.marks is None:
            if self.intake.settled < flush.upto and len(self.intake):
                return False
            flush.marks = [lane.mark() for lane in self.lanes]
            for lane, mark in zip(self.lanes, flush.marks, strict=True):
                lane.urge(mark)
                if flush.is_final:
                    lane.hurry(now)
        return not any(
            lane.holds(mark) and (lane.busy or lane.due() <= flush.deadline)
            for lane, mark in zip(self.lanes, flush.marks, strict=True)
        )

    def finish(self) -> None:
        """End: drop and count what is left, and let go of threads, files and connections."""
        self.is_closed = self.is_finished = True
        self._catch_up()
        stuck = {job.lane for job in self._jobs.values() if job.claim()}
        self._jobs.clear()
        if self._in_hand is not None:
            self._lose_in_hand()
        self.intake.abandon("exit")
        for lane in self.lanes:
            lane.abandon("exit")
            if isinstance(lane.exporter, LocalExporter) and lane not in stuck:
                with guard(f"close {lane.name}"):
                    lane.exporter.close()
        self._pool.close()
        self._sender.close()
        for flush in self._flushes:
            flush.done.set()

    def as_dict(self) -> dict[str, Any]:
        """Copy all counts."""
        lanes: dict[str, Any] = {}
        for lane in self.lanes:
            name = lane.name if lane.name not in lanes else f"{lane.name}-{len(lanes)}"
            lanes[name] = {
                **lane.ledger.as_dict(),
                "held": 0 if lane.trees is None else lane.trees.held,
                "state": lane.state,
                "last_error": lane.last_error,
            }
        return {"intake": self.intake.as_dict(), "lanes": lanes}
