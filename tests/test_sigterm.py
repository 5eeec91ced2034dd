"""SIGTERM with `flush_on_sigterm`: what is recorded arrives, and all else is as without us."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from instrument.sigterm import Sigterm, watch_worker
from tests.transport.faultserver import FaultServer, Hang

ROOT = Path(__file__).resolve().parent.parent
HEAD = """
import asyncio, logging, os, signal, sys, threading, time
import instrument
from instrument import client
from tests.transport.fakes import Http

def begin(**options):
    instrument.instrument(exporters=[Http(sys.argv[1])], flush_interval=20, **options)

def record(count=1):
    for _ in range(count):
        with instrument.trace("work"): pass

def end(): os.kill(os.getpid(), signal.SIGTERM)
def say(*words): print(*words, flush=True)
def delivered(): return instrument.stats()["lanes"]["http"]["delivered"]
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")


def start(code: str, *arguments: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + textwrap.dedent(code), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], seconds: float = 20.0) -> tuple[int, str]:
    """Give its status and what it printed, having seen no traceback."""
    out, err = process.communicate(timeout=seconds)
    assert "Traceback" not in err, err
    return process.returncode, out.strip()


def run(code: str, *arguments: str, **env: str) -> tuple[int, str]:
    return ended(start(code, *arguments, **env))


def test_dies_of_it():
    """27: with nobody to handle it the process delivers, and dies of the signal."""
    with FaultServer() as server:
        status, _ = run(
            "begin(flush_on_sigterm=True); record(50); end(); time.sleep(9)", server.url
        )

        assert (status, len(server.stored)) == (-signal.SIGTERM, 50)


def test_asleep():
    """27: the signal of another process ends a sleep, and not later than the delivery takes."""
    with FaultServer() as server:
        process = start(
            "begin(flush_on_sigterm=True); record(50); say('ready'); time.sleep(30)", server.url
        )
        assert process.stdout is not None
        process.stdout.readline()
        began = time.monotonic()
        process.terminate()

        assert ended(process)[0] == -signal.SIGTERM
        assert time.monotonic() - began < 2.0
        assert len(server.stored) == 50


def test_asleep_before_it_is_heard():
    """A main thread that has gone to sleep just when the signal came is woken to hear of it."""
    code = """
    begin(flush_on_sigterm=True)
    record(5)
    lock = threading.Lock()
    lock.acquire()
    threading.Timer(0.3, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)).start()
    lock.acquire()  # nobody tells the main thread of the signal
    """
    with FaultServer() as server:
        assert run(code, server.url)[0] == -signal.SIGTERM
        assert len(server.stored) == 5


def test_off_by_default():
    """Without the option no signal is touched."""
    code = "begin(); say(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)"

    assert run(code, "http://127.0.0.1:9/") == (0, "True")


def test_handler_of_the_application():
    """27: a handler that was there is called, after the delivery, with what it is due."""
    with FaultServer() as server:
        out = run(
            """
            def handler(number, frame):
                say(number == signal.SIGTERM, frame.f_code.co_name, delivered())
                sys.exit(7)
            signal.signal(signal.SIGTERM, handler)
            begin(flush_on_sigterm=True)
            record(5)
            def work(): os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)
            work()
            """,
            server.url,
        )

    assert out == (7, "True work 5")


def test_handler_that_goes_on():
    """A handler that only notes the signal gets each of them, and the program goes on."""
    with FaultServer() as server:
        out = run(
            """
            signal.signal(signal.SIGTERM, lambda *_: say("noted", delivered()))
            begin(flush_on_sigterm=True)
            for _ in range(3): record(); end()
            """,
            server.url,
        )

    assert out == (0, "noted 1\nnoted 2\nnoted 3")


