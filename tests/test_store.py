"""What can be asked of the store, and what it answers."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from instrument.cost import Cost, total
from instrument.exporters import _sqlite_schema
from instrument.exporters.sqlite import SqliteExporter
from instrument.run import Answer, Error, Feedback, Run, Snapshot, Usage, UserEvent
from instrument.store import Bucket, Filters, Session, Store, StoreError, Totals, Value
from instrument.store.questions import SCANNED_RUNS, match, percentile
from instrument.store.reader import address

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)


def later(seconds: float) -> datetime:
    """Tell the time so many seconds after the tests' beginning."""
    return NOW + timedelta(seconds=seconds)


def snap(value: Any) -> Snapshot:
    """Write a value as JSON."""
    return Snapshot(orjson.dumps(value))


def a_run(run_id: str, at: float = 0.0, **fields: Any) -> Run:
    """Make an ended llm run, a trace by itself unless a test says otherwise."""
    given: dict[str, Any] = {
        "id": run_id,
        "trace_id": run_id,
        "parent_id": None,
        "kind": "llm",
        "name": "gpt-4o",
        "started_at": later(at),
        "duration": 1.0,
    }
    return Run(**{**given, **fields})


@pytest.fixture
def path(tmp_path):
    """Name a store that is not there yet."""
    return tmp_path / "folder" / "runs.db"


@pytest.fixture
def store(path):
    """Write items and give the store of them, by a function."""

    def write(*items):
        # The tests' year is as good as any: their traces never grow too old.
        exporter = SqliteExporter(path, max_age=1e10)
        exporter.write(items)
        exporter.close()
        return Store(path)

    return write


def ids(trees):
    """Say which traces these are."""
    return [tree.id for tree in trees]


def test_no_store_yet(path):
    """Without a store, the sentence says how to make runs, and none is made by looking."""
    with pytest.raises(StoreError, match=r"(?s)no runs yet: .*runs\.db.*instrument run app\.py"):
        Store(path)

    assert not path.parent.exists()


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\x00"])
def test_not_a_store(path, content):
    """A file that is no store is said to be unreadable, and left as it is."""
    path.parent.mkdir()
    path.write_bytes(content)

    with pytest.raises(StoreError, match="cannot be read"):
        Store(path)

    assert path.read_bytes() == content


def test_deleted_meanwhile(store, path):
    """A store that goes away between two questions is missed in a sentence."""
    found = store(a_run("a"))
    for each in path.parent.glob("runs.db*"):
        each.unlink()

    with pytest.raises(StoreError, match="no runs yet"):
        found.newest()


def test_an_empty_store(path):
    """A store without runs answers every question."""
    exporter = SqliteExporter(path)
    exporter.write([])
    exporter.close()
    store = Store(path)

    assert (store.newest(), store.summaries(), list(store.runs())) == ([], [], [])
    assert (store.totals(), store.by("model"), store.timeline(60)) == (Totals(), {}, [])
    assert (store.trace("a"), store.run("a"), store.sessions("ada")) == (None, None, [])
    assert (store.changed(), store.count(), store.events()) == ((0, []), 0, [])


def test_newest(store):
    """Traces come newest first, whole, a page at a time."""
    found = store(
        *(a_run(f"t{n}", n) for n in range(5)),
        a_run("c", 0.5, trace_id="t0", parent_id="t0"),
    )

    assert ids(found.newest(2)) == ["t4", "t3"]
    assert ids(found.newest(2, offset=3)) == ["t1", "t0"]
    assert [row.run.id for row in found.newest(1, offset=4)[0].rows] == ["t0", "c"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"status": "error"}, ["b"]),
        ({"status": "open"}, ["c"]),
        ({"status": "partial"}, ["d"]),
        ({"status": "ok"}, ["b", "a"]),
        ({"model": "gpt-4o"}, ["d", "c", "a"]),
        ({"model": "o3"}, ["b"]),
        ({"kind": "chain"}, ["b"]),
        ({"name": "top"}, ["b"]),
        ({"user_id": "ada"}, ["a"]),
        ({"thread_id": "t"}, ["c", "a"]),
        ({"tag": "prod"}, ["d", "a"]),
        ({"tag": "pro"}, []),
        ({"since": later(20)}, ["d", "c"]),
        ({"until": later(20)}, ["b", "a"]),
        ({"since": later(10), "until": later(30)}, ["c", "b"]),
        ({"model": "gpt-4o", "status": "error"}, []),
        ({"tag": "prod", "thread_id": "t", "search": "france"}, ["a"]),
        ({"search": "  "}, ["d", "c", "b", "a"]),
    ],
)
def test_filters(store, filters, expected):
    """All that is asked for must hold of one run, and its whole trace is shown."""
    found = store(
        a_run("a", 0, user_id="ada", thread_id="t", tags=("prod",), input=snap("of France")),
        a_run("b", 10, kind="chain", name="top"),
        a_run("b1", 11, trace_id="b", parent_id="b", name="o3", error=Error("m", "T")),
        a_run("c", 20, duration=None, thread_id="t"),
        a_run("d", 30, partial="closed", tags=("prod", "web")),
    )

    assert ids(found.newest(9, Filters(**filters))) == expected
    assert [each.id for each in found.summaries(9, Filters(**filters))] == expected
    assert found.count(Filters(**filters)) == len(expected)
    assert ids(found.newest(1, Filters(**filters), offset=1)) == expected[1:2]


