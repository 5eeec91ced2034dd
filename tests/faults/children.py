"""
A program whose children of `multiprocessing` or `billiard` record and end at once.

Usage: children.py URL LIBRARY METHOD WHO SHAPE [FOLDER]. LIBRARY is `multiprocessing` or
`billiard`; METHOD `fork`, `spawn` or `forkserver`; WHO begins to trace, `parent` or `child`; SHAPE
is `process` (three children that end at once), `one_task` (a pool whose workers do one task each)
or `terminate` (a pool that is terminated). FOLDER is a spool.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from typing import Any

from tests.faults.told import begin, record, tell_at_worker_end

WINDOW = 0.3
"""Seconds after which what was accepted is on disk."""


def child(url: str, library: str, who: str, folder: str, number: int) -> str:
    """Record in a child, which ends when this returns; give the id."""
    if who == "child":
        begin(url, **spooled(folder))
    tell_at_worker_end(importlib.import_module(f"{library}.util"))
    run_id = record({"child": number})
    if folder:
        time.sleep(WINDOW)
    return run_id


def spooled(folder: str) -> dict[str, Any]:
    """Give the settings for a folder, or for none."""
    return {"spool": folder} if folder else {}


def main(url: str, library: str, method: str, who: str, shape: str, folder: str = "") -> None:
    """Have children record."""
    context = importlib.import_module(library).get_context(method)
    if who == "parent":
        begin(url, **spooled(folder))
        record("parent")
    arguments = [(url, library, who, folder, number) for number in range(3)]
    if shape == "process":
        workers = [context.Process(target=child, args=each) for each in arguments]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            if worker.exitcode:
                sys.exit(worker.exitcode)
        return
    pool = context.Pool(2, maxtasksperchild=1 if shape == "one_task" else None)
    print(*pool.starmap(child, arguments, 1), sep="\n", flush=True)
    if shape == "terminate":
        pool.terminate()
    else:
        pool.close()
    pool.join()
    if folder:
        os._exit(0)  # its backend is down: it need not try until the end


if __name__ == "__main__":
    main(*sys.argv[1:])
