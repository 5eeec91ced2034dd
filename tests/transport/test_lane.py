"""A lane by itself: told the time and what happened, it says what to do next and when."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Container, Iterable, Mapping
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instrument.exporters._base import Encoded, Limits, Response, Verdict
from instrument.run import Feedback, Item, Run, Snapshot
from instrument.transport import Bounds
from instrument.transport.lane import Lane
from instrument.transport.parcel import ITEM_BYTES
from instrument.transport.policy import backoff
from instrument.transport.shorten import shorten
from instrument.transport.steps import (
    CRASHED,
    Encode,
    Failure,
    Outcome,
    Reply,
    Send,
    Shorten,
    Shortened,
    Step,
    Write,
    Written,
)
from tests.transport.fakes import STARTED, Http, Local, run

DEFAULT = Bounds()


class Desk:
    """Drive a lane by hand, with a clock that only this moves."""

    def __init__(
        self, exporter: Any = None, bounds: Bounds = DEFAULT, max_bytes: int = 8_000_000
    ) -> None:
        self.now = 1000.0
        self.exporter = exporter or Http()
        self.lane = Lane(
            self.exporter, bounds, max_bytes=max_bytes, chance=lambda: 1.0, wall=lambda: 1e9
        )
        self.sent: list[list[str]] = []
        self.delivered: list[str] = []
        self.bodies: list[bytes] = []

    def offer(self, *ids: object, **fields: Any) -> None:
        for each in ids:
            self.lane.offer(run(each, **fields), self.now)

    def ready(self, step: Step | None) -> Outcome | None:
        """Do what needs no backend."""
        if isinstance(step, Encode):
            return self.exporter.encode(step.items, step.started)
        if isinstance(step, Shorten):
            return Shortened(shorten(step.item, step.max_bytes))
        if isinstance(step, Write):
            return Written(self.exporter.write(step.items))
        return None

    def take(self) -> Send | None:
        """Go on to the next request, if one is due."""
        while (step := self.lane.take(self.now)) is not None:
            if isinstance(step, Send):
                self.sent.append([item.id for item in step.request.items])
                self.bodies.append(step.request.body)
                return step
            self.lane.done(self.ready(step), self.now)
        return None

    def reply(
        self, status: int, headers: Mapping[str, str] | None = None, verdict: Verdict | None = None
    ) -> None:
        if 200 <= status < 300 and verdict is None:
            self.delivered += self.sent[-1]
        self.lane.done(Reply(Response(status, headers or {}, b""), verdict), self.now)

    def backend(self, decide: Callable[[list[str]], int], most: int = 10_000) -> int:
        """Answer until nothing is due; give the number of requests."""
        for count in range(most):
            if self.take() is None:
                return count
            self.reply(decide(self.sent[-1]))
        raise AssertionError("it never ends")

    def conserved(self) -> None:
        ledger = self.lane.ledger
        held = sum(len(parcel.entries) for parcel in self.lane._parcels())
        held += len(self.lane._shelf._entries)
        assert ledger.queued == held
        assert ledger.accepted == ledger.delivered + ledger.queued + sum(ledger.dropped.values())


def names(count: int) -> list[str]:
    return [f"{number:03}" for number in range(count)]


def test_batch_by_count():
    """A full batch is due at once, what is left over when its time has come."""
    desk = Desk(Http(limits=Limits(max_items=10)))
    desk.offer(*names(25))

    assert desk.backend(lambda ids: 200) == 2
    assert desk.lane.due() == desk.now + DEFAULT.flush_interval
    desk.now += DEFAULT.flush_interval
    assert desk.backend(lambda ids: 200) == 1
    assert desk.delivered == names(25)


def test_batch_by_bytes():
    """A batch weighs no more than the limit, but for a single item that does."""
    desk = Desk(Http(limits=Limits(max_bytes=10_000)))
    desk.offer("small", "small2")
    desk.offer("large", input=b'"' + b"x" * 20_000 + b'"')
    desk.offer("small3")
    desk.lane.urge(desk.lane.mark())
    desk.backend(lambda ids: 200)

    assert desk.sent == [["small", "small2"], ["large"], ["small3"]]


def test_first_items_are_quick():
    """The first ten items of a lane wait a tenth of a second, later ones the whole interval."""
    desk = Desk()
    desk.offer("1")
    assert desk.lane.due() == pytest.approx(desk.now + 0.1)

    desk.now += 0.1
    desk.backend(lambda ids: 200)
    desk.offer(*names(9))
    desk.now += 0.1
    desk.backend(lambda ids: 200)
    desk.offer("11")
    assert desk.lane.due() == pytest.approx(desk.now + 1.0)


def test_nothing_is_due_while_a_step_is_under_way():
    """One request of a lane is under way at a time."""
    desk = Desk()
    desk.offer(*names(100))
    desk.take()
    desk.offer(*names(100))

    assert desk.lane.busy
    assert desk.lane.due() == math.inf
    assert desk.lane.take(desk.now + 1e6) is None


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_retried_statuses(status):
    """What may pass is sent again, the same bytes, after a wait that doubles up to a minute."""
    desk = Desk()
    desk.offer(*names(100))
    waits = []
    for _ in range(12):
        assert desk.take() is not None
        desk.reply(status)
        waits.append(desk.lane.due() - desk.now)
        desk.now = desk.lane.due()

    assert waits == pytest.approx([0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60])
    assert len(set(desk.bodies)) == 1
    desk.backend(lambda ids: 200)
    assert desk.delivered == names(100)
    desk.conserved()


def test_jitter_is_full():
    """The wait is anything from nothing to the whole, as chance has it."""
    wait = partial(backoff, 3, base=0.5, cap=60.0)

    assert [wait(random=lambda: 0.0), wait(random=lambda: 0.5), wait(random=lambda: 1.0)] == [
        0,
        1,
        2,
    ]
    assert backoff(10_000, base=0.5, cap=60.0, random=lambda: 1.0) == 60


def test_breaker():
    """Five failures in a row open the lane; one try decides whether it closes again."""
    desk = Desk()
    desk.offer(*names(200))
    states = []
    for _ in range(5):
        desk.now = max(desk.now, desk.lane.due())
        desk.take()
        desk.reply(503)
        states.append(desk.lane.state)
    assert states == ["closed"] * 4 + ["open"]

    desk.now = desk.lane.due()
    desk.take()
    assert desk.lane.state == "half_open"
    desk.reply(200)
    assert desk.lane.state == "closed"
    assert desk.lane.due() <= desk.now


def failed(count: int = 1) -> Desk:
    desk = Desk()
    desk.offer(*names(100))
    for _ in range(count):
        desk.now = max(desk.now, desk.lane.due())
        desk.take()
        desk.reply(500)
    return desk


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "1000000000"}, 900.0),
        ({"retry-after": "Sun, 09 Sep 2001 01:47:10 GMT"}, 30.0),  # wall clock: 01:46:40
        ({"retry-after": "Sun, 09 Sep 2001 01:40:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 09 Sep 2033 01:40:00 GMT"}, 900.0),
        (
            {
                "retry-after": "Sun, 09 Sep 2001 03:00:05 GMT",
                "date": "Sun, 09 Sep 2001 03:00:00 GMT",
            },
            5.0,
        ),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-5"}, 0.5),
        ({"retry-after": "soon"}, 0.5),
        ({"retry-after": "Sun, 99 Sep 2001 01:40:00 GMT"}, 0.5),
        ({"retry-after": ""}, 0.5),
        ({}, 0.5),
    ],
)
def test_retry_after(headers, wait):
    """Retry-After is obeyed in seconds and as a date, up to 15 minutes; garbage is our own wait."""
    desk = Desk()
    desk.offer(*names(100))
    desk.take()
    desk.reply(429, headers)

    assert desk.lane.due() - desk.now == pytest.approx(wait)
    assert desk.lane.state == ("paused" if wait > 0.5 else "closed")


def test_retry_after_zero_for_ever():
    """A backend that keeps saying `now` is asked ever less often."""
    desk = Desk()
    desk.offer(*names(100))
    waits = []
    for _ in range(4):
        desk.take()
        desk.reply(429, {"retry-after": "0"})
        waits.append(desk.lane.due() - desk.now)
        desk.now = desk.lane.due()

    assert waits == pytest.approx([0, 1, 2, 4])


@pytest.mark.parametrize("status", [401, 402, 403, 404, 405, 410, 501, 301, 302, 307, 308, 418])
def test_parked(status, caplog):
    """A refused key or address: one ERROR with status and place, a try each 5 minutes, all kept."""
    desk = Desk(Http("https://key@backend.test/runs?key=secret"))
    desk.offer(*names(100))
    for _ in range(3):
        assert desk.take() is not None
        desk.reply(status)
        assert desk.lane.due() - desk.now == 300.0
        desk.now += 300.0

    assert desk.lane.state == "parked"
    errors = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert len(errors) == 1
    assert f"HTTP {status} from https://backend.test/runs" in errors[0].getMessage()
    assert "secret" not in caplog.text
    assert "key@" not in caplog.text
    desk.backend(lambda ids: 200)
    assert desk.lane.state == "closed"
    assert desk.delivered == names(100)


@pytest.mark.parametrize("body", [b"<!doctype html><title>Log in</title>", b"\n <html></html>"])
def test_parked_by_a_web_page(body, caplog):
    """A page is no API, whatever its status: everything is kept, and tried again later."""
    desk = Desk()
    desk.offer("a", "b")
    desk.now += 1
    desk.take()
    desk.lane.done(Reply(Response(200, {}, body), None), desk.now)
    desk.conserved()

    assert (desk.lane.state, desk.lane.ledger.queued) == ("parked", 2)
    assert "a web page answers" in caplog.text
    desk.now += DEFAULT.probe_interval
    desk.backend(lambda ids: 200)
    assert desk.delivered == ["a", "b"]


def test_parked_by_a_certificate():
    """What a person has to put right parks the lane also when no reply came."""
    desk = Desk()
    desk.offer(*names(100))
    desk.take()
    desk.lane.done(Failure("setup", "the certificate is not valid: expired"), desk.now)

    assert desk.lane.state == "parked"
    assert desk.lane.last_error == "the certificate is not valid: expired"
    assert desk.lane.ledger.queued == 100


def test_too_large_batch_is_halved():
    """413: halves until they fit, in order, and smaller batches from then on."""
    desk = Desk()
    desk.offer(*names(100))
    first = desk.backend(lambda ids: 413 if len(ids) > 10 else 200)
    assert desk.delivered == names(100)
    assert first <= 2 * 100

    desk.sent.clear()
    desk.offer(*names(60))
    desk.lane.urge(desk.lane.mark())
    desk.backend(lambda ids: 413 if len(ids) > 10 else 200)
    assert sum(len(ids) > 10 for ids in desk.sent) <= 1
    desk.conserved()


def test_batches_grow_again():
    """The learned limit is raised slowly by what gets through."""
    desk = Desk(Http(limits=Limits(max_bytes=100_000)))
    desk.offer(*names(90))
    desk.lane.urge(desk.lane.mark())
    desk.backend(lambda ids: 413 if len(ids) > 10 else 200)
    learned = desk.lane._shelf._batch_bytes
    for _ in range(200):
        desk.offer("x")
        desk.lane.urge(desk.lane.mark())
        desk.backend(lambda ids: 200)

    assert learned < 20_000
    assert desk.lane._shelf._batch_bytes == 100_000


def test_too_large_item():
    """413 for a single item: it is dropped, its neighbours arrive."""
    desk = Desk()
    desk.offer(*names(100))
    requests = desk.backend(lambda ids: 413 if "042" in ids else 200)

    assert desk.delivered == [name for name in names(100) if name != "042"]
    assert desk.lane.ledger.dropped == {"too_large": 1}
    assert requests <= 200
    desk.conserved()


def long(size_bytes: int) -> Snapshot:
    return Snapshot(b'"' + b"x" * (size_bytes - 2) + b'"')


class Whole(Http):
    """A destination whose requests hold the inputs."""

    def describe(self, item: Any, started: Container[str]) -> str:
        return f"{item.id} {(item.input or b'').decode()}"


@pytest.mark.parametrize("most", [2_500, 20_000, 400_000])
def test_too_large_item_is_shortened(most):
    """11: an item that is refused even alone arrives shortened, in a few requests; others as they are."""
    desk = Desk(Whole())
    desk.offer("a")
    desk.offer("b", input=long(1_000_000))
    desk.offer("c")
    desk.lane.urge(desk.lane.mark())
    while desk.take() is not None:
        desk.reply(413 if len(desk.bodies[-1]) > most else 200)
    last = [body for body in desk.bodies if b"b " in body][-1]

    assert desk.delivered == ["a", "b", "c"]
    assert desk.lane.as_dict()["truncated"] == 1
    assert most / 4.5 - ITEM_BYTES < len(last) <= most
    assert b"bytes cut]" in last
    assert len(desk.sent) <= 2 + math.ceil(math.log(1_000_000 / most, 4)) + 1
    desk.conserved()


def test_shortened_item_is_refused():
    """11: an item whose shortest form is refused is dropped as too large, and the lane goes on."""
    desk = Desk(Whole())
    desk.offer("a", input=long(100_000))
    desk.offer("b")
    desk.lane.urge(desk.lane.mark())
    requests = desk.backend(lambda ids: 413 if "a" in ids else 200)

    assert desk.delivered == ["b"]
    assert desk.lane.ledger.dropped == {"too_large": 1}
    assert desk.lane.state == "closed"
    assert requests <= 7
    desk.conserved()


def test_item_above_the_limit_of_an_item():
    """An item larger than any may be goes shortened at the first try."""
    desk = Desk(Whole(limits=Limits(max_bytes=50_000, max_item_bytes=100_000)))
    desk.offer("a", input=long(300_000))
    desk.offer("b", input=long(90_000))
    desk.lane.urge(desk.lane.mark())
    desk.backend(lambda ids: 200)

    assert desk.sent == [["a"], ["b"]]
    assert desk.delivered == ["a", "b"]
    assert desk.lane.ledger.truncated == 1
    assert sum(map(len, desk.bodies)) < 200_000
    desk.conserved()


def test_item_that_cannot_be_shortened():
    """What is too heavy and has no text to cut is sent as it is, and the backend decides."""
    desk = Desk(Http(limits=Limits(max_item_bytes=10)))
    desk.offer("a")
    desk.lane.urge(desk.lane.mark())
    desk.backend(lambda ids: 200)

    assert desk.delivered == ["a"]
    assert desk.lane.ledger.truncated == 0


def test_local_item_is_whole():
    """A destination on this machine has no such limit: there is nobody to refuse it."""
    desk = Desk(Local(limits=Limits(max_item_bytes=1_000)))
    desk.offer("a", input=long(300_000))
    desk.lane.urge(desk.lane.mark())
    desk.take()

    assert [len(item.input) for item in desk.exporter.items] == [300_000]


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("bad", ["000", "031", "049"])
def test_one_bad_item(status, bad):
    """400 or 422 for one item of fifty: 49 arrive, it is dropped, in few requests."""
    desk = Desk()
    desk.offer(*names(50))
    desk.lane.urge(desk.lane.mark())
    requests = desk.backend(lambda ids: status if bad in ids else 200)

    assert desk.delivered == [name for name in names(50) if name != bad]
    assert desk.lane.ledger.dropped == {"rejected": 1}
    assert requests <= 2 * math.ceil(math.log2(50)) + 1
    desk.conserved()


def test_every_item_bad():
    """A schema that refuses everything: after three lone refusals the batch goes, the lane opens."""
    desk = Desk()
    desk.offer(*names(100))
    requests = desk.backend(lambda ids: 400)

    assert desk.lane.ledger.dropped == {"rejected": 100}
    assert requests <= 12
    assert desk.lane.state == "open"
    assert desk.lane.due() == math.inf
    desk.conserved()


def test_three_bad_among_good():
    """Items that are refused alone do not doom those that are accepted between them."""
    desk = Desk()
    desk.offer(*names(100))
    bad = {"010", "050", "090", "091", "092"}
    desk.backend(lambda ids: 422 if bad & set(ids) else 200)

    assert desk.delivered == [name for name in names(100) if name not in bad]
    assert desk.lane.ledger.dropped == {"rejected": 5}


def test_verdict_of_each_item():
    """An exporter's verdict counts items as delivered, dropped for its reason, or sent again."""
    desk = Desk()
    desk.offer(*names(100))
    send = desk.take()
    assert send is not None
    again = send.request.items[90:]
    desk.reply(200, verdict=Verdict(85, {"invalid": 5}, again))

    assert desk.lane.ledger.delivered == 85
    assert desk.lane.ledger.dropped == {"invalid": 5}
    desk.now = desk.lane.due()
    desk.backend(lambda ids: 200)
    assert desk.delivered == names(100)[90:]
    desk.conserved()


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(0),
        Verdict(1000),
        Verdict(-3, {"odd": -7}),
        Verdict(5, {"odd": 1000}),
        Verdict(5, {"odd": 50}, [run("stranger")]),
    ],
)
def test_impossible_verdict(verdict):
    """A verdict that does not add up is made to: every item is counted once."""
    desk = Desk()
    desk.offer(*names(100))
    desk.take()
    desk.reply(200, verdict=verdict)

    assert desk.lane.ledger.queued == 0
    desk.conserved()


