"""The door: publish, flush, shutdown, stats, and what happens when something of ours fails."""

from __future__ import annotations

import threading
import time

import pytest

from instrument.exporters._base import Limits, Verdict
from instrument.guard import notices
from instrument.transport import Bounds, Flushed, Transport
from tests.transport.fakes import QUICK, Given, Http, Local, conserved, eventually, publish, run
from tests.transport.faultserver import FaultServer, Hang

DIES = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
SLOW = Bounds(flush_interval=30.0, first_interval=30.0)


def test_nothing_starts_by_itself():
    """A transport that got no record has no thread, and ends without one."""
    before = threading.active_count()
    transport = Transport([Local(), Http()])

    assert transport.flush() == Flushed(0, 0, 0)
    assert threading.active_count() == before
    assert transport.shutdown() == Flushed(0, 0, 0)
    assert threading.active_count() == before


def test_delivery(transport):
    """What is published arrives in order, in every lane, without a flush."""
    one, two = Local("one"), Local("two")
    made = transport(one, two)
    ids = publish(made, range(1000))

    assert eventually(lambda: made.stats()["lanes"]["two"]["delivered"] == 1000)
    assert eventually(lambda: made.stats()["lanes"]["one"]["delivered"] == 1000)
    assert one.ids == two.ids == ids
    stats = conserved(made)
    assert stats["intake"] == {"accepted": 1000, "passed": 1000, "queued": 0, "dropped": {}}
    assert stats["lanes"]["one"] == {
        "accepted": 1000,
        "delivered": 1000,
        "queued": 0,
        "spooled": 0,
        "dropped": {},
        "merged": 0,
        "retried": 0,
        "truncated": 0,
        "held": 0,
        "state": "closed",
        "last_error": None,
    }


def test_first_items_come_quickly(transport):
    """The first run is delivered in a fraction of the flush interval."""
    local = Local()
    made = transport(local, bounds=Bounds(flush_interval=20.0))
    publish(made, ["a"])

    assert eventually(lambda: local.ids == ["a"], 2.0)


def test_flush_does_not_wait_for_a_batch(transport):
    """`flush` delivers what was published before it, at once, and says how much."""
    local = Local()
    made = transport(local, bounds=SLOW)
    ids = publish(made, range(20))
    began = time.monotonic()

    assert made.flush() == Flushed(delivered=20, pending=0, dropped=0)
    assert local.ids == ids
    assert time.monotonic() - began < 1.0
    assert made.flush() == Flushed(0, 0, 0)


def test_flush_gives_up_in_time(transport):
    """`flush` returns at its timeout, and says what is left."""
    with FaultServer(Hang()) as server:
        made = transport(Http(server.url))
        publish(made, range(20))
        began = time.monotonic()

        assert made.flush(0.3) == Flushed(delivered=0, pending=20, dropped=0)
        assert 0.25 < time.monotonic() - began < 0.6


def test_flush_from_many_threads(transport):
    """55: fifty threads may flush at once; each finds its own records delivered."""
    local = Local()
    made = transport(local, bounds=SLOW)
    wrong = []

    def work(name):
        ids = publish(made, [f"{name}-{n}" for n in range(5)])
        flushed = made.flush()
        if flushed.pending and not set(ids) <= set(local.ids):
            wrong.append(flushed)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert wrong == []
    assert len(local.ids) == 250


def test_flush_within_callbacks(transport):
    """55: from the hook, `encode`, `write` or `verdict`, `flush` returns at once."""
    answers = []

    def flush():
        began = time.monotonic()
        made.flush()
        answers.append(time.monotonic() - began)

    class Asking(Local):
        def write(self, items):
            flush()
            return super().write(items)

    class AskingHttp(Http):
        def encode(self, items, started):
            flush()
            return super().encode(items, started)

        def verdict(self, request, response):
            flush()
            return Verdict(len(request.items))

    def process(item):
        flush()
        return item

    with FaultServer() as server:
        made = transport(Asking(), AskingHttp(server.url), process=process, bounds=SLOW)
        publish(made, range(3))

        assert made.flush().delivered == 6
    assert len(answers) == 6
    assert max(answers) < 0.05


def test_publish_within_callbacks(transport):
    """42: what our own threads publish is not taken, so that nothing feeds on itself."""
    local = Local()

    def process(item):
        publish(made, ["echo"])
        return item

    made = transport(local, process=process)
    ids = publish(made, range(3))
    made.flush()

    assert local.ids == ids
    assert made.stats()["intake"]["accepted"] == 3


def test_shutdown(transport):
    """`shutdown` delivers, closes files once, and may be called again."""
    local = Local()
    made = transport(local, bounds=SLOW)
    ids = publish(made, range(20))

    assert made.shutdown() == Flushed(delivered=20, pending=0, dropped=0)
    assert local.ids == ids
    assert made.shutdown() == Flushed(0, 0, 0)
    assert local.closed == 1


