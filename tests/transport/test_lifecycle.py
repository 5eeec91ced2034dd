"""Forks, the end of the process, threads that cannot be started: each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.transport.faultserver import FaultServer, Hang

ROOT = Path(__file__).resolve().parents[2]
HEAD = """
import atexit, gc, os, signal, sys, threading, time, warnings
warnings.simplefilter("error")
from instrument.transport import Bounds, Transport
from instrument.exporters._base import Limits
from tests.transport.fakes import Given, Http, Local, conserved, eventually, publish, run
transport = Transport([Http(sys.argv[1])], bounds=Bounds(flush_interval=0.05, backoff_base=0.05))
"""

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def process(code: str, url: str, timeout: float = 30.0) -> str:
    """Run *code* after `HEAD`; give what it printed, having seen no traceback and no warning."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + textwrap.dedent(code), url],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "Error" not in done.stderr.replace("ConnectError", "").replace("ReadTimeout", "")
    assert "Warning" not in done.stderr
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@forks
def test_child_sends_its_own():
    """22: after a fork the child sends what it records, and the parent what it had, once each."""
    with FaultServer() as server:
        process(
            """
            warnings.simplefilter("default", DeprecationWarning)  # there are records under way
            publish(transport, ["parent-1"])
            pid = os.fork()
            if not pid:
                publish(transport, ["child"])
                print(transport.shutdown(), flush=True)
                assert conserved(transport)["intake"]["accepted"] == 1
                os._exit(0)
            os.waitpid(pid, 0)
            publish(transport, ["parent-2"])
            transport.shutdown()
            """.replace('simplefilter("default"', 'simplefilter("ignore"'),
            server.url,
        )

        assert sorted(server.stored) == ["child", "parent-1", "parent-2"]


@forks
def test_idle_parent_is_not_warned():
    """22: Python 3.12 and later warn who forks with threads; ours are gone for that moment."""
    with FaultServer() as server:
        process(
            """
            ids = publish(transport, ["a"])
            transport.flush()
            for n in range(20):
                pid = os.fork()
                if not pid:
                    publish(transport, [f"child-{n}"])
                    transport.shutdown()
                    os._exit(0)
                os.waitpid(pid, 0)
            publish(transport, ["b"])
            transport.shutdown()
            """,
            server.url,
        )

        assert server.stored == ["a", *(f"child-{n}" for n in range(20)), "b"]


@forks
def test_forks_while_busy():
    """22: two hundred forks while threads publish and flush: no deadlock, nothing sent twice."""
    with FaultServer() as server:
        out = process(
            """
            warnings.simplefilter("ignore", DeprecationWarning)  # of the application's own threads
            stop = threading.Event()
            def work(name):
                n = 0
                while not stop.is_set():
                    publish(transport, [f"{name}-{n}"])
                    n += 1
                    if n % 50 == 0:
                        transport.flush()
                        transport.stats()
                    time.sleep(0.001)
            threads = [threading.Thread(target=work, args=(name,)) for name in "xyz"]
            for thread in threads: thread.start()
            for n in range(200):
                pid = os.fork()
                if not pid:
                    if n % 20 == 0:
                        publish(transport, [f"child-{n}"])
                        transport.shutdown()
                    os._exit(0)
                _, status = os.waitpid(pid, 0)
                assert status == 0
            stop.set()
            for thread in threads: thread.join()
            transport.shutdown()
            stats = conserved(transport)
            print(stats["lanes"]["http"]["delivered"])
            """,
            server.url,
        )

        assert len(server.stored) == len(set(server.stored)) == int(out) + 10
        assert sum(each.startswith("child") for each in server.stored) == 10


@forks
def test_child_opens_its_own_connection():
    """23: a connection is never shared with a child: each reply goes to whoever asked."""
    with FaultServer() as server:
        process(
            """
            publish(transport, ["before"])
            transport.flush()
            pid = os.fork()
            for n in range(20):
                publish(transport, [f"{'parent' if pid else 'child'}-{n}"])
                assert transport.flush().delivered == 1
            if not pid:
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            """,
            server.url,
        )

        assert server.connections == 2
        assert len(server.stored) == len(set(server.stored)) == 41


@forks
def test_closed_parent_has_a_closed_child():
    """A transport that was shut down stays so in a child."""
    process(
        """
        transport.shutdown()
        pid = os.fork()
        if not pid:
            publish(transport, ["a"])
            os._exit(0 if transport.stats()["intake"]["dropped"] == {"after_shutdown": 1} else 1)
        assert os.waitpid(pid, 0)[1] == 0
        """,
        "http://backend.invalid/",
    )


def test_end_of_the_process():
    """What is recorded last is delivered at the end, without a word on stderr."""
    with FaultServer() as server:
        process("atexit.register(transport.shutdown); publish(transport, range(500))", server.url)

        assert server.stored == [str(n) for n in range(500)]


