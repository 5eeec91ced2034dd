"""The handler, attached or registered for the process: once, for whom, and without a trace of us."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import subprocess
import sys
from pathlib import Path
from uuid import UUID, uuid4, uuid5

import pytest

pytest.importorskip("langchain_core", reason="langchain-core is not installed")

from langchain_core import VERSION
from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool

from instrument import recorder as recorders
from instrument.context import context
from instrument.guard import guard, notices
from instrument.integrations import langchain
from instrument.integrations.langchain.handler import CallbackHandler, Handler
from instrument.integrations.langchain.nodes import Source, registry
from instrument.integrations.langchain.registry import MAX_CLOSED
from instrument.recorder import Recorder, as_v4, own_id
from tests.integrations.langchain_fakes import FakeChat, FakeStream, traced

ROOT = Path(__file__).resolve().parents[2]
CHAIN = ChatPromptTemplate.from_messages([("human", "{q}")]) | FakeChat() | StrOutputParser()
ASK = {"q": "hi"}


@pytest.fixture
def runs():
    with traced(with_openai=False) as runs:
        yield runs
        runs.check()


def test_nothing_is_imported():
    """Installing imports nothing of LangChain, and asking for the handler does."""
    code = (
        "import sys\n"
        "from instrument.integrations import langchain\n"
        "from instrument.recorder import Recorder\n"
        "langchain.install(Recorder(print))\n"
        "assert not [name for name in sys.modules if name.startswith('langchain')]\n"
        "langchain.CallbackHandler\n"
        "assert 'langchain_core.callbacks.base' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_registered_before_the_import():
    """A program that imports LangChain afterwards is traced without a callback."""
    code = (
        "from instrument.integrations import langchain\n"
        "from instrument.recorder import Recorder\n"
        "records = []\n"
        "langchain.install(Recorder(records.append))\n"
        "from langchain_core.language_models import FakeListChatModel\n"
        "FakeListChatModel(responses=['x']).invoke('hi')\n"
        "assert len(records) == 2, records\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_every_thread_sees_the_handler(runs):
    """A bare thread, without anybody's context, is traced as well."""
    from threading import Thread

    thread = Thread(target=FakeChat().invoke, args=("hi",))
    thread.start()
    thread.join()

    assert len(runs.ended) == 1


ATTACHED = {
    "at the call": lambda handler: CHAIN.invoke(ASK, {"callbacks": [handler]}),
    "by config": lambda handler: CHAIN.with_config(callbacks=[handler]).invoke(ASK),
    "twice": lambda handler: CHAIN.with_config(callbacks=[handler]).invoke(
        ASK, {"callbacks": [handler]}
    ),
    "two of them": lambda handler: CHAIN.invoke(ASK, {"callbacks": [handler, CallbackHandler()]}),
    "at the model": lambda handler: (
        CHAIN.first | FakeChat(callbacks=[handler]) | CHAIN.last
    ).invoke(ASK),
    "everywhere": lambda handler: (CHAIN.first | FakeChat(callbacks=[handler]) | CHAIN.last).invoke(
        ASK, {"callbacks": [CallbackHandler()]}
    ),
}


@pytest.mark.parametrize("where", ATTACHED)
def test_attached_and_registered(where, runs):
    """A handler that is attached as well, wherever, does not count anything twice."""
    ATTACHED[where](CallbackHandler(user_id="ada"))

    assert len(runs.ended) == 4
    assert runs.one(kind="llm").user_id == "ada"


def test_attached_alone():
    """A handler that is attached without `instrument()` records what it is attached to."""
    records = []
    recorders.installed.append(Recorder(records.append))
    try:
        CHAIN.invoke(ASK, {"callbacks": [CallbackHandler(thread_id="t1")]})
        CHAIN.invoke(ASK)
    finally:
        recorders.installed.pop()

    ended = [record.decode() for record in records if record.duration is not None]
    assert len(ended) == 4
    assert {run.thread_id for run in ended} == {"t1"}


def test_handler_starts_recording():
    """Making a handler when nothing records asks for a start with the environment's settings."""
    started = []
    before, recorders.starters[:] = recorders.starters[:], [lambda: started.append(True)]
    try:
        CallbackHandler()
    finally:
        recorders.starters[:] = before

    assert started == [True]


def test_no_recorder():
    """A handler that outlives tracing lets the chain run, and records nothing."""
    handler = Handler(Source(lambda: None))

    assert CHAIN.invoke(ASK, {"callbacks": [handler]})
    assert not len(registry)


def test_uninstall():
    """After the end nothing new is seen, a running tree ends, and LangChain's classes are as before."""
    before = BaseChatModel.generate, BaseTool.arun, BaseRetriever.ainvoke
    records = []
    undo = langchain.install(Recorder(records.append))
    assert BaseChatModel.generate is not before[0]
    stream = FakeStream().stream("hi")
    next(stream)
    undo()
    list(stream)
    CHAIN.invoke(ASK)

    assert [record.duration is None for record in records] == [True, False]
    assert (BaseChatModel.generate, BaseTool.arun, BaseRetriever.ainvoke) == before