@pytest.mark.parametrize(
    "words",
    ["capital", "CAPITAL", "capi", "capital france", '"capital of"', "france capital", "Crème",
     "creme", "日本", "🎉", "RateLimitError", "gpt-4o", '"of', "ratelimit", "(", "Zürich?", "本",
     "日は日本で", "France 日本", "กรุงเทพ", "เทพ", "서울", "25 °C", "→ b", "25"],
)  # fmt: skip
def test_search_finds(store, words):
    """Words are found in prompts, answers, names and errors, in any script, however typed."""
    messages = [{"role": "user", "content": "The capital of France (crème) 🎉, Zürich?"}]
    messages[0]["content"] += " กรุงเทพมหานคร 서울특별시 25 °C a→b"
    answer = {"role": "assistant", "content": "今日は日本です"}
    error = Error("Slow down", "RateLimitError")
    found = store(a_run("a", input=snap(messages), output=snap(answer), error=error), a_run("b"))

    assert "a" in ids(found.newest(9, Filters(search=words)))


@pytest.mark.parametrize(
    "words",
    ['"of capital"', "apital", "capital spain", "%", "_", "NOT capital", "c", "本日", "🎈", "zq"],
)
def test_search_does_not_find(store, words):
    """Words that are not there, or not in that order, find nothing, and no sign is a command."""
    found = store(a_run("a", input=snap("The capital of France 日本 🎉")))

    assert found.newest(9, Filters(search=words)) == []


def test_signs_are_looked_for_in_the_newest_runs(store):
    """What no index holds is looked for in so many of the newest runs, and that is said."""
    between = [a_run(f"r{n}", n) for n in range(1, SCANNED_RUNS)]
    old, new = a_run("old", 0, input=snap("what?!")), a_run("new", 1e6, input=snap("what?!"))
    found = store(old, *between, new)

    assert ids(found.newest(9, Filters(search="?!"))) == ["new"]
    assert found.totals(Filters(search="?!")).runs == 1
    assert found.scanned(Filters(search="?!")) == SCANNED_RUNS
    assert ids(found.newest(9, Filters(search="what?!"))) == ["new", "old"]
    assert found.scanned(Filters(search="what?!")) is None
    assert found.scanned(Filters(status="ok")) is None


def test_search_keeps_up(store):
    """A run is found by what it says now: after it has ended, and was written twice in a batch."""
    found = store(a_run("a", duration=None, input=snap("first 東京")), a_run("b", input=snap("x")))
    found = store(
        a_run("a", input=snap("second")),
        a_run("b", input=snap("third")),
        a_run("b", input=snap("fourth")),
    )

    asked = ("first", "東京", "second", "x", "third", "fourth")
    assert [ids(found.newest(9, Filters(search=words))) for words in asked] == [
        *([], [], ["a"], [], [], ["b"])
    ]


MINI = Answer(provider="openai", model="gpt-4o-mini-2024-07-18")
GEMINI = Answer(provider="google", model="gemini-2.5-pro")
CHAT = Answer(provider="deepseek", model="deepseek-chat")


