"""From what was recorded to what is drawn: conversations, figures, charts, time axes, addresses."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument.run import Answer, Attempt, Run, Snapshot
from instrument.store import Overview, Slot, Summary, Totals
from instrument.tree import grow
from instrument.viewer import asked, charts, conversation, facts, sessions, waterfall, words

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "function", "name", "audio"])
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


def side(story, value):
    return conversation.asked(story.run("a", input=value))


def parts(story, value):
    return [part for message in side(story, value).messages for part in message.parts]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "user", "content": "Hi"}, [("text", "", "Hi")]),
        (
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            [("call", "look", '{\n  "at": 1\n}')],
        ),
        (
            {"role": "assistant", "function_call": CALL["function"]},
            [("call", "look", '{\n  "at": 1\n}')],
        ),
        ({"role": "assistant", "tool_calls": [{"name": "x", "args": {}}]}, [("call", "x", "{}")]),
        ({"role": "assistant", "tool_calls": ["?"]}, [("call", "tool", '"?"')]),
        ({"role": "tool", "content": '["a"]'}, [("code", "", '[\n  "a"\n]')]),
        ({"role": "tool", "content": "plain"}, [("text", "", "plain")]),
        ({"role": "assistant", "content": "", "refusal": "No."}, [("refusal", "", "No.")]),
        (
            {"role": "assistant", "reasoning_content": "Hm.", "content": "So."},
            [("thought", "", "Hm."), ("text", "", "So.")],
        ),
        (
            {"role": "assistant", "audio": {"transcript": "spoken"}},
            [("media", "audio", "spoken")],
        ),
        ({"role": "user", "content": {"odd": [1]}}, [("code", "", '{\n  "odd": [\n    1\n  ]\n}')]),
    ],
)
def test_messages(story, message, expected):
    """A message is its words, what it thought, what it calls, in the order of reading."""
    assert [(part.form, part.label, part.text) for part in parts(story, [message])] == expected


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"type": "text", "text": "a"}, ("text", "", "a")),
        (
            {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
            ("media", "image", "https://x.example/a.png"),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            ("media", "image", "data:image/png;base64,…"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "<audio/wav, 9 bytes, sha256 0>"}},
            ("media", "input audio", "<audio/wav, 9 bytes, sha256 0>"),
        ),
        ({"type": "file", "file": {"filename": "a.pdf"}}, ("media", "file", "a.pdf")),
        ({"type": "image_url"}, ("media", "image", "")),
        ({"type": "thinking", "thinking": "hm"}, ("thought", "", "hm")),
        ({"type": "reasoning", "text": "hm"}, ("thought", "", "hm")),
        ({"type": "new", "x": 1}, ("code", "new", '{\n  "type": "new",\n  "x": 1\n}')),
        ("loose", ("text", "", "loose")),
    ],
)
def test_blocks(story, block, expected):
    """Pictures, sounds and files are placeholders that load nothing."""
    (part,) = parts(story, [{"role": "user", "content": [block]}])

    assert (part.form, part.label, part.text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a text", ("text", "", "a text")),
        ({"question": "Why?"}, ("text", "question", "Why?")),
        ([1, 2], ("code", "", "[\n  1,\n  2\n]")),
        ("{broken", ("text", "", "{broken")),
        ([{"page_content": "found"}], ("document", "1", "found")),
        ({"documents": [{"page_content": "found"}]}, ("document", "1", "found")),
    ],
)
def test_other_values(story, value, expected):
    """What is no conversation is shown as text, as documents, else as JSON."""
    (part,) = parts(story, value)

    assert (part.form, part.label, part.text) == expected


def test_who_said_it(story):
    """Beside the role stands the tool's name, which call it answers, and that it failed."""
    tool = {"role": "tool", "name": "look", "tool_call_id": "c1", "content": "x", "is_error": True}

    (message,) = side(story, [tool]).messages

    assert (message.role, message.note) == ("tool", "look · c1 · error")


def test_odd_media(story):
    """A medium that is no object is a placeholder all the same."""
    (part,) = parts(story, [{"role": "user", "content": [{"type": "file", "file": [1]}]}])

    assert (part.form, part.text) == ("media", "")


def test_bounds_of_a_conversation(story):
    """Much is cut, and how much is said."""
    many = side(story, [story.user(str(number)) for number in range(400)])
    (part,) = parts(story, [story.user("x" * 60_000)])

    assert (len(many.messages), many.hidden) == (300, 100)
    assert many.messages[-1].parts[0].text == "399"
    assert (len(part.text), part.hidden, part.long) == (50_000, 10_000, True)
    assert len(part.preview) == 500