def test_exporter_that_cannot_express_an_item():
    """What `encode` drops is counted for its reason, what it forgets as its error."""

    class Picky(Http):
        def encode(self, items, started):
            return Encoded(super().encode(items[5:], started).requests, {"no_user": 2})

    desk = Desk(Picky())
    desk.offer(*names(100))
    desk.backend(lambda ids: 200)

    assert desk.lane.ledger.dropped == {"no_user": 2, "exporter_error": 3}
    assert len(desk.delivered) == 95


def test_exporter_that_fails_on_an_item():
    """An item on which `encode` fails is found by halving and dropped; the others arrive."""

    class Brittle(Desk):
        def ready(self, step):
            if isinstance(step, Encode) and any(item.id == "077" for item in step.items):
                return CRASHED
            return super().ready(step)

    desk = Brittle()
    desk.offer(*names(100))
    desk.backend(lambda ids: 200)

    assert desk.lane.ledger.dropped == {"exporter_error": 1}
    assert desk.delivered == [name for name in names(100) if name != "077"]


def test_request_without_items():
    """A request that carries nothing itself (a session) is sent in its place."""

    class Sessions(Http):
        def encode(self, items, started):
            head = super().encode([], started).requests
            return Encoded([*head, *super().encode(items, started).requests])

    desk = Desk(Sessions())
    desk.offer(*names(100))
    desk.backend(lambda ids: 200)

    assert desk.sent == [[], names(100)]
    desk.conserved()