@pytest.fixture
def calls():
    """Calls of several prices, and some whose price is not known."""
    long, half_a_day, usage = Usage(300_000, 7, cached=5), 43_200, Usage(900, 100, cached=100)
    return [
        a_run("a", 0, usage=usage, answer=MINI, user_id="ada"),
        a_run("b", 10, usage=usage, answer=MINI, user_id="grace"),
        a_run("c", 20, usage=usage, answer=GEMINI, user_id="ada"),
        a_run("d", 25, usage=long, answer=GEMINI, trace_id="c", parent_id="c", user_id="ada"),
        a_run("e", 30, usage=usage, answer=CHAT),
        a_run("f", 30 + half_a_day, usage=usage, answer=CHAT),
        a_run("g", 40, usage=usage, answer=Answer(provider="nobody", model="x"), name="x"),
        a_run("h", 50, usage=None, answer=MINI, name="x"),
        a_run("i", 60, usage=usage, answer=replace(MINI, service_tier="flex"), user_id="ada"),
        a_run("failed", 70, error=Error("no", "E"), name="failed"),
        a_run("open", 80, duration=None),
        a_run("chain", 90, kind="chain", usage=usage),
    ]


def test_costs(store, calls):
    """What runs cost is what they cost one by one, however they are grouped."""
    pytest.importorskip("genai_prices", reason="the extra [cost] is not installed")
    found = store(*calls)
    whole = total(calls)

    assert whole.known
    assert found.totals().cost == whole
    assert found.overview().totals.cost == whole
    slots = [slot.totals.cost for slot in found.overview().slots if slot.totals.cost]
    assert sum((cost.known or 0 for cost in slots), 0) == whole.known
    assert found.by("model")["x"].cost == Cost(None, 2)
    assert found.by("user_id")["ada"].cost == total(run for run in calls if run.user_id == "ada")
    assert found.groups("user_id", search="ada")[0].cost == found.by("user_id")["ada"].cost
    spent = {each.id: each.cost for each in found.summaries()}
    assert spent["c"] == found.cost("c") == total(run for run in calls if run.trace_id == "c")
    assert spent["failed"] == spent["chain"] == Cost()


def test_costs_by_the_day(store):
    """Calls before and after a price has changed are charged by the price of their day."""
    pytest.importorskip("genai_prices", reason="the extra [cost] is not installed")
    answer = Answer(provider="openai", model="o3")
    days = [datetime(2025, month, 1, tzinfo=timezone.utc) for month in (5, 8)]
    runs = [
        a_run(str(day), started_at=day, usage=Usage(1_000_000, 100_000), answer=answer)
        for day in days
    ]

    assert store(*runs).totals().cost == Cost(Decimal("16.8"))


def test_costs_without_prices(store, calls, path):
    """Where no prices are installed, no cost is known; they may be installed later."""
    store(*calls)
    code = (
        "import sys; sys.modules['genai_prices'] = None\n"
        "from instrument.store import Store\n"
        "found = Store(sys.argv[1])\n"
        "assert found.totals().cost is found.cost('a') is None\n"
        "assert {each.cost for each in found.summaries()} == {None}\n"
        "assert found.groups('user_id')[0].cost is None\n"
    )

    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 0


@given(st.text(st.characters()))
@example("0\ud800")
def test_every_search_is_a_question(text):
    """Whatever is typed, the index understands it."""
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE search USING fts5 (text)")

    words = match(text)

    if words is not None:
        assert db.execute("SELECT 1 FROM search WHERE search MATCH ?", (words,)).fetchall() == []
    db.close()


@pytest.mark.parametrize("text", ["lone \ud800 surrogate", "NUL \x00 in it"])
def test_filters_with_odd_texts(store, text):
    """A filter finds what the store made of a text that it cannot hold."""
    found = store(a_run("a", user_id=text, tags=(text,), name=text))

    for filters in (Filters(user_id=text), Filters(tag=text), Filters(search=text)):
        assert ids(found.newest(9, filters)) == ["a"]


def test_summaries(store):
    """A line of the list says what is in the whole trace, and the first words of its root."""
    usage = Usage(prompt=10, completion=5)
    found = store(
        a_run("a", 0, kind="chain", name="top", duration=3.0, input=snap({"question": "Why?"}),
              output=snap("So."), tags=("x", "y"), user_id="ada", usage=usage),
        a_run("a1", 1, trace_id="a", parent_id="a", usage=usage, error=Error("m", "T")),
        a_run("a2", 2, trace_id="a", parent_id="a", duration=None, thread_id="t"),
    )  # fmt: skip

    (line,) = found.summaries()

    assert (line.name, line.kind, line.status, line.started_at) == ("top", "chain", "ok", NOW)
    assert (line.duration, line.runs, line.errors, line.open) == (3.0, 3, 1, 1)
    assert (line.prompt_tokens, line.completion_tokens) == (10, 5)
    assert (line.prompt, line.answer, line.tags) == ("Why?", "So.", ("x", "y"))
    assert (line.user_id, line.thread_id, line.ttft) == ("ada", "t", None)