def test_ignored_stays_ignored():
    """A process that ignores the signal goes on ignoring it, and so do its children."""
    out = run(
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        begin(flush_on_sigterm=True)
        end()
        say(signal.getsignal(signal.SIGTERM) is signal.SIG_IGN)
        """,
        "http://127.0.0.1:9/",
    )

    assert out == (0, "True")


def test_handler_that_comes_later():
    """A later handler is in charge: it may call ours, which then delivers and does no more."""
    with FaultServer() as server:
        out = run(
            """
            begin(flush_on_sigterm=True)
            ours = signal.getsignal(signal.SIGTERM)
            def later(number, frame):
                ours(number, frame)
                say(delivered())
            signal.signal(signal.SIGTERM, later)
            for _ in range(2):
                record(3)
                end()
            instrument.uninstrument()
            say(signal.getsignal(signal.SIGTERM) is later)
            end()
            """,
            server.url,
        )

    assert out == (0, "3\n6\nTrue\n6")


def test_uninstrument():
    """What was there is there again."""
    out = run(
        """
        def handler(number, frame): say("handled")
        signal.signal(signal.SIGTERM, handler)
        begin(flush_on_sigterm=True)
        say(signal.getsignal(signal.SIGTERM) is handler)
        instrument.uninstrument()
        say(signal.getsignal(signal.SIGTERM) is handler)
        """,
        "http://127.0.0.1:9/",
    )

    assert out == (0, "False\nTrue")


def test_outside_of_the_main_thread():
    """In another thread no handler can be set: that is said, and all else works."""
    with FaultServer() as server:
        process = start(
            """
            logging.basicConfig()
            threading.Thread(target=begin, kwargs={"flush_on_sigterm": True}).start()
            while client.recorder() is None: time.sleep(0.01)
            record()
            say(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
            """,
            server.url,
        )
        out, err = process.communicate(timeout=20)

        assert (process.returncode, out) == (0, "True\n")
        assert "only when instrument() is called in the main thread" in err
        assert len(server.stored) == 1


LOCKED = {
    "our own": """
        ledger = client._client.transport._worker.desk.lanes[0].ledger
        code = "with ledger._lock: os.kill(os.getpid(), 15); time.sleep(1.0)"
        exec(code, {**globals(), "__name__": "instrument.anything"})
        """,
    "logging": """
        class Stopping(logging.Handler):
            def emit(self, entry):
                if threading.current_thread() is threading.main_thread():
                    end()
                    time.sleep(1.0)
        logging.getLogger().addHandler(Stopping())
        logging.getLogger("instrument").setLevel("DEBUG")
        wants = Http.wants
        def slow(self, item):
            time.sleep(0.2)
            logging.getLogger("instrument").warning("the worker logs")
            return wants(self, item)
        Http.wants = slow
        record()
        logging.getLogger("app").warning("now")
        """,
}


@pytest.mark.parametrize("code", LOCKED.values(), ids=LOCKED)
def test_no_deadlock(code):
    """27, 41: a lock that the main thread holds when the signal comes is let go of, and all arrives."""
    with FaultServer() as server:
        began = time.monotonic()
        status, _ = run(
            "begin(flush_on_sigterm=True); record(5)\n" + textwrap.dedent(code) + "time.sleep(9)",
            server.url,
        )

        assert status == -signal.SIGTERM
        assert time.monotonic() - began < 4.5
        assert len(server.stored) >= 5


def test_within_flush():
    """A signal that comes while the main thread waits in `flush` ends it as it should."""
    with FaultServer(*[Hang()] * 9) as server:
        began = time.monotonic()
        status, _ = run(
            """
            begin(flush_on_sigterm=True)
            record(5)
            threading.Timer(0.3, end).start()
            instrument.flush(30)
            time.sleep(9)
            """,
            server.url,
        )

    assert status == -signal.SIGTERM
    assert time.monotonic() - began < 7.5


@pytest.mark.parametrize("handler", ["signal.SIG_DFL", "lambda *_: sys.exit(3)"])
def test_hanging_backend(handler):
    """37: with a backend that hangs it takes no more than the end of a process may, in all."""
    with FaultServer(*[Hang()] * 9) as server:
        began = time.monotonic()
        status, _ = run(
            f"""
            signal.signal(signal.SIGTERM, {handler})
            begin(flush_on_sigterm=True)
            record(5)
            end()
            time.sleep(9)
            """,
            server.url,
        )

    assert status == (3 if "exit" in handler else -signal.SIGTERM)
    assert time.monotonic() - began < 5.0 + 2.0


@pytest.mark.parametrize("order", ["before", "after"])
def test_asyncio(order):
    """A loop's own handler is called, whoever came first, and the program ends as it says."""
    with FaultServer() as server:
        out = run(
            f"""
            async def main():
                loop, stopped = asyncio.get_running_loop(), asyncio.Event()
                if {order == "after"}: begin(flush_on_sigterm=True)
                loop.add_signal_handler(signal.SIGTERM, stopped.set)
                if {order == "before"}: begin(flush_on_sigterm=True)
                record(3)
                end()
                await stopped.wait()
                say("stopped")
                return 5
            sys.exit(asyncio.run(main()))
            """,
            server.url,
        )

        assert out == (5, "stopped")
        assert len(server.stored) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child():
    """A forked child has the handler too, and delivers what it has recorded."""
    with FaultServer() as server:
        out = run(
            """
            begin(flush_on_sigterm=True)
            pid = os.fork()
            record(2 if pid else 5)
            if not pid:
                end()
                time.sleep(9)
            say(os.waitpid(pid, 0)[1])
            """,
            server.url,
        )

        assert out == (0, str(int(signal.SIGTERM)))
        assert len(server.stored) == 7


def records(path: Path) -> Sequence[str]:
    return [json.loads(line)["name"] for line in path.read_text().splitlines()]


def test_under_instrument_run(tmp_path):
    """Under `instrument run` the variable is enough, and the program keeps its status."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, signal, time, instrument\n"
        "with instrument.trace('work'): pass\n"
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "instrument", "run", str(program)],
        cwd=ROOT,
        env={
            **os.environ,
            "INSTRUMENT_EXPORTERS": "jsonl",
            "INSTRUMENT_JSONL": str(tmp_path / "runs.jsonl"),
            "INSTRUMENT_FLUSH_ON_SIGTERM": "1",
            "INSTRUMENT_FLUSH_INTERVAL": "20",
        },
        timeout=20,
        check=False,
    )

    assert done.returncode == -signal.SIGTERM
    assert records(tmp_path / "runs.jsonl") == ["work"]


UVICORN = """
import instrument, os, signal, sys, uvicorn
instrument.instrument()
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive(); await send({"type": "lifespan.startup.complete"})
        with instrument.trace("served"): pass
        os.kill(os.getpid(), signal.SIGTERM)
        await receive(); await send({"type": "lifespan.shutdown.complete"})
uvicorn.run(app, port=0, log_level="error")
"""


def test_uvicorn(tmp_path):
    """Uvicorn shuts down in order, and ends with the status that it has without us."""
    pytest.importorskip("uvicorn")
    statuses = []
    for flag in ("0", "1"):
        path = tmp_path / f"runs-{flag}.jsonl"
        env = {"INSTRUMENT_EXPORTERS": "jsonl", "INSTRUMENT_JSONL": str(path)}
        process = start(UVICORN, INSTRUMENT_FLUSH_ON_SIGTERM=flag, **env)
        statuses.append(ended(process)[0])

    assert records(path) == ["served"]
    assert statuses[0] == statuses[1]


def test_no_worker():
    """A process that is no worker of multiprocessing keeps its way to die."""
    watch_worker(Sigterm(lambda _: None, 1.0))

    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


SPAWNING = """
import multiprocessing, sys
import instrument
instrument.instrument()
def work(number): return number
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool: pool.map(work, range(2))
"""


def test_spawned_worker_says_nothing(tmp_path):
    """Where the runs are is said once, by the program, and not by each of its workers."""
    program = tmp_path / "program.py"
    program.write_text(SPAWNING)
    env = {name: value for name, value in os.environ.items() if not name.startswith("INSTRUMENT")}
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=tmp_path,
        env={**env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert done.stderr.count("no key is set") == 1


def in_worker(code: str) -> str:
    """Have *code* run by a worker of `multiprocessing`, and say its exit code in the end."""
    return (
        "def work():\n"
        + textwrap.indent(textwrap.dedent(code), "    ")
        + "\nimport multiprocessing\n"
        "process = multiprocessing.get_context('fork').Process(target=work)\n"
        "process.start()\n"
        "process.join(9)\n"
        "say(process.exitcode)\n"
        "process.kill()\n"
    )


@pytest.mark.parametrize("more", ["pass", "if os.fork() == 0: os._exit(time.sleep(0.1) or 0)"])
@pytest.mark.parametrize("options", ["", "flush_on_sigterm=True"])
def test_worker_that_sleeps_through_it(more, options):
    """A worker of a pool that waits for a lock ends by a signal that its main thread has not heard."""
    code = f"""
    begin({options})
    record(5)
    lock = threading.Lock()
    lock.acquire()
    threading.Timer(0.3, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)).start()
    {more}
    lock.acquire()  # nobody tells the main thread of the signal
    """
    with FaultServer() as server:
        assert run(in_worker(code), server.url)[1] == str(-signal.SIGTERM)
        assert len(server.stored) == 5


def test_child_of_a_worker():
    """What a worker's own forked child is sent does not end the worker."""
    code = """
    begin()
    record(5)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
        time.sleep(9)
    time.sleep(0.2)
    os.kill(child, signal.SIGTERM)
    say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    time.sleep(0.5)
    os._exit(8)
    """
    with FaultServer() as server:
        assert run(in_worker(code), server.url)[1].split() == ["7", "8"]


def test_child_that_is_ended_at_once():
    """A child that is sent the signal while it is still being made ends of it, and nobody else."""
    code = """
    begin()
    record(5)
    for _ in range(20):
        child = os.fork()
        if child == 0:
            time.sleep(3)
            os._exit(7)
        os.kill(child, signal.SIGTERM)
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    time.sleep(0.3)
    os._exit(8)
    """
    with FaultServer() as server:
        _, said = run(in_worker(code), server.url)
        assert said.split() == ["-15"] * 20 + ["8"]


def test_child_of_a_worker_that_records():
    """A worker's own forked child delivers before it dies, once it has something to deliver."""
    code = """
    begin()
    record(5)
    child = os.fork()
    if child == 0:
        say(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
        record(3)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(9)
    say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    client.uninstrument()
    os._exit(8)
    """
    with FaultServer() as server:
        assert run(in_worker(code), server.url)[1].split() == ["True", "-15", "8"]
        assert len(server.stored) == 8


@pytest.mark.skipif(sys.version_info < (3, 12), reason="older ones do not warn")
def test_fork_of_a_worker():
    """Python does not warn of threads when a worker forks that has nothing to deliver."""
    code = """
    import warnings
    warnings.simplefilter("error")
    begin(flush_at_root_end=True)
    record()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if os.fork() == 0: os._exit(0)
        os.wait()
    say(signal.set_wakeup_fd(-1), [str(each.message) for each in caught])
    """
    with FaultServer() as server:
        assert run(in_worker(code), server.url)[1].split() == ["-1", "[]", "0"]


def test_own_handler_of_a_worker():
    """A handler that the application puts in place of ours is called once for each signal."""
    code = """
    begin()
    record(5)
    heard = []
    signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.5)
    say(len(heard))
    os._exit(8)
    """
    with FaultServer() as server:
        assert run(in_worker(code), server.url)[1].split() == ["1", "8"]


def test_trio(tmp_path):
    """Trio, which minds a stranger in its place, finds nobody there."""
    (tmp_path / "trio.py").touch()
    code = f"""
    begin()
    record(5)
    sys.path.insert(0, {str(tmp_path)!r})
    import trio
    say(signal.set_wakeup_fd(-1))
    os._exit(8)
    """
    with FaultServer() as server:
        assert run(in_worker(code), server.url)[1].split() == ["-1", "8"]


def test_bytes_that_somebody_else_reads():
    """An event loop's own way to hear of signals stays, and is not closed by ours."""
    code = """
    from instrument.unheard import Unheard
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    first = Unheard(15, lambda: True)
    first.watch()
    first.close()
    say(signal.set_wakeup_fd(-1) == write)
    first.watch()
    ours = signal.set_wakeup_fd(write)
    first.close()
    say(ours != write, signal.set_wakeup_fd(ours) == write)  # as loops do that go
    first.close()
    time.sleep(0.3)  # its thread closes the other end
    say(signal.set_wakeup_fd(-1), len(os.listdir("/proc/self/fd")) - count)
    """
    setup = "count = len(os.listdir('/proc/self/fd')) + 2\n"
    assert run(setup + textwrap.dedent(code))[1].split() == ["True", "True", "True", "-1", "0"]
