"""Recording from where nobody expects it: signal handlers, finalizers, log handlers, event loops."""

from __future__ import annotations

from tests.faults.runner import delivered_once, run
from tests.transport.faultserver import Answer, FaultServer

EVERYWHERE = """
import gc, logging
from tests.faults import told

WORDS = ("signal", "finalizer", "log", "own log", "plain")
counts = dict.fromkeys(WORDS, 0)

def is_own():
    return threading.current_thread().name.startswith("instrument")

def note(word):
    counts[word] += 1
    run_id = record(word)
    if is_own():  # a log line, or a finalizer: what the library's own threads record is not taken
        told.accepted.remove(run_id)
        counts[word] -= word != "own log"

class Handler(logging.Handler):
    def emit(self, line):
        note("own log" if is_own() else "log")

class Node:
    def __init__(self):
        self.me = self
    def __del__(self):
        note("finalizer")

begin(url)
logging.getLogger().addHandler(Handler())
logging.getLogger().setLevel(logging.DEBUG)
signal.signal(signal.SIGALRM, lambda *_: note("signal"))
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
end = time.monotonic() + 1.0
while time.monotonic() < end:
    note("plain")
    logging.getLogger("application").info("busy")
    Node()
    time.sleep(0.001)
    if counts["plain"] % 20 == 0:
        gc.collect()
signal.setitimer(signal.ITIMER_REAL, 0)
told.more.append(counts)
"""


def test_from_everywhere_at_once() -> None:
    """41, 42: no deadlock, nothing lost; what our own threads log and record feeds nothing."""
    with FaultServer() as server:
        (one,) = run(EVERYWHERE, server.url, timeout=30)

        delivered_once(server.stored, [one])
    counts = one.more[0]
    assert min(counts.values()) >= 5
    assert sum(counts.values()) - counts["own log"] == len(one.accepted)


LOOPS = """
import asyncio
import instrument
from tests.faults import told

async def one(n):
    await asyncio.sleep(0)
    record(n)
    return n

async def waits(n):
    with instrument.trace("waits", input=n) as run:
        told.accepted.append(run.id)
        await asyncio.sleep(60)

async def main(n):
    abandoned = asyncio.create_task(waits(n))  # cancelled when the loop is closed
    await asyncio.gather(*(one(n) for _ in range(20)))
    if n == 3:
        instrument.flush(5)

def closed(n):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(one(n))
    loop.close()
    record("closed")

begin(url)
for n in range(5):
    asyncio.run(main(n))
threads = [threading.Thread(target=asyncio.run, args=(main(n),)) for n in range(5, 9)]
threads += [threading.Thread(target=closed, args=(n,)) for n in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
loop = asyncio.new_event_loop()
task = loop.create_task(waits("left"))
loop.run_until_complete(asyncio.sleep(0))
task.cancel()
loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
loop.close()
"""


def test_loops_that_are_closed() -> None:
    """40: nothing is bound to a loop: two runs, many threads, closed ones, cancelled tasks."""
    with FaultServer(decide=lambda ids: Answer(delay=0.05)) as server:
        (one,) = run(LOOPS, server.url, timeout=30)

        assert len(one.accepted) == 9 * 21 + 8 + 1
        delivered_once(server.stored, [one])