def test_one_trace(store):
    """A trace is found by its id, by a run in it, or by the beginning of either."""
    found = store(
        a_run("abcd-1"),
        a_run("abcd-2"),
        a_run("child-1", trace_id="abcd-1", parent_id="abcd-1"),
        a_run("abcd"),
    )

    assert found.trace("abcd-1").id == "abcd-1"
    assert found.trace("child").id == "abcd-1"
    assert found.trace("abcd").id == "abcd"
    assert found.trace("xyz") is None
    with pytest.raises(StoreError, match="more than one"):
        found.trace("abc")


def test_one_run(store):
    """A run is found by its id or the beginning of it, and is as it was written."""
    run = a_run("abcd-1", answer=Answer(model="gpt-4o-2024", finish_reasons=("stop",)))
    found = store(run, a_run("abcd-2"))

    assert found.run("abcd-1") == run
    assert found.run("abcd-x") is None
    with pytest.raises(StoreError, match="more than one"):
        found.run("abcd")


def test_feedback_belongs_to_its_run(store):
    """What was said about a run of a trace comes with the trace."""
    said = [Feedback(run_id="c", at=later(n), thumb="up") for n in range(2)]
    found = store(a_run("a"), a_run("c", trace_id="a", parent_id="a"), a_run("b"), *said)

    assert found.trace("a").feedback == {"c": said}
    assert found.trace("b").feedback == {}


def test_all_runs(store):
    """All runs come out whole, oldest first, also when more lie there than are read at a time."""
    runs = [a_run(f"r{n}", n % 7, name="o3" if n % 2 else "gpt-4o") for n in range(450)]
    found = store(*runs)

    read = list(found.runs())

    assert sorted(read, key=lambda run: run.id) == sorted(runs, key=lambda run: run.id)
    assert [run.started_at for run in read] == sorted(run.started_at for run in runs)
    odd = [run for run in read if run.name == "o3" and run.started_at >= later(3)]
    assert list(found.runs(Filters(model="o3", since=later(3)))) == odd


def test_events(store):
    """What is no run comes out as well, oldest first, of a stretch of time."""
    events = [UserEvent(name=f"e{n}", at=later(n)) for n in range(4)]
    found = store(*reversed(events), a_run("a"))

    assert found.events() == events
    assert found.events(later(1), later(3)) == events[1:3]


def test_totals(store):
    """Tokens and latencies are those of model calls; what no provider counted stays unknown."""
    calls = [
        a_run(
            f"r{n}",
            n,
            duration=float(n),
            usage=Usage(prompt=10),
            answer=Answer(time_to_first_token=n / 10),
        )
        for n in range(1, 101)
    ]
    chain = a_run("chain", kind="chain", duration=1000.0, usage=Usage(prompt=1000))
    failed = a_run("failed", duration=None, error=Error("m", "T"))
    still_open = a_run("open", duration=None)
    found = store(*calls, chain, failed, still_open)

    assert replace(found.totals(), cost=None) == Totals(
        runs=103, calls=102, errors=1, open=1, prompt_tokens=1000, completion_tokens=None,
        p50=50.0, p95=95.0, ttft_p50=5.0, ttft_p95=9.5,
    )  # fmt: skip
    assert replace(found.totals(Filters(kind="chain")), cost=None) == Totals(runs=1)


def test_by_model_and_tag(store):
    """Runs are added up for each value of a field, those with the most first."""
    found = store(
        a_run("a", tags=("x", "y"), usage=Usage(1, 2)),
        a_run("b", duration=3.0, tags=("x",), usage=Usage(10, 20)),
        a_run("c", name="o3"),
        a_run("d", kind="tool", name="t"),
    )

    assert list(found.by("model")) == ["gpt-4o", "o3"]
    assert replace(found.by("model")["gpt-4o"], cost=None) == Totals(
        runs=2, calls=2, prompt_tokens=11, completion_tokens=22, p50=1.0, p95=3.0
    )
    assert {tag: each.runs for tag, each in found.by("tag").items()} == {"x": 2, "y": 1}
    assert found.by("user_id") == {}


