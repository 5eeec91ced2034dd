"""Each call of the SDK is one llm run, in the right place, however LangChain comes to make it."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

pytest.importorskip("openai", reason="openai is not installed")
pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.llms import LLM
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from instrument.context import context
from instrument.integrations.langchain.handler import Handler
from instrument.testing import FakeOpenAI
from tests.integrations.langchain_fakes import FakeRetriever, traced

pytestmark = [
    pytest.mark.filterwarnings("ignore:Unexpected type for token usage"),  # of langchain-openai
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
]

PROMPT = ChatPromptTemplate.from_messages([("human", "{q}")])
ASK = [{"role": "user", "content": "hello"}]
NO_CONTEXT = sys.version_info < (3, 11)


class Person(BaseModel):
    """Somebody."""

    name: str


NUMBERS = itertools.count()


class Kit:
    """The model under LangChain (`lc`) and direct clients (`sdk`), all for one fake server."""

    def __init__(self, url):
        # LangChain keeps one HTTP client for each address and timeout, also when it was closed, and
        # a port comes again: so each model has a timeout of its own.
        timeout = 60 + next(NUMBERS)
        given = {"base_url": url, "api_key": "test", "max_retries": 0, "timeout": timeout}
        self.model = ChatOpenAI(model="lc", **given)
        self.client = OpenAI(**given)
        self.aclient = AsyncOpenAI(**given)
        self.chain = PROMPT | self.model | StrOutputParser()

    def direct(self, *_):
        return self.client.chat.completions.create(model="sdk", messages=ASK).id

    async def adirect(self, *_):
        return (await self.aclient.chat.completions.create(model="sdk", messages=ASK)).id


LC = ["lc"]
SDK = ["sdk"]
IN_CHAIN = ["RunnableSequence > lc"]


def invoke(kit):
    kit.model.invoke("hi")


async def ainvoke(kit):
    await kit.model.ainvoke("hi")


def stream(kit):
    assert list(kit.model.stream("hi"))


async def astream(kit):
    assert [chunk async for chunk in kit.model.astream("hi")]


def batch(kit):
    kit.model.batch(["a", "b", "c"])


async def abatch(kit):
    await kit.model.abatch(["a", "b", "c"])


def generate(kit):
    kit.model.generate([[HumanMessage("a")], [HumanMessage("b")]])


async def agenerate(kit):
    await kit.model.agenerate([[HumanMessage("a")], [HumanMessage("b")]])


def chain_invoke(kit):
    kit.chain.invoke({"q": "hi"})


async def chain_ainvoke(kit):
    await kit.chain.ainvoke({"q": "hi"})


def chain_stream(kit):
    assert list(kit.chain.stream({"q": "hi"}))


async def chain_astream(kit):
    assert [chunk async for chunk in kit.chain.astream({"q": "hi"})]


def chain_batch(kit):
    kit.chain.batch([{"q": "a"}, {"q": "b"}])


async def chain_abatch(kit):
    await kit.chain.abatch([{"q": "a"}, {"q": "b"}])


async def events(kit):
    assert [event async for event in kit.chain.astream_events({"q": "hi"}, version="v2")]


def with_tools(kit):
    kit.model.bind_tools([greet]).invoke("hi")


def structured(kit):
    assert kit.model.with_structured_output(Person, method="json_schema").invoke("hi")


def structured_stream(kit):
    assert list(kit.model.with_structured_output(Person, method="json_schema").stream("hi"))


def structured_by_tool(kit):
    assert kit.model.with_structured_output(Person, method="function_calling").invoke("hi")


async def astructured(kit):
    assert await kit.model.with_structured_output(Person, method="json_schema").ainvoke("hi")


def retried(kit):
    kit.model.with_retry().invoke("hi")


def inner_chain(kit):
    RunnableLambda(lambda _: kit.chain.invoke({"q": "hi"}), name="outer").invoke(1)


async def ainner_chain(kit):
    async def outer(_):
        return await kit.chain.ainvoke({"q": "hi"})

    await RunnableLambda(outer).ainvoke(1)


def parallel(kit):
    RunnableParallel(a=kit.model, b=kit.model).invoke("hi")


async def aparallel(kit):
    await RunnableParallel(a=kit.model, b=kit.model).ainvoke("hi")


def in_pool(kit):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(kit.model.invoke, ["a", "b"]))


async def to_thread(kit):
    await asyncio.to_thread(kit.model.invoke, "hi")


async def waited_for(kit):
    await asyncio.wait_for(kit.model.ainvoke("hi"), 10)


async def as_task(kit):
    await asyncio.create_task(kit.model.ainvoke("hi"))


class Provider(BaseChatModel):
    """A model of somebody's own that calls the SDK, by `way`."""

    kit: object
    way: object

    @property
    def _llm_type(self):
        return "own"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        answer = self.way(self.kit)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(str(answer)))])

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        answer = await self.way(self.kit)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(str(answer)))])


