"""The door of the transport: what the rest of the package and its threads may call."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, final

from ..exporters._base import Exporter, HttpExporter
from ..guard import guard
from ..recorder import Carried
from ..run import Item
from .bounds import Bounds, SpoolOptions
from .desk import Process
from .flush import Flush, Flushed
from .folder import Folder
from .intake import is_ours
from .sender import load
from .worker import Worker

GRACE_SECONDS = 0.25
"""How long after its deadline the answer to a flush is waited for."""

LOOK_SECONDS = 0.25
"""How often a thread that waits for a flush sees to it that a worker is there."""


LOOK_RECORDS = 8
"""How often, in records that wait, the thread that publishes looks whether the worker is stuck."""


def keep(item: Item) -> Item:
    """Let an item pass as it is."""
    return item


def nothing() -> None:
    """Do nothing."""


@final
class Transport:
    """
    Take records in any thread, and deliver them from threads of its own.

    Nothing is started before the first record. A forked child begins anew, with empty queues and
    zero counts, and sends what it records itself.

    Args:
        exporters: Where items go; each gets a lane of its own.
        process: Called on the worker with each item, before any destination; returns what may
            leave, None for nothing. When it raises, the item is dropped.
        clock: Monotonic seconds.
        spool: Where on disk items lie as well, so that they outlive the process; None for nowhere.
        on_start: Called in the thread that publishes before there is a worker, which is once a
            process, or seldom more. Must not raise.
    """

    def __init__(
        self,
        exporters: Sequence[Exporter],
        *,
        process: Process = keep,
        bounds: Bounds | None = None,
        clock: Callable[[], float] = time.monotonic,
        spool: SpoolOptions | None = None,
        on_start: Callable[[], None] = nothing,
    ) -> None:
        self._exporters = tuple(exporters)
        if any(isinstance(exporter, HttpExporter) for exporter in self._exporters):
            load()
        self._process = process
        self._bounds = bounds or Bounds()
        self._clock = clock
        self._spool = spool
        self._on_start = on_start
        self._worker = self._hire()
        _follow_forks(self)

    def wake(self) -> None:
        """Begin to deliver what other processes have left on disk, if there is anything."""
        if self._spool is not None and Folder(self._spool.path).listing():
            self._current().start()

    def publish(self, record: Carried) -> None:
        """Take *record*. Never blocks and never raises; may be called again while it runs."""
        worker = self._worker
        if worker.pid != os.getpid():
            worker = self.renew()
        if worker.is_closed:
            worker.intake.refuse(record)
            return
        if threading.get_ident() in worker.own and is_ours(record):
            return
        waiting = worker.intake.add(record)
        if not worker.is_running:
            self._on_start()
            worker.start()
        elif not waiting % LOOK_RECORDS:
            worker.check()

    def flush(self, timeout: float = 5.0) -> Flushed:
        """
        Have everything delivered that was recorded until now, and wait for it.

        Any number of threads may do so at once. Within a callback of the transport's own it returns
        at once.

        Args:
            timeout: Seconds to wait at most.
        """
        return self._settle(timeout, is_final=False)

    def hasten(self, seconds: float) -> None:
        """Have everything delivered that was recorded until now, within *seconds*; wait for nothing."""
        worker = self._current()
        if worker.desk.is_finished or threading.get_ident() in worker.own:
            return
        worker.desk.inbox.put(Flush(self._clock() + seconds))
        if not worker.is_running:
            worker.start()

    def shutdown(self, timeout: float | None = None) -> Flushed:
        """
        Deliver what there is and end; what is left is dropped, counted as `exit`, or stays on disk.

        A second call does nothing. What is published afterwards is counted as `after_shutdown`.

        Args:
            timeout: Seconds to wait at most; None means `Bounds.exit_seconds`.
        """
        seconds = self._bounds.exit_seconds if timeout is None else timeout
        return self._settle(seconds, is_final=True)

    def stats(self) -> dict[str, Any]:
        """
        Say what became of everything.

        Returns:
            `intake`: accepted = passed + queued + dropped (by reason), in records. `lanes`: for
            each exporter, accepted = delivered + queued + spooled + dropped (by reason), in items;
            `spooled` are on disk and not in memory; an ended run that overtook its own open one is
            one item, counted in `merged`; `held` are runs that wait for the root of their tree;
            `retried` counts requests. `spool`: the files of this process, if there is a spool.
        """
        return self._current().desk.as_dict()

    def rest(self) -> None:
        """Have no threads during a fork, if there is nothing to deliver; they come back by need."""
        self._worker.rest()
        self._worker.desk.firsts.hold()

    def go_on(self) -> None:
        """After a fork, in the parent, undo what `rest` did."""
        self._worker.desk.firsts.release()

    def renew(self) -> Worker:
        """Begin anew, as a forked child does; a transport that had ended stays so."""
        is_closed = self._worker.is_closed
        self._worker.desk.forget()
        worker = self._hire()
        worker.is_closed = worker.desk.is_finished = is_closed
        self._worker = worker
        return worker

    def _hire(self) -> Worker:
        return Worker(self._exporters, self._process, self._bounds, self._clock, self._spool)

    def _current(self) -> Worker:
        worker = self._worker
        return worker if worker.pid == os.getpid() else self.renew()

    def _settle(self, timeout: float, *, is_final: bool) -> Flushed:
        worker = self._current()
        delivered, pending, dropped = worker.desk.totals()
        if worker.desk.is_finished or threading.get_ident() in worker.own:
            return Flushed(0, pending, 0)
        if pending or is_final or self._spool is not None:
            flush = Flush(self._clock() + timeout, is_final)
            worker.is_closed = worker.is_closed or is_final
            self._await(worker, flush)
        now_delivered, pending, now_dropped = worker.desk.totals()
        return Flushed(now_delivered - delivered, pending, now_dropped - dropped)

    def _await(self, worker: Worker, flush: Flush) -> None:
        """Have *flush* answered, by the worker or, when there is none, in this thread."""
        worker.desk.inbox.put(flush)
        while not flush.done.is_set() and not worker.desk.is_finished:
            left = flush.deadline + GRACE_SECONDS - self._clock()
            if left <= 0:
                break
            if not worker.is_running and (flush.is_final or not worker.start()):
                worker.drain(flush)
            flush.done.wait(min(left, LOOK_SECONDS))
        if flush.is_final and not worker.desk.is_finished:
            worker.retire()  # it is stuck in a hook
            worker.desk.finish()


_followed: weakref.WeakSet[Transport] = weakref.WeakSet()
_is_following: list[bool] = []


def _follow_forks(transport: Transport) -> None:
    """Renew *transport* in every forked child."""
    _followed.add(transport)
    if not _is_following and hasattr(os, "register_at_fork"):
        _is_following.append(True)
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child
        )


def _before_fork() -> None:
    for transport in list(_followed):
        with guard("rest before a fork"):
            transport.rest()


def _after_fork() -> None:
    for transport in list(_followed):
        with guard("go on after a fork"):
            transport.go_on()


def _in_child() -> None:
    for transport in list(_followed):
        with guard("begin anew after a fork"):
            transport.renew()