@given(JSON)
def test_no_shape_fails(value):
    """Whatever was recorded is shown somehow."""
    import orjson

    data = Snapshot(orjson.dumps(value))
    run = Run(
        id="a", trace_id="a", parent_id=None, kind="llm", name="m", started_at=NOW,
        input=data, output=data, params=data,
    )  # fmt: skip

    assert conversation.answered(run) is not None
    assert facts.facts(run)["Run"]["id"] == "a"
    assert orjson.loads(facts.raw(run))["input"] == value


def test_no_json(story):
    """A snapshot that is no JSON, against its contract, is shown as it is."""
    run = Run(**{**{n: getattr(story.run("a"), n) for n in Run.__slots__}, "input": Snapshot(b"{")})

    (message,) = conversation.asked(run).messages

    assert message.parts[0].text == "{"
    assert b'"input": "{"' in facts.raw(run)


def test_unknown_is_left_out(story):
    """What is not known of a run is not among its facts, and never 0."""
    assert set(facts.facts(story.run("a"))) == {"Run"}
    assert words.both(None, None) == ""
    assert words.both(None, 3) == "? → 3"
    assert words.both(0, 3) == "0 → 3"


def test_facts_of_an_answer(story):
    """What the provider said of its answer is written for a person."""
    answer = Answer(stream=False, finish_reasons=("stop", None), processing_ms=120.0)

    known = facts.facts(story.run("a", params=[1], answer=answer))

    assert known["Answer"] == {
        "finish reason": "stop, —",
        "stream": "no",
        "provider's own time": "120 ms",
    }
    assert "Parameters" not in known


def test_attempt_without_a_reply():
    """A try that got no reply says so."""
    assert facts._attempt(Attempt(0.5)) == "no reply, after 500 ms"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "—"),
        (0, "0"),
        (999, "999"),
        (999.6, "1.00k"),
        (12_345, "12.3k"),
        (123_456, "123k"),
        (999_600, "1.00M"),
        (4_560_000, "4.56M"),
        (2e9, "2.00B"),
    ],
)
def test_short_numbers(value, expected):
    """Three digits tell how much it is."""
    assert words.short(value) == expected


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [(0, 0, "—"), (0, 9, "0 %"), (1, 5_000, "< 0.1 %"), (1, 30, "3.3 %"), (1, 2, "50 %")],
)
def test_percent(part, whole, expected):
    """A share is as exact as it is useful, and little is not nothing."""
    assert words.percent(part, whole) == expected


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (1, "1 second"),
        (60, "1 minute"),
        (1_800, "30 minutes"),
        (86_400, "1 day"),
        (2_592_000, "30 days"),
    ],
)
def test_stretches(width, expected):
    """A length of time is named."""
    assert words.stretch(width) == expected


def test_times_of_day():
    """The day is left out when it is today's, and the year when it is this one."""
    noon = datetime(2026, 3, 1, 12).astimezone()
    hour = timedelta(hours=1)

    assert words.clock(noon, noon) == "12:00:00"
    assert words.clock(noon - 24 * hour, noon) == "28 Feb 12:00"
    assert words.clock(noon - 24 * 365 * hour, noon) == "1 Mar 2025 12:00"
    assert words.span(noon, noon + hour, noon) == "12:00 \u2013 13:00"
    assert words.span(noon - 24 * hour, noon, noon) == "28 Feb 12:00 \u2013 12:00"
    assert words.mark(noon, 1, noon) == "12:00:00"
    assert words.mark(noon - 24 * hour, 86_400, noon) == "28 Feb"


def overview(*totals):
    slots = [Slot(NOW + timedelta(hours=number), each) for number, each in enumerate(totals)]
    return Overview(3600.0, totals[0], slots)


def test_charts():
    """Bars stand on each other up to the top, lines break where nothing was measured."""
    full = Totals(runs=10, calls=10, errors=5, p50=1.0, p95=2.0, prompt_tokens=3)
    runs, rate, latency, tokens = charts.draw(overview(full, Totals(), full), lambda *_: "/x")

    assert [(box.look, box.y, box.height) for box in runs.bars[0].boxes] == [
        ("fine", 50.0, 50.0),
        ("bad", 0.0, 50.0),
    ]
    assert runs.bars[1].boxes == []
    assert (rate.top, rate.headline) == ("50 %", "50 %")
    assert [len(line.pieces) for line in latency.lines] == [2, 2]
    assert tokens.note == "3 in · — out"
    assert runs.bars[2].label.endswith(": ok 5, failed 5")
    assert runs.bars[1].label.endswith(": ok 0, failed 0")