def own_provider(kit):
    Provider(kit=kit, way=Kit.direct).invoke("hi")


async def own_async_provider(kit):
    await Provider(kit=kit, way=Kit.adirect).ainvoke("hi")


async def own_provider_in_a_task(kit):
    async def way(kit):
        return await asyncio.create_task(kit.adirect())

    await Provider(kit=kit, way=way).ainvoke("hi")


def own_provider_in_a_thread(kit):
    def way(kit):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(copy_context().run, kit.direct).result()

    Provider(kit=kit, way=way).invoke("hi")


class Streaming(Provider):
    """A model of somebody's own that can stream, but only synchronously."""

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for part in self.kit.client.chat.completions.create(
            model="sdk", messages=ASK, stream=True, stream_options={"include_usage": True}
        ):
            text = part.choices[0].delta.content if part.choices else None
            yield ChatGenerationChunk(message=AIMessageChunk(text or ""))


def own_stream(kit):
    assert list(Streaming(kit=kit, way=Kit.direct).stream("hi"))


async def own_stream_read_async(kit):
    assert [part async for part in Streaming(kit=kit, way=Kit.direct).astream("hi")]


async def own_streams_at_once(kit):
    model = Streaming(kit=kit, way=Kit.direct)

    async def read():
        parts = model.astream("hi")
        await anext(parts)
        kit.direct()
        assert [part async for part in parts]

    await asyncio.gather(read(), read())


class Text(LLM):
    """A text model of somebody's own, synchronous alone."""

    kit: object

    @property
    def _llm_type(self):
        return "own"

    def _call(self, prompt, stop=None, run_manager=None, **kwargs):
        return self.kit.direct()


async def own_text(kit):
    await Text(kit=kit).ainvoke("hi")


async def own_text_batch(kit):
    await Text(kit=kit).abatch(["a", "b"])


def own_text_sync_batch(kit):
    Text(kit=kit).batch(["a", "b"])


def after_invoke(kit):
    kit.model.invoke("hi")
    kit.direct()


async def after_ainvoke(kit):
    await kit.model.ainvoke("hi")
    await kit.adirect()


def between_chunks(kit):
    for number, _ in enumerate(kit.model.stream("hi")):
        if number == 0:
            kit.direct()


async def abetween_chunks(kit):
    number = 0
    async for _ in kit.model.astream("hi"):
        if number == 0:
            await kit.adirect()
        number += 1


def between_chain_chunks(kit):
    for number, _ in enumerate(kit.chain.stream({"q": "hi"})):
        if number == 0:
            kit.direct()
            kit.model.invoke("between")


async def abetween_chain_chunks(kit):
    number = 0
    async for _ in kit.chain.astream({"q": "hi"}):
        if number == 0:
            await kit.adirect()
            await kit.model.ainvoke("between")
        number += 1


def given_anew(kit):
    handler = Handler()
    ask = RunnableLambda(lambda _: kit.model.invoke("hi", {"callbacks": [handler]}), name="outer")
    ask.invoke(1)


