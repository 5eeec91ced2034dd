"""
What the spool adds on the worker for each item, everything forced to the disk batch by batch.

    python tests/bench/bench_spool.py [--folder DIR] [--items 20000] [--rounds 9]

The same runs (a prompt and an answer, 2 KB) go through the worker's own code with and without a
spool, in turns, in this one thread: from the record to a destination that takes everything, the
files written, forced, marked as settled and removed. Shown is the difference of the medians for one
item, as CPU time and as wall time, and its parts. Ends with status 1 above the budget, which is for
the CPU time: how long a disk takes to say that it has something is the disk's.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from instrument.exporters._base import Limits
from instrument.run import Answer, Attempt, Item, Run, Snapshot, Usage
from instrument.transport import Bounds, SpoolOptions
from instrument.transport.bounds import MIB
from instrument.transport.desk import Desk
from instrument.transport.flush import Flush

BUDGET_MICROSECONDS = 5.0
BURST = 2_000
"""Records that the intake holds before the worker comes to them."""


class Nowhere:
    """A destination that takes everything and keeps nothing."""

    name = "nowhere"
    limits = Limits()
    whole_traces = False

    def wants(self, item: Item) -> bool:
        return True

    def write(self, items: Sequence[Item]) -> Mapping[str, int]:
        return {}

    def close(self) -> None:
        return None


class Cost(NamedTuple):
    """Seconds of one round."""

    cpu: float
    wall: float


MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant. " * 8},
    {"role": "user", "content": "What is the capital of Norway, and who says so?\n" * 20},
]
INPUT = json.dumps(MESSAGES).encode()
OUTPUT = json.dumps({"role": "assistant", "content": "Oslo is the capital. " * 20}).encode()
PARAMS = json.dumps({"temperature": 0.2, "max_tokens": 500}).encode()


class Call:
    """A record of a model call with 2 KB of text, which the worker makes a run of."""

    size_bytes = 3072

    def __init__(self, number: int) -> None:
        self.id = f"{number:08x}-0000-4000-8000-000000000000"

    def decode(self) -> Run:
        """Make it as the tap's own record does: the texts are new ones."""
        return Run(
            id=self.id,
            trace_id=self.id,
            parent_id=None,
            kind="llm",
            name="gpt-4o-mini",
            started_at=datetime.now(timezone.utc),
            duration=0.8125,
            input=Snapshot(b"".join((INPUT, b" "))),
            output=Snapshot(b"".join((OUTPUT, b" "))),
            usage=Usage(prompt=310, completion=105, total=415, cached=0, reasoning=0),
            params=Snapshot(b"".join((PARAMS, b" "))),
            answer=Answer(
                provider="openai",
                model="gpt-4o-mini-2024-07-18",
                finish_reasons=("stop",),
                response_id="chatcmpl-AAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                request_id="req_0123456789abcdef0123456789abcdef",
                service_tier="default",
                stream=False,
                processing_ms=790.0,
                rate_limits={"limit-requests": "10000", "remaining-requests": "9999"},
                attempts=(Attempt(0.001, 200),),
            ),
            user_id="ada",
            thread_id="t-17",
        )


def once(records: Sequence[Call], spool: SpoolOptions | None) -> Cost:
    """Have a desk deliver all items."""
    desk = Desk([Nowhere()], lambda item: item, Bounds(), time.monotonic, set(), spool)
    desk.pool.open = lambda: None  # the steps are done in this thread too
    gc.collect()
    gc.disable()
    began = Cost(time.thread_time(), time.perf_counter())
    for first in range(0, len(records), BURST):
        for record in records[first : first + BURST]:
            desk.intake.add(record)
        deliver(desk)
    ended = Cost(time.thread_time(), time.perf_counter())
    gc.enable()
    assert desk.totals() == (len(records), 0, 0), desk.as_dict()
    assert spool is None or desk.as_dict()["spool"]["written"] == len(records)
    desk.finish()
    return Cost(ended.cpu - began.cpu, ended.wall - began.wall)


def deliver(desk: Desk) -> None:
    """Turn until everything in the intake has arrived."""
    flush = Flush(time.monotonic() + 60.0)
    desk.inbox.put(flush)
    while not flush.done.is_set():
        desk.turn(lambda: True)


def median(rounds: Sequence[Cost]) -> Cost:
    return Cost(*(min(column) for column in zip(*rounds, strict=True)))


def main() -> int:
    """Measure, print, and say whether the budget holds."""
    parser = argparse.ArgumentParser(description="What the spool adds on the worker.")
    parser.add_argument("--folder", help="where the spool is; a temporary folder by default")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    records = [Call(number) for number in range(options.items)]
    found: dict[str, list[Cost]] = {"without": [], "none": [], "batch": []}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for _ in range(options.rounds):
            for name, rounds in found.items():
                spool = SpoolOptions(path=folder, sync=name, max_bytes=256 * MIB)  # type: ignore[arg-type]
                rounds.append(once(records, None if name == "without" else spool))
    bare = median(found["without"])
    print(f"{options.items} items of 2 KB, {options.rounds} rounds, us an item: CPU   wall")
    print(
        f"  worker without a spool      {bare.cpu / options.items * 1e6:6.2f} {bare.wall / options.items * 1e6:6.2f}"
    )
    added = {}
    for name in ("none", "batch"):
        cost = median(found[name])
        added[name] = (cost.cpu - bare.cpu) / options.items * 1e6
        wall = (cost.wall - bare.wall) / options.items * 1e6
        print(f"  added with sync={name:<8}    {added[name]:6.2f} {wall:6.2f}")
    held = added["batch"] <= BUDGET_MICROSECONDS
    print(
        f"  budget {BUDGET_MICROSECONDS} us of CPU with sync=batch: {'held' if held else 'MISSED'}"
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