def test_ended_run_overtakes_its_open_one():
    """An ended run takes the place of its own open one, if that still waits: one item, not two."""
    desk = Desk()
    desk.offer("parent", duration=None)
    desk.offer("child")
    desk.offer("parent")
    desk.lane.urge(desk.lane.mark())
    send = desk.take()

    assert send is not None
    assert [item.id for item in send.request.items] == ["parent", "child"]
    assert all(item.duration is not None for item in send.request.items)
    assert (desk.lane.ledger.accepted, desk.lane.ledger.merged) == (2, 1)
    desk.conserved()


def test_ended_run_follows_an_open_one_under_way():
    """An open run that is under way stays, and the exporter hears that it arrived."""
    told: list[bool] = []

    class Watch(Http):
        def describe(self, item, started):
            told.append(item.id in started)
            return item.id

    desk = Desk(Watch())
    desk.offer("a", duration=None)
    desk.lane.urge(1)
    desk.take()
    desk.offer("a")
    desk.reply(200)
    desk.lane.urge(desk.lane.mark())
    desk.backend(lambda ids: 200)

    assert told == [False, True]
    assert desk.lane.ledger.delivered == 2
    assert "a" in desk.lane._started  # others may begin under it yet


def test_started_is_bounded_and_sure():
    """Only so many open runs are remembered, and none of a request that was partly refused."""
    desk = Desk(bounds=Bounds(started_ids=10))
    desk.offer(*names(100), duration=None)
    desk.backend(lambda ids: 200)
    assert [name for name in names(100) if name in desk.lane._started] == names(100)[90:]

    desk.offer(*[f"late{n}" for n in range(100)], duration=None)
    desk.take()
    desk.reply(200, verdict=Verdict(99, {"invalid": 1}))
    assert "late99" not in desk.lane._started


