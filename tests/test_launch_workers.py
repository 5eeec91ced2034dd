"""Processes that a traced program starts, and ends in its own ways: what they recorded arrives."""

import json
import os
import subprocess

import pytest

from instrument.testing import FakeOpenAI
from instrument.testing.loopback import Loopback, Response
from tests.programs import ASKS, answers, environment, launcher, recorded, traced, write

pytest.importorskip("openai", reason="the programs call it")

WAYS = ["spawn"] if os.name == "nt" else ["fork", "spawn", "forkserver"]

POOLS = """
import json, multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from asks import ask
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(2) as pool:
        said = pool.map(ask, range(4), 1)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        said += pool.map(ask, range(3))
    print(json.dumps(said))
"""


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "asks.py", ASKS)
    return tmp_path


@pytest.fixture
def env():
    with FakeOpenAI() as server:
        yield environment(server.url)


@pytest.mark.parametrize("way", WAYS)
def test_pools(folder, env, way):
    """Each call of each worker arrives once, though a pool's `with` block kills its workers."""
    write(folder, "app.py", POOLS)

    done = traced(folder, env, "app.py", way)

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    said = json.loads(done.stdout)
    assert len(said) == 7
    assert answers(folder) == sorted(said)


@pytest.mark.skipif(os.name == "nt", reason="there are no signals to handle")
def test_process_that_is_terminated(folder, env):
    """A process that is told to end delivers, and is seen to have died by the signal."""
    app = """
        import multiprocessing, time
        from asks import ask
        def work(pipe):
            pipe.send(ask())
            time.sleep(30)
        if __name__ == "__main__":
            mine, its = multiprocessing.Pipe()
            process = multiprocessing.get_context("fork").Process(target=work, args=(its,))
            process.start()
            print(mine.recv())
            process.terminate()
            process.join()
            print(process.exitcode)
    """
    write(folder, "app.py", app)

    done = traced(folder, env, "app.py")

    said, code = done.stdout.splitlines()
    assert code == "-15"
    assert answers(folder) == [said]


@pytest.mark.skipif(os.name == "nt", reason="there are no signals to handle")
def test_worker_with_a_handler_of_its_own(folder, env):
    """A worker that handles SIGTERM, or ignores it, finds that as it was."""
    app = """
        import multiprocessing, signal
        from asks import ask
        def work(handler):
            before = signal.getsignal(signal.SIGTERM) if handler is None else handler
            signal.signal(signal.SIGTERM, before)
            ask()
            print(signal.getsignal(signal.SIGTERM) == before)
        if __name__ == "__main__":
            print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
            for handler in (signal.SIG_IGN, print):
                process = multiprocessing.get_context("fork").Process(target=work, args=(handler,))
                process.start()
                process.join()
            ask()
            print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    """
    write(folder, "app.py", app)

    done = traced(folder, {**env, "PYTHONUNBUFFERED": "1"}, "app.py")

    assert done.stdout.split() == ["True"] * 4, done.stderr
    assert len(recorded(folder)) == 3


@pytest.mark.skipif(os.name == "nt", reason="there are no signals to handle")
def test_pool_while_the_backend_hangs(folder, env):
    """A backend that never answers holds the end of a pool up for two seconds at most."""
    app = """
        import multiprocessing, time
        from asks import ask
        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(2) as pool:
                pool.map(ask, range(4))
                begun = time.monotonic()
            print(time.monotonic() - begun)
    """
    write(folder, "app.py", app)
    with Loopback(lambda _: Response(ending="hang")) as backend:
        place = {
            "LLMONITOR_API_URL": f"http://127.0.0.1:{backend.port}",
            "LLMONITOR_APP_ID": "an-app",
        }
        done = traced(folder, {**env, **place}, "app.py")

    assert float(done.stdout) < 3.5, done.stderr


@pytest.mark.parametrize("words", [["pytest"], ["-m", "pytest"]], ids=" ".join)
def test_pytest(folder, env, words):
    """A project's own tests pass or fail as before, warnings as errors, and their calls arrive."""
    tests = """
        import pytest
        from asks import ask
        @pytest.mark.parametrize("number", range(3))
        def test_ask(number):
            assert "You said" in ask()
            assert number < 2
    """
    write(folder, "tests/test_asks.py", tests)
    write(folder, "tests/asks.py", ASKS)
    write(folder, "pytest.ini", "[pytest]\nfilterwarnings = error\n")
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:asyncio"]

    done = traced(folder, env, *words, *options)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 2 passed" in done.stdout
    assert len(recorded(folder)) == 3


def test_two_programs_at_once(folder, env):
    """Programs that share a folder share its store, and each call arrives once."""
    write(folder, "app.py", "from asks import ask\nfor _ in range(5): print(ask())")
    started = [
        subprocess.Popen(launcher("app.py"), cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]

    said = [line for process in started for line in process.communicate()[0].splitlines()]

    assert len(said) == 15
    assert answers(folder) == sorted(said)
