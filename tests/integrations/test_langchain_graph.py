# ruff: noqa: RUF012 - pydantic copies the defaults of its models
"""LangGraph and agents: nodes, interrupts, jumps and agents inside agents, each where it belongs."""

from __future__ import annotations

import operator
import sys
from typing import Annotated, Any, TypedDict

import orjson
import pytest

pytest.importorskip("langchain_core", reason="langchain-core is not installed")
pytest.importorskip("langgraph", reason="langgraph is not installed")
pytest.importorskip("openai", reason="openai is not installed")

from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, Send, interrupt
from openai import AsyncOpenAI, OpenAI

from instrument.testing import FakeOpenAI
from tests.integrations.langchain_fakes import FakeChat, traced

try:
    from langchain.agents import create_agent
except ImportError:
    create_agent = None

AGENTS = pytest.mark.skipif(create_agent is None, reason="langchain 1.x is not installed")
TASKS = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="LangGraph's asynchronous nodes lose their place before 3.11"
)
ASK = [{"role": "user", "content": "hello"}]


class State(TypedDict):
    """What the graphs of these tests pass on."""

    n: Annotated[int, operator.add]


class Calling(FakeChat):
    """A model that calls each of `calls` in turn, and then answers."""

    calls: list[Any] = []
    turn: list[int] = []

    def bind_tools(self, tools, **kwargs):
        return self

    def _message(self):
        self.turn.append(1)
        if len(self.turn) <= len(self.calls):
            return AIMessage("", tool_calls=[self.calls[len(self.turn) - 1]])
        return AIMessage("done")


def call(name, **args):
    return {"name": name, "args": args, "id": f"call_{name}", "type": "tool_call"}


@pytest.fixture
def runs():
    with traced() as runs:
        yield runs
        runs.check()


def graph_of(**nodes):
    """Compile a graph whose nodes follow one another."""
    builder = StateGraph(State)
    before = START
    for name, node in nodes.items():
        builder.add_node(name, node)
        builder.add_edge(before, name)
        before = name
    return builder.compile(checkpointer=InMemorySaver(), name="graph")


THREAD = {"configurable": {"thread_id": "t1"}}


def test_nodes(runs):
    """A graph is a chain with a chain for each node; its thread is the runs' thread."""
    graph_of(a=lambda s: {"n": 1}, b=lambda s: {"n": 2}).invoke({"n": 0}, THREAD)

    assert runs.paths() == ["graph", "graph > a", "graph > b"]
    assert {run.thread_id for run in runs.ended} == {"t1"}
    assert runs.one("a").metadata["langgraph_node"] == "a"
    assert runs.one("graph").output == b'{"n":3}'


def test_interrupt_and_resume(runs):
    """A pause is no error: the node ends with what it asks for, and resuming is a new trace."""

    def ask(_):
        return {"n": interrupt({"question": "how many?"})}

    graph = graph_of(ask=ask)
    graph.invoke({"n": 0}, THREAD)
    graph.invoke(Command(resume=4), THREAD)

    paused, resumed = (run for run in runs.ended if run.name == "ask")
    assert (paused.error, paused.metadata["control_flow"]) == (None, "GraphInterrupt")
    assert orjson.loads(paused.output)[0]["value"] == {"question": "how many?"}
    assert (resumed.output, resumed.error) == (b'{"n":4}', None)
    assert paused.trace_id != resumed.trace_id
    assert {run.thread_id for run in runs.ended} == {"t1"}


def test_goto(runs):
    """A node that names the next one returns a command, written down field by field."""
    builder = StateGraph(State)
    builder.add_node("a", lambda _: Command(goto="b", update={"n": 1}), destinations=("b",))
    builder.add_node("b", lambda _: {"n": 2})
    builder.add_edge(START, "a")
    builder.compile(name="graph").invoke({"n": 0})

    assert runs.paths() == ["graph", "graph > a", "graph > b"]
    assert orjson.loads(runs.one("a").output)["goto"] == "b"


def test_command_to_the_parent(runs):
    """A jump out of a subgraph is no error either."""
    inner = StateGraph(State)
    inner.add_node("leave", lambda _: Command(goto="b", update={"n": 1}, graph=Command.PARENT))
    inner.add_edge(START, "leave")
    outer = StateGraph(State)
    outer.add_node("inner", inner.compile(name="inner graph"), destinations=("b",))
    outer.add_node("b", lambda _: {"n": 2})
    outer.add_edge(START, "inner")
    outer.compile(name="graph").invoke({"n": 0})

    assert not any(run.error for run in runs.ended)
    assert runs.one("leave").metadata["control_flow"] == "ParentCommand"
    assert "graph > b" in runs.paths()


def test_send(runs):
    """Nodes that are sent out side by side are as many runs, each with its own input."""
    builder = StateGraph(State)
    builder.add_node("work", lambda s: {"n": s["n"]})
    builder.add_conditional_edges(START, lambda _: [Send("work", {"n": n}) for n in (1, 2, 3)])
    builder.add_edge("work", END)
    builder.compile(name="graph").invoke({"n": 0})

    assert runs.paths().count("graph > work") == 3
    inputs = sorted(run.input for run in runs.ended if run.name == "work")
    assert inputs == [b'{"n":1}', b'{"n":2}', b'{"n":3}']


