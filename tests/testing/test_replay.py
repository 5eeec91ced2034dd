"""replay: a fake server that answers as recorded runs were answered."""

from dataclasses import replace

import pytest

from instrument.exporters.jsonl import Jsonl
from instrument.exporters.sqlite import SqliteExporter
from instrument.run import Error
from instrument.snapshot import snapshot
from instrument.testing import FakeOpenAI, capture
from instrument.testing.replay import Tape, script_of
from instrument.testing.view import RunView
from tests.exporters.cases import BASE, GOLDEN, T0, run, said

openai = pytest.importorskip("openai")


def ask(server, content, model="gpt-4o", **options):
    """Make one call."""
    with openai.OpenAI(base_url=server.url, api_key="test", max_retries=0) as client:
        messages = [{"role": "user", "content": content}]
        made = client.chat.completions.create(model=model, messages=messages, **options)
        return list(made) if options.get("stream") else made


def text_of(completion):
    return completion.choices[0].message.content


def recorded(question, answer, **changes):
    """Make a run that was answered so."""
    asked = snapshot([{"role": "user", "content": question}])
    return run(id=f"id of {question} {answer}", input=asked, output=said(answer), **changes)


ONE, TWO = recorded("one?", "eins"), recorded("two?", "zwei")


def test_by_what_was_asked():
    """A request gets the answer of the run with its model and messages, in any order, again."""
    with FakeOpenAI() as server:
        server.replay([ONE, TWO])

        assert [text_of(ask(server, question)) for question in ("two?", "one?", "two?")] == [
            "zwei",
            "eins",
            "zwei",
        ]


def test_same_question_again():
    """Answers to the same question are played in order, then the last one again."""
    with FakeOpenAI() as server:
        server.replay([ONE, recorded("one?", "un")])

        assert [text_of(ask(server, "one?")) for _ in range(3)] == ["eins", "un", "un"]


def test_else_in_order():
    """A question that was never recorded gets the next answer that was not played."""
    with FakeOpenAI() as server:
        server.replay([ONE, TWO])

        assert text_of(ask(server, "one? (today)")) == "eins"
        assert text_of(ask(server, "two? (today)")) == "zwei"


def test_nothing_matches():
    """When nothing is left, or nothing matches strictly, the error says what there is."""
    with FakeOpenAI() as server:
        server.replay([ONE])
        ask(server, "one? (today)")
        with pytest.raises(openai.BadRequestError, match=r"no recorded answer for gpt-4o to 'x'"):
            ask(server, "x")
        server.replay([ONE, TWO], strict=True)
        with pytest.raises(
            openai.BadRequestError, match=r"recorded: 2 of gpt-4o; not played yet: 2"
        ):
            ask(server, "one? (today)")


def test_what_is_told_comes_first():
    """A reply that was told goes before the tape."""
    with FakeOpenAI() as server:
        server.replay([ONE])
        server.reply(text="told")

        assert [text_of(ask(server, "one?")) for _ in range(2)] == ["told", "eins"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", ["plain", "tools", "choices", "refusal", "non_ascii"])
def test_a_replayed_call_is_recorded_as_it_was(case, stream):
    """Recorded anew, a replayed call has the same texts, tools, usage, reason and model."""
    before = next(each for each in GOLDEN[case]() if each.kind == "llm")
    with FakeOpenAI() as server, capture() as runs:
        server.replay([before])
        count = len(before.answer.finish_reasons)
        more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        ask(server, "anything", n=count, **more)

    [after] = runs.llm
    view = RunView(before)
    assert (after.texts, after.calls) == (view.texts, view.calls)
    assert after.usage.prompt == before.usage.prompt
    assert after.answer.finish_reasons[0] == before.answer.finish_reasons[0]
    assert after.answer.model == before.answer.model


def test_failures():
    """A recorded failure fails again, at once, with its status and message."""
    failed = replace(ONE, output=None, error=Error("slow down", "RateLimitError", status=429))
    with FakeOpenAI() as server:
        server.replay([failed])
        with openai.OpenAI(base_url=server.url, api_key="test", max_retries=2) as client:
            create, messages = client.chat.completions.create, [{"role": "user", "content": "one?"}]
            with pytest.raises(openai.RateLimitError, match="slow down"):
                create(model="gpt-4o", messages=messages)

        assert len(server.requests) == 1


def test_broken_off():
    """A stream that broke off breaks off again, and a reply that never came does not come."""
    assert script_of(replace(BASE, partial="truncated"))["drop"] is True
    assert script_of(replace(BASE, error=Error("x", "APIConnectionError"))) == {"drop": "at once"}
    assert script_of(replace(BASE, usage=None))["usage"] is None


def test_from_a_store_and_from_lines(tmp_path):
    """The tape may be the store or a file of JSON lines; what else is in there is passed over."""
    items = [*GOLDEN["chain"](), replace(ONE, started_at=T0)]
    store, lines = SqliteExporter(tmp_path / "runs.db"), Jsonl(tmp_path / "runs.jsonl")
    store.write(items)
    store.close()
    lines.write(items)

    for path in (store.path, str(lines.path)):
        with FakeOpenAI() as server:
            server.replay(path, strict=True)
            assert text_of(ask(server, "one?")) == "eins"


def test_from_a_capture():
    """What a test captured can be replayed in the next."""
    with FakeOpenAI() as server, capture() as runs:
        server.reply(text="eins")
        ask(server, "one?")
    with FakeOpenAI() as server:
        server.replay(runs.llm)

        assert text_of(ask(server, "one?")) == "eins"


def test_nothing_to_replay(tmp_path):
    """An empty tape, or a file that is not there, is said at once."""
    with pytest.raises(ValueError, match="nothing to replay"):
        Tape([])
    with pytest.raises(OSError, match=r"none\.db"):
        Tape(tmp_path / "none.db")
