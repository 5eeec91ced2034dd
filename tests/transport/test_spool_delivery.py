"""The transport with a spool: what is accepted is delivered, by this process or by a later one."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from instrument.run import Error, Feedback, Run, Snapshot, Trace
from instrument.transport import SpoolOptions, Transport
from tests.transport.fakes import QUICK, STARTED, Given, Http, Local, conserved, eventually, publish
from tests.transport.fakes import run as make_run
from tests.transport.faultserver import Answer, FaultServer

DOWN = "http://127.0.0.1:9/runs"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spooled(transport, folder):
    """Make transports with a spool, as one process after another has them."""

    def make(*exporters: Any, **options: Any) -> Transport:
        made: Transport = transport(
            *exporters, spool=SpoolOptions(path=str(folder), **options.pop("spool", {})), **options
        )
        made.wake()
        return made

    return make


def files(folder: Path) -> list[Path]:
    """List what is in a folder."""
    return sorted(folder.iterdir()) if folder.exists() else []


def test_delivered_is_removed(spooled, folder):
    """What all destinations have is on disk no more, without any flush."""
    one, two = Local("one"), Local("two")
    made = spooled(one, two)
    ids = publish(made, range(300))

    assert eventually(lambda: one.ids == two.ids == ids)
    assert eventually(lambda: files(folder) == [])
    assert conserved(made)["spool"]["written"] == 300


def test_on_disk_at_once(spooled, folder):
    """An item is on disk a moment after it was published, long before its batch is sent."""
    made = spooled(Local(), bounds=replace(QUICK, flush_interval=30.0, first_interval=30.0))
    publish(made, ["a"])
    began = time.monotonic()

    assert eventually(lambda: files(folder), 2.0)
    publish(made, ["b"])
    assert eventually(lambda: files(folder) and b'"b"' in files(folder)[0].read_bytes(), 2.0)
    assert time.monotonic() - began < 1.0


def test_next_process_delivers(spooled, folder):
    """What a process could not deliver is delivered by the next one, each item once, in order."""
    first = spooled(Http(DOWN))
    ids = publish(first, range(250))
    first.shutdown(1.0)
    stats = conserved(first)["lanes"]["http"]
    assert (stats["spooled"], stats["dropped"]) == (250, {})

    with FaultServer() as server:
        second = spooled(Http(server.url))
        assert eventually(lambda: len(server.stored) >= 250)
        assert server.stored == ids
        assert eventually(lambda: files(folder) == [])
        assert conserved(second)["spool"]["adopted"] == 250


def test_short_process_delivers(spooled, folder):
    """A process that records nothing and ends at once delivers what another left."""
    first = spooled(Http(DOWN))
    ids = publish(first, range(50))
    first.shutdown(1.0)

    with FaultServer() as server:
        spooled(Http(server.url)).shutdown(5.0)
        assert server.stored == ids
    assert files(folder) == []


def test_flush_waits_for_what_was_left(spooled):
    """A flush comes back when what another process left is delivered, too."""
    first = spooled(Http(DOWN))
    ids = publish(first, range(700))
    first.shutdown(1.0)

    with FaultServer() as server:
        flushed = spooled(Http(server.url)).flush(10.0)
        assert (server.stored, flushed.pending) == (ids, 0)


def test_one_of_two_is_down(spooled, folder):
    """The destination that has everything gets nothing again when the other one is back."""
    up, down = Local("up"), Http(DOWN, "down")
    first = spooled(up, down)
    ids = publish(first, range(120))
    assert eventually(lambda: len(up.ids) == 120)
    first.shutdown(1.0)

    again = Local("up")
    with FaultServer() as server:
        spooled(again, Http(server.url, "down")).shutdown(5.0)
        assert (server.stored, again.ids, up.ids) == (ids, [], ids)
    assert files(folder) == []


def test_other_destinations_wait(spooled, folder):
    """What is for a destination that this process does not have waits for one that does."""
    first = spooled(Http(DOWN))
    publish(first, ["a"])
    first.shutdown(1.0)
    other = Local("other")
    spooled(other).shutdown(1.0)
    assert (other.ids, len(files(folder))) == ([], 1)

    with FaultServer() as server:
        spooled(Http(server.url)).shutdown(5.0)
        assert server.stored == ["a"]


def test_overflow(spooled, folder):
    """What has no room in memory waits on disk: an outage costs nothing."""
    is_down = [True]
    with FaultServer(decide=lambda ids: Answer(503 if is_down[0] else 200)) as server:
        made = spooled(Http(server.url), bounds=replace(QUICK, queue_events=60))
        ids = []
        for start in range(0, 600, 50):
            ids += publish(made, range(start, start + 50))
            assert eventually(lambda: made.stats()["intake"]["queued"] == 0)
        assert conserved(made)["lanes"]["http"]["spooled"] >= 500
        is_down[0] = False
        assert made.flush(20.0).pending == 0

        assert Counter(server.stored) == Counter(ids)
        assert conserved(made)["lanes"]["http"]["dropped"] == {}
        assert files(folder) == []


def test_refused_is_settled(spooled, folder):
    """An item that the backend refuses is counted, and does not come back."""
    bad = {"7"}
    with FaultServer(decide=lambda ids: Answer(400 if bad & set(ids) else 200)) as server:
        made = spooled(Http(server.url))
        publish(made, range(20))
        made.flush(10.0)

        assert len(server.stored) == 19
        assert conserved(made)["lanes"]["http"]["dropped"] == {"rejected": 1}
        assert files(folder) == []


def test_ended_run_in_the_place_of_its_open_one(spooled, folder):
    """The open run that an ended one replaced is settled with it."""
    local = Local()
    made = spooled(local, bounds=replace(QUICK, first_interval=0.2, flush_interval=0.2))
    made.publish(Given(make_run("a", duration=None)))
    made.publish(Given(make_run("a")))
    made.flush(5.0)

    assert [item.duration for item in local.items if isinstance(item, Run)] == [0.5]
    assert files(folder) == []


def test_only_what_may_leave(spooled, folder):
    """What lies on disk is what is left after redaction, without a key or an address."""

    def redacted(item: Any) -> Any:
        return replace(item, input=Snapshot(b'"masked"'))

    made = spooled(Http(DOWN, headers={"authorization": "Bearer key"}), process=redacted)
    made.publish(Given(make_run("a", input=Snapshot(b'"my secret"'))))
    made.shutdown(1.0)
    (path,) = files(folder)
    data = path.read_bytes()

    assert b"masked" in data
    assert not [word for word in (b"secret", b"Bearer", b"127.0.0.1") if word in data]


def test_every_kind_of_item(spooled):
    """An item that comes back from disk is the one that was published."""
    items = [
        make_run("a", input=Snapshot(b'{"a":"\\ud800"}'), tags=("x",), metadata={"k": [1, None]}),
        Feedback(run_id="a", at=STARTED, thumb="up", score=0.5),
    ]
    first = spooled(Http(DOWN, "local"))
    for item in items:
        first.publish(Given(item))
    first.shutdown(1.0)
    local = Local()
    spooled(local).shutdown(2.0)

    assert local.items == items


class Forest(Local):
    """A destination that takes whole trees."""

    whole_traces = True

    @property
    def trees(self) -> list[list[str]]:
        return [[run.id for run in item.runs] for item in self.items if isinstance(item, Trace)]


def test_trees(spooled, folder):
    """A tree whose root ends in another process is delivered whole; the destination gets it once."""
    first = spooled(Forest())
    for name in ("a", "b"):
        first.publish(Given(make_run(name, trace_id="t", parent_id="root")))
    first.shutdown(1.0)
    assert conserved(first)["lanes"]["local"]["spooled"] == 2

    forest = Forest()
    second = spooled(forest)
    assert eventually(lambda: second.stats()["lanes"]["local"]["held"] == 2)
    second.publish(Given(make_run("root", trace_id="t")))
    second.shutdown(2.0)
    assert forest.trees == [["a", "b", "root"]]
    assert files(folder) == []


class Woods(Http):
    """The same behind HTTP."""

    def describe(self, item: Any, started: Any) -> str:
        return " ".join(run.id for run in item.runs)


def test_trees_without_room(spooled, folder):
    """Trees for which memory has no room wait on disk, and come back whole, each once."""
    is_open: list[bool] = []
    with FaultServer(decide=lambda ids: Answer(200 if is_open else 503)) as server:
        woods = Woods(server.url, whole_traces=True)
        made = spooled(woods, bounds=replace(QUICK, queue_events=20))
        for tree in map(str, range(60)):
            for name, parent in (("a", tree), ("b", tree), (tree, None)):
                run_id = name if parent is None else f"{tree}{name}"
                made.publish(Given(make_run(run_id, trace_id=tree, parent_id=parent)))
            assert eventually(lambda: made.stats()["intake"]["queued"] == 0)
        lane = conserved(made)["lanes"]["http"]
        assert (lane["spooled"] > 60, lane["dropped"]) == (True, {})

        is_open.append(True)
        assert eventually(lambda: len(server.stored) >= 60)
        assert sorted(server.stored) == sorted(f"{n}a {n}b {n}" for n in range(60))
        assert conserved(made)["lanes"]["http"]["dropped"] == {}
        assert eventually(lambda: files(folder) == [])


def test_unwritable(transport, folder):
    """Where nothing can be written, everything is delivered as without a spool."""
    folder.write_text("a file")
    local = Local()
    made = transport(local, spool=SpoolOptions(path=str(folder)))
    ids = publish(made, range(100))

    assert eventually(lambda: local.ids == ids)
    spool = conserved(made)["spool"]
    assert (spool["state"], spool["unspooled"]) == ("memory", 100)


def test_forked_child(spooled, folder):
    """A forked child delivers what it records; what the parent has on disk stays the parent's."""
    made = spooled(Http(DOWN), Local("local"))
    publish(made, range(20))
    assert eventually(lambda: files(folder))
    before = {path.name for path in files(folder)}
    child = os.fork()
    if child == 0:
        publish(made, ["child"])
        stats = made.shutdown(1.0)
        os._exit(0 if (stats.delivered, stats.dropped) == (1, 0) else 1)
    assert os.waitpid(child, 0)[1] == 0

    assert before <= {path.name for path in files(folder)}
    made.shutdown(1.0)
    with FaultServer() as server:
        spooled(Http(server.url), Local("local")).shutdown(5.0)
        assert sorted(server.stored, key=len) == [*map(str, range(20)), "child"]


