"""
What tracing adds to LangChain's runs, in the caller's thread, beside the bare chain.

    python tests/bench/bench_langchain.py [--blocks N] [--state]

A chain of nothing but runnables is called bare and traced in short blocks that alternate; only this
thread's CPU time is counted, and the difference of the medians is divided by the number of runs:
microseconds per callback pair (a start and its end). The prompt has ten messages. With `--state`
every run is handed all of them, as the nodes of a graph are. The records cross to a worker that
drops them, so what delivery costs is not counted here. A handler that does nothing is measured
too: what LangChain itself spends on any handler is in our figure, and not ours to save.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.context import register_configure_hook

from instrument.integrations import langchain
from instrument.recorder import Recorder

BUDGET_US = 30.0
CALLS_PER_BLOCK = 50
TURN = [
    HumanMessage("What is the weather in Oslo, and what shall I wear? " * 3),
    AIMessage("", tool_calls=[{"name": "weather", "args": {"town": "Oslo"}, "id": "c1"}]),
    ToolMessage("It snows, and the wind comes from the north. " * 5, tool_call_id="c1"),
]
PROMPT = [SystemMessage("You are a helpful assistant. " * 10), *TURN, *TURN, *TURN]
ANSWER = AIMessage(
    "Wear a warm coat. " * 20,
    usage_metadata={"input_tokens": 300, "output_tokens": 80, "total_tokens": 380},
    response_metadata={"model_name": "gpt-4o-mini-2024-07-18", "finish_reason": "stop"},
)


class Model(BaseChatModel):
    """A model that answers at once."""

    @property
    def _llm_type(self) -> str:
        return "bench"

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=ANSWER)])


def steps(count: int) -> Any:
    """Make a chain of *count* steps that pass on what they get; its own run is one more."""
    chain = RunnableLambda(lambda state: state, name="step")
    for _ in range(count - 1):
        chain = chain | RunnableLambda(lambda state: state, name="step")
    return chain


def block(call: Callable[[], Any]) -> float:
    """Measure the CPU time of one call in this thread, in microseconds."""
    began = time.thread_time()
    for _ in range(CALLS_PER_BLOCK):
        call()
    return (time.thread_time() - began) / CALLS_PER_BLOCK * 1e6


class Idle(BaseCallbackHandler):
    """A handler that does nothing, called where the run is made."""

    run_inline = True
    ignore_retry = True
    ignore_custom_event = True

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        return None


class Switch:
    """What LangChain takes for a context variable."""

    handler: Idle | None = None

    def get(self) -> Idle | None:
        return self.handler


SWITCH = Switch()
register_configure_hook(SWITCH, True, Idle)


def measure(call: Callable[[], Any], blocks: int) -> tuple[float, float, float]:
    """Measure a call bare, with an idle handler, and traced, in turn; gives the medians."""
    recorder = Recorder(lambda record: None)
    bare, idle, traced = [], [], []
    block(call)
    for _ in range(blocks):
        bare.append(block(call))
        SWITCH.handler = Idle()
        idle.append(block(call))
        SWITCH.handler = None
        undo = langchain.install(recorder)
        traced.append(block(call))
        undo()
    return statistics.median(bare), statistics.median(idle), statistics.median(traced)


def main() -> None:
    """Print one line for each kind of run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=20, help="pairs of blocks to measure")
    parser.add_argument("--state", action="store_true", help="hand every run all messages")
    options = parser.parse_args()
    model, chain = Model(), steps(4)
    given: Any = {"messages": PROMPT} if options.state else {"question": "What shall I wear?"}
    cases: list[tuple[str, int, Callable[[], Any]]] = [
        ("model, 10 messages", 1, lambda: model.invoke(PROMPT)),
        ("chain of 4 steps", 5, lambda: chain.invoke(given)),
    ]
    gc.disable()
    print(
        f"{'':20}{'bare us':>9}{'traced us':>11}{'ratio':>7}{'idle us/pair':>14}{'us/pair':>9}  budget"
    )
    for name, runs, call in cases:
        bare, idle, traced = measure(call, options.blocks)
        pair = (traced - bare) / runs
        print(
            f"{name:20}{bare:9.0f}{traced:11.0f}{traced / bare:7.2f}{(idle - bare) / runs:14.1f}"
            f"{pair:9.1f}  {BUDGET_US:.0f} {'ok' if pair <= BUDGET_US else 'OVER'}"
        )


if __name__ == "__main__":
    main()
