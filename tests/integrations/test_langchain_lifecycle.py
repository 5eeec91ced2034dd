"""Every run that LangChain begins ends once, however it ends, and says truthfully how."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from uuid import UUID, uuid4

import orjson
import pytest

pytest.importorskip("langchain_core", reason="langchain-core is not installed")

from langchain_core.language_models import FakeListLLM
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import ToolException, tool

from instrument.integrations.langchain import tasks
from instrument.integrations.langchain.handler import Handler
from instrument.integrations.langchain.nodes import Source, registry
from instrument.integrations.langchain.registry import (
    GRACE_SECONDS,
    MAX_SECONDS,
    SWEEP_SECONDS,
    Registry,
)
from instrument.integrations.langchain.tasks import MAX_RUNS
from tests.integrations.langchain_fakes import FakeChat, FakeRetriever, FakeStream, traced

PROMPT = ChatPromptTemplate.from_messages([("human", "{q}")])
SLOW = 5.0
V3 = pytest.mark.skipif(
    not hasattr(FakeStream, "stream_events"), reason="langchain-core 0.3 has no events v3"
)
CHAIN_RUNS = 4  # the sequence, the prompt, the model, the parser


@pytest.fixture
def runs():
    with traced(with_openai=False) as runs:
        yield runs
        runs.check()


def sequence(model):
    return PROMPT | model | StrOutputParser()


async def cancel(awaitable, after=0.05):
    """Cancel what is awaited, a moment after it began."""
    task = asyncio.ensure_future(awaitable)
    await asyncio.sleep(after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_invoke(runs):
    """A sequence is a chain with a chain for each helper, and an llm run for the model."""
    assert sequence(FakeChat()).invoke({"q": "hi"}) == "one two three"

    assert runs.paths() == [
        "RunnableSequence",
        "RunnableSequence > ChatPromptTemplate",
        "RunnableSequence > FakeChat",
        "RunnableSequence > StrOutputParser",
    ]
    assert runs.one("RunnableSequence").input == b'{"q":"hi"}'
    assert runs.one("RunnableSequence").output == b'"one two three"'


async def test_ainvoke_is_the_same(runs):
    """An asynchronous call makes the same tree as a synchronous one."""
    await sequence(FakeChat()).ainvoke({"q": "hi"})

    assert len(runs.ended) == CHAIN_RUNS
    assert runs.path(runs.one(kind="llm")) == "RunnableSequence > FakeChat"


def test_batch(runs):
    """A batch is as many trees as it has inputs, and none of them knows another."""
    sequence(FakeChat()).batch([{"q": str(n)} for n in range(5)])

    assert len({run.trace_id for run in runs.ended}) == 5
    assert len(runs.ended) == 5 * CHAIN_RUNS


async def test_abatch_then_invoke(runs):
    """What is called after a batch does not hang under a run of the batch."""
    chain = sequence(FakeChat())
    await chain.abatch([{"q": "a"}, {"q": "b"}])
    chain.invoke({"q": "c"})

    assert len(runs.ended) == 3 * CHAIN_RUNS
    assert sum(run.parent_id is None for run in runs.ended) == 3


def test_stream(runs):
    """A stream's input and output are whole, and the first token's time is known."""
    assert len(list(sequence(FakeStream()).stream({"q": "hi"}))) >= 3

    model, root = runs.one(kind="llm"), runs.one("RunnableSequence")
    assert model.answer.time_to_first_token is not None
    assert (root.input, root.output) == (b'{"q":"hi"}', b'"one two three"')
    assert model.usage.total == 12


async def test_astream(runs):
    """So are an asynchronous stream's."""
    assert len([chunk async for chunk in sequence(FakeStream()).astream({"q": "hi"})]) >= 3

    root = runs.one("RunnableSequence")
    assert (root.input, root.output) == (b'{"q":"hi"}', b'"one two three"')


async def test_events(runs):
    """LangChain's own events do not change what is recorded."""
    async for _ in sequence(FakeStream()).astream_events({"q": "hi"}, version="v2"):
        pass

    assert len(runs.ended) == CHAIN_RUNS


@V3
def test_stream_events_v3(runs):
    """The newer events of a model are one run too."""
    stream = FakeStream().stream_events("hi", version="v3")
    assert str(stream.text)

    assert runs.one(kind="llm").output == b'{"role":"assistant","content":"one two three"}'


