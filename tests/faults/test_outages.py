"""Time itself: outages, processes that are stopped and go on, and ends that have to be in time."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.faults.outage import HungEnds, Outage
from tests.faults.runner import delivered_once, run, start
from tests.transport.faultserver import Answer, FaultServer, Hang


def test_short_outage(tmp_path: Path) -> None:
    """1, 2: with a spool and without, all that was recorded meanwhile arrives, once."""
    outages = [Outage(1.5, after=0.6), Outage(1.5, str(tmp_path / "spool"), after=0.6)]

    for result in [outage.end() for outage in outages]:
        assert result["delivered"] == result["accepted"] >= 3
        assert result["tries_in_vain"] <= 8


FROZEN = """
from instrument.transport import Transport
from tests.transport.fakes import QUICK, Http, conserved, publish
from dataclasses import replace
from instrument.guard import notices
transport = Transport([Http(url)], bounds=replace(QUICK, heartbeat=0.3))
publish(transport, range(50))
print("recorded", flush=True)
time.sleep(0.1)
publish(transport, range(50, 100))
sys.stdin.readline()
publish(transport, range(100, 150))
flushed = transport.shutdown(4)
lane = conserved(transport)["lanes"]["http"]
assert (lane["delivered"], lane["queued"], lane["dropped"]) == (150, 0, {}), lane
assert "the worker was stuck" not in notices.counts, notices.counts
print(lane["retried"])
"""


def test_stopped_during_a_request() -> None:
    """50, 51: a process that stood still goes on where it was, and its request is tried again."""
    with FaultServer(Hang()) as hung, FaultServer(Answer(delay=0.4)) as slow:
        processes = [start(FROZEN, server.url) for server in (hung, slow)]
        for process, server in zip(processes, (hung, slow), strict=True):
            assert process.stdout is not None
            assert process.stdout.readline() == "recorded\n"
            while not server.requests:
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGSTOP)
        time.sleep(1.7)
        for process in processes:
            os.kill(process.pid, signal.SIGCONT)
        for process, server in zip(processes, (hung, slow), strict=True):
            out, err = process.communicate("go on\n", timeout=20)

            assert process.returncode == 0, err
            assert "Traceback" not in err
            assert set(server.stored) == {str(number) for number in range(150)}
            assert int(out) == len(server.requests) - len({seen.raw for seen in server.requests})
        assert len(hung.stored) == 150
        assert len(slow.stored) in {150, 200, 250}  # its reply may have come too late


def test_end_with_every_backend_hung(hung_ends: HungEnds) -> None:
    """37: the end takes 5 s at most for all backends together; what is left is counted or kept."""
    without, spooled = hung_ends.end()

    for one in (without, spooled):
        assert one.at - one.more[0] < 5.5
        assert len(one.stats["lanes"]) == 4
        assert all(lane["delivered"] == 0 for lane in one.stats["lanes"].values())
    assert all(lane["dropped"] == {"exit": 50} for lane in without.stats["lanes"].values())
    assert all(lane["spooled"] == 50 for lane in spooled.stats["lanes"].values())
    assert spooled.lane["dropped"] == {}


LOCKS = """
import logging  # first: its own hook, which takes its lock, then runs after the one below
import warnings
from tests.faults import told
from instrument import client
warnings.simplefilter("ignore", DeprecationWarning)  # this program has threads of its own
def locks():
    desk = client._client.transport._worker.desk
    return [lane.ledger._lock for lane in desk.lanes] + list(desk.firsts._locks.values())
def hold(taken, free):
    for lock in locks():
        lock.acquire()
    taken.set()
    free.wait()
    for lock in locks():
        lock.release()
holding = []
def before():  # it runs after the hooks that are registered later, those of the transport
    if client._client is None or not holding:
        return
    taken, free = threading.Event(), threading.Event()
    holding[:] = [free]
    client._client.transport.go_on()
    threading.Thread(target=hold, args=(taken, free), daemon=True).start()
    taken.wait()
def after():
    for free in holding:
        free.set()
os.register_at_fork(before=before, after_in_parent=after)
begin(url)
record()
holding.append(threading.Event())
for n in range(20):
    pid = os.fork()
    if not pid:
        record()
        told.atexit._run_exitfuncs()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    record()
"""


def test_fork_while_locks_are_held() -> None:
    """22: a child whose parent's locks were all held by another thread delivers what is its own."""
    with FaultServer() as server:
        all_told = run(LOCKS, server.url, timeout=30)

        assert len(all_told) == 21
        assert [len(each.accepted) for each in all_told] == [1] * 20 + [21]
        delivered_once(server.stored, all_told)


def test_real_outage(real_outage: Outage) -> None:
    """2: at the default settings an outage of 25 s loses nothing; tries are few, callers unhurt."""
    result = real_outage.end()

    assert result["delivered"] == result["accepted"] >= 55
    assert result["tries_in_vain"] <= 15
