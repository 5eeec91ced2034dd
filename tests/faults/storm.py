"""
Kill storm: processes on one folder, killed at random, and a backend that fails three times in ten.

    python tests/faults/storm.py --processes 6 --seconds 60 --seed 1

Prints what came of it as JSON, and ends with status 1 when anything is lost that was accepted longer
than the window before its process died, or when more came twice than the deaths and the lost replies
account for.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.faults.test_process_deaths import WINDOW, deliver, listen, start
from tests.transport.faultserver import REPLY_LOST, Answer, FaultServer, Step

BATCH = 100
"""Items in one request at most: what one death, or one lost reply, may bring twice."""


class Backend:
    """Stores, refuses with 503, or stores and loses the reply."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.lost_replies = 0

    def __call__(self, ids: list[str]) -> Step:
        drawn = self.chance.random()
        if drawn < 0.02:
            self.lost_replies += 1
            return REPLY_LOST
        return Answer(503) if drawn < 0.3 else Answer()


class Life:
    """One process after another, each killed after a random time."""

    def __init__(self, folder: Path, url: str, chance: random.Random, until: float) -> None:
        self.promised: list[str] = []
        self.accepted = 0
        self.deaths = 0
        self._folder = folder
        self._url = url
        self._chance = chance
        self._until = until
        self.thread = threading.Thread(target=self._live)
        self.thread.start()

    def _live(self) -> None:
        while time.monotonic() < self._until:
            heard: list[tuple[float, str]] = []
            process = start(self._folder, self._url, 1_000_000, "return")
            listener = threading.Thread(target=listen, args=(process, heard))
            listener.start()
            time.sleep(self._chance.uniform(0.3, 4.0))
            at = time.monotonic()
            process.kill()
            listener.join()
            process.communicate()
            self.deaths += 1
            self.accepted += len(heard)
            self.promised += [id_ for when, id_ in heard if when < at - WINDOW]


def main() -> int:
    """Run the storm, and judge it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--processes", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    backend = Backend(chance)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "spool"
        with FaultServer(decide=backend) as server:
            until = time.monotonic() + given.seconds
            lives = [
                Life(folder, server.url, random.Random(chance.random()), until)
                for _ in range(given.processes)
            ]
            for life in lives:
                life.thread.join()
            stored = list(server.stored)
        rounds = 0
        while folder.exists() and list(folder.iterdir()) and rounds < 20:
            stored += deliver(folder)
            rounds += 1
        left = len(list(folder.iterdir())) if folder.exists() else 0
    promised = {id_ for life in lives for id_ in life.promised}
    deaths = sum(life.deaths for life in lives)
    twice = sum(count - 1 for count in Counter(stored).values())
    result = {
        "deaths": deaths,
        "accepted": sum(life.accepted for life in lives),
        "promised": len(promised),
        "lost": len(promised - set(stored)),
        "twice": twice,
        "twice_accounted_for": BATCH * (deaths + backend.lost_replies),
        "lost_replies": backend.lost_replies,
        "files_left": left,
        "rounds": rounds,
    }
    print(json.dumps(result))
    return int(bool(result["lost"] or left or twice > result["twice_accounted_for"]))


if __name__ == "__main__":
    sys.exit(main())
