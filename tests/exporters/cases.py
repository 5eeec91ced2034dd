"""
The runs that every destination is shown: one small story for each thing that can happen.

`GOLDEN` are the cases of the golden files, each a list of ended runs in the order in which they
ended. `MAPPING` are the runs of the eight agreed samples, by their titles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from instrument.run import Answer, Error, Item, Run, Snapshot, Trace, Usage
from instrument.snapshot import snapshot

CHAIN = "11111111-1111-4111-8111-111111111111"
RETRIEVER = "22222222-2222-4222-8222-222222222222"
LLM = "33333333-3333-4333-8333-333333333333"
TOOL = "44444444-4444-4444-8444-444444444444"
SECOND_LLM = "55555555-5555-4555-8555-555555555555"
SESSION = "77777777-7777-4777-8777-777777777777"

T0 = datetime(2024, 10, 9, 13, 21, 43, 682000, tzinfo=timezone.utc)
USAGE = Usage(prompt=9, completion=3, total=12)
ANSWER = Answer(provider="openai", model="gpt-4o-2024-08-06", finish_reasons=("stop",))
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
}
TOOL_SPEC = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
FOLLOW_UP = [*MESSAGES, CALLS, {"role": "tool", "tool_call_id": "call_1", "content": "18C"}]


def at(offset: float) -> datetime:
    """Return the moment *offset* seconds after the model call began."""
    return T0 + timedelta(seconds=offset)


def said(text: str | None, **more: Any) -> Snapshot:
    """Make an answer's message."""
    return snapshot({"role": "assistant", "content": text, **more})


BASE = Run(
    id=LLM,
    trace_id=LLM,
    parent_id=None,
    kind="llm",
    name="gpt-4o",
    started_at=T0,
    duration=2.5,
    input=snapshot(MESSAGES),
    output=said("Hello sir"),
    params=snapshot({"temperature": 0.2}),
    usage=USAGE,
    answer=ANSWER,
    user_id="u-42",
    thread_id="thread-7",
)
"""A call that went well; every other case says only what differs."""


def run(**changes: Any) -> Run:
    """Make a run that differs from the plain one."""
    return replace(BASE, **changes)


def step(kind: Any, name: str, run_id: str, **changes: Any) -> Run:
    """Make a run that is not a model call."""
    bare: dict[str, Any] = {"params": None, "usage": None, "answer": None, "output": None}
    return run(id=run_id, kind=kind, name=name, **{**bare, **changes})


def streamed() -> Run:
    """Make a stream that was read to its end."""
    return run(
        params=snapshot({"temperature": 0.2, "stream": True}),
        answer=replace(ANSWER, stream=True, time_to_first_token=0.41),
    )


def partial() -> Run:
    """Make a stream that the application left after one chunk."""
    return run(
        params=snapshot({"temperature": 0.2, "stream": True}),
        output=said("Hel"),
        partial="closed",
        usage=None,
        answer=replace(ANSWER, stream=True, finish_reasons=(None,)),
    )


def tools() -> list[Run]:
    """Make a call whose answer asks for a tool, and the tool's own run beside it."""
    asking = run(
        params=snapshot({"tools": [TOOL_SPEC]}),
        output=snapshot(CALLS),
        answer=replace(ANSWER, finish_reasons=("tool_calls",)),
    )
    tool = step(
        "tool",
        "get_weather",
        TOOL,
        trace_id=TOOL,
        started_at=at(2.508),
        duration=0.005,
        input=snapshot({"city": "Paris"}),
        output=snapshot("18C"),
    )
    return [asking, tool]


def error() -> Run:
    """Make a call that the provider refused."""
    return run(
        output=None,
        usage=None,
        error=Error("Error code: 429 - rate limit", "RateLimitError", "Traceback ...", 429),
        answer=Answer(provider="openai"),
    )