def test_install_again(runs):
    """Installed twice and taken back once, every run is still counted once, by the newer."""
    records = []
    undo = langchain.install(Recorder(records.append))
    CHAIN.invoke(ASK)
    undo()
    CHAIN.invoke(ASK)

    assert (len(records), len(runs.records)) == (8, 8)


def test_copies():
    """A handler may be copied and pickled with the model that holds it."""
    with traced(with_openai=False):
        handler = CallbackHandler(user_id="ada", tags=["a"], metadata={"n": 1})

        assert copy.deepcopy(FakeChat(callbacks=[handler])).callbacks[0] is handler
        assert copy.copy(handler) is handler
        again = pickle.loads(pickle.dumps(handler))
    assert again.source.said == handler.source.said


def test_wrong_arguments():
    """An id that is no string is refused where it is given, with the remedy."""
    with pytest.raises(TypeError, match=r"user_id must be a string, not int: use str"):
        CallbackHandler(user_id=7)


WHO = {
    "handler": ({"callbacks": True}, ("handler", "handler")),
    "metadata": ({"metadata": {"user_id": "lc", "session_id": "lc"}}, ("lc", "lc")),
    "configurable": ({"configurable": {"user_id": "lc", "thread_id": "lc"}}, ("lc", "lc")),
    "conversation": ({"metadata": {"conversation_id": 12}}, (None, "12")),
    "handler over metadata": (
        {"callbacks": True, "metadata": {"user_id": "lc", "thread_id": "lc"}},
        ("handler", "handler"),
    ),
}


@pytest.mark.parametrize("name", WHO)
@pytest.mark.parametrize("chain", [CHAIN, FakeChat()], ids=["chain", "model"])
def test_who(name, chain, runs):
    """User and thread come from the handler, the metadata or the configurable, for every run."""
    config, expected = copy.copy(WHO[name][0]), WHO[name][1]
    if config.pop("callbacks", False):
        config["callbacks"] = [CallbackHandler(user_id="handler", thread_id="handler")]
    chain.invoke(ASK if chain is CHAIN else "hi", config)

    assert {(run.user_id, run.thread_id) for run in runs.ended} == {expected}


async def test_who_asynchronously(runs):
    """The same in asynchronous code."""
    await CHAIN.ainvoke(ASK, {"configurable": {"user_id": "lc", "thread_id": "lc"}})

    assert {(run.user_id, run.thread_id) for run in runs.ended} == {("lc", "lc")}


ADA, BOB = ({"configurable": {"user_id": who, "thread_id": who}} for who in ("ada", "bob"))
BATCHED = {
    "sequence": CHAIN,
    "fallbacks": RunnableLambda(lambda x: x).with_fallbacks([CHAIN]),
    "retry": CHAIN.with_retry(),
    "model": RunnableLambda(lambda x: "hi") | FakeChat(),
}


@pytest.mark.parametrize("name", BATCHED)
@pytest.mark.parametrize("config", ["one", "each"])
async def test_who_in_a_batch(name, config, runs):
    """A batch may have one config, or one for each input: each run has its own user."""
    chain, asks = BATCHED[name], [dict(ASK), dict(ASK)]
    configs, expected = (ADA, ["ada", "ada"]) if config == "one" else ([ADA, BOB], ["ada", "bob"])
    chain.batch(asks, configs)
    await chain.abatch(asks, configs)
    await chain.abatch(inputs=asks, config=configs)

    roots = [run.user_id for run in runs.ended if run.parent_id is None]
    assert sorted(roots) == sorted(expected * 3)
    assert {run.thread_id == run.user_id for run in runs.ended} == {True}
    assert {run.user_id for run in runs.ended} == set(expected)


@pytest.mark.parametrize("outer", [{}, ADA], ids=["nobody", "ada"])
async def test_who_of_a_call_inside(outer, runs):
    """A call that the application makes inside of a run, for somebody else, is that one's."""

    def work(ask):
        CHAIN.invoke(ask, BOB)
        CHAIN.batch([ask, ask], [BOB, BOB])
        return "".join(CHAIN.stream(ask, BOB))

    async def work_too(ask):
        await CHAIN.ainvoke(ask, BOB)

    def ask_model(_):
        return FakeChat().invoke("hi", BOB).content

    for job in (work, ask_model):
        RunnableLambda(job, name="job").invoke(ASK, outer)
    await RunnableLambda(work_too, name="job").ainvoke(ASK, outer)

    expected = {"job": "ada" if outer else None}
    assert {(run.name, run.user_id) for run in runs.ended} == {
        (run.name, expected.get(run.name, "bob")) for run in runs.ended
    }
    assert all(run.thread_id == run.user_id for run in runs.ended)