def test_values(store):
    """The users, models, tags there are come with their number of runs, those seen last first."""
    found = store(
        a_run("a", 0, user_id="ada", tags=("x",)),
        a_run("b", 1, user_id="grace", tags=("x",)),
        a_run("c", 2, user_id="ada"),
    )

    assert found.values("user_id") == [Value("ada", 2, later(2)), Value("grace", 1, later(1))]
    assert found.values("tag") == [Value("x", 2, later(1))]
    assert found.values("thread_id") == []
    assert len(found.values("user_id", limit=1)) == 1


def test_timeline(store):
    """Runs are added up over stretches of time; one without any is left out."""
    found = store(
        a_run("a", 0, usage=Usage(1, 2)),
        a_run("b", 59, usage=Usage(3, 4), error=Error("m", "T")),
        a_run("c", 180),
    )

    assert found.timeline(60) == [Bucket(NOW, 2, 1, 4, 6), Bucket(later(180), 1, 0, None, None)]
    assert len(found.timeline(60, Filters(status="error"))) == 1


def test_sessions(store):
    """A session of a user ends with 30 minutes without a run or an event of that user."""
    found = store(
        a_run("a", 0, user_id="ada", duration=100.0),
        UserEvent(name="Copy", at=later(1890), user_id="ada"),
        a_run("b", 1890 + 1801, user_id="ada", duration=None),
        a_run("c", 1000, user_id="grace"),
        UserEvent(name="Copy", at=later(10_000), user_id="ada"),
    )

    assert found.sessions("ada") == [
        Session(later(10_000), later(10_000), 0, 1),
        Session(later(3691), later(3691), 1, 0),
        Session(NOW, later(1890), 1, 1),
    ]
    assert len(found.sessions("ada", gap=10_000)) == 1


def test_what_is_new(store):
    """Whoever asks again and again is told once of every trace that was written to."""
    found = store(a_run("a", duration=None), a_run("b"))
    last, first_ids = found.changed()
    store(a_run("a"), a_run("c"))
    last, second_ids = found.changed(last)

    assert (sorted(first_ids), sorted(second_ids)) == (["a", "b"], ["a", "c"])
    assert found.changed(last) == (last, [])
    assert sorted(found.changed(last + 100)[1]) == ["a", "b", "c"]


def test_many_threads_ask_at_once(store):
    """One store may be asked from several threads."""
    found = store(*(a_run(f"r{n}", n) for n in range(50)))
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(len(found.newest(50)))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [50] * 8


def test_reading_while_somebody_writes(store, path):
    """A question neither waits for whoever writes, nor sees half of what they write."""
    found = store(a_run("a"))
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM runs")

    assert ids(found.newest()) == ["a"]

    writer.execute("ROLLBACK")
    writer.close()


def test_one_answer_is_of_one_moment(store, path):
    """What is written while a question is answered is no part of the answer."""
    found = store(a_run("a"))

    with found._opened() as db:
        before = db.execute("SELECT count(*) FROM tariffs").fetchone()
        store(a_run("b", usage=Usage(1, 1), answer=Answer(provider="new", model="new")))

        assert db.execute("SELECT count(*) FROM tariffs").fetchone() == before
    assert found.totals().runs == 2


def test_reading_changes_nothing(store, path):
    """No question writes into the store."""
    found = store(a_run("a"))
    before = path.read_bytes()

    found.newest(9, Filters(search="gpt"))
    found.totals()

    assert path.read_bytes() == before


def test_where_nobody_can_write(store, path):
    """A store in a folder that may not be written to is read without a file beside it."""
    store(a_run("a"))
    for each in path.parent.glob("runs.db-*"):
        each.unlink()

    db = sqlite3.connect(address(path, writable=False), uri=True)

    assert db.execute("SELECT id FROM runs").fetchall() == [("a",)]
    assert not list(path.parent.glob("runs.db-*"))
    db.close()


def test_an_older_store_that_cannot_be_upgraded(store, path):
    """An older store that somebody holds is said to be locked, in a sentence."""
    store(a_run("a"))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("DROP TABLE search")
    holder.execute(f"PRAGMA user_version = {len(_sqlite_schema.MIGRATIONS) - 1}")
    holder.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreError, match="locked"):
        Store(path)

    holder.execute("ROLLBACK")
    holder.close()
    assert ids(Store(path).newest(9, Filters(search="gpt"))) == ["a"]


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0, 1))
def test_percentile(values, share):
    """That share of the values is no larger, and no smaller value will do."""
    ordered = sorted(values)
    found = percentile(ordered, share)

    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-9
    assert sum(value < found for value in ordered) <= share * len(ordered) + 1e-9
