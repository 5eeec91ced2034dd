"""
One exporter's queue, batches, breaker and retries: a state machine that never waits.

It is told the time and what happened (`offer`, `done`), and says what to do next and when (`due`,
`take`). One step at a time is under way, so a lane needs no lock and its order holds.

State     | meaning
----------|------------------------------------------------------------------------------------
closed    | all is well, or a failure or two are being tried again
open      | so many failures in a row that the backend counts as down
half_open | one try is under way to find out whether it still is
paused    | the backend asked to be left alone until a certain time
parked    | the key or the address is wrong; tried every few minutes, what is there is kept
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, final

from ..exporters._base import Encoded, Exporter, HttpExporter, Response, Verdict
from ..guard import guard, notices
from ..run import Item, Run, Trace
from .books import Books
from .bounds import Bounds
from .breaker import Breaker, State
from .held import Places
from .parcel import Parcel, Trial, weigh
from .policy import action, retry_after
from .shelf import Shelf, Started
from .steps import Encode, Outcome, Reply, Send, Shorten, Shortened, Step, Write, Written
from .trees import Trees

MAX_LONE_REFUSALS = 3
"""Items of one refused batch that are refused alone before all the rest of it is given up."""

SHORTER = 4
"""Part of an item that is sent when a backend refused it for its size, and again if need be."""

Placed: TypeAlias = "tuple[Item, Places]"
"""An item, and where it lies on disk."""


@final
class Lane:
    """
    What one exporter still has to get, and how it is doing.

    Args:
        max_bytes: What may wait in this lane, in bytes.
        chance: Random numbers from 0.0 to 1.0, for the jitter.
        wall: Seconds since the epoch, for a Retry-After that is a date.
    """

    def __init__(
        self,
        exporter: Exporter,
        bounds: Bounds,
        *,
        max_bytes: int,
        chance: Callable[[], float] = random.random,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.exporter = exporter
        self.name = exporter.name
        self.last_error: str | None = None
        self.books = Books(exporter.name)
        self.ledger = self.books.ledger
        self.trees: Trees | None = None
        if exporter.whole_traces:
            max_bytes //= 2
            self.trees = Trees(bounds, max_bytes, self.books.lose_runs)
        self._http = isinstance(exporter, HttpExporter)
        self._bounds = bounds
        limits = exporter.limits
        self._max_item_bytes = min(max(limits.max_item_bytes, limits.max_bytes), max_bytes)
        self._breaker = Breaker(bounds, chance)
        self._wall = wall
        self._shelf = Shelf(exporter.limits, bounds, max_bytes)
        self._started = Started(bounds.started_ids)
        self._work: deque[Parcel] = deque()
        self._flight: Parcel | None = None
        self._urged = 0
        self._asking = guard(f"ask {self.name} whether it wants an item")
        self._taking = guard(f"take an item for {self.name}")

    # What comes in

    def offer(self, item: Item, now: float) -> None:
        """Take *item*, if the exporter has a use for it."""
        if self.wants(item):
            self.put([(item, ())], now)

    def wants(self, item: Item) -> bool:
        """Say whether there is a use for *item*; an exporter of trees is asked about those alone."""
        if self.trees is not None and isinstance(item, Run):
            return item.duration is not None
        return self._asks(item)

    def _asks(self, item: Item) -> bool:
        try:
            return self.exporter.wants(item)
        except Exception as error:  # noqa: BLE001 - the guard, see `guard.stop`
            self.books.refuse("exporter_error")
            self._asking.stop(error)
            return False

    def put(self, items: Iterable[Placed], now: float) -> None:
        """Take items, which are wanted, each with where it lies on disk."""
        taken = 0
        try:
            for item, places in items:
                taken += self._put_one(item, now, places)
        finally:
            self.ledger.accept(taken)
        for entry in self._shelf.make_room(self.ledger.queued):
            if self.trees is not None and isinstance(entry.item, Trace):
                self.trees.forget(entry.item.root.trace_id)
            self.books.leave("queue_full", [entry], may_wait=True)

    def _put_one(self, item: Item, now: float, places: Places) -> bool:
        """Take one; True when an item more waits. One that is no good takes no other along."""
        trees = self.trees
        try:
            if trees is None or not isinstance(item, Run):
                return self._shelve(item, now, places)
            trace = trees.add(item, now, places)
            if trace is not None:
                places = trees.places
                if self._asks(trace):
                    return self._shelve(trace, now, places)
                self.books.settled.extend(places)
        except Exception as error:  # noqa: BLE001 - the guard, see `guard.stop`
            self.books.settled.extend(places)
            self.books.refuse("hook_error")
            self._taking.stop(error)
        return False

    def _shelve(self, item: Item, now: float, places: Places) -> bool:
        """Take an item that is whole; False when it takes the place of its own open run."""
        replaced = self._shelf.replace(item)
        if replaced is None:
            self._shelf.put(item, now, places)
            return True
        self.books.settled.extend(replaced.places)
        replaced.places = places
        self.ledger.merge()
        return False

    def room(self) -> int:
        """Say how many items may be read back from disk: until half of the lane is taken."""
        held = 0 if self.trees is None else self.trees.held
        most = self._bounds.queue_events // 2 if self._shelf.is_light else 0
        return max(0, most - self.ledger.queued - held)

    # What is to be done, and when

    @property
    def state(self) -> State:
        """How the backend is doing."""
        return self._breaker.state

    @property
    def busy(self) -> bool:
        """Whether a step is under way."""
        return self._flight is not None

    def due(self) -> float:
        """Say when the next step may be taken; infinity when there is none, or one is under way."""
        if self._flight is not None:
            return math.inf
        ready = -math.inf if self._work else self._shelf.due(self._urged)
        return max(ready, self._breaker.not_before)

    def take(self, now: float) -> Step | None:
        """Begin the next step; `done` is to be told what came of it."""
        if self.due() > now:
            return None
        parcel = self._flight = self._work.popleft() if self._work else self._batch()
        self._breaker.trying()
        if parcel.shorten_to is not None:
            return Shorten(parcel.entries[0].original, parcel.shorten_to)
        if parcel.request is not None:
            return Send(parcel.request)
        items = [entry.item for entry in parcel.entries]
        return Encode(items, self._started) if self._http else Write(items)

    def _batch(self) -> Parcel:
        """Take a batch from the shelf; an item that is too large by itself is first shortened."""
        parcel = Parcel(self._shelf.cut())
        if self._http and len(parcel.entries) == 1 and parcel.size_bytes > self._max_item_bytes:
            parcel.shorten_to = self._max_item_bytes
        return parcel

    def mark(self) -> int:
        """Name the newest item, for `holds` and `urge`."""
        return self._shelf.newest

    def holds(self, mark: int) -> bool:
        """Say whether anything up to *mark* still waits or is under way."""
        numbers = (entry.number for parcel in self._parcels() for entry in parcel.entries)
        return any(number <= mark for number in numbers) or self._shelf.holds(mark)

    def urge(self, mark: int) -> None:
        """Do not wait for a full batch with anything up to *mark*."""
        self._urged = max(self._urged, mark)

    def hurry(self, now: float) -> None:
        """Prepare for the end: try again soon, and not for long."""
        self._breaker.hurry(now)

    def expire(self, now: float) -> None:
        """Drop what has waited too long."""
        oldest = now - self._bounds.max_age
        self.books.lose("expired", self._shelf.expire(oldest))
        if self.trees is not None:
            self.trees.expire(now)
        if self._flight is None:
            while self._work and all(entry.since < oldest for entry in self._work[0].entries):
                self.books.lose("expired", self._work.popleft().entries)

    def abandon(self, reason: str) -> None:
        """Drop all that is not on disk; what is under way has no consequence any more."""
        entries = [entry for parcel in self._parcels() for entry in parcel.entries]
        self._flight = None
        self._work.clear()
        self.books.leave(reason, [*entries, *self._shelf.clear()], may_wait=True)
        if self.trees is not None:
            self.trees.abandon(reason)

    def as_dict(self) -> dict[str, Any]:
        """Copy the counts, and say how the lane is doing."""
        return {
            **self.ledger.as_dict(),
            "held": 0 if self.trees is None else self.trees.held,
            "state": self.state,
            "last_error": self.last_error,
        }

    def _parcels(self) -> Iterable[Parcel]:
        return self._work if self._flight is None else (self._flight, *self._work)

    # What came of it

    def done(self, outcome: Outcome, now: float) -> None:
        """Take note of what came of the step that was under way."""
        parcel, self._flight = self._flight, None
        if parcel is None:
            return
        if isinstance(outcome, Encoded):
            self._encoded(parcel, outcome)
        elif isinstance(outcome, Reply):
            self._replied(parcel, outcome, now)
        elif isinstance(outcome, Shortened):
            self._shortened(parcel, outcome.item)
        elif isinstance(outcome, Written):
            self._settle(parcel, Verdict(len(parcel.entries), outcome.dropped), now)
        elif outcome.kind == "setup":
            self._park(parcel, outcome.text, now)
        elif self._http and parcel.request is None:
            self._not_encoded(parcel)
        else:
            self._retry(parcel, outcome.text)
            self._breaker.failed(now, None)

    def _encoded(self, parcel: Parcel, encoded: Encoded) -> None:
        """Put the requests in the place of what they carry."""
        parcels, left = parcel.packed(encoded)
        self._work.extendleft(reversed(parcels))
        self.books.over(left)
        count = len(left)
        self.books.drop("exporter_error", count - self.books.drop_by_reason(encoded.dropped, count))

    def _not_encoded(self, parcel: Parcel) -> None:
        """Find the item that the exporter fails on."""
        if len(parcel.entries) > 1:
            self._work.extendleft(reversed(parcel.halves(parcel.trial)))
        else:
            self.books.lose("exporter_error", parcel.entries)

    def _replied(self, parcel: Parcel, reply: Reply, now: float) -> None:
        if reply.verdict is not None:
            self._settle(parcel, reply.verdict, now, self._asked(reply.response))
            return
        status = reply.response.status
        said = f"HTTP {status} from {parcel.place}"
        decision = action(status)
        if decision == "deliver" and reply.response.is_page:
            self._park(parcel, f"a web page answers at {parcel.place}, and no API", now)
        elif decision == "deliver":
            self._settle(parcel, Verdict(len(parcel.entries)), now)
        elif decision == "retry":
            self._retry(parcel, said)
            self._breaker.failed(now, self._asked(reply.response))
        elif decision == "split":
            self._split(parcel)
        elif decision == "refuse":
            self._refused(parcel, said, now)
        else:
            self._park(parcel, said, now)

    def _asked(self, response: Response) -> float | None:
        return retry_after(response.headers, self._wall())

    def _settle(
        self, parcel: Parcel, verdict: Verdict, now: float, asked: float | None = None
    ) -> None:
        """Book what a verdict says, whatever it says: each entry is counted once."""
        wanted_again = {id(item) for item in verdict.retry}
        again = [entry for entry in parcel.entries if id(entry.item) in wanted_again]
        over = [entry for entry in parcel.entries if id(entry.item) not in wanted_again]
        dropped = self.books.drop_by_reason(verdict.dropped, len(over))
        self.ledger.deliver(len(over) - dropped)
        self.books.over(over)
        if parcel.trial is not None and len(over) > dropped:
            parcel.trial.accepted = True
        self._started.update(over, sure=not dropped)
        if again:
            said = f"{len(again)} items are wanted again by {parcel.place}"
            self._retry(Parcel(again, trial=parcel.trial), said)
            self._breaker.failed(now, asked, afresh=bool(over))
            return
        self._breaker.recovered()
        self._shelf.widen()

    def _split(self, parcel: Parcel) -> None:
        """Send halves, and smaller batches from now on; an item too large by itself is shortened."""
        self._breaker.recovered()
        if len(parcel.entries) > 1:
            self._shelf.narrow(parcel.size_bytes // 2)
            self._work.extendleft(reversed(parcel.halves(parcel.trial)))
            return
        parcel.shorten_to = parcel.size_bytes // SHORTER
        self._work.appendleft(parcel)

    def _shortened(self, parcel: Parcel, item: Item | None) -> None:
        """Send what is left of an item; where nothing could be cut off, it was refused for good."""
        (entry,) = parcel.entries
        size = entry.size_bytes if item is None else weigh(item)
        if parcel.request is not None and size >= entry.size_bytes:
            self.books.lose("too_large", parcel.entries)
            return
        if item is not None:
            if entry.whole is None:
                entry.whole = entry.item
                self.ledger.truncate()
            entry.item, entry.size_bytes = item, size
        self._work.appendleft(Parcel(parcel.entries, trial=parcel.trial))

    def _refused(self, parcel: Parcel, said: str, now: float) -> None:
        """Find the item that the backend refuses, unless it refuses them all."""
        self.last_error = said
        trial = parcel.trial or Trial()
        if len(parcel.entries) > 1:
            self._work.extendleft(reversed(parcel.halves(trial)))
            return
        self.books.lose("rejected", parcel.entries)
        trial.refused += 1
        if trial.refused < MAX_LONE_REFUSALS or trial.accepted:
            return
        rest = [each for each in self._work if each.trial is trial]
        self._work = deque(each for each in self._work if each.trial is not trial)
        self.books.lose("rejected", [entry for each in rest for entry in each.entries])
        self._breaker.refused_all(now)

    def _retry(self, parcel: Parcel, said: str) -> None:
        """Try the same again later."""
        self._work.appendleft(parcel)
        self.last_error = said
        self.ledger.retried += 1
        waits = self.ledger.totals()[1]
        notices.say(f"{self.name}: trying again", "%s: %s; %d items wait", self.name, said, waits)

    def _park(self, parcel: Parcel, said: str, now: float) -> None:
        """Keep everything, try seldom, and say so once."""
        self._work.appendleft(parcel)
        self.last_error = said
        if self._breaker.park(now):
            notices.say(
                f"{self.name}: parked",
                "%s: the backend refused the key or the address (%s): set it right; "
                "what is recorded is kept within its bounds and tried again every %d s",
                self.name,
                said,
                self._bounds.probe_interval,
                level=logging.ERROR,
            )
