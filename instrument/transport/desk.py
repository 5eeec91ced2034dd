"""
What the worker does, turn by turn: read records, deal items out to the lanes, keep their time.

It decides nothing about deliveries (lanes do) and waits for nobody (the pool does). One turn reads
what the intake has, gives out the steps that are due, answers who flushes, and sleeps until
something is due or somebody rings. The shared state of one process; one thread at a time turns.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Any, TypeAlias, final

from ..exporters._base import Exporter, LocalExporter
from ..guard import guard
from ..recorder import Carried
from ..run import Exchange, Feedback, Item, Run, Trace, UserEvent
from .backlog import CHUNK_ITEMS, Backlog, Made, Written
from .bounds import Bounds, SpoolOptions
from .firsts import CLIENT, Firsts
from .flush import Flush
from .intake import Intake, tell
from .lane import Lane
from .pool import Job, Pool
from .sender import Sender
from .steps import Failure, Send

Process: TypeAlias = Callable[[Item], "Item | None"]
"""Called with each item before any destination; returns what may leave, None for nothing."""

RECORDS_PER_TURN = 512
"""Records that are read before the lanes are looked after again."""

GRACE_SECONDS = 0.5
"""How long after its deadline a request is waited for: it should end by itself."""

_ITEMS = (Run, Feedback, UserEvent, Exchange, Trace)


class Word(Enum):
    """What the desk is told without more to it."""

    WAKE = auto()
    REST = auto()


@final
class Desk:
    """
    Intake, lanes and pool of one process.

    Args:
        process: What each item passes before any destination.
        own: Idents of the threads that are ours.
        spool: Where on disk items lie too, if anywhere.
    """

    def __init__(
        self,
        exporters: Sequence[Exporter],
        process: Process,
        bounds: Bounds,
        clock: Callable[[], float],
        own: set[int],
        spool: SpoolOptions | None = None,
    ) -> None:
        if spool is not None:
            bounds = replace(bounds, max_age=spool.max_age)
        self.inbox: queue.SimpleQueue[Flush | Job | Word] = queue.SimpleQueue()
        self.intake = Intake(bounds, self._ring)
        share = bounds.lane_bytes(len(exporters))
        self.lanes = [Lane(exporter, bounds, max_bytes=share) for exporter in exporters]
        self.firsts = Firsts([CLIENT, *(lane.name for lane in self.lanes)])
        self.sender = Sender(bounds, clock, self.firsts)
        size = min(bounds.max_senders, len(self.lanes))
        self.pool = Pool(size, self.sender, self.inbox.put, own, self.firsts)
        self.busy_since = math.inf
        self.is_finished = False
        self.wants_rest = False
        self._process = process
        self._bounds = bounds
        self._clock = clock
        self._in_hand: Carried | None = None
        self._flushes: list[Flush] = []
        self._jobs: dict[Lane, Job] = {}
        self._first_lane = 0
        self.backlog = None if spool is None else Backlog(spool, self.lanes, clock, own)
        self._made: list[Made] = []
        self._written: list[Written] = []
        self._rung = False

    def _ring(self) -> None:
        self.inbox.put(Word.WAKE)

    def turn(self, is_mine: Callable[[], bool]) -> None:
        """Do what there is to do, then sleep; *is_mine* says whether the caller still works here."""
        self.busy_since = self._clock()
        self._read(is_mine)
        if not is_mine():
            return
        now = self._clock()
        if self.backlog is not None:
            self._remark(self.backlog.tend(now))
        self._give_up(now)
        self._give_out(now)
        if not self._answer(self._clock()):  # whoever works here for an answer may leave then
            self._wait()

    # Records

    def _read(self, is_mine: Callable[[], bool]) -> None:
        if self._is_early() and not (self._rung or self._flushes):
            return
        self._rung = False
        for _ in range(RECORDS_PER_TURN):
            record = self._in_hand = self.intake.take()
            if record is None:
                break
            made = make(record, self._process)
            if not is_mine():  # it took so long that somebody else has the work now
                return
            self._deal(made)
            self._in_hand = None
            self.busy_since = self._clock()
            if len(self._made) >= CHUNK_ITEMS and not self._write(is_mine):
                return
        self._deal_written(is_mine)

    def _is_early(self) -> bool:
        """Say whether what comes now may wait for more, to be written to disk with it."""
        return self.backlog is not None and self._clock() < self.backlog.next_write

    def _write(self, is_mine: Callable[[], bool]) -> bool:
        """Write the items that were made, while they are at hand; False when that took too long."""
        if self.backlog is None or not self._made:
            return True
        written = self.backlog.write(self._made)
        if not is_mine():  # somebody else writes them, once more
            return False
        self._written += written
        self._made = []
        return True

    def _deal_written(self, is_mine: Callable[[], bool]) -> None:
        """Have the items that were made on disk, and only then offer them to the lanes."""
        if self.backlog is None or not (self._made or self._written):
            return
        if not self._write(is_mine):
            return
        self.backlog.commit()
        if not is_mine():
            return
        written, self._written = self._written, []
        self.backlog.deal(written)
        self.intake.passed += sum([len(items) for items, *_ in written])

    def _deal(self, made: Item | str | None) -> None:
        """Offer an item to all lanes, or count why there is none."""
        if isinstance(made, str):
            self.intake.drop(made)
            return
        if made is not None and self.backlog is not None:
            # With the record in hand: whoever hangs or dies of it takes no other along.
            names = self.backlog.names(made)
            if names:
                self._made.append((made, names))
                return
        elif made is not None:
            now = self._clock()
            for lane in self.lanes:
                with guard(f"offer an item to {lane.name}"):
                    lane.offer(made, now)
        self.intake.passed += 1

    def lose_in_hand(self) -> None:
        """Count the record that whoever read it did not come back from, if there is one."""
        record, self._in_hand = self._in_hand, None
        if record is not None:
            self.intake.drop("hook_error")
            tell(record)

    # Steps

    def _give_out(self, now: float) -> None:
        """Have the steps done that are due, each lane in its turn."""
        self._first_lane += 1
        start = self._first_lane % max(1, len(self.lanes))
        for lane in (*self.lanes[start:], *self.lanes[:start]):
            lane.expire(now)
            step = lane.take(now) if self.pool.has_room else None
            if step is not None:
                deadline = self._deadline(now) if isinstance(step, Send) else math.inf
                job = self._jobs[lane] = Job(lane, step, deadline)
                self.pool.give(job)

    def _deadline(self, now: float) -> float:
        """Say when a request has to be over: sooner when all wait for this one thread."""
        deadline = now + self._bounds.request_deadline
        if not self.pool.is_alone:
            return deadline
        waiting = sum(lane.due() <= now for lane in self.lanes) + 1
        for flush in self._flushes:
            deadline = min(deadline, now + max(0.0, flush.deadline - now) / waiting)
        return deadline

    def _give_up(self, now: float) -> None:
        """Stop waiting for requests that are long past their deadline."""
        for lane, job in list(self._jobs.items()):
            if now >= job.deadline + GRACE_SECONDS and self.pool.abandon(job):
                del self._jobs[lane]
                lane.done(Failure("again", "no reply in time"), now)

    # Flushes

    def _answer(self, now: float) -> bool:
        """Answer who waits for a delivery, and say whether anybody was."""
        answered = [flush for flush in self._flushes if self._is_answered(flush, now)]
        for flush in answered:
            self._flushes.remove(flush)
            if flush.is_final:
                self.finish()
            flush.done.set()
        return bool(answered)

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

    def _remark(self, fed: Sequence[Lane]) -> None:
        """Have who waits for a delivery wait for what these lanes have read back from disk, too."""
        for flush in self._flushes if fed else ():
            if flush.marks is not None:
                flush.marks = [
                    lane.mark() if lane in fed else mark
                    for lane, mark in zip(self.lanes, flush.marks, strict=True)
                ]
                for lane in fed:
                    lane.urge(lane.mark())

    # Sleep

    def _wait(self) -> None:
        """Sleep until something is due or somebody rings, and hear what there is to hear."""
        patience = self._patience(self._clock())
        is_idle = patience > self._bounds.flush_interval
        if self.backlog is not None:
            is_idle = not self._is_early()
            if not is_idle:
                patience = min(patience, max(0.0, self.backlog.next_write - self._clock()))
        self._rung = self.intake.arm(idle=is_idle)
        if self._rung:
            patience = 0.0
        self.busy_since = math.inf
        try:
            self._hear(self.inbox.get(timeout=None if patience == math.inf else patience))
        except queue.Empty:
            return
        self._catch_up()

    def _catch_up(self) -> None:
        """Hear all that was said meanwhile."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._hear(self.inbox.get_nowait())

    def _hear(self, message: Flush | Job | Word) -> None:
        if isinstance(message, Flush):
            message.upto = self.intake.accepted
            self._flushes.append(message)
        elif isinstance(message, Job):
            self.pool.done()
            if self._jobs.get(message.lane) is message:
                del self._jobs[message.lane]
                message.lane.done(message.outcome, self._clock())
        elif message is Word.WAKE:
            self._rung = True
        else:
            self.wants_rest = not (self._jobs or self._flushes or len(self.intake))

    def _patience(self, now: float) -> float:
        """Say how long nothing is due, in seconds."""
        if any(flush.marks is None for flush in self._flushes):
            return 0.0
        times = [job.deadline + GRACE_SECONDS for job in self._jobs.values()]
        times += [flush.deadline for flush in self._flushes]
        times += [lane.trees.due() for lane in self.lanes if lane.trees is not None]
        if self.pool.has_room:
            times += [lane.due() for lane in self.lanes]
        if self.backlog is not None:
            times.append(self.backlog.due())
        return max(0.0, min(times, default=math.inf) - now)

    # The end, and the counts

    def rest(self) -> list[threading.Thread]:
        """Have no threads until they are needed again; give those that may still run."""
        return self.pool.close() + ([] if self.backlog is None else self.backlog.rest())

    def finish(self) -> None:
        """End: drop and count what is left, and let go of threads, files and connections."""
        self._catch_up()
        stuck = {job.lane for job in self._jobs.values() if job.claim()}
        self._jobs.clear()
        self.lose_in_hand()
        self._deal_written(lambda: True)
        self.intake.abandon("exit")
        for lane in self.lanes:
            lane.abandon("exit")
            if isinstance(lane.exporter, LocalExporter) and lane not in stuck:
                with guard(f"close {lane.name}"):
                    lane.exporter.close()
        if self.backlog is not None:
            self.backlog.close()
        self.pool.close()
        self.sender.close()
        self.is_finished = True  # last: whoever waits for it reads the counts then
        for flush in self._flushes:
            flush.done.set()

    def forget(self) -> None:
        """In a forked child: let go of what is the parent's."""
        self.sender.forget()
        if self.backlog is not None:
            self.backlog.forget()

    def totals(self) -> tuple[int, int, int]:
        """Give how much was delivered, waits, and was dropped: all lanes and the intake."""
        sums = [lane.ledger.totals() for lane in self.lanes]
        held = sum(lane.trees.held for lane in self.lanes if lane.trees is not None)
        delivered, queued, dropped = (sum(column) for column in zip((0, 0, 0), *sums, strict=True))
        return delivered, queued + held + self.intake.queued, dropped + self.intake.dropped_total

    def as_dict(self) -> dict[str, Any]:
        """Copy all counts."""
        lanes: dict[str, Any] = {}
        for lane in self.lanes:
            name = lane.name if lane.name not in lanes else f"{lane.name}-{len(lanes)}"
            lanes[name] = lane.as_dict()
        spool = {} if self.backlog is None else {"spool": self.backlog.as_dict()}
        return {"intake": self.intake.as_dict(), "lanes": lanes, **spool}


def make(record: Carried, process: Process) -> Item | str | None:
    """Make what may leave of *record*; None for nothing to deliver, else the reason of its loss."""
    item: Item | None = None
    with guard("read a record"):
        item = record.decode()
        if item is None:  # a step of a long stream
            return None
    if item is None:
        return "decode_error"
    with guard("process an item"):
        item = process(item)
        if item is None:
            return "redacted"
        if isinstance(item, _ITEMS):
            return item
    return "hook_error"
