"""The real package with a spool, in processes that die: what was accepted is delivered later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.transport.faultserver import Answer, FaultServer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DOWN = "http://127.0.0.1:9/runs"
WINDOW = 0.5
"""Seconds after which what was accepted is on disk, on a machine that has much else to do."""


def start(folder: Path, url: str, *arguments: object) -> subprocess.Popen[str]:
    """Start the program in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(HERE / "program.py"), str(folder), url, *map(str, arguments)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ids_of(process: subprocess.Popen[str]) -> list[str]:
    """Wait for a process, and give the ids of what it recorded."""
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return out.split()


def deliver(folder: Path) -> list[str]:
    """Have a process that records nothing deliver what lies in a folder; give what arrived."""
    with FaultServer() as server:
        ids_of(start(folder, server.url, 0, "return"))
        return server.stored


@pytest.mark.parametrize("end", ["term", "kill", "exit"])
def test_death_during_an_outage(tmp_path: Path, end: str) -> None:
    """SIGTERM, SIGKILL and os._exit lose nothing that is older than the window."""
    process = start(tmp_path / "spool", DOWN, 150, end, WINDOW)
    ids = ids_of(process)

    assert len(ids) == 150
    assert process.returncode == {"term": -signal.SIGTERM, "kill": -signal.SIGKILL, "exit": 0}[end]
    assert deliver(tmp_path / "spool") == ids
    assert list((tmp_path / "spool").iterdir()) == []


def test_end_during_an_outage(tmp_path: Path) -> None:
    """A process that ends in order, soon, loses nothing at all."""
    began = time.monotonic()
    ids = ids_of(start(tmp_path / "spool", DOWN, 150, "return"))

    assert time.monotonic() - began < 15
    assert len(ids) == 150
    assert deliver(tmp_path / "spool") == ids


@pytest.mark.parametrize("end", ["kill", "exit"])
def test_death_while_delivering(tmp_path: Path, end: str) -> None:
    """What was delivered before the death is not sent again, but for the one batch on its way."""
    with FaultServer(decide=lambda ids: Answer(delay=0.02)) as server:
        ids = ids_of(start(tmp_path / "spool", server.url, 1000, end, WINDOW))
        before = list(server.stored)
    after = deliver(tmp_path / "spool")

    assert set(before) | set(after) == set(ids)
    assert len(set(before) & set(after)) <= 100
    assert max(Counter(after).values(), default=1) == 1


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Four processes on one folder, killed at any moment: only the last moment may be missing."""
    folder = tmp_path / "spool"
    with FaultServer(decide=refusing_a_third()) as server:
        promised = [
            id_ for round_ in range(2) for id_ in killed(folder, server.url, 4, 0.8 + 0.3 * round_)
        ]
        sent_before = list(server.stored)
    sent_after = deliver(folder)

    assert set(promised) - set(sent_before) - set(sent_after) == set()
    assert len(promised) > 100


def refusing_a_third():
    """Answer one request in three with 503."""
    count = [0]

    def decide(ids: list[str]) -> Answer:
        count[0] += 1
        return Answer(503 if count[0] % 3 == 0 else 200)

    return decide


def killed(folder: Path, url: str, processes: int, seconds: float) -> list[str]:
    """Start programs and kill them; give the ids accepted more than the window before that."""
    started = [start(folder, url, 1_000_000, "return") for _ in range(processes)]
    heard: list[tuple[float, str]] = []
    threads = [threading.Thread(target=listen, args=(each, heard)) for each in started]
    for thread in threads:
        thread.start()
    while len({heard_of for _, heard_of in heard[:]}) < 50:
        time.sleep(0.05)
    time.sleep(seconds)
    at = time.monotonic()
    for process in started:
        process.kill()
    for thread, process in zip(threads, started, strict=True):
        thread.join()
        process.communicate()
    return [id_ for when, id_ in heard if when < at - WINDOW]


def listen(process: subprocess.Popen[str], heard: list[tuple[float, str]]) -> None:
    """Note when each id was heard."""
    for line in process.stdout or ():
        if line.endswith("\n"):
            heard.append((time.monotonic(), line.strip()))


SECRETS = """
import instrument, os, sys
instrument.instrument(
    exporters=["llmonitor"], spool=sys.argv[1], capture_content=bool(int(sys.argv[2]))
)
with instrument.trace("step", input="my words, and sk-proj-%s" % ("a1B2" * 12)) as run:
    run.output = "done"
instrument.flush(0.5)
os._exit(0)
"""


@pytest.mark.parametrize("captures", [0, 1])
def test_what_is_on_disk(tmp_path: Path, captures: int) -> None:
    """On disk there is no content without capture_content, and never a key, ours or another's."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    key = "b0000000-0000-4000-8000-000000000001"
    subprocess.run(
        [sys.executable, "-c", SECRETS, str(tmp_path / "spool"), str(captures)],
        env={**env, "LLMONITOR_APP_ID": key, "LLMONITOR_API_URL": DOWN.removesuffix("/runs")},
        check=True,
        timeout=60,
    )
    data = b"".join(path.read_bytes() for path in (tmp_path / "spool").iterdir())

    assert b'"step"' in data
    assert (b"my words" in data) == bool(captures)
    assert not [word for word in (b"a1B2a1B2", key.encode(), b"127.0.0.1") if word in data]
