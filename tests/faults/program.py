"""
A program that is traced into one destination over HTTP, and comes to its end in some way.

Usage: program.py FOLDER URL COUNT END [SECONDS]. It records COUNT runs, at most a thousand a second,
writes the id of each to stdout as soon as it is accepted, waits SECONDS, and ends: `return`, `exit`
(os._exit), `term`, `kill`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Container, Sequence

import instrument
from instrument.exporters._base import Encoded, Limits, Request, Response
from instrument.run import Item, Run


class Destination:
    """A backend whose body is the list of the ids that it carries."""

    name = "backend"
    limits = Limits()
    whole_traces = False

    def __init__(self, url: str) -> None:
        self.url = url

    def wants(self, item: Item) -> bool:
        return isinstance(item, Run) and item.duration is not None

    def encode(self, items: Sequence[Item], started: Container[str]) -> Encoded:
        ids = [item.id for item in items if isinstance(item, Run)]
        return Encoded([Request(self.url, json.dumps(ids).encode(), items)])

    def verdict(self, request: Request, response: Response) -> None:
        return None


def say(run_id: str) -> None:
    """Tell the parent at once and whole: one write of a few bytes to a pipe."""
    os.write(1, f"{run_id}\n".encode())


def main(folder: str, url: str, count: int, end: str, seconds: float) -> None:
    """Record, wait, end."""
    instrument.instrument(exporters=[Destination(url)], spool=folder)
    for number in range(count):
        with instrument.trace("step", input={"number": number, "text": "x" * 500}) as run:
            run.output = "done"
        say(run.id)
        time.sleep(0.001)
    time.sleep(seconds)
    if end == "exit":
        os._exit(0)
    if end != "return":
        os.kill(os.getpid(), signal.SIGTERM if end == "term" else signal.SIGKILL)
        time.sleep(60)


if __name__ == "__main__":
    main(
        sys.argv[1],
        sys.argv[2],
        int(sys.argv[3]),
        sys.argv[4],
        float(sys.argv[5]) if len(sys.argv) > 5 else 0.0,
    )