def chain(**changes: Any) -> list[Run]:
    """Make a chain of a retriever and a model call, as it ends: children first."""
    return [
        step(
            "retriever",
            "VectorStoreRetriever",
            RETRIEVER,
            trace_id=CHAIN,
            parent_id=CHAIN,
            started_at=at(-0.582),
            duration=0.2,
            input=snapshot("Hello"),
            output=snapshot(["doc one", "doc two"]),
            **changes,
        ),
        run(trace_id=CHAIN, parent_id=CHAIN, **changes),
        step(
            "chain",
            "RunnableSequence",
            CHAIN,
            trace_id=CHAIN,
            started_at=at(-0.682),
            duration=3.2,
            input=snapshot({"question": "Hello"}),
            output=snapshot({"answer": "Hello sir"}),
            **changes,
        ),
    ]


def agent() -> list[Run]:
    """Make an agent that asks a model, runs a tool and asks again."""
    asking, tool = tools()
    done = {"messages": [*FOLLOW_UP, {"role": "assistant", "content": "It is 18C in Paris."}]}
    return [
        replace(asking, trace_id=CHAIN, parent_id=CHAIN),
        replace(tool, trace_id=CHAIN, parent_id=CHAIN),
        run(
            id=SECOND_LLM,
            trace_id=CHAIN,
            parent_id=CHAIN,
            started_at=at(2.6),
            duration=0.9,
            input=snapshot(FOLLOW_UP),
            output=said("It is 18C in Paris."),
            params=snapshot({"tools": [TOOL_SPEC]}),
        ),
        step(
            "agent",
            "LangGraph",
            CHAIN,
            trace_id=CHAIN,
            started_at=at(-0.1),
            duration=3.7,
            input=snapshot({"messages": MESSAGES}),
            output=snapshot(done),
        ),
    ]


def choices() -> Run:
    """Make a call with two choices."""
    texts = ("Hello sir", "Good day")
    return run(
        params=snapshot({"n": 2}),
        output=snapshot([{"role": "assistant", "content": text} for text in texts]),
        answer=replace(ANSWER, finish_reasons=("stop", "length")),
    )


GOLDEN: Mapping[str, Callable[[], list[Run]]] = {
    "plain": lambda: [run(tags=("prod", "team:red"), metadata={"release": "1.2", "seats": 3})],
    "streamed": lambda: [streamed()],
    "partial": lambda: [partial()],
    "tools": tools,
    "choices": lambda: [choices()],
    "refusal": lambda: [run(output=said(None, refusal="I cannot help with that."))],
    "error": lambda: [error()],
    "chain": chain,
    "agent": agent,
    "no_user": lambda: [run(user_id=None, thread_id=None)],
    "non_ascii": lambda: [
        run(
            input=snapshot([{"role": "user", "content": "Grüße 你好 \U0001f44b\x00"}]),
            output=said("¡Hola! שלום"),
            user_id="señor-1",
        )
    ],
    "large": lambda: [run(input=snapshot([{"role": "user", "content": "word " * 200_000}]))],
}

MAPPING: Mapping[str, Callable[[], list[Run]]] = {
    "1 start (call in flight)": lambda: [run(duration=None, output=None, usage=None, answer=None)],
    "2 end (success)": lambda: [run()],
    "3 error (call raised)": lambda: [replace(error(), error=replace(REFUSED, status=None))],
    "4 nested in a chain (chain > retriever, llm)": chain,
    "5 with tools (model asked for a tool, tool ran)": tools,
    "5b the follow-up call whose input holds tool messages": lambda: [
        run(input=snapshot(FOLLOW_UP))
    ],
    "6 streaming (consumed to the end)": lambda: [streamed()],
    "6b streaming abandoned or broken half-way": lambda: [partial()],
}

REFUSED = Error("Error code: 429 - rate limit", "RateLimitError", "Traceback ...")


def offered(runs: Sequence[Run], *, whole_traces: bool) -> list[Item]:
    """Offer runs as the transport does: one by one, or each tree as its root ends."""
    if not whole_traces:
        return list(runs)
    roots = [each for each in runs if each.parent_id is None and each.duration is not None]
    return [Trace([each for each in runs if each.trace_id == root.id]) for root in roots]