async def test_batch_without_a_config_for_each(runs):
    """Where there is none for one of them, nothing is lost."""
    await CHAIN.abatch([dict(ASK), dict(ASK)], [None, ADA])

    assert len(runs.ended) == 2 * len({run.name for run in runs.ended})
    roots = [run.user_id for run in runs.ended if run.parent_id is None]
    assert sorted(roots, key=str) == [None, "ada"]


async def test_nobody_knows_whose(runs):
    """The same input for two users says nothing of either, unless LangChain does; nor does none."""
    await CHAIN.abatch([ASK, ASK], [ADA, BOB])
    await CHAIN.abatch([ASK, dict(ASK)])

    told = ["ada", "bob"] if VERSION.startswith("0.") else [None, None]  # there in the metadata
    roots = [run.user_id for run in runs.ended if run.parent_id is None]
    assert sorted(roots, key=str) == sorted([*told, None, None], key=str)


def test_context_comes_first(runs):
    """What the application bound around the call counts before the handler and the metadata."""
    handler = CallbackHandler(user_id="handler", thread_id="handler", tags=["h"])
    with context(user_id="ada", tags=["c"]):
        CHAIN.invoke(ASK, {"callbacks": [handler], "metadata": {"user_id": "lc"}})

    assert {(run.user_id, run.thread_id) for run in runs.ended} == {("ada", "handler")}
    assert {"h", "c"} <= set(runs.ended[0].tags)


def test_context_inside_a_chain(runs):
    """A block inside a chain binds what is called in it, and no more."""

    def step(_):
        with context(user_id="inner"):
            FakeChat().invoke("hi")

    with context(user_id="outer"):
        RunnableLambda(step, name="step").invoke(1)

    assert (runs.one(kind="llm").user_id, runs.one("step").user_id) == ("inner", "outer")


def test_runs_of_others_inherit(runs):
    """A run of another integration's under a LangChain run is made for the same user."""
    made = []

    def step(_):
        run = runs.recorder.begin("llm", "direct")
        run.announce({})
        run.end({})
        made.append(run)

    RunnableLambda(step, name="step").invoke(1, {"metadata": {"user_id": "lc"}})

    assert runs.one("direct").user_id == "lc"
    assert runs.path(runs.one("direct")) == "step > direct"


def test_unknown_metadata_stays_out(runs):
    """LangChain's metadata may hold keys, so only what is known is kept."""
    config = {"metadata": {"api": "hush"}, "configurable": {"openai_key": "hush", "x": "hush"}}
    CHAIN.invoke(ASK, config)

    assert "hush" not in str(runs.ended)


@pytest.mark.parametrize("given", [uuid4(), uuid5(uuid4(), "x")], ids=["v4", "v5"])
def test_own_run_id(given, runs):
    """A run that the application numbers can be found again by that number."""
    CHAIN.invoke(ASK, {"run_id": given})

    assert runs.one("RunnableSequence").id == as_v4(given)
    assert runs.one("RunnableSequence").trace_id == as_v4(given)
    assert runs.one("RunnableSequence").metadata["langchain_run_id"] == str(given)


def test_run_id_used_again(runs):
    """A number that is used twice is the first run's; the second has an id of its own."""
    given = uuid4()
    CHAIN.invoke(ASK, {"run_id": given})
    CHAIN.invoke(ASK, {"run_id": given})

    assert len({run.id for run in runs.ended}) == 8


def test_as_v4():
    """An id that is a UUIDv4 stays; any other becomes one, always the same."""
    four = uuid4()
    five = uuid5(four, "x")

    assert as_v4(four) == str(four)
    assert UUID(as_v4(five)).version == 4
    assert own_id(str(five)) == own_id(as_v4(five)) == as_v4(five)
    assert own_id("mine") == "mine"


def test_unsampled():
    """A tree that is not sampled publishes nothing, and leaves nothing open."""
    records = []
    undo = langchain.install(Recorder(records.append, sample_rate=0.0))
    try:
        CHAIN.invoke(ASK)
    finally:
        undo()

    assert records == []
    assert not len(registry)


def test_our_failure_stays_ours(runs, caplog):
    """A failure of ours does not reach the chain; it is logged once, and nothing stays open."""
    guard.strict = False

    def broken():
        raise RuntimeError("ours")

    handler = Handler(Source(broken))
    with caplog.at_level(logging.WARNING):
        assert CHAIN.invoke(ASK, {"callbacks": [handler]}) == "one two three"

    assert notices.counts["failed to begin a chain"] == 3
    assert [record.name for record in caplog.records] == ["instrument"] * len(caplog.records)


def test_memory_is_flat(runs):
    """What an invocation leaves behind is bounded: after a warm-up memory does not grow."""
    runs.recorder.publish = lambda record: None

    def blocks_after(times):
        for _ in range(times):
            CHAIN.invoke(ASK)
        gc.collect()
        return sys.getallocatedblocks()

    before = blocks_after(MAX_CLOSED // 4 + 1)

    assert abs(blocks_after(500) - before) < 500
