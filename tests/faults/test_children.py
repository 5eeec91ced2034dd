"""Children of `multiprocessing` and its like: what they record arrives, however soon they end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.runner import delivered_once, launch, outcome, run, told
from tests.faults.test_process_deaths import DOWN, deliver
from tests.transport.faultserver import FaultServer

PROGRAM = Path(__file__).with_name("children.py")


def children(url: str, *arguments: object) -> subprocess.Popen[str]:
    return launch([sys.executable, PROGRAM, url, *arguments])


def ids_of(process: subprocess.Popen[str]) -> list[str]:
    """Wait for a program with a pool; give the ids that its workers returned."""
    out, err = outcome(process)
    assert "Traceback" not in err
    return [line for line in out.splitlines() if not line.startswith("{")]


@pytest.mark.parametrize(
    ("method", "who"),
    [("fork", "parent"), ("fork", "child"), ("spawn", "child"), ("forkserver", "child")],
)
def test_children_that_end_at_once(method: str, who: str) -> None:
    """24: what a short-lived child recorded is delivered, with every way to start one."""
    with FaultServer() as server:
        all_told = told(children(server.url, "multiprocessing", method, who, "process"))

        assert len(all_told) == (4 if who == "parent" else 3)
        delivered_once(server.stored, all_told)


@pytest.mark.parametrize("who", ["parent", "child"])
def test_workers_of_one_task(who: str) -> None:
    """25: workers that are replaced after each task deliver before they end."""
    with FaultServer() as server:
        all_told = told(children(server.url, "multiprocessing", "fork", who, "one_task"))

        assert len([each for each in all_told if each.accepted]) == (4 if who == "parent" else 3)
        delivered_once(server.stored, all_told)


@pytest.mark.parametrize(
    ("library", "shape"), [("multiprocessing", "terminate"), ("billiard", "one_task")]
)
def test_pool_whose_workers_just_end(tmp_path: Path, library: str, shape: str) -> None:
    """25: with a spool, what terminated and Celery's workers recorded is delivered by the next."""
    pytest.importorskip(library, reason="billiard is not installed: it is in [dev]")
    folder = tmp_path / "spool"
    ids = ids_of(children(DOWN, library, "fork", "parent", shape, folder))

    assert len(ids) == 3
    stored = deliver(folder)
    assert set(ids) <= set(stored)
    assert len(stored) == len(set(stored)) == 4


FORK_IN_THE_MIDDLE = """
import importlib.abc, threading
class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in {"httpcore", "encodings.idna", "first"}:
            began.set()
            time.sleep(0.15)
        return None
began = threading.Event()
sys.meta_path.insert(0, Slow())
from tests.faults.program import Destination
class Lazy(Destination):
    def encode(self, items, started):
        try:
            import first
        except ImportError:
            pass
        return super().encode(items, started)
from tests.faults import program, told
told.Destination = Lazy
begin(url)
record()
assert began.wait(5)
for _ in range(3):
    pid = os.fork()
    if not pid:
        try:
            import first
        except ImportError:
            pass
        "x".encode("idna")
        import httpcore
        record()
        import atexit
        atexit._run_exitfuncs()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    time.sleep(0.1)
"""


def test_fork_in_the_middle_of_an_import() -> None:
    """22: a child finds no module half imported by a thread of ours, nor its lock held."""
    with FaultServer() as server:
        all_told = run(FORK_IN_THE_MIDDLE, server.url, timeout=20)

        assert len(all_told) == 4
        delivered_once(server.stored, all_told)