def test_parallel(runs):
    """Branches stand side by side under the map."""
    RunnableParallel(a=FakeChat(), b=FakeChat()).invoke("hi")

    assert runs.paths("llm") == ["RunnableParallel<a,b> > FakeChat"] * 2


def test_text_model(runs):
    """A text model is an llm run whose prompt is a user's message."""
    assert FakeListLLM(responses=["yes"]).invoke("well?") == "yes"

    run = runs.one(kind="llm")
    assert orjson.loads(run.input) == [{"role": "user", "content": "well?"}]
    assert orjson.loads(run.output) == {"role": "assistant", "content": "yes"}


async def test_async_text_model(runs):
    """The same asynchronously."""
    await FakeListLLM(responses=["yes"]).ainvoke("well?")

    assert runs.one(kind="llm").error is None


def test_generate(runs):
    """Each of several prompts is a run of its own."""
    FakeChat().generate([[HumanMessage("a")], [HumanMessage("b")]])

    assert sorted(orjson.loads(run.input)[0]["content"] for run in runs.of("llm")) == ["a", "b"]


def test_tool(runs):
    """A tool is called as it is named, and its arguments are an object."""

    @tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    assert add.invoke({"a": 1, "b": 2}) == 3

    run = runs.one("add", "tool")
    assert (run.input, run.output) == (b'{"a":1,"b":2}', b"3")


def test_tool_that_reports_an_error(runs):
    """A failure that a tool tells the model, instead of raising it, is an error all the same."""

    @tool
    def fail() -> str:
        """Fail."""
        raise ToolException("no luck")

    fail.handle_tool_error = True
    fail.invoke({"type": "tool_call", "name": "fail", "args": {}, "id": "c1"})

    run = runs.one("fail")
    assert run.error.message == "no luck"
    assert orjson.loads(run.output)["is_error"] is True


def test_failing_tool(runs):
    """A tool that raises ends failed, with the exception's own words."""

    @tool
    def fail() -> str:
        """Fail."""
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail.invoke({})

    assert (runs.one("fail").error.type, runs.one("fail").error.message) == ("ValueError", "broken")


def test_retriever(runs):
    """A retriever's documents are text, metadata and id."""
    from langchain_core.documents import Document

    FakeRetriever(documents=[Document("snow", metadata={"page": 1}, id="d1")]).invoke("winter")

    run = runs.one("FakeRetriever", "retriever")
    assert run.input == b'"winter"'
    assert orjson.loads(run.output) == [{"text": "snow", "metadata": {"page": 1}, "id": "d1"}]


def test_failing_model(runs):
    """The model's exception ends the model and the chain, and comes out unchanged."""
    error = RuntimeError("overloaded")

    with pytest.raises(RuntimeError) as raised:
        sequence(FakeChat(error=error)).invoke({"q": "hi"})

    assert raised.value is error
    assert runs.one(kind="llm").error.message == "overloaded"
    assert runs.one("RunnableSequence").error.type == "RuntimeError"
    assert runs.one(kind="llm").output is None


def test_failing_parser(runs):
    """A parser's failure is the parser's and the chain's, not the model's."""
    with pytest.raises(ValueError):
        (FakeChat() | JsonOutputParser()).invoke("hi")

    assert runs.one(kind="llm").error is None
    assert runs.one("JsonOutputParser").error is not None


def test_stream_that_breaks(runs):
    """A stream that fails half-way keeps the text that had come."""
    with pytest.raises(RuntimeError):
        list(FakeStream(error=RuntimeError("gone"), usage=None).stream("hi"))

    run = runs.one(kind="llm")
    assert run.error.message == "gone"
    assert orjson.loads(run.output)["content"] == "one two three"
    assert run.usage is None


def test_retry(runs):
    """Every attempt of a retry is a run, under the retry's own."""

    class Moody(FakeChat):
        def _generate(self, *args, **kwargs):
            if not self.extra:
                self.extra["tried"] = True
                raise ValueError("again")
            return FakeChat()._generate(*args, **kwargs)

    Moody().with_retry(stop_after_attempt=2, wait_exponential_jitter=False).invoke("hi")

    assert sorted(run.error is None for run in runs.of("llm")) == [False, True]
    assert len(set(runs.paths("llm"))) == 1


def test_fallback(runs):
    """A fallback is a run beside the one that failed."""
    FakeChat(error=ValueError("no")).with_fallbacks([FakeStream()]).invoke("hi")

    assert [run.error is None for run in runs.of("llm")] == [False, True]