def test_burst(spooled, folder):
    """A burst is conserved while memory, disk and network work at once."""
    with FaultServer() as server:
        made = spooled(Http(server.url), bounds=replace(QUICK, queue_events=2000))
        for start in range(0, 5000, 100):
            publish(made, range(start, start + 100))
        flushed = made.flush(20.0)
        intake = conserved(made)["intake"]

        assert (flushed.pending, len(server.stored)) == (0, intake["passed"])
        assert intake["passed"] + sum(intake["dropped"].values()) == 5000
        assert files(folder) == []


@pytest.mark.parametrize("is_spooled", [False, True])
def test_item_that_is_no_good(transport, spooled, folder, forgiving, is_spooled):
    """What a hook has spoilt is lost and counted, alone, and leaves no file."""

    def process(item):
        return replace(item, error=Error(None, "E")) if item.id == "3" else item

    one, two = Local("one"), Local("two")
    made = (spooled if is_spooled else transport)(one, two, process=process)
    ids = publish(made, range(50))
    made.flush()

    assert one.ids == two.ids == [each for each in ids if each != "3"]
    lanes = conserved(made)["lanes"]
    assert lanes["one"]["dropped"] == lanes["two"]["dropped"] == {"hook_error": 1}
    assert lanes["one"]["accepted"] == 50
    assert eventually(lambda: files(folder) == [])


