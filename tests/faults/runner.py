"""
Run programs against the fault server, each in a process of its own, and check what they tell.

Every process of a program, a child too, ends with one line of JSON: the ids of what it recorded,
and its `stats()`. `Told.check` holds both against what the server has stored.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

HEAD = """
import json, os, signal, sys, threading, time
from tests.faults.told import begin, record, tell
url = sys.argv[1]
"""


@dataclass(frozen=True)
class Told:
    """
    What a process said of itself at its end.

    Attributes:
        accepted: Ids of what it recorded.
        more: What else it had to tell.
        at: When that was, by the machine's monotonic clock.
    """

    accepted: list[str]
    stats: dict[str, Any]
    more: list[Any]
    at: float

    @property
    def lane(self) -> dict[str, Any]:
        """The ledger of the destination."""
        lane: dict[str, Any] = self.stats["lanes"]["backend"]
        return lane

    def check(self, *, may_fail: bool = False) -> None:
        """
        Accepted = delivered + queued + spooled + dropped, in the intake and in every lane.

        Nothing of ours has failed either, unless it may.
        """
        intake = self.stats["intake"]
        lost = sum(intake["dropped"].values())
        assert intake["accepted"] == intake["passed"] + intake["queued"] + lost, self.stats
        for lane in self.stats["lanes"].values():
            kept = lane["delivered"] + lane["queued"] + lane["spooled"]
            assert lane["accepted"] == kept + sum(lane["dropped"].values()), self.stats
        assert may_fail or "failed to" not in str(self.stats["failures"]), self.stats


def run(
    code: str,
    url: str,
    *arguments: object,
    timeout: float = 60.0,
    first: str = "",
    may_fail: bool = False,
) -> list[Told]:
    """Run *first*, `HEAD` and *code*; give what each process of it told, in the order they ended."""
    return told(start(code, url, *arguments, first=first), timeout, may_fail=may_fail)


def start(code: str, url: str, *arguments: object, first: str = "") -> subprocess.Popen[str]:
    """Begin to run *first*, `HEAD` and *code*."""
    whole = "\n".join((first, HEAD, textwrap.dedent(code)))
    return launch([sys.executable, "-c", whole, url, *arguments])


def launch(command: Sequence[object], **env: str) -> subprocess.Popen[str]:
    """Start a process that finds this project, and none of the settings of the one that asks."""
    return subprocess.Popen(
        [str(part) for part in command],
        start_new_session=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/nonexistent", **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(
    process: subprocess.Popen[str], timeout: float = 60.0, code: int = 0, *, may_fail: bool = False
) -> list[Told]:
    """Wait for a process; nothing went wrong in it, and each ledger of it is balanced."""
    out, err = outcome(process, timeout)
    assert "Traceback" not in err, err
    assert "Exception ignored" not in err, err
    assert process.returncode == code, (process.returncode, err)
    all_told = [Told(**json.loads(line)) for line in out.splitlines() if line.startswith("{")]
    for each in all_told:
        each.check(may_fail=may_fail)
    return all_told


def outcome(process: subprocess.Popen[str], timeout: float = 60.0) -> tuple[str, str]:
    """Wait for a process, and give what it wrote; one that hangs is asked where it stands."""
    try:
        return process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        states = "\n".join(_states(process.pid))
        os.killpg(process.pid, signal.SIGUSR1)  # `told` has each thread written down
        time.sleep(1.0)
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"no end after {timeout} s\n{states}\n{out}\n{err}") from None


def _states(group: int) -> Iterator[str]:
    """Say of each process of a group what the system knows: its state, and what signals it has."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(status.parent.name)) == group:
                yield " ".join(
                    re.findall(r"^(?:Pid|PPid|State|S\w{2}Pnd|Sig\w+):.*", status.read_text(), re.M)
                )


def put_away(process: subprocess.Popen[str]) -> None:
    """End a process that nobody waits for, and close what leads to it."""
    if process.poll() is None:
        process.kill()
    if process.stdout is not None and not process.stdout.closed:
        process.communicate()


def delivered_once(stored: Sequence[str], all_told: Sequence[Told]) -> None:
    """All that was accepted is at the server, once, and the ledgers say the same."""
    accepted = [each for one in all_told for each in one.accepted]
    assert Counter(stored) == Counter(accepted)
    assert sum(one.lane["delivered"] for one in all_told) == len(stored)