def test_model_stream_closed(runs):
    """A model's stream that is left is an end with its text so far, no error, no invented usage."""
    stream = FakeStream().stream("hi")
    next(stream)
    stream.close()

    run = runs.one(kind="llm")
    assert (run.partial, run.error, run.usage) == ("closed", None, None)
    assert orjson.loads(run.output)["content"] == "one "


def test_chain_stream_closed(runs):
    """A chain's stream that is left ends every run of it."""
    stream = sequence(FakeStream()).stream({"q": "hi"})
    next(stream)
    stream.close()

    assert len(runs.ended) == CHAIN_RUNS


def test_model_stream_collected(runs):
    """A stream that is dropped ends when it is collected."""
    stream = FakeStream().stream("hi")
    next(stream)
    del stream
    gc.collect()

    assert runs.one(kind="llm").partial == "closed"


async def test_async_chain_stream_closed(runs):
    """An asynchronous one ends the chain as partial too."""
    stream = sequence(FakeStream(pace=0.01)).astream({"q": "hi"})
    await stream.__anext__()
    await stream.aclose()
    await asyncio.sleep(0.05)

    assert len(runs.ended) == CHAIN_RUNS
    assert runs.one("RunnableSequence").partial == "closed"
    assert not any(run.error for run in runs.ended)


async def test_async_break(runs):
    """Leaving the loop is the same as closing."""
    async for _ in FakeStream(pace=0.01).astream("hi"):
        break
    gc.collect()
    await asyncio.sleep(0.05)

    assert runs.one(kind="llm").partial == "closed"


async def test_cancelled_model(runs):
    """A cancelled model call ends, though LangChain never says so."""
    await cancel(FakeChat(pace=SLOW).ainvoke("hi"))

    run = runs.one(kind="llm")
    assert (run.error.type, run.partial) == ("CancelledError", "cancelled")