def test_charts_of_nothing():
    """Nothing has no scale, and no point of a line."""
    for chart in charts.draw(overview(Totals()), lambda *_: "/x"):
        assert chart.top == ""
        assert not any(line.pieces for line in chart.lines)


def fall(*runs, at=10.0):
    return waterfall.draw(grow(runs), NOW + timedelta(seconds=at))


def test_waterfall(story):
    """Each run stands where it began, as wide as it took, on an axis with round marks."""
    root = story.run("a", 0, duration=8.0)
    child = story.run("b", 2, duration=4.0, trace_id="a", parent_id="a")

    drawn = fall(root, child)

    assert [(each.left, each.width, each.depth) for each in drawn.stripes] == [
        (0, 100, 0),
        (25, 50, 1),
    ]
    assert drawn.ticks == [(0, "0"), (25, "2 s"), (50, "4 s"), (75, "6 s"), (100, "8 s")]


def test_open_runs_grow(story):
    """An open run reaches to now, unless its program must have died long ago."""
    still = story.run("a", 0, duration=None)
    done = story.run("b", 0, duration=2.0, trace_id="a", parent_id="a")

    assert fall(still, done, at=10).seconds == 10
    assert fall(still, done, at=9_999).seconds == 2
    assert fall(still, done, at=10).stripes[0].width == 100


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.none() | st.floats(0, 1e6)), min_size=1, max_size=9)
)
def test_every_stripe_stands_on_the_axis(runs):
    """No run sticks out, whatever the clocks said."""
    drawn = fall(
        *(
            Run(
                id=str(number),
                trace_id="0",
                parent_id="0" if number else None,
                kind="tool",
                name="x",
                started_at=NOW + timedelta(seconds=at),
                duration=duration,
            )
            for number, (at, duration) in enumerate(runs)
        )
    )

    for stripe in drawn.stripes:
        assert -1e-6 <= stripe.left <= 100 + 1e-6
        assert 0 <= stripe.width <= 100 - stripe.left + 1e-6
    assert 1 <= len(drawn.ticks) <= 12


TEXTS = st.fixed_dictionaries(
    {name: st.text(max_size=9) for name in ("q", "model", "user", "thread", "tag")}
)


@given(TEXTS, st.integers(1, 99))
def test_addresses_come_back(texts, page):
    """What is written into an address is read from it again."""
    clean = {name: value.strip() for name, value in texts.items()}
    before = asked.Asked(**clean, page=page)

    _, _, query = before.link("/", page=page).partition("?")

    assert asked.read(dict(parse_qsl(query, encoding="utf-8", errors="surrogatepass"))) == before


def test_a_range_and_a_stretch_contradict(story):
    """A range that counts from now leaves out the stretch of time beside it."""
    given_both = asked.read({"range": "1h", "since": "2020-01-01", "until": "2020-01-02"})

    filters = given_both.filters(NOW)

    assert filters.since == NOW - timedelta(hours=1)
    assert filters.until is None
    assert given_both.given() == {"range": "1h"}


def test_moments_come_back():
    """A time that is written for a browser is the same time when it is read."""
    for at in (NOW, NOW + timedelta(seconds=7)):
        assert asked.moment(asked.written(at)) == at


@pytest.mark.parametrize("text", ["", "now", "2026-13-01", "0001-01-01T00:00", "9999-12-31T23:59"])
def test_odd_moments(text):
    """A time that no clock shows is no reason to fail."""
    at = asked.moment(text)

    assert at is None or asked.moment(asked.written(at)) == at


@pytest.mark.parametrize(("pause", "count"), [(1_800, 1), (1_801, 2)])
def test_quiet_parts_sessions(pause, count):
    """More than thirty minutes from the end of all before begin a new session."""

    def line(at, duration):
        return Summary(
            id="a", name="a", kind="llm", status="ok", started_at=NOW + timedelta(seconds=at),
            duration=duration, ttft=None, runs=1, errors=0, open=0, prompt_tokens=None,
            completion_tokens=None, user_id=None, thread_id=None, prompt="", answer="",
        )  # fmt: skip

    traces = [line(0, 100.0), line(1, 1.0), line(100 + pause, 1.0)]

    assert len(sessions.part(traces)) == count
    assert sessions.part([]) == []