def test_ended_runs_are_forgotten_first():
    """An open run is remembered longer than those that have ended since."""
    desk = Desk(bounds=Bounds(started_ids=10))
    desk.offer("open", duration=None)
    desk.offer(*names(100))
    desk.lane.urge(desk.lane.mark())
    desk.backend(lambda ids: 200)

    assert "open" in desk.lane._started
    assert [name for name in names(100) if name in desk.lane._started] == names(100)[91:]


def test_full_by_events():
    """The oldest make room, counted."""
    desk = Desk(bounds=Bounds(queue_events=150))
    desk.offer(*names(400))

    assert desk.lane.ledger.dropped == {"queue_full": 250}
    desk.lane.urge(desk.lane.mark())
    desk.backend(lambda ids: 200)
    assert desk.delivered == names(400)[250:]


def test_full_by_bytes():
    """What a lane holds stays within its bytes, what is under way included."""
    desk = Desk(max_bytes=1_000_000)
    for name in names(100):
        desk.offer(name, input=b'"' + b"x" * 50_000 + b'"')
        if name == "010":
            desk.take()

        held = sum(parcel.size_bytes for parcel in desk.lane._parcels())
        assert held + desk.lane._shelf._bytes <= 1_000_000
    assert desk.lane.ledger.dropped["queue_full"] > 80
    desk.conserved()


