"""Runs begin, end once, and know their place."""

from __future__ import annotations

import os
import threading
import uuid
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from instrument.context import Bound, bound, current
from instrument.recorder import Carried, Facts, Record, Recorder, describe, v4_of
from instrument.run import Run, Snapshot


def recorder_into(records: list[Any], **options: Any) -> Recorder:
    """Make a recorder that keeps its records in a list."""
    return Recorder(records.append, **options)


def runs_of(records: list[Carried]) -> list[Run]:
    """Decode records."""
    return [run for record in records if isinstance(run := record.decode(), Run)]


def test_published_twice() -> None:
    """A run is published open, then ended, with the facts of each moment."""
    records: list[Any] = []
    run = recorder_into(records).begin("llm", "gpt-4o")
    run.announce({"input": Snapshot(b"1")})
    [opened] = runs_of(records)
    run.end({"input": Snapshot(b"1"), "output": Snapshot(b"2")}, duration=1.5)
    [ended] = runs_of(records[1:])

    assert (opened.duration, opened.ended_at, opened.output) == (None, None, None)
    assert (ended.duration, ended.output, ended.id) == (1.5, b"2", opened.id)
    assert ended.ended_at is not None
    assert (ended.ended_at - ended.started_at).total_seconds() == 1.5


def test_open_is_skipped_when_ended() -> None:
    """An open record that nobody read before its run ended says nothing any more."""
    records: list[Any] = []
    run = recorder_into(records).begin("llm", "gpt-4o")
    run.announce({})
    run.end({}, duration=1.5)

    assert [record.decode() is None for record in records] == [True, False]


def test_ends_once() -> None:
    """However many threads end a run, it ends once."""
    records: list[Any] = []
    run = recorder_into(records).begin("tool", "t")
    threads = [threading.Thread(target=run.end, args=({},)) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(records) == 1
    assert not run.is_open
    assert not run.discard()


def test_place() -> None:
    """A run stands under the current one, and never begins before its parent."""
    records: list[Any] = []
    clock = iter([100.0, 50.0])
    recorder = recorder_into(records, now=lambda: next(clock))
    parent = recorder.begin("chain", "parent")
    token = current.set(parent)
    child = recorder.begin("llm", "child")
    current.reset(token)

    assert (child.parent_id, child.trace_id, child.started_at) == (parent.id, parent.id, 100.0)


def test_lazy_facts_read_later() -> None:
    """Facts given as a function are found out when the record is decoded, not before."""
    records: list[Any] = []
    calls: list[int] = []

    def facts() -> Facts:
        calls.append(1)
        return {"name": "found", "duration": 0.25}

    recorder_into(records).begin("llm", "unknown").end(facts, duration=9)

    assert calls == []
    assert [(run.name, run.duration) for run in runs_of(records)] == [("found", 0.25)]


def test_identity_order() -> None:
    """What the application bound stands above what the request says, above the default."""
    records: list[Any] = []
    recorder = recorder_into(records, user_id="default")
    said: Facts = {"bound": Bound(user_id="request", thread_id="t")}
    recorder.begin("llm", "a").end({})
    recorder.begin("llm", "b").end(said)
    token = bound.set(Bound(user_id="bound"))
    recorder.begin("llm", "c").end(said)
    bound.reset(token)

    assert [(r.user_id, r.thread_id) for r in runs_of(records)] == [
        ("default", None),
        ("request", "t"),
        ("bound", "t"),
    ]


def test_sampling_keeps_trees_whole() -> None:
    """A tree is recorded whole or not at all."""
    records: list[Any] = []
    recorder = recorder_into(records, sample_rate=0.5)
    for _ in range(200):
        root = recorder.begin("chain", "root")
        leaf = recorder.begin_under(root, "llm", "leaf")
        leaf.end({})
        root.end({})

    traces = [run.trace_id for run in runs_of(records)]
    assert 0 < len(traces) < 400
    assert all(traces.count(trace) == 2 for trace in traces)


def test_forked_child_does_not_end() -> None:
    """A run that is open when the process forks is the parent's to end."""
    records: list[Any] = []
    recorder = recorder_into(records)
    run = recorder.begin("chain", "c")
    recorder.pid = os.getpid() + 1
    run.end({})

    assert records == []


def test_size() -> None:
    """A record weighs its texts and a named overhead."""
    run = recorder_into([]).begin("chain", "c")

    assert Record(run, None, {}, 1000).size_bytes > 2000


def test_describe() -> None:
    """An error is its type, its text and the end of its traceback; a bad `__str__` is survived."""

    class Mute(Exception):
        def __str__(self) -> str:
            return ""

    said = describe(Mute(), 429)

    assert (said.message, said.type, said.status) == ("Mute", "Mute", 429)


@given(st.binary(min_size=16, max_size=16))
def test_ids(entropy: bytes) -> None:
    """Any 16 bytes make a UUIDv4 in its canonical form, and keep all bits but six."""
    made = uuid.UUID(v4_of(entropy))

    assert (made.version, made.variant) == (4, uuid.RFC_4122)
    assert str(made) == v4_of(entropy)
    assert (made.int ^ int.from_bytes(entropy, "big")) & ~(0xF << 76 | 0x3 << 62) == 0