async def test_cancelled_chain(runs):
    """So does the model call in a cancelled chain."""
    await cancel(sequence(FakeChat(pace=SLOW)).ainvoke({"q": "hi"}))

    assert [run.error.type for run in runs.ended if run.error] == ["CancelledError"] * 2


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout came with Python 3.11")
async def test_timeout_in_the_same_task(runs):
    """A timeout that cancels inside one task is seen as well."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await FakeChat(pace=SLOW).ainvoke("hi")

    assert runs.one(kind="llm").error.type == "CancelledError"


async def test_wait_for(runs):
    """So is `wait_for`, which on Python 3.12 cancels inside the same task."""
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(sequence(FakeChat(pace=SLOW)).ainvoke({"q": "hi"}), 0.05)

    assert runs.one(kind="llm").error.type == "CancelledError"


async def test_cancelled_stream(runs):
    """A cancelled stream keeps its text so far."""

    async def read():
        async for _ in FakeStream(words=["one ", "two"], pace=0.04).astream("hi"):
            pass

    await cancel(read(), after=0.06)

    run = runs.one(kind="llm")
    assert run.partial == "cancelled"
    assert orjson.loads(run.output)["content"] == "one "


async def test_cancelled_tool(runs):
    """A cancelled asynchronous tool ends."""

    @tool
    async def wait() -> str:
        """Wait."""
        await asyncio.sleep(SLOW)

    await cancel(wait.ainvoke({}))

    assert runs.one("wait").error.type == "CancelledError"


async def test_cancelled_retriever(runs):
    """A cancelled asynchronous retriever ends."""
    await cancel(FakeRetriever(pace=SLOW).ainvoke("hi"))

    assert runs.one("FakeRetriever").error.type == "CancelledError"


async def test_cancelled_text_model(runs):
    """A cancelled text model ends."""

    class Slow(FakeListLLM):
        async def _acall(self, *args, **kwargs):
            await asyncio.sleep(SLOW)

    await cancel(Slow(responses=["yes"]).ainvoke("hi"))

    assert runs.one(kind="llm").error.type == "CancelledError"


CANCELLED_AT_ANY_POINT = {
    "model": lambda: FakeChat(pace=SLOW).ainvoke("hi"),
    "chain": lambda: sequence(FakeChat(pace=SLOW)).ainvoke({"q": "hi"}),
    "batch": lambda: sequence(FakeChat(pace=SLOW)).abatch([{"q": "a"}, {"q": "b"}]),
    "map": lambda: RunnableParallel(a=FakeChat(pace=SLOW), b=FakeChat(pace=SLOW)).ainvoke("hi"),
    "retriever": lambda: FakeRetriever(pace=SLOW).ainvoke("hi"),
    "text model": lambda: FakeListLLM(responses=["yes"]).ainvoke("hi"),
}


@pytest.mark.parametrize("name", CANCELLED_AT_ANY_POINT)
async def test_cancelled_at_any_point(name, runs):
    """Whichever step of the event loop a cancellation falls into, no run stays open."""
    for steps in range(60):
        task = asyncio.ensure_future(CANCELLED_AT_ANY_POINT[name]())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0.001)
        assert not len(registry), steps


async def test_task_cancelled_between_two_chunks(runs):
    """A stream that was not being read when its task was cancelled keeps its text."""

    async def read():
        async for _ in FakeStream(words=["one ", "two"]).astream("hi"):
            await asyncio.sleep(SLOW)

    await cancel(read())
    gc.collect()
    await asyncio.sleep(0.05)

    assert orjson.loads(runs.one(kind="llm").output)["content"] == "one "


def test_long_task(runs):
    """A task that makes many calls does not remember them all."""

    async def work():
        for _ in range(3 * MAX_RUNS):
            await FakeChat().ainvoke("hi")
        return [len(run_ids) for run_ids in tasks._runs.values()]

    assert max(asyncio.run(work())) <= MAX_RUNS + 1
    assert not tasks._runs


async def test_cancelled_batch(runs):
    """Every run of a cancelled batch ends."""
    batch = sequence(FakeChat(pace=SLOW)).abatch([{"q": "a"}, {"q": "b"}, {"q": "c"}])
    await cancel(batch, after=0.5)

    assert len(runs.of("llm")) == 3


def test_one_prompt_of_several_fails(runs):
    """When one prompt of a synchronous `generate` fails, the others end too."""

    class Picky(FakeChat):
        def _generate(self, messages, **kwargs):
            if messages[0].content == "bad":
                raise ValueError("bad")
            return super()._generate(messages, **kwargs)

    with pytest.raises(ValueError):
        Picky().generate([[HumanMessage("a")], [HumanMessage("bad")], [HumanMessage("c")]])

    assert len(runs.of("llm")) == 3


def test_keyboard_interrupt(runs):
    """An interrupt from the keyboard passes through, and the runs end."""
    with pytest.raises(KeyboardInterrupt):
        sequence(FakeChat(error=KeyboardInterrupt())).invoke({"q": "hi"})

    assert runs.one(kind="llm").error.type == "KeyboardInterrupt"


def test_keyboard_interrupt_in_a_retriever(runs):
    """Also in a retriever, where LangChain says nothing."""
    with pytest.raises(KeyboardInterrupt):
        FakeRetriever(error=KeyboardInterrupt()).invoke("hi")

    assert runs.one("FakeRetriever").error.type == "KeyboardInterrupt"


@V3
def test_dropped_stream_of_events(runs):
    """A stream of events that is dropped half-way, of which LangChain says nothing, ends too."""
    stream = iter(FakeStream().stream_events("hi", version="v3"))
    next(stream)
    del stream
    gc.collect()

    assert runs.one(kind="llm").partial == "abandoned"


def test_never_ended():
    """A run that LangChain never ends is ended by its age, and says so."""
    with traced(with_openai=False) as runs:
        handler = Handler(Source(lambda: runs.recorder))
        handler.on_chain_start(None, 1, run_id=uuid4(), name="lost")
        for node in registry._open.values():
            node.begun -= MAX_SECONDS + 1
        registry.due -= SWEEP_SECONDS
        FakeChat().invoke("hi")

        assert runs.one("lost").error.type == "NeverEnded"
        assert runs.one("lost").metadata["synthetic"] is True
        runs.check()


def test_cache_hit(runs):
    """An answer from LangChain's own cache is marked, and bills nothing."""
    from langchain_core.caches import InMemoryCache

    model = FakeChat(cache=InMemoryCache())
    model.invoke("hi")
    model.invoke("hi")

    first, second = runs.of("llm")
    assert (first.usage.total, second.usage) == (12, None)
    assert second.metadata["cache_hit"] is True
    assert second.output == first.output