def test_expiry():
    """What could not be delivered for a day is dropped, also out of a batch being tried again."""
    desk = failed()
    desk.now += DEFAULT.max_age / 2
    desk.offer("young")
    desk.now += DEFAULT.max_age / 2 + 1
    desk.lane.expire(desk.now)

    assert desk.lane.ledger.dropped == {"expired": 100}
    desk.backend(lambda ids: 200)
    assert desk.delivered == ["young"]
    desk.conserved()


def test_hurry_cuts_a_wait_short():
    """At the end a backoff is cut short for another try; a closed lane gets a few."""
    desk = failed(2)
    desk.lane.hurry(desk.now)
    tries = 0
    while desk.lane.due() < math.inf:
        desk.now = max(desk.now, desk.lane.due())
        tries += desk.take() is not None
        desk.reply(500)

    assert tries == 3
    assert desk.lane.ledger.queued == 100


def test_hurry_gives_an_open_lane_one_try():
    """A backend that was down already is tried once more."""
    desk = failed(6)
    desk.lane.hurry(desk.now)
    assert desk.take() is not None
    desk.reply(500)

    assert desk.lane.due() == math.inf


def test_hurry_respects_what_was_imposed():
    """Neither a pause that the backend asked for nor a refused key is cut short."""
    for status, headers, wait in ((429, {"retry-after": "60"}, 60.0), (401, {}, 300.0)):
        desk = Desk()
        desk.offer(*names(100))
        desk.take()
        desk.reply(status, headers)
        desk.lane.hurry(desk.now)

        assert desk.lane.due() - desk.now == pytest.approx(wait)