def test_publish_after_shutdown(transport):
    """55: what comes after the end is counted."""
    made = transport(Local())
    publish(made, range(2))
    made.shutdown()
    publish(made, range(3))

    assert made.flush() == Flushed(0, 0, 0)
    assert conserved(made)["intake"]["dropped"] == {"after_shutdown": 3}


def test_shutdown_with_every_backend_hung(transport):
    """37: the end takes no longer than its timeout; what is left is counted as `exit`."""
    with FaultServer(*[Hang()] * 9) as a, FaultServer(*[Hang()] * 9) as b, FaultServer() as c:
        made = transport(Http(a.url, "a"), Http(b.url, "b"), Http(c.url, "c"))
        ids = publish(made, range(30))
        began = time.monotonic()
        flushed = made.shutdown(0.5)

        assert time.monotonic() - began < 1.0
        assert flushed == Flushed(delivered=30, pending=0, dropped=60)
        assert c.stored == ids
    lanes = conserved(made)["lanes"]
    assert lanes["a"]["dropped"] == lanes["b"]["dropped"] == {"exit": 30}


def test_shutdown_interrupts_a_backoff(transport, forgiving):
    """A lane that waits for its next try gets one at the end, at once."""
    local = Local()
    local.failures = 2
    made = transport(local, bounds=Bounds(first_interval=0.01, backoff_base=60.0))
    ids = publish(made, range(3))
    assert eventually(lambda: made.stats()["lanes"]["local"]["retried"] == 1)
    began = time.monotonic()

    assert made.shutdown().delivered == 3
    assert local.ids == ids
    assert time.monotonic() - began < 2.5


def test_shutdown_with_a_stuck_hook(transport):
    """A hook that never comes back does not hold the end up."""
    release = threading.Event()

    def process(item):
        release.wait(20)
        return item

    made = transport(Local(), process=process)
    publish(made, range(3))
    began = time.monotonic()
    flushed = made.shutdown(0.3)
    release.set()

    assert time.monotonic() - began < 1.0
    assert flushed.dropped == 3
    assert conserved(made)["intake"]["dropped"] == {"hook_error": 1, "exit": 2}


def test_hook_that_fails(transport, forgiving):
    """54: an item on which the hook fails, or of which it makes nonsense, is dropped, unsent."""
    local = Local()

    def process(item):
        if item.id == "1":
            raise ValueError("the prompt")
        if item.id == "2":
            return None
        return 7 if item.id == "3" else item

    made = transport(local, process=process)
    publish(made, range(5))
    made.flush()

    assert local.ids == ["0", "4"]
    assert conserved(made)["intake"]["dropped"] == {"hook_error": 2, "redacted": 1}


def test_record_that_cannot_be_read(transport, forgiving):
    """A record whose `decode` raises is counted; one that has nothing to deliver is not a loss."""
    local = Local()
    made = transport(local)

    def fail():
        raise ValueError("the prompt")

    for item in (fail, None, run("a")):
        made.publish(Given(item))
    made.flush()

    assert local.ids == ["a"]
    intake = conserved(made)["intake"]
    assert intake == {"accepted": 3, "passed": 2, "queued": 0, "dropped": {"decode_error": 1}}


@DIES
def test_worker_that_dies(transport):
    """39: a hook that ends the thread costs its own item; the next record starts another worker."""
    local = Local()

    def process(item):
        if item.id == "2":
            raise SystemExit
        return item

    made = transport(local, process=process)
    publish(made, range(5))
    assert eventually(lambda: not made._worker.is_running)
    publish(made, [5])
    made.flush()

    assert local.ids == ["0", "1", "3", "4", "5"]
    assert conserved(made)["intake"]["dropped"] == {"hook_error": 1}


@DIES
def test_sender_that_dies(transport):
    """An exporter that ends its thread is tried again, in another."""

    class Deadly(Local):
        deaths = 6

        def write(self, items):
            if self.deaths:
                self.deaths -= 1
                raise SystemExit
            return super().write(items)

    deadly = Deadly()
    made = transport(deadly)
    ids = publish(made, range(5))
    made.flush()

    assert deadly.ids == ids
    assert conserved(made)["lanes"]["local"]["retried"] == 6