def test_own_trace_inside_a_chain(runs):
    """A block of the application's own inside a chain stands between the chain and what it calls."""
    from instrument.context import current, restore

    def step(_):
        run = runs.recorder.begin("chain", "mine")
        run.announce({})
        token = current.set(run)
        try:
            FakeChat().invoke("hi")
        finally:
            restore(current, token)
            run.end({})

    RunnableLambda(step, name="outer").invoke(1)

    assert runs.paths("llm") == ["outer > mine > FakeChat"]


def test_chain_inside_an_own_trace(runs):
    """A chain stands under the block that it is called in."""
    from instrument.context import current, restore

    run = runs.recorder.begin("agent", "mine")
    run.announce({})
    token = current.set(run)
    sequence(FakeChat()).invoke({"q": "hi"})
    restore(current, token)
    run.end({})

    assert runs.paths("llm") == ["mine > RunnableSequence > FakeChat"]


def test_hidden_run(runs):
    """A run that LangChain hides is left out, and its children stand under the one above."""
    handler = Handler(Source(lambda: runs.recorder))
    outer, hidden, inner = (uuid4() for _ in range(3))
    handler.on_chain_start(None, 1, run_id=outer, name="outer")
    handler.on_chain_start(
        None, 1, run_id=hidden, parent_run_id=outer, name="hidden", tags=["langsmith:hidden"]
    )
    handler.on_chain_start(None, 1, run_id=inner, parent_run_id=hidden, name="inner")
    for run_id in (inner, hidden, outer):
        handler.on_chain_end(1, run_id=run_id)

    assert runs.paths() == ["outer", "outer > inner"]


def test_tags(runs):
    """Tags that only count steps are left out; those that somebody chose stay."""
    sequence(FakeChat(tags=["mine"])).invoke({"q": "hi"}, {"tags": ["all"]})

    assert set(runs.one(kind="llm").tags) == {"mine", "all"}


def test_stress(runs):
    """Many chains at once, in threads and tasks, each make one whole tree."""

    async def serve(count):
        chain = sequence(FakeStream())
        await asyncio.gather(*(chain.ainvoke({"q": str(n)}) for n in range(count)))

    def work():
        chain = sequence(FakeChat())
        for number in range(20):
            chain.invoke({"q": str(number)})
        asyncio.run(serve(20))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(runs.ended) == 8 * 40 * CHAIN_RUNS
    sizes = [sum(run.trace_id == root.id for run in runs.ended) for root in roots(runs)]
    assert set(sizes) == {CHAIN_RUNS}


def roots(runs):
    return [run for run in runs.ended if run.parent_id is None]


class Entry:
    """As much of a run as the registry knows."""

    def __init__(self, begun, above=None):
        self.begun = begun
        self.above = above
        self.deadline = None


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self):
        return self.now


ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


def test_first_start_wins():
    """A run that two handlers begin is the first one's, and its second end finds nothing."""
    entries = Registry(Clock())

    assert entries.add(ONE, Entry(0))
    assert not entries.add(ONE, Entry(0))
    assert entries.close(ONE) is not None
    assert entries.close(ONE) is None
    assert entries.find(ONE) is not None


def test_age_spares_a_run_with_young_children():
    """A run is given up by age only when nothing below it is younger."""
    clock = Clock()
    entries = Registry(clock)
    old = Entry(clock.now)
    entries.add(ONE, old)
    entries.add(TWO, Entry(clock.now))
    clock.now += 3000
    entries.add(THREE, Entry(clock.now, above=old))
    clock.now += 1000

    assert entries.overdue() == [TWO]


def test_children_of_a_cancelled_run_get_a_moment():
    """They are given up some seconds after the run above them was cancelled."""
    clock = Clock()
    entries = Registry(clock)
    above = Entry(clock.now)
    entries.add(ONE, Entry(clock.now, above=above))
    entries.condemn(above)

    clock.now += GRACE_SECONDS / 2
    assert entries.overdue() == []
    clock.now += GRACE_SECONDS
    assert entries.overdue() == [ONE]


def test_bounds():
    """Above the bound the oldest are given up, and ended runs are remembered up to theirs."""
    entries = Registry(Clock(), max_open=20, max_closed=5)
    numbers = [UUID(int=number) for number in range(20)]
    for number in numbers:
        entries.add(number, Entry(100.0))

    assert entries.overdue() == numbers[:2]
    for number in numbers:
        entries.close(number)
    assert [number for number in numbers if entries.was_closed(number)] == numbers[15:]