@pytest.mark.parametrize("times", [1, 4])
def test_end_of_the_process_with_a_hanging_backend(times):
    """37: it takes what `shutdown` was given, and not a word on stderr."""
    with FaultServer(*[Hang()] * 20) as server:
        out = process(
            f"""
            others = [Transport([Http(sys.argv[1], f"h{{n}}") for n in range({times})])]
            publish(others[0], range(100))
            time.sleep(0.3)
            def end():
                began = time.monotonic()
                flushed = others[0].shutdown(1.0)
                print(flushed.dropped, round(time.monotonic() - began, 1))
            atexit.register(end)
            """,
            server.url,
        )

    dropped, seconds = out.split()
    assert int(dropped) == 100 * times
    assert float(seconds) <= 1.3


def test_end_of_the_process_with_a_dead_backend():
    """A backend that refuses connections does not hold the end up for all of its time."""
    out = process(
        """
        publish(transport, range(10))
        began = time.monotonic()
        transport.shutdown(10)
        print(time.monotonic() - began)
        """,
        "http://127.0.0.1:9/",
    )

    assert float(out) < 6


def test_first_record_at_the_end():
    """38: a transport that is first used at exit, when no thread can be started, delivers."""
    with FaultServer() as server:
        process(
            """
            def end():
                publish(transport, ["late"])
                print(transport.shutdown())
            atexit.register(end)
            """,
            server.url,
        )

        assert server.stored == ["late"]


NO_THREADS = """
import _thread
def refuse(*args, **kwargs): raise RuntimeError("can't start new thread")
threading._start_new_thread = _thread.start_new_thread = refuse
if hasattr(threading, "_start_joinable_thread"): threading._start_joinable_thread = refuse
"""


def test_no_thread_can_be_started():
    """38: publishing goes on, and whoever flushes or ends does the work in its own thread."""
    with FaultServer() as server:
        process(
            NO_THREADS
            + textwrap.dedent("""
            publish(transport, range(50))
            assert transport.flush().delivered == 50
            publish(transport, range(50, 60))
            assert transport.flush().delivered == 10
            publish(transport, range(60, 70))
            assert transport.shutdown().delivered == 10
            conserved(transport)
            """),
            server.url,
        )

        assert server.stored == [str(n) for n in range(70)]


def test_no_thread_and_a_hanging_backend():
    """38: alone, a hanging backend takes its share of the time and leaves the rest to others."""
    with FaultServer(*[Hang()] * 5) as hung, FaultServer() as server:
        process(
            NO_THREADS
            + textwrap.dedent(f"""
            both = Transport([Http({hung.url!r}, "hung"), Http(sys.argv[1])])
            publish(both, range(50))
            began = time.monotonic()
            flushed = both.shutdown(2.0)
            assert (flushed.delivered, flushed.dropped) == (50, 50), flushed
            assert time.monotonic() - began < 2.5
            conserved(both)
            """),
            server.url,
        )

        assert server.stored == [str(n) for n in range(50)]


def test_threads_come_back():
    """38: when threads can be started again, the next record starts one."""
    with FaultServer() as server:
        process(
            """
            real = threading.Thread.start
            def refuse(thread): raise RuntimeError("can't start new thread")
            threading.Thread.start = refuse
            publish(transport, ["a"])
            threading.Thread.start = real
            time.sleep(1.1)
            publish(transport, ["b"])
            assert eventually(lambda: transport.stats()["lanes"]["http"]["delivered"] == 2)
            """,
            server.url,
        )

        assert server.stored == ["a", "b"]


BURST = """
import resource, tracemalloc
sizes = 2048
prompt = b'"' + b"x" * 2000 + b'"'
class Fresh(Given):
    def __init__(self, n):
        super().__init__(None)
        self.n = n
        self.text = prompt + str(n).encode()
    def decode(self):
        return run(self.n, input=self.text)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
publish(transport, [f"first-{n}" for n in range(10)]); transport.flush()
before = peak()
took = []
clock = time.perf_counter_ns
for n in range(100_000):
    record = Fresh(n)
    began = clock()
    transport.publish(record)
    took.append(clock() - began)
grown = peak() - before - sys.getsizeof(took) / 2**20 - 100_000 * 32 / 2**20
flushed = transport.flush(30)
stats = conserved(transport)
took.sort()
dropped = sum(stats["intake"]["dropped"].values()) + sum(stats["lanes"]["http"]["dropped"].values())
assert stats["lanes"]["http"]["delivered"] + dropped == 100_010, stats
print(took[50_000] / 1000, took[99_000] / 1000, grown)
transport.shutdown()
"""


def test_burst():
    """47: 100,000 records at once: a few microseconds each, memory within its bound, all counted."""
    with FaultServer() as server:
        out = process(BURST, server.url, timeout=60)

        assert len(server.stored) == len(set(server.stored))
    median, _, grown = (float(value) for value in out.split())
    assert median < 15
    assert grown < 32 + 15