def test_worker_that_is_stuck(transport, monkeypatch):
    """39: a hook that takes longer than the heartbeat loses its item, and the work is taken over."""
    monkeypatch.setattr("instrument.transport.worker.RESTART_SECONDS", 0.1)
    local = Local()
    release = threading.Event()

    def process(item):
        if item.id == "1":
            release.wait(20)
        return item

    made = transport(local, process=process, bounds=Bounds(heartbeat=0.2, first_interval=0.02))
    publish(made, range(4))
    assert eventually(lambda: (publish(made, ["x"]), "3" in local.ids)[1], 3.0)
    release.set()
    made.flush()

    assert "1" not in local.ids
    assert local.ids[:3] == ["0", "2", "3"]
    assert conserved(made)["intake"]["dropped"] == {"hook_error": 1}


def test_exporter_that_fails_is_logged_without_its_values(transport, forgiving, caplog):
    """A failure of an exporter is said without a word of what it was about, and tried again."""

    class Chatty(Local):
        def write(self, items):
            if self.failures:
                self.failures -= 1
                raise OSError("no room for SECRET")
            return super().write(items)

    local = Chatty()
    local.failures = 3
    made = transport(local)
    ids = publish(made, range(3))
    made.flush()

    assert local.ids == ids
    assert "SECRET" not in caplog.text
    assert caplog.text.count("could not deliver to local") == 1
    assert notices.counts["failed to deliver to local"] == 3


def test_burst_is_bounded(transport):
    """47: what does not fit is dropped, the oldest first, told, and counted."""
    local = Local()
    gate = threading.Event()

    def process(item):
        gate.wait(10)
        return item

    made = transport(local, process=process, bounds=Bounds(queue_events=100))
    records = [Given(run(n)) for n in range(1000)]
    for record in records:
        made.publish(record)
    gate.set()
    made.flush()

    dropped = conserved(made)["intake"]["dropped"]["queue_full"]
    assert dropped in {899, 900}
    assert [record.is_lost for record in records].count(True) == dropped
    assert local.ids[-100:] == [str(n) for n in range(900, 1000)]


def test_burst_is_bounded_by_bytes(transport):
    """Large records are dropped by their size; the newest is kept however large it is."""
    gate = threading.Event()
    local = Local()

    def process(item):
        gate.wait(10)
        return item

    made = transport(local, process=process, bounds=Bounds(queue_bytes=4_000_000))
    for n in range(10):
        made.publish(Given(run(n), size_bytes=400_000))
    made.publish(Given(run("huge"), size_bytes=50_000_000))
    gate.set()
    made.flush()

    assert local.ids[-1] == "huge"
    assert conserved(made)["intake"]["dropped"]["queue_full"] >= 9


def test_two_lanes_of_one_name(transport):
    """Two exporters with the same name are two ledgers."""
    made = transport(Local(), Local())
    publish(made, range(2))
    made.flush()

    assert list(conserved(made)["lanes"]) == ["local", "local-1"]


def test_ended_and_open_together(transport):
    """An open run and its end that come within one batch are one delivery."""
    with FaultServer() as server:
        made = transport(Http(server.url), bounds=SLOW)
        made.publish(Given(run("a", duration=None)))
        made.publish(Given(run("a")))
        made.flush()

        assert server.stored == ["a"]
    assert conserved(made)["lanes"]["http"]["merged"] == 1


def test_whole_trees(transport):
    """A destination of whole trees gets one item when the root ends, the root last."""
    trees = []

    class Forest(Local):
        whole_traces = True

        def write(self, items):
            trees.extend([each.id for each in item.runs] for item in items)
            return {}

    made = transport(Forest())
    for each in ("a", "b"):
        made.publish(Given(run(f"{each}1", duration=None, trace_id=each)))
        made.publish(Given(run(f"{each}2", trace_id=each, parent_id=f"{each}1")))
        made.publish(Given(run(f"{each}3", trace_id=each, parent_id=f"{each}1")))
    assert made.flush(0.5).pending == 4
    assert made.stats()["lanes"]["local"]["held"] == 4
    made.publish(Given(run("b1", trace_id="b")))
    made.publish(Given(run("b4", trace_id="b", parent_id="b1")))
    made.flush(0.5)

    assert trees == [["b2", "b3", "b1"]]
    made.shutdown()
    assert conserved(made)["lanes"]["local"]["dropped"] == {"late": 1, "exit": 2}


def test_bounds_are_divided():
    """The intake's part and the lanes' add up to the whole."""
    bounds = Bounds(queue_bytes=1000)

    assert bounds.intake_bytes == 250
    assert bounds.lane_bytes(3) * 3 <= 750
    assert bounds.lane_bytes(0) == 750


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_batches_respect_the_exporter(transport, limit):
    """No batch has more items than the exporter's limit."""
    with FaultServer() as server:
        made = transport(Http(server.url, limits=Limits(max_items=limit)), bounds=QUICK)
        ids = publish(made, range(50))
        made.flush()

        assert server.stored == ids
        assert max(len(body) for body in server.bodies) <= limit