def after_left_stream(kit):
    chunks = kit.model.stream("hi")
    next(chunks)
    kit.direct()
    chunks.close()


async def meanwhile(kit):
    await asyncio.gather(kit.model.ainvoke("hi"), kit.adirect(), kit.model.ainvoke("hi"))


@tool
def greet(name: str) -> str:
    """Greet somebody."""
    return f"hello {name}"


def in_lambda(kit):
    RunnableLambda(kit.direct, name="outer").invoke(1)


async def in_async_lambda(kit):
    await RunnableLambda(kit.adirect, name="outer").ainvoke(1)


async def in_sync_lambda_of_async_chain(kit):
    await RunnableLambda(kit.direct, name="outer").ainvoke(1)


def in_tool(kit):
    @tool
    def ask(q: str) -> str:
        """Ask."""
        return kit.direct()

    ask.invoke({"q": "hi"})


async def in_async_tool(kit):
    @tool
    async def ask(q: str) -> str:
        """Ask."""
        return await kit.adirect()

    await ask.ainvoke({"q": "hi"})


async def in_sync_tool_of_async_code(kit):
    @tool
    def ask(q: str) -> str:
        """Ask."""
        return kit.direct()

    await ask.ainvoke({"q": "hi"})


def in_branches(kit):
    branch = RunnableLambda(kit.direct, name="branch")
    RunnableParallel(a=branch, b=branch).invoke(1)


def in_retriever(kit):
    class Asking(FakeRetriever):
        def _get_relevant_documents(self, query, *, run_manager):
            kit.direct()
            return []

    Asking().invoke("hi")


def in_callback(kit):
    class Asking(BaseCallbackHandler):
        def on_chat_model_start(self, *args, **kwargs):
            kit.direct()

    kit.model.invoke("hi", {"callbacks": [Asking()]})


async def in_async_callback(kit):
    class Asking(AsyncCallbackHandler):
        async def on_chat_model_start(self, *args, **kwargs):
            await kit.adirect()

    await kit.model.ainvoke("hi", {"callbacks": [Asking()]})


def in_bare_thread(kit):
    def start(_):
        thread = threading.Thread(target=kit.direct)
        thread.start()
        thread.join()

    RunnableLambda(start).invoke(1)


def after_chain(kit):
    kit.chain.invoke({"q": "hi"})
    kit.direct()


def after_batch(kit):
    kit.chain.batch([{"q": "a"}, {"q": "b"}])
    kit.direct()


def in_context_block(kit):
    with context(user_id="ada"):
        kit.model.invoke("hi")
        kit.direct()


def alone(kit):
    kit.direct()


