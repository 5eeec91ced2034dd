"""The intake by itself: bounded, counted, and ringing when it should."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time

import pytest

from instrument.recorder import Recorder
from instrument.transport import Bounds
from instrument.transport.intake import Intake
from tests.transport.fakes import Given, Local, eventually, run


def intake(**bounds: int) -> tuple[Intake, list[bool]]:
    rings: list[bool] = []
    return Intake(Bounds(**bounds), lambda: rings.append(True)), rings


def test_rings_once():
    """The first record rings, and nothing more does until the worker has listened."""
    made, rings = intake()
    for _ in range(500):
        made.add(Given(None))

    assert len(rings) == 1


@pytest.mark.parametrize(
    ("idle", "size", "needed"), [(True, 10, 1), (False, 10, 100), (False, 400_000, 3)]
)
def test_rings_for_a_batch(idle, size, needed):
    """An idle worker is rung for one record, a waiting one for a batch by count or by bytes."""
    made, rings = intake()
    assert not made.arm(idle=idle)
    while not rings:
        made.add(Given(None, size))

    assert len(made) == needed


def test_arm_sees_what_is_there():
    """Whoever arms hears of a batch that came before, so that no wake-up is lost."""
    made, _ = intake()
    made.add(Given(None))

    assert made.arm(idle=True)
    assert not made.arm(idle=False)


def test_outdated_record_is_no_loss():
    """A full intake drops the record of an open run that has ended since, and loses nothing by it."""
    made, _ = intake(queue_events=4)
    recorder = Recorder(made.add)
    for _ in range(4):
        begun = recorder.begin("chain", "step")
        begun.announce({})
        begun.end({})

    counts = made.as_dict()
    assert (counts["accepted"], counts["passed"], counts["queued"]) == (8, 2, 4)
    assert counts["dropped"] == {"queue_full": 2}


def test_counts():
    """Accepted = passed + queued + dropped, through all that can become of a record."""
    made, _ = intake(queue_events=5)
    for _ in range(8):
        made.add(Given(None))
    made.take()
    made.passed += 1
    made.take()
    made.drop("hook_error")
    made.refuse(Given(None))

    assert made.as_dict() == {
        "accepted": 9,
        "passed": 1,
        "queued": 3,
        "dropped": {"hook_error": 1, "queue_full": 3, "after_shutdown": 1},
    }
    made.abandon("exit")
    assert made.queued == 0


def test_many_threads():
    """Eight threads lose no count, nor a record without one."""
    made, _ = intake(queue_events=500, queue_bytes=10**9)
    taken = []
    stop = threading.Event()

    def produce():
        for _ in range(5000):
            made.add(Given(None, 100))

    def consume():
        while not stop.is_set() or len(made):
            if made.take() is not None:
                taken.append(1)
                made.passed += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=produce) for _ in range(8)]
    consumer = threading.Thread(target=consume)
    for thread in (*threads, consumer):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    consumer.join()
    sys.setswitchinterval(interval)

    counts = made.as_dict()
    assert counts["accepted"] == 40_000
    assert counts["queued"] == 0
    assert counts["passed"] == len(taken)
    assert made.take() is None  # an empty queue sets the weight right, whatever raced before
    assert made._bytes_in == made._bytes_out


def test_from_a_signal_handler(transport):
    """41: publishing within a signal handler that interrupts publishing cannot deadlock."""
    made = transport()
    handled = []

    def handler(*_):
        handled.append(1)
        made.publish(Given(None))

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    end = time.monotonic() + 0.5
    published = 0
    try:
        while time.monotonic() < end:
            made.publish(Given(None))
            published += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert len(handled) > 50
    assert made.stats()["intake"]["accepted"] == published + len(handled)


class Garbage:
    """Something in a cycle that holds an open run, and ends it when it is collected."""

    def __init__(self, recorder: Recorder) -> None:
        self.me = self
        self.run = recorder.begin("chain", "dropped")
        self.run.announce({})

    def __del__(self) -> None:
        self.run.end({"partial": "abandoned"})


def test_from_a_finalizer(transport):
    """41: a run that ends within `__del__`, while garbage is collected, ends, in whatever thread."""
    local = Local()
    made = transport(local)
    recorder = Recorder(made.publish)
    ids = {Garbage(recorder).run.id for _ in range(2000)}
    gc.collect()

    assert made.stats()["intake"]["accepted"] == 4000
    assert made.flush(10.0).pending == 0
    assert {item.id for item in local.items if item.duration is not None} == ids


def test_garbage_of_the_application_on_our_thread(transport):
    """41: what the application dropped is ended although a thread of ours collects it."""
    collected = []

    class Collects(Local):
        def write(self, items):
            if not collected:
                collected.append(gc.collect())
            return super().write(items)

    local = Collects()
    made = transport(local)
    recorder = Recorder(made.publish)
    gc.disable()
    try:
        Garbage(recorder)
        assert eventually(lambda: collected)
    finally:
        gc.enable()
    made.flush(10.0)

    assert [item.partial for item in local.items if item.duration is not None] == ["abandoned"]


def test_what_our_threads_do_is_not_traced(transport):
    """A run that an exporter begins and ends while it writes is none, or there would be no end."""

    class Records(Local):
        def write(self, items):
            own = recorder.begin("chain", "ours")
            own.announce({})
            own.end({})
            return super().write(items)

    local = Records()
    made = transport(local)
    recorder = Recorder(made.publish)
    made.publish(Given(run()))
    made.flush(10.0)

    assert len(local.items) == 1
    assert made.stats()["intake"]["accepted"] == 1
