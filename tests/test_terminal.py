"""Traces are drawn so that they are a pleasure to read, and cannot do anything to a terminal."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.run import Answer, Attempt, Error, Feedback, Run, Snapshot, Usage
from instrument.terminal import render
from instrument.terminal.cells import cut, safe, width_of
from instrument.terminal.drawing import MAX_RUNS, seconds
from instrument.tree import Tree, grow

NOW = datetime(2026, 11, 21, 14, 3, 22, tzinfo=timezone.utc)
TRACE = "3f2a9c1e-0000-4000-8000-000000000000"


def snap(value: Any) -> Snapshot:
    """Write a value as JSON."""
    return Snapshot(orjson.dumps(value))


def message(content: Any, **fields: Any) -> dict[str, Any]:
    """Make a message of the assistant."""
    return {"role": "assistant", "content": content, **fields}


def a_run(run_id: str = "root", at: float = 0.0, **fields: Any) -> Run:
    """Make an ended llm run, under the root unless it is that."""
    given: dict[str, Any] = {
        "parent_id": None if run_id == "root" else "root",
        "kind": "llm",
        "name": "gpt-4o",
        "started_at": NOW + timedelta(seconds=at),
        "duration": 1.0,
    }
    return Run(id=run_id, trace_id=TRACE, **{**given, **fields})


def drawn(*runs: Run, width: int = 100, colour: bool = False) -> str:
    """Draw runs as one trace."""
    return render(grow(runs), width, colour, timezone.utc)


def test_one_call():
    """One line says when and whose, one how it went, and two what was said."""
    run = a_run(
        input=snap(
            [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi\n you"}]
        ),
        output=snap(message("Hello")),
        usage=Usage(prompt=1234, completion=5),
        answer=Answer(time_to_first_token=0.41, attempts=(Attempt(0.0, 429), Attempt(1.0, 200))),
        duration=2.5,
        user_id="ada",
        thread_id="t-7",
        tags=("prod", "beta"),
    )

    assert drawn(run).splitlines() == [
        "3f2a9c1e  2026-11-21 14:03:22  user ada  thread t-7  #prod  #beta",
        "✓ gpt-4o  2.50 s  first token 410 ms  1,234 → 5 tokens  2 attempts",
        "  → Hi you",
        "  ← Hello",
    ]


def test_a_tree():
    """Children stand under their parents, figures in columns, and the head adds the tokens up."""
    text = drawn(
        a_run(kind="chain", name="answer", input=snap({"question": "Why?"}), output=snap("So."),
              duration=65.2, usage=Usage(9, 9)),
        a_run("a", 1, kind="retriever", name="docs", duration=0.2, parent_id="root",
              output=snap([{"page_content": "One"}, {"page_content": "Two"}])),
        a_run("b", 2, kind="chain", name="inner", duration=0.0001),
        a_run("c", 3, parent_id="b", usage=Usage(100, 20), answer=Answer(time_to_first_token=0.3)),
        a_run("d", 4, name="o3", duration=None, usage=Usage(prompt=1)),
    )  # fmt: skip

    assert text.splitlines() == [
        "3f2a9c1e  2026-11-21 14:03:22  5 runs  101 → 20 tokens",
        "✓ chain answer       1 m 05 s                         9 → 9 tokens",
        "│ → Why?",
        "│ ← So.",
        "├─ ✓ retriever docs    200 ms",
        "│    ← 2 documents: One",
        "├─ ✓ chain inner       < 1 ms",
        "│  └─ ✓ gpt-4o         1.00 s  first token 300 ms  100 → 20 tokens",
        "└─ ○ o3               running                         1 → ? tokens",
    ]


def test_what_went_wrong():
    """An error shows its type, status and message, a partial answer its reason and what there was."""
    text = drawn(
        a_run(kind="chain", name="top", error=Error("It broke", "ValueError")),
        a_run("a", 1, error=Error("Slow\ndown", "RateLimitError", None, 429)),
        a_run("b", 2, partial="closed", output=snap(message("So far"))),
    )

    assert text.splitlines()[1:] == [
        "✗ chain top  1.00 s",
        "│ ValueError: It broke",
        "├─ ✗ gpt-4o  1.00 s",
        "│    RateLimitError 429: Slow down",
        "└─ ◐ gpt-4o  1.00 s  partial: closed",
        "     ← So far",
    ]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (message("Hello"), "Hello"),
        ([message("One"), message("Two")], "1) One 2) Two"),
        (message(None, refusal="No."), "No."),
        (message([{"type": "text", "text": "A"}, {"type": "image_url"}]), "A <image_url>"),
        (message(None, audio={"transcript": "Spoken"}), "Spoken"),
        (
            message("Let me see", tool_calls=[{"function": {"name": "f", "arguments": '{"a": 1}'}}]),
            'Let me see f({"a": 1})',
        ),
        (message(None, tool_calls=[{"name": "g", "args": {"b": 2}, "id": "1"}]), 'g({"b": 2})'),
        (message("", function_call={"name": "h", "arguments": "{}"}), "h({})"),
        (message(None, tool_calls=[{"custom": {"name": "i", "input": "free"}}]), "i(free)"),
        (message(None, tool_calls=["odd", {"function": 3}, {}]), "odd 3"),
        ({"answer": "A", "source": 1}, "A"),
        ([1, 2], "[1, 2]"),
        ("", None),
        (None, None),
    ],
)  # fmt: skip
def test_answers(output, expected):
    """An answer is shown by its words, tools that it calls as a call, all else by its gist."""
    lines = drawn(a_run(output=snap(output))).splitlines()[2:]

    shown = [re.sub(" +", " ", line.strip()) for line in lines]
    assert shown == [] if expected is None else shown[0].startswith(f"← {expected}")


@pytest.mark.parametrize(
    ("given_input", "expected"),
    [
        ([{"role": "user", "content": "Hi"}], "Hi"),
        ([{"role": "user", "content": "Hi"}, {"role": "tool", "content": "18C"}], "tool: 18C"),
        ([{"role": "user", "content": "Hi"}, message("Prefill")], "Hi"),
        ({"messages": [{"role": "user", "content": "Hi"}]}, "Hi"),
        ("text", "text"),
        ({"query": "q", "k": 3}, "q"),
    ],
)
def test_prompts(given_input, expected):
    """A prompt is shown by what was new: the last message to the model, or the gist of the input."""
    assert drawn(a_run(input=snap(given_input))).splitlines()[2] == f"  → {expected}"


def test_other_answers():
    """A retriever without documents says so, a chain shows the last of its messages."""
    text = drawn(
        a_run(kind="chain", name="c", output=snap({"messages": [message("1"), message("2")]})),
        a_run("a", 1, kind="retriever", name="r", output=snap([])),
        a_run("b", 2, kind="retriever", name="r", output=snap([{"page_content": "x"}])),
        a_run("c", 3, output=Snapshot(b"{broken")),
        a_run("d", 4, kind="embedding", name="e", usage=Usage(prompt=7, total=7)),
    )

    assert "← 2" in text
    assert "← no documents" in text
    assert "← 1 document: x" in text
    assert "← {broken" in text
    assert "  7 tokens" in text


def test_feedback():
    """What somebody thought of a run stands below it."""
    said = [
        Feedback(run_id="root", at=NOW, thumb="down", score=0.25, comment="no\ngood"),
        Feedback(run_id="root", at=NOW, thumb="up"),
    ]

    text = render(grow([a_run()], said), 100)

    assert text.splitlines()[2:] == ["  👎 score 0.25 “no good”", "  👍"]


def test_a_very_large_tree():
    """Of a tree with more runs than anybody reads, the first are drawn, and the others counted."""
    runs = [a_run(), *(a_run(f"r{n}", n) for n in range(MAX_RUNS + 499))]

    lines = drawn(*runs).splitlines()

    assert len(lines) == MAX_RUNS + 2
    assert lines[-1] == "… and 500 more runs"


def test_a_very_deep_tree():
    """However deep a tree is, there is room for names and figures."""
    runs = [a_run(), *(a_run(f"{n}", n, parent_id=f"{n - 1}" if n else "root") for n in range(99))]

    lines = drawn(*runs, width=80).splitlines()[2:]
    assert all(re.search(r"─ ✓ gpt-4o +1\.00 s$", line) for line in lines)


def test_colours_when_asked():
    """Without colours there is no escape sequence; with them the text is the same."""
    runs = [a_run(input=snap("Hi")), a_run("a", 1, error=Error("m", "T"))]
    plain, coloured = drawn(*runs), drawn(*runs, colour=True)

    assert "\x1b" not in plain
    assert "\x1b[31m✗ \x1b[0m" in coloured
    assert re.sub("\x1b\\[[0-9]*m", "", coloured) == plain


texts = st.text(st.characters(), max_size=200)
widths = st.integers(20, 200)


@given(texts, widths, st.booleans())
def test_nothing_reaches_the_terminal(text, width, colour):
    """Whatever the application and the provider said, it is text, in lines that fit."""
    kept = text.encode("utf-8", "replace").decode()
    run = a_run(
        name=text, input=snap(kept), output=snap(message(kept)), error=Error(text, text),
        partial=text, user_id=text, thread_id=text, tags=(text,),
    )  # fmt: skip
    said = [Feedback(run_id="root", at=NOW, comment=text)]

    drawing = render(grow([run], said), width, colour, timezone.utc)

    visible = re.sub("\x1b\\[[0-9]+m", "", drawing) if colour else drawing
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", visible)
    assert all(width_of(line) <= width for line in visible.split("\n"))
    assert len(visible.split("\n")) <= 6
    visible.encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[2Jcleared", "␛[2Jcleared"),
        ("a\r\n\tb\u2028c", "a b c"),
        ("bell\x07 nul\x00 del\x7f csi\x9b", "bell␇ nul␀ del␡ csi�"),
        ("\u202eevil\u2066", "evil"),
        ("lone \ud800", "lone �"),
        ("👩\u200d💻 ü 日本", "👩\u200d💻 ü 日本"),
        ("x" * 5000, "x" * 2000),
    ],
)
def test_safe(text, expected):
    """Controls show as symbols, what turns the writing is left out, and all else stays."""
    assert safe(text) == expected


def test_right_to_left():
    """Words from right to left do not turn the rest of their line around."""
    text = drawn(a_run(input=snap("שלם"), output=snap(message("مرحبا" * 40))), width=40)

    assert "  → \u2068שלם\u2069" in text
    assert all(line.count("\u2068") == line.count("\u2069") for line in text.splitlines())


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("日本語", 5, "日本…"), ("日本語", 4, "日…"), ("a b", 2, "a…"),
     ("abc", 0, ""), ("", 0, "")],
)  # fmt: skip
def test_cut(text, width, expected):
    """A text is cut by columns, of which some signs take two."""
    assert cut(text, width) == expected


@pytest.mark.parametrize(
    ("duration", "expected"),
    [(0.0, "< 1 ms"), (0.0004, "< 1 ms"), (0.0006, "1 ms"), (0.9994, "999 ms"), (0.9996, "1.00 s"),
     (59.99, "59.99 s"), (59.996, "1 m 00 s"), (3599.4, "59 m 59 s"), (3600, "1 h 00 m"),
     (90_000, "25 h 00 m")],
)  # fmt: skip
def test_seconds(duration, expected):
    """Durations have as many digits as say something."""
    assert seconds(duration) == expected


def test_names_before_explanations():
    """Where a name would be cut, figures are written without the words that explain them."""
    usage, answer = Usage(prompt=10, completion=2), Answer(time_to_first_token=0.25)
    long = a_run(name="a-name-of-a-model-that-is-long", usage=usage, answer=answer)

    assert "250 ms  10 → 2" in drawn(long, width=80)
    assert "first token 250 ms  10 → 2 tokens" in drawn(long, width=90)


def test_a_narrow_heading():
    """Where the first line is too long, its names are cut, and its figures are not."""
    root = a_run(kind="agent", user_id="ada", thread_id="a-thread-with-a-name", tags=("beta",))
    call = a_run("call", usage=Usage(prompt=1_000_000, completion=7))

    heading = drawn(root, call, width=80).splitlines()[0]

    assert heading.startswith("3f2a9c1e  2026-11-21 14:03:22  user ada  thread a")
    assert heading.endswith("…  2 runs  1,000,000 → 7 tokens")
    assert width_of(heading) == 80
    assert "14:03:22  use…  2 runs  1,000,000 → 7 tokens" in drawn(root, call, width=65)


def test_a_narrow_terminal():
    """In a narrow terminal names are cut before figures, and figures lose their words."""
    run = a_run(name="a-model-with-a-long-name-2026", usage=Usage(1, 2), duration=2.5,
                answer=Answer(time_to_first_token=0.41))  # fmt: skip

    assert (
        drawn(run, width=50).splitlines()[1] == "✓ a-model-with-a-lon…  2.50 s  first 410 ms  1 → 2"
    )


def test_an_odd_tree():
    """A tree whose rows are not in order is drawn all the same."""
    rows = grow([a_run(), a_run("a", 1)]).rows

    assert len(render(Tree(TRACE, rows[::-1])).splitlines()) == 3
