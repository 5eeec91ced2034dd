"""Files are forced to the disk beside everything else: a slow disk delays nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from instrument.transport import SpoolOptions
from instrument.transport.syncer import Syncer
from tests.transport.fakes import QUICK, Local, conserved, eventually, publish


class Disk:
    """A disk that says that it has something only when it is let to."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.asked = 0
        self.forced: list[int] = []

    def __call__(self, fd: int) -> None:
        self.asked += 1
        assert self.free.wait(10.0)
        self.forced.append(os.fstat(fd).st_size)  # it is still open


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    made = Disk()
    monkeypatch.setattr(os, "fdatasync", made)
    yield made
    made.free.set()


@pytest.fixture
def spooled(transport: Any, tmp_path: Path, disk: Disk) -> Any:
    """Make a transport whose spool lies on that disk."""

    def make(*exporters: Any, bounds: Any = QUICK) -> Any:
        return transport(
            *exporters, bounds=bounds, spool=SpoolOptions(path=str(tmp_path / "spool"))
        )

    return make


def open_under(path: Path) -> int:
    """Count the open files there, also removed ones; other tests' may be closed at any moment."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            count += os.readlink(f"/proc/self/fd/{number}").startswith(f"{path}/")
    return count


def test_writes_go_on(spooled, disk, tmp_path):
    """While the disk is busy, what is recorded is written all the same, and outlives the process."""
    made = spooled(Local(), bounds=replace(QUICK, flush_interval=30.0, first_interval=30.0))
    publish(made, ["a"])
    assert eventually(lambda: disk.asked == 1)
    publish(made, ["b"])

    assert eventually(
        lambda: any(b'"b"' in each.read_bytes() for each in (tmp_path / "spool").iterdir())
    )
    assert disk.asked == 1
    disk.free.set()
    assert eventually(lambda: len(disk.forced) == 2)


def test_delivery_goes_on(spooled, disk, tmp_path):
    """A file that is settled and removed while it is forced is closed once that is over."""
    local = Local()
    made = spooled(local)
    before = open_under(tmp_path)
    ids = publish(made, ["a"])
    assert eventually(lambda: disk.asked == 1 and local.ids == ids)
    assert eventually(lambda: not list((tmp_path / "spool").iterdir()))
    assert eventually(lambda: conserved(made)["spool"]["files"] == 0)

    assert open_under(tmp_path) == before + 1
    disk.free.set()
    assert eventually(lambda: disk.forced and open_under(tmp_path) == before)


def test_the_end_does_not_wait_for_ever(spooled, disk, tmp_path):
    """A process may end while the disk is busy; what is left is in its files."""
    made = spooled(Local(), bounds=replace(QUICK, flush_interval=30.0, first_interval=30.0))
    publish(made, ["a"])
    assert eventually(lambda: disk.asked == 1)
    done = threading.Thread(target=made.shutdown, args=(0.2,))
    done.start()
    done.join(5.0)

    assert not done.is_alive()
    assert made.stats()["spool"]["state"] == "memory"


def test_once_for_all_who_asked():
    """What was asked for while the work was done is done once more, not once for each."""
    began, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def work() -> None:
        began.release()
        go_on.acquire()

    syncer = Syncer(work, set())
    syncer.ask()
    began.acquire()
    for _ in range(5):
        syncer.ask()
    go_on.release()
    assert began.acquire(timeout=5.0)
    go_on.release()
    (thread,) = syncer.close()
    thread.join(5.0)

    assert not thread.is_alive()
    assert not began.acquire(blocking=False)


def test_begins_again():
    """After the rest of a fork, the next who asks has a thread again."""
    done: list[str] = []
    syncer = Syncer(lambda: done.append(threading.current_thread().name), own := set())
    for count in (1, 2):
        syncer.ask()
        assert eventually(lambda count=count: len(done) == count)
        for thread in syncer.close():
            thread.join(5.0)
        assert own == set()

    assert done == ["instrument-syncer"] * 2


def test_no_thread_to_be_had(monkeypatch):
    """At the end of the process, or on a full system, whoever asks does it."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done: list[str] = []
    syncer = Syncer(lambda: done.append(threading.current_thread().name), set())
    syncer.ask()
    syncer.ask()

    assert done == ["MainThread"] * 2
    assert syncer.close() == []


def test_failure_is_ours():
    """Work that raises is counted, and the next is done all the same."""
    from instrument.guard import guard, notices

    guard.strict = False
    failures = [OSError("the disk is gone")]
    done = threading.Event()

    def work() -> None:
        if failures:
            raise failures.pop()
        done.set()

    syncer = Syncer(work, set())
    syncer.ask()
    assert eventually(lambda: not failures)
    syncer.ask()

    assert done.wait(5.0)
    assert notices.counts["failed to force the spool to the disk"] == 1
    for thread in syncer.close():
        thread.join(5.0)