STYLES = {
    invoke: LC,
    ainvoke: LC,
    stream: LC,
    astream: LC,
    batch: LC * 3,
    abatch: LC * 3,
    generate: LC * 2,
    agenerate: LC * 2,
    chain_invoke: IN_CHAIN,
    chain_ainvoke: IN_CHAIN,
    chain_stream: IN_CHAIN,
    chain_astream: IN_CHAIN,
    chain_batch: IN_CHAIN * 2,
    chain_abatch: IN_CHAIN * 2,
    events: IN_CHAIN,
    with_tools: LC,
    structured: IN_CHAIN,
    structured_stream: IN_CHAIN,
    structured_by_tool: IN_CHAIN,
    astructured: IN_CHAIN,
    retried: ["ChatOpenAI > lc"],
    inner_chain: ["outer > RunnableSequence > lc"],
    parallel: ["RunnableParallel<a,b> > lc"] * 2,
    aparallel: ["RunnableParallel<a,b> > lc"] * 2,
    in_pool: LC * 2,
    to_thread: LC,
    waited_for: LC,
    as_task: LC,
    own_provider: ["Provider"],
    own_async_provider: ["Provider"],
    own_provider_in_a_task: ["Provider"],
    own_provider_in_a_thread: ["Provider"],
    own_stream: ["Streaming"],
    own_stream_read_async: ["Streaming"],
    own_text: ["Text"],
    own_streams_at_once: ["Streaming", "Streaming", "sdk", "sdk"],
    after_invoke: LC + SDK,
    after_ainvoke: LC + SDK,
    between_chunks: LC + SDK,
    abetween_chunks: LC + SDK,
    between_chain_chunks: [*IN_CHAIN, "lc", "sdk"],
    abetween_chain_chunks: [*IN_CHAIN, "lc", "sdk"],
    given_anew: ["outer > lc"],
    after_left_stream: LC + SDK,
    meanwhile: LC * 2 + SDK,
    in_lambda: ["outer > sdk"],
    in_sync_lambda_of_async_chain: ["outer > sdk"],
    in_tool: ["ask > sdk"],
    in_sync_tool_of_async_code: ["ask > sdk"],
    in_branches: ["RunnableParallel<a,b> > branch > sdk"] * 2,
    in_retriever: ["Asking > sdk"],
    in_callback: LC + SDK,
    in_async_callback: LC + SDK,
    in_bare_thread: SDK,
    after_chain: [*IN_CHAIN, "sdk"],
    after_batch: [*IN_CHAIN * 2, "sdk"],
    in_context_block: LC + SDK,
    alone: SDK,
}
"""What is called, and where its llm runs must stand."""

NEED_CONTEXT = {
    ainner_chain: ["outer > RunnableSequence > lc"],
    in_async_lambda: ["outer > sdk"],
    in_async_tool: ["ask > sdk"],
}
"""Asynchronous code before Python 3.11 does not know which run of LangChain's it is in."""

ALL = {**STYLES, **({} if NO_CONTEXT else NEED_CONTEXT)}


@pytest.fixture
def server():
    with FakeOpenAI() as server:
        yield server


def perform(style, kit):
    """Run a style in a context of its own."""

    async def run():
        await style(kit)
        await kit.aclient.close()
        await kit.model.root_async_client.close()

    if asyncio.iscoroutinefunction(style):
        copy_context().run(asyncio.run, run())
    else:
        copy_context().run(style, kit)


@pytest.mark.parametrize("style", ALL, ids=lambda style: style.__name__)
def test_counted_once(style, server):
    """Each request at the wire is one llm run in the right place, and the SDK enriched it."""
    with traced() as runs:
        perform(style, Kit(server.url))

    assert runs.paths("llm") == sorted(ALL[style])
    assert len(server.requests) == len(runs.of("llm"))
    assert all(run.answer.request_id for run in runs.of("llm"))
    runs.check()


@pytest.mark.parametrize("style", [own_text_batch, own_text_sync_batch])
def test_prompts_of_one_call(style, server):
    """Where LangChain knows only the first run of several prompts, nothing is counted twice."""
    with traced() as runs:
        perform(style, Kit(server.url))

    assert runs.paths("llm") == ["Text"] * 2
    assert len(server.requests) == 2
    runs.check()


@pytest.mark.parametrize("style", ALL, ids=lambda style: style.__name__)
def test_sdk_alone(style, server):
    """Without LangChain's handler, the SDK records each call."""
    from instrument.integrations import openai
    from instrument.recorder import Recorder

    records = []
    undo = openai.install(Recorder(records.append))
    try:
        perform(style, Kit(server.url))
    finally:
        undo()

    ended = [record for record in records if getattr(record, "duration", None) is not None]
    assert len(ended) == len(server.requests)


@pytest.mark.parametrize("style", [invoke, stream, ainvoke, astream, chain_invoke, events])
def test_handler_alone(style, server):
    """Without the tap on the SDK, LangChain's handler records each call."""
    with traced(with_openai=False) as runs:
        perform(style, Kit(server.url))

    assert runs.paths("llm") == sorted(ALL[style])
    assert runs.one(kind="llm").output is not None
    runs.check()