def test_abandon():
    """The end drops all that is left, what is under way included; a late reply changes nothing."""
    desk = Desk()
    desk.offer(*names(150))
    desk.take()
    desk.lane.abandon("exit")
    desk.lane.done(Reply(Response(200, {}, b""), None), desk.now)

    assert desk.lane.ledger.dropped == {"exit": 150}
    assert desk.lane.ledger.delivered == 0
    desk.conserved()


def test_local_exporter():
    """A local destination writes batches; when it fails, they are tried again."""
    desk = Desk(Local())
    desk.offer(*names(100))
    assert isinstance(step := desk.lane.take(desk.now), Write)
    desk.lane.done(CRASHED, desk.now)
    assert desk.lane.due() == pytest.approx(desk.now + 0.5)

    desk.now = desk.lane.due()
    desk.take()
    assert desk.exporter.ids == names(100)
    assert list(step.items) == desk.exporter.items
    assert desk.lane.ledger.delivered == 100


def test_wants_that_fails(forgiving):
    """An exporter that cannot even say what it wants loses that item, counted."""

    class Odd(Http):
        def wants(self, item):
            raise ValueError("prompt")

    desk = Desk(Odd())
    desk.offer("a")

    assert desk.lane.ledger.dropped == {"exporter_error": 1}
    desk.conserved()


