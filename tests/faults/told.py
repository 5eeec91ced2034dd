"""What a program under `runner` is made of: begin to trace, record, and tell at the end."""

from __future__ import annotations

import atexit
import faulthandler
import json
import os
import signal
import time
from collections.abc import Sequence
from typing import Any

import instrument
from tests.faults.program import Destination

accepted: list[str] = []
more: list[Any] = []
_has_told: list[int] = []


def begin(url: str, others: Sequence[Any] = (), **settings: Any) -> None:
    """Trace into the server at *url*, and tell once everything has ended."""
    atexit.register(tell)  # before `instrument` registers: it runs after it
    instrument.instrument(exporters=[Destination(url), *others], **settings)


def record(value: Any = None, name: str = "step") -> str:
    """Record one run; give its id."""
    with instrument.trace(name, input=value) as run:
        pass
    accepted.append(run.id)
    return run.id


def forget() -> None:
    """In a forked child: what the parent recorded is for the parent to tell."""
    accepted.clear()


def tell() -> None:
    """Say once, in one write, what this process recorded and what became of it."""
    if os.getpid() in _has_told:
        return
    _has_told.append(os.getpid())
    line = {"accepted": accepted, "stats": instrument.stats(), "more": more, "at": time.monotonic()}
    os.write(1, f"{json.dumps(line)}\n".encode())


def tell_at_worker_end(util: Any) -> None:
    """In a child of `multiprocessing` or its like: tell after all its other finalizers."""
    util.Finalize(None, tell, exitpriority=-100)


faulthandler.register(signal.SIGUSR1)  # for `runner.outcome`

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)
