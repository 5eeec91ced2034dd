"""
What the spool adds on the worker for each item, everything forced to the disk batch by batch.

    python tests/bench/bench_spool.py [--folder DIR] [--items 4000] [--rounds 60]

The same runs (a prompt and an answer, 2 KB) go through the worker's own code with and without a
spool, in turns, in this thread and, for the forcing, in another: from the record to a destination
that takes everything, the files written, forced to the disk, and removed. Shown is the difference
for one item, as CPU time of the worker, CPU time of the whole process and wall time, and beside it
what the same bytes take with nothing but a checksum and a sync per 100.
Rounds are short and many, because a machine that others use is quiet for moments only.
Ends with status 1 above the budget, which is for the worker on a machine that does nothing else:
how long a disk takes to say that it has something is the disk's.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, NamedTuple

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


SYNCS: tuple[Literal["none", "batch"], ...] = ("none", "batch")


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

    worker: float
    process: float
    wall: float

    def __sub__(self, other: Cost) -> Cost:
        """Give what this took more."""
        return Cost(*(mine - its for mine, its in zip(self, other, strict=True)))


def now() -> Cost:
    """Read the clocks."""
    return Cost(time.thread_time(), time.process_time(), time.perf_counter())


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
    began = now()
    for first in range(0, len(records), BURST):
        for record in records[first : first + BURST]:
            desk.intake.add(record)
        deliver(desk)
    spent = now() - began
    gc.enable()
    assert desk.totals() == (len(records), 0, 0), desk.as_dict()
    assert spool is None or desk.as_dict()["spool"]["written"] == len(records)
    desk.finish()
    return spent


def deliver(desk: Desk) -> None:
    """Turn until everything in the intake has arrived."""
    flush = Flush(time.monotonic() + 60.0)
    desk.inbox.put(flush)
    while not flush.done.is_set():
        desk.turn(lambda: True)


def floor(count: int, folder: str) -> Cost:
    """Write the texts alone, 100 at once: length, checksum, one write and one sync."""
    texts = [INPUT + OUTPUT + PARAMS + str(number).encode() for number in range(100)]
    file = os.open(os.path.join(folder, "floor"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    began = now()
    for _ in range(0, count, 100):
        framed = [struct.pack(">II", len(text), zlib.crc32(text)) + text for text in texts]
        os.write(file, b"".join(framed))
        os.fdatasync(file)
    spent = now() - began
    os.close(file)
    os.unlink(os.path.join(folder, "floor"))
    return spent


def least(rounds: Sequence[Cost], count: int) -> Cost:
    """Give what one item took in the round that was disturbed least, in microseconds."""
    return Cost(*(min(column) / count * 1e6 for column in zip(*rounds, strict=True)))


def main() -> int:
    """Measure, print, and say whether the budget holds."""
    parser = argparse.ArgumentParser(description="What the spool adds on the worker.")
    parser.add_argument("--folder", help="where the spool is; a temporary folder by default")
    parser.add_argument("--items", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    records = [Call(number) for number in range(options.items)]
    found: dict[str, list[Cost]] = {"floor": [], "without": [], "none": [], "batch": []}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = os.path.join(folder, "spool")
        for _ in range(options.rounds):
            found["floor"].append(floor(len(records), folder))
            found["without"].append(once(records, None))
            for sync in SYNCS:
                spool = SpoolOptions(path=path, sync=sync, max_bytes=256 * MIB)
                found[sync].append(once(records, spool))
    costs = {name: least(rounds, len(records)) for name, rounds in found.items()}
    bare = costs["without"]
    print(
        f"{len(records)} items of 2 KB, the least of {options.rounds} rounds; us an item:"
        f"\n{'':42}worker   all  wall"
    )
    show("the worker without a spool", bare)
    for sync in SYNCS:
        show(f"added by a spool with sync={sync}", costs[sync] - bare)
    show("their bytes alone: CRC, write, sync", costs["floor"])
    held = (costs["batch"] - bare).worker <= BUDGET_MICROSECONDS
    print(
        f"budget {BUDGET_MICROSECONDS} us on the worker, sync=batch: {'held' if held else 'MISSED'}"
    )
    return 0 if held else 1


def show(what: str, cost: Cost) -> None:
    """Print one line."""
    print(f"  {what:<40}{cost.worker:6.2f}{cost.process:6.2f}{cost.wall:6.2f}")


if __name__ == "__main__":
    sys.exit(main())