def test_same_item_twice():
    """An object that is offered twice is two items."""
    desk = Desk()
    thumb = Feedback(run_id="r", at=STARTED, thumb="up")
    desk.exporter.describe = lambda item, started: item.run_id
    for _ in range(2):
        desk.lane.offer(thumb, desk.now)
    desk.lane.urge(2)
    step = desk.lane.take(desk.now)
    desk.lane.done(desk.ready(step), desk.now)
    desk.lane.take(desk.now)
    desk.lane.done(Reply(Response(200, {}, b""), None), desk.now)

    assert desk.lane.ledger.delivered == 2


STATUSES = st.sampled_from([200, 201, 400, 401, 408, 413, 422, 429, 500, 503, 302, 404])
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(1, 12), st.booleans()),
        st.tuples(st.just("reply"), STATUSES, st.sampled_from(["", "1", "0", "x"])),
        st.tuples(st.just("fail"), st.sampled_from(["again", "setup"]), st.none()),
        st.tuples(st.just("verdict"), st.integers(-2, 15), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 5.0, 400.0, 90_000.0]), st.none()),
        st.tuples(st.just("urge"), st.none(), st.none()),
        st.tuples(st.just("hurry"), st.none(), st.none()),
    ),
    max_size=60,
)


def play(desk: Desk, moves: Iterable[tuple[Any, Any, Any]]) -> None:
    """Make the moves, and look at the invariant after each."""
    number = 0
    for move, a, b in moves:
        if move == "offer":
            for _ in range(a):
                number += 1
                desk.offer(f"{number:05}", duration=None if b else 0.5)
                if b and number % 3 == 0:
                    desk.offer(f"{number - 1:05}")
        elif move == "wait":
            desk.now += a
            desk.lane.expire(desk.now)
        elif move == "urge":
            desk.lane.urge(desk.lane.mark())
        elif move == "hurry":
            desk.lane.hurry(desk.now)
        elif (send := desk.take()) is not None:
            answer(desk, send.request.items, (move, a, b))
        desk.conserved()


def answer(desk: Desk, items: Any, move: tuple[Any, Any, Any]) -> None:
    kind, a, b = move
    if kind == "reply":
        desk.reply(a, {"retry-after": b})
    elif kind == "fail":
        desk.lane.done(Failure(a, "said"), desk.now)
    else:
        desk.reply(200, verdict=Verdict(a, {"odd": b}, items[: b // 2]))


@settings(max_examples=150, deadline=None)
@given(MOVES)
def test_any_history_is_conserved(moves):
    """Whatever happens in whatever order: accepted = delivered + queued + dropped, at each step."""
    desk = Desk(Http(limits=Limits(max_items=7)), Bounds(queue_events=40), max_bytes=60_000)
    play(desk, moves)
    desk.lane.abandon("exit")

    desk.conserved()
    assert desk.lane.ledger.queued == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([200, 413, 429, 500, 503, 401, 302]), max_size=40), st.data())
def test_order_is_kept(statuses, data):
    """Retries and halves do not change the order in which items arrive."""
    desk = Desk(Http(limits=Limits(max_items=8)))
    desk.offer(*names(40))
    desk.lane.urge(desk.lane.mark())
    for status in statuses:
        desk.now = max(desk.now, desk.lane.due()) if desk.lane.due() < math.inf else desk.now
        if desk.take() is None:
            break
        desk.reply(200 if status == 413 and len(desk.sent[-1]) == 1 else status)
    desk.now += 1000
    while desk.take() is not None:
        desk.reply(200)

    assert desk.delivered == names(40)


def test_item_type_is_what_the_exporter_gets():
    """The items of a request are the objects that were offered, unchanged."""
    desk = Desk()
    given_run: Item = run("same")
    desk.lane.offer(given_run, desk.now)
    desk.lane.urge(1)
    send = desk.take()

    assert send is not None
    assert send.request.items[0] is given_run
    assert isinstance(given_run, Run)
