"""
End the runs of a task that was cancelled.

LangChain begins a run a moment before it is ready to see it fail. A cancellation in that moment, or
in code that minds ordinary exceptions only, leaves the run open.
"""

from __future__ import annotations

import sys
from typing import Any, Final
from uuid import UUID

from ...guard import guard
from .nodes import registry
from .registry import GRACE_SECONDS
from .tracing import break_off

MAX_RUNS: Final = 64
"""How many runs a task is remembered with before those that have ended are forgotten."""

_runs: dict[int, list[UUID]] = {}
"""The runs that each task has begun, by the task's address; gone when the task is done."""


def watch_task(run_id: UUID) -> None:
    """Remember the task that a run begins in, if there is one."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or asyncio._get_running_loop() is None:  # noqa: SLF001 - it does not raise
        return
    task = asyncio.current_task()
    if task is None:
        return
    run_ids = _runs.get(id(task))
    if run_ids is None:
        run_ids = _runs[id(task)] = []
        task.add_done_callback(_done)
    elif len(run_ids) >= MAX_RUNS:
        run_ids[:] = [known for known in run_ids if registry.get(known) is not None]
    run_ids.append(run_id)


def _done(task: Any) -> None:
    run_ids = _runs.pop(id(task), ())
    if not task.cancelled():
        return
    with guard("end the runs of a cancelled task"):
        error = sys.modules["asyncio"].CancelledError()
        for run_id in run_ids:
            _cancelled(run_id, error)


def _cancelled(run_id: UUID, error: BaseException) -> None:
    node = registry.get(run_id)
    if node is None:
        return
    if node.account is not None and node.account.first_token is not None:
        # A stream that was not being read just then: closing it will tell what had come.
        node.deadline = registry.clock() + GRACE_SECONDS
    else:
        break_off(run_id, error)