@pytest.mark.parametrize("name", ["3", "4"])
def test_tree_that_is_no_good(spooled, folder, forgiving, name):
    """So is a tree of which a hook has spoilt the root, and one without the run that was spoilt."""

    def process(item):
        return replace(item, error=Error(None, "E")) if item.id == name else item

    local = Local()
    local.whole_traces = True
    made = spooled(local, process=process)
    for child, root in (("1", "2"), ("3", "4"), ("5", "6")):
        made.publish(Given(make_run(child, trace_id=root, parent_id=root)))
        made.publish(Given(make_run(root, trace_id=root)))
    made.flush()

    trees = [[each.id for each in tree.runs] for tree in local.items]
    assert trees == [["1", "2"], *([["4"]] if name == "3" else []), ["5", "6"]]
    assert conserved(made)["lanes"]["local"]["dropped"] == {"hook_error": 1}
    assert eventually(lambda: files(folder) == [])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("is_spooled", [False, True])
def test_exporter_that_dies_of_a_question(transport, spooled, is_spooled):
    """An exporter that ends the thread when it is asked about an item costs that item alone."""

    class Asked(Local):
        def wants(self, item):
            if item.id == "3":
                raise SystemExit
            return True

    local = Asked()
    made = (spooled if is_spooled else transport)(local)
    ids = publish(made, range(50))
    assert eventually(lambda: not made._worker.is_running)
    ids += publish(made, ["more"])
    made.flush()

    assert local.ids == [each for each in ids if each != "3"]
    assert conserved(made)["intake"]["dropped"] == {"hook_error": 1}
