"""
What takes its time: a backend that is away for a while, at the default settings, and slow ends.

    python tests/faults/outage.py --down 90

A program records twice a second, from the beginning of the outage until five seconds after its end,
and ends then. Prints what came of it as JSON, and ends with status 1 when anything is missing, came
twice or is not accounted for.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.faults.runner import Told, delivered_once, put_away, start, told
from tests.transport.faultserver import FaultServer, Hang

PROGRAM = """
from tests.faults import told
begin(url, **({"spool": sys.argv[3]} if sys.argv[3:] else {}))
end = time.monotonic() + float(sys.argv[2])
worst = 0.0
while time.monotonic() < end:
    began = time.perf_counter()
    record({"text": "x" * 500})
    worst = max(worst, time.perf_counter() - began)
    time.sleep(0.5)
told.more.append(worst)
"""

AFTER_SECONDS = 5.0
"""How long the program goes on after the outage when it is not told."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Outage:
    """A program whose backend is away for *down* seconds, and which ends *after* some more."""

    def __init__(self, down: float, *spool: str, after: float = AFTER_SECONDS) -> None:
        self.down = down
        self.began = time.monotonic()
        self._port = free_port()
        self._server: FaultServer | None = None
        self._back = threading.Timer(down, self._come_back)
        self._back.start()
        url = f"http://127.0.0.1:{self._port}/runs"
        self._process = start(PROGRAM, url, down + after, *spool)

    def _come_back(self) -> None:
        self._server = FaultServer(port=self._port).__enter__()

    def end(self) -> dict[str, Any]:
        """Wait until all is over, and check and say what came of it."""
        (one,) = told(self._process, self.down + 60)
        assert self._server is not None
        delivered_once(self._server.stored, [one])
        self.close()
        return {
            "down": self.down,
            "accepted": len(one.accepted),
            "delivered": len(self._server.stored),
            "tries_in_vain": one.lane["retried"],
            "requests": len(self._server.requests),
            "worst_ms": round(1000 * one.more[0], 2),
            "seconds": round(one.at - self.began, 1),
        }

    def close(self) -> None:
        """End all that is still there."""
        self._back.cancel()
        put_away(self._process)
        if self._server is not None:
            self._server.close()


HUNG = """
from tests.faults import told
from tests.faults.program import Destination
others = [Destination(url) for _ in range(3)]
for n, other in enumerate(others):
    other.name = f"other-{n}"
begin(url, **({"spool": sys.argv[2]} if sys.argv[2:] else {}), others=others)
for n in range(50):
    record(n)
time.sleep(0.5)
told.more.append(time.monotonic())
"""


class HungEnds:
    """Two programs that end, without a spool and with one, while all their backends hang."""

    def __init__(self, spool: str) -> None:
        self._server = FaultServer(decide=lambda ids: Hang()).__enter__()
        url = self._server.url
        self._processes = [start(HUNG, url), start(HUNG, url, spool)]

    def end(self) -> tuple[Told, Told]:
        """Wait until both have ended."""
        without, spooled = (one for process in self._processes for one in told(process))
        return without, spooled

    def close(self) -> None:
        """End all that is still there."""
        for process in self._processes:
            put_away(process)
        self._server.close()


def main() -> int:
    """Run one outage, and judge it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--down", type=float, default=25.0)
    parser.add_argument("--spool", action="append", default=[])
    given = parser.parse_args()
    print(json.dumps(Outage(given.down, *given.spool).end()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
