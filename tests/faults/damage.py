"""
Corruption fuzz: spool files are damaged in every way, then taken over by a new process.

    python tests/faults/damage.py --cases 3000 --seed 1

Prints what came of it as JSON, and ends with status 1 when anything raised, when an item came back
that nobody wrote, or when an item is missing that was not touched.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from instrument.guard import notices
from instrument.transport import SpoolOptions
from instrument.transport.segment import ITEMS, Frame, framed, parts
from instrument.transport.spool import Spool

Hit = tuple[bytes, int, int]
"""The damaged file, and the stretch of the old one that was touched."""


def flip(data: bytes, chance: random.Random) -> Hit:
    """One bit."""
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :], at, at + 1


def cut(data: bytes, chance: random.Random) -> Hit:
    """The end is missing."""
    at = chance.randrange(len(data))
    return data[:at], at, len(data)


def zeros(data: bytes, chance: random.Random) -> Hit:
    """A page of zeros."""
    at = chance.randrange(len(data))
    end = min(len(data), at + chance.randint(1, 4096))
    return data[:at] + bytes(end - at) + data[end:], at, end


def noise(data: bytes, chance: random.Random) -> Hit:
    """A stretch of anything."""
    at = chance.randrange(len(data))
    end = min(len(data), at + chance.randint(1, 2000))
    return data[:at] + chance.randbytes(end - at) + data[end:], at, end


def hole(data: bytes, chance: random.Random) -> Hit:
    """A stretch is gone."""
    at = chance.randrange(len(data))
    end = min(len(data), at + chance.randint(1, 2000))
    return data[:at] + data[end:], at, end


def tail(data: bytes, chance: random.Random) -> Hit:
    """Garbage at the end."""
    return data + chance.randbytes(chance.randint(1, 5000)), len(data), len(data)


DAMAGE: tuple[Callable[[bytes, random.Random], Hit], ...] = (flip, cut, zeros, noise, hole, tail)


def written(folder: str, chance: random.Random) -> set[bytes]:
    """Leave a file as a process does that died; give what it holds."""
    bodies = [
        json.dumps({"n": number, "x": "x" * chance.randint(1, 600)}).encode()
        for number in range(chance.randint(1, 40))
    ]
    spool = Spool(SpoolOptions(path=folder, sync="none"), ["a"], lambda *_: None)
    for body in bodies:
        spool.append(framed([("a",)], body))
    spool.forget()
    return set(bodies)


def taken_over(folder: str) -> list[bytes]:
    """Read what a new process finds."""
    spool = Spool(SpoolOptions(path=folder, sync="none"), ["a"], lambda *_: None)
    spool.tend()
    taken = spool.take("a", 10_000, 100_000_000)
    spool.settle("a", [place for place, *_ in taken])
    spool.close()
    return [body for _, body, _ in taken]


def main() -> int:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    return judge(given.cases, random.Random(given.seed))


def judge(cases: int, chance: random.Random) -> int:
    """Damage files, judge what is read and print it; 0 when all is well."""
    result = dict.fromkeys(("cases", "written", "read", "forged", "missing", "raised", "twice"), 0)
    for _ in range(cases):
        with tempfile.TemporaryDirectory() as folder:
            bodies = written(folder, chance)
            (path,) = Path(folder).iterdir()
            data = path.read_bytes()
            damaged, begin, end = chance.choice(DAMAGE)(data, chance)
            path.write_bytes(damaged)
            untouched = {
                part.payload.partition(b"\n")[2]
                for part in parts(data)
                if isinstance(part, Frame) and part.kind == ITEMS
                if part.end <= begin or part.offset >= end
            }
            try:
                read = taken_over(folder)
            except Exception as error:
                result["raised"] += 1
                print(type(error).__name__, error, file=sys.stderr)
                continue
        result["cases"] += 1
        result["written"] += len(bodies)
        result["read"] += len(read)
        result["forged"] += len(set(read) - bodies)
        result["twice"] += len(read) - len(set(read))
        result["missing"] += len(untouched - set(read))
    notices.clear()
    print(json.dumps(result))
    return int(any(result[what] for what in ("forged", "missing", "raised", "twice")))


if __name__ == "__main__":
    os.environ.setdefault("INSTRUMENT_QUIET", "1")
    sys.exit(main())
