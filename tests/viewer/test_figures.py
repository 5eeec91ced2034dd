"""What the page asks of the store beside what the command line does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from instrument.run import Error, Feedback, Usage
from instrument.store import EVERYTHING, Filters, Store, Totals
from instrument.store.overview import WIDTHS, width_for


def test_overview_says_what_totals_say(write, story, path):
    """In all, the overview has the figures of `totals`, but for those of first tokens."""
    runs = [
        story.run(f"r{n}", n * 700, duration=n * 0.37, usage=Usage(n, None if n % 3 else n))
        for n in range(50)
    ]
    tool = story.run("tool", 9, kind="tool", name="look", duration=99.0, error=Error("x", "E"))
    write(*runs, tool, story.run("open", 8, duration=None))
    store = Store(path)

    for filters in (EVERYTHING, Filters(status="ok"), Filters(search="nothing has it")):
        totals = replace(store.totals(filters), ttft_p50=None, ttft_p95=None)

        assert store.overview(filters).totals == totals


def test_overview_over_time(write, story, path):
    """Every stretch is there, the empty ones too, with its own figures."""
    write(story.run("a", 0), story.run("b", 1, duration=3.0), story.run("c", 601, duration=2.0))

    found = Store(path).overview(EVERYTHING, slots=12)

    assert found.width == 60
    assert [slot.totals.runs for slot in found.slots] == [2, *[0] * 9, 1]
    assert found.slots[0].totals.p95 == 3.0
    assert found.slots[1].totals == Totals()
    assert found.slots[0].at == story.now


def test_overview_of_a_user(write, story, path):
    """The time of one user, or one thread, is that of their runs, not of the whole store."""
    whose = {"user_id": "ada", "thread_id": "t"}
    write(story.run("a", 0), story.run("b", 86_400, **whose), story.run("c", 86_410, **whose))

    for filters in (Filters(user_id="ada"), Filters(thread_id="t")):
        assert Store(path).overview(filters, slots=12).width == 1
    assert Store(path).overview(Filters(model="gpt-4o"), slots=12).width == 10_800


def test_overview_of_nothing(write, story, path):
    """Where no run is meant there is no stretch of time."""
    write(story.run("a"))

    assert Store(path).overview(Filters(model="none")).slots == []
    assert Store(path).overview(Filters(since=story.later(9e6))).totals == Totals()


@pytest.mark.parametrize("seconds", [0, 1, 59, 3_600, 1e5, 3e7, 1e9])
def test_few_enough_stretches(seconds):
    """There are never more stretches than the chart has room for, and the width is a round one."""
    width = width_for(seconds, 48)

    assert width in WIDTHS
    assert seconds / width <= 47


def test_groups(write, story, path):
    """Users come in the order in which they were last seen, a page at a time, by part of a name."""
    write(*(story.run(f"r{n}", n, user_id=f"user_{n % 3}") for n in range(9)))
    store = Store(path)

    assert [each.value for each in store.groups("user_id")] == ["user_2", "user_1", "user_0"]
    assert [each.value for each in store.groups("user_id", 1, offset=1)] == ["user_1"]
    assert [each.value for each in store.groups("user_id", search="R_0")] == ["user_0"]
    assert store.groups("user_id", search="%") == []
    assert store.groups("thread_id") == []
    (first, *_) = store.groups("user_id", 1)
    assert (first.traces, first.runs, first.prompt_tokens) == (3, 3, None)
    assert (first.first_at, first.last_at) == (story.later(2), story.later(8))


def test_outline(write, story, path):
    """An outline has all runs of a trace, the root and failures whole, the others without words."""
    child = {"trace_id": "root", "parent_id": "root"}
    write(
        story.run("root", 0, input="Plan", tags=("a",)),
        story.run("fine", 1, input="Secret", usage=Usage(3, 4), **child),
        story.run("bad", 2, error=Error("gone", "E"), **child),
        Feedback(run_id="fine", at=story.now, thumb="up"),
    )

    tree = Store(path).outline("fine")

    root, fine, bad = (row.run for row in tree.rows)
    assert (root.input, root.tags) == (story.snap("Plan"), ("a",))
    assert (fine.input, fine.usage, fine.duration) == (None, Usage(3, 4), 1.0)
    assert bad.error.message == "gone"
    assert tree.feedback["fine"][0].thumb == "up"
    assert len(Store(path).outline("root", 2).rows) == 2
    assert Store(path).outline("none") is None


def test_summaries_say_models_and_errors(write, story, path):
    """A line of the list has the trace's models, and the words of the root's error."""
    child = {"trace_id": "root", "parent_id": "root"}
    write(
        story.run("root", 0, kind="chain", name="two words", error=Error("it broke", "E")),
        story.run("a", 1, name="o3", **child),
        story.run("b", 2, name="gpt-4o", **child),
        story.run("c", 3, name="o3", **child),
    )

    (line,) = Store(path).summaries()

    assert line.error == "E it broke"
    assert sorted(line.models) == ["gpt-4o", "o3"]