def test_failing_node(runs):
    """A node's exception is the node's error and the graph's."""

    def fail(_):
        raise ValueError("broken")

    with pytest.raises(ValueError):
        graph_of(ok=lambda _: {"n": 1}, fail=fail).invoke({"n": 0}, THREAD)

    assert [run.name for run in runs.ended if run.error] == ["fail", "graph"]


def test_model_in_a_node(runs):
    """A model that a node calls stands under the node; messages of the state are recorded as such."""
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda s: {"messages": [FakeChat().invoke(s["messages"])]})
    builder.add_edge(START, "model")
    builder.compile(name="graph").invoke({"messages": [("user", "hi")]})

    assert runs.paths("llm") == ["graph > model > FakeChat"]
    assert orjson.loads(runs.one("graph").output)["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "one two three"},
    ]


@pytest.fixture
def server():
    with FakeOpenAI() as server:
        yield server


def test_sdk_in_a_node(runs, server):
    """A direct call of the SDK in a node stands under the node."""
    client = OpenAI(base_url=server.url, api_key="test")

    def node(_):
        client.chat.completions.create(model="sdk", messages=ASK)
        return {"n": 1}

    graph_of(node=node).invoke({"n": 0}, {"configurable": {"thread_id": "t1", "user_id": "ada"}})

    assert runs.paths("llm") == ["graph > node > sdk"]
    assert (runs.one("sdk").user_id, runs.one("sdk").thread_id) == ("ada", "t1")


@TASKS
async def test_sdk_in_an_async_node(runs, server):
    """So does one in an asynchronous node."""
    async with AsyncOpenAI(base_url=server.url, api_key="test") as client:

        async def node(_):
            await client.chat.completions.create(model="sdk", messages=ASK)
            return {"n": 1}

        await graph_of(node=node).ainvoke({"n": 0}, THREAD)

    assert runs.paths("llm") == ["graph > node > sdk"]


async def test_streamed_graph(runs):
    """A graph that is streamed, in whatever mode, is the same tree."""
    graph = graph_of(a=lambda _: {"n": 1})
    list(graph.stream({"n": 0}, THREAD, stream_mode=["updates", "values"]))
    assert [part async for part in graph.astream({"n": 0}, THREAD)]

    assert runs.paths() == ["graph", "graph", "graph > a", "graph > a"]


def test_stream_of_a_graph_that_is_left(runs):
    """Leaving the stream of a graph ends all of its runs."""
    stream = graph_of(a=lambda _: {"n": 1}, b=lambda _: {"n": 2}).stream({"n": 0}, THREAD)
    next(stream)
    stream.close()

    assert runs.one("graph").error is None


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@AGENTS
@pytest.mark.parametrize("name", [None, "weather"])
def test_agent(name, runs):
    """An agent, named or not, is an agent; what is below it is chains, tools and model calls."""
    agent = create_agent(Calling(calls=[call("add", a=1, b=2)]), tools=[add], name=name)
    agent.invoke({"messages": [("user", "1 + 2?")]})

    top = name or "LangGraph"
    assert runs.paths("agent") == [top]
    assert runs.paths("llm") == [f"{top} > model > Calling"] * 2
    assert runs.paths("tool") == [f"{top} > tools > add"]
    assert runs.one("add").input == b'{"a":1,"b":2}'


@AGENTS
def test_agent_inside_an_agent(runs):
    """An agent that is another's tool stands below that tool, as an agent."""
    helper = create_agent(Calling(), tools=[add], name="helper")

    @tool
    def help_me(question: str) -> str:
        """Help."""
        return helper.invoke({"messages": [("user", question)]})["messages"][-1].content

    boss = create_agent(
        Calling(calls=[call("help_me", question="why?")]), tools=[help_me], name="boss"
    )
    boss.invoke({"messages": [("user", "hi")]})

    assert runs.paths("agent") == ["boss", "boss > tools > help_me > helper"]
    assert "boss > tools > help_me > helper > model > Calling" in runs.paths("llm")


@AGENTS
@TASKS
async def test_async_agent(runs):
    """An asynchronous agent is the same tree."""
    agent = create_agent(Calling(calls=[call("add", a=1, b=2)]), tools=[add], name="weather")
    await agent.ainvoke({"messages": [("user", "1 + 2?")]})

    assert runs.paths("agent") == ["weather"]
    assert runs.paths("llm") == ["weather > model > Calling"] * 2


@pytest.mark.filterwarnings("ignore")  # the older agent is deprecated where the newer one is
def test_older_agent(runs):
    """The agent of older releases is a graph, whose model and tools are nested right."""
    prebuilt = pytest.importorskip("langgraph.prebuilt")
    agent = prebuilt.create_react_agent(Calling(calls=[call("add", a=1, b=2)]), [add])
    agent.invoke({"messages": [("user", "1 + 2?")]})

    assert len(runs.of("llm")) == 2
    assert all(path.startswith("LangGraph > ") for path in runs.paths("llm"))
    assert runs.paths("tool") == ["LangGraph > tools > add"]
