"""
What tracing adds to LangChain's runs, in the caller's thread, beside the bare chain.

    python tests/bench/bench_langchain.py [--rounds N]

Each whole call (`model.invoke`, `chain.invoke`, `tool.invoke`) is made in four processes: bare,
with a handler that does nothing registered as ours is, traced, and traced with a watch on our
callbacks. So what the interpreter has learnt in one of them cannot help or hurt another. The
processes take turns, a short block of calls each; only the calling thread's CPU time is counted,
call by call. A block counts with its median, and of all blocks the one is told that only a tenth of
them were quicker than: what else the machine does can only slow them, by half and more where others
share its caches. The worker sleeps during a block and delivers between blocks.

Figures are microseconds for each callback pair (a start and its end). `inside` is what the two
callbacks take, and is held to the budget. `idle` is what LangChain itself spends on having any
handler at all, `ours` what tracing adds to the whole call beyond that, and `whole` their sum: more
than `inside`, because LangChain's own code runs slower with other code between.
Prompts and states have ten messages.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import langchain_core
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import StructuredTool
from langchain_core.tracers.context import register_configure_hook

BUDGET_US = 30.0
CALLS = 40
"""Calls in a block."""

WARM_UP_BLOCKS = 10
QUIET = 10
"""One block in so many was quicker than the one that is told."""

TEAMS = 3
"""How many times fresh processes are measured: no two lie alike in memory."""

CALLBACKS = (
    *("on_chat_model_start", "on_llm_end"),
    *("on_chain_start", "on_chain_end"),
    *("on_tool_start", "on_tool_end"),
)

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
    """A model that answers at once, and has a name as all real ones do."""

    model_name: str = "gpt-4o-mini"

    @property
    def _llm_type(self) -> str:
        return "bench"

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=ANSWER)])


def weather(town: str) -> str:
    """Tell the weather."""
    return f"It snows in {town}."


def steps(count: int) -> Any:
    """Make a chain of *count* steps that pass on what they get; its own run is one more."""
    chain: Any = RunnableLambda(lambda state: state, name="step")
    for _ in range(count - 1):
        chain = chain | RunnableLambda(lambda state: state, name="step")
    return chain


class Case(NamedTuple):
    """A call, and how many runs it makes."""

    name: str
    runs: int
    call: Callable[[], Any]


MODEL, CHAIN, STEP = Model(), steps(4), steps(1)
TOOL = StructuredTool.from_function(weather)
NESTED: Any = RunnableLambda(lambda state: MODEL.invoke(state["messages"]), name="node")
CASES = (
    Case("model, 10 messages", 1, lambda: MODEL.invoke(PROMPT)),
    Case("step", 1, lambda: STEP.invoke({"question": "What shall I wear?"})),
    Case("step, 10 messages", 1, lambda: STEP.invoke({"messages": PROMPT})),
    Case("chain of 4 steps", 5, lambda: CHAIN.invoke({"question": "What shall I wear?"})),
    Case("chain of 4, 10 messages", 5, lambda: CHAIN.invoke({"messages": PROMPT})),
    Case("model in a node", 2, lambda: NESTED.invoke({"messages": PROMPT})),
    Case("tool", 1, lambda: TOOL.invoke({"town": "Oslo"})),
)


class Idle(BaseCallbackHandler):
    """A handler that does nothing, called where the run is made."""

    run_inline = True
    ignore_retry = True
    ignore_custom_event = True

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing."""


class Always:
    """What LangChain takes for a context variable, with an idle handler in it."""

    handler = Idle()

    def get(self) -> Idle:
        """Give the handler."""
        return self.handler


def deliver_nothing() -> None:
    """Do what there is to do between two blocks when nothing is traced."""


def begin_tracing() -> Callable[[], Any]:
    """Trace LangChain; the result delivers what was recorded, which the worker alone never does."""
    from instrument.exporters._base import Limits
    from instrument.integrations import langchain
    from instrument.recorder import Recorder
    from instrument.transport import Bounds, Transport

    class Nowhere:
        """A destination that takes everything and keeps nothing."""

        name = "nowhere"
        limits = Limits()
        whole_traces = False

        def wants(self, item: Any) -> bool:
            return True

        def write(self, items: Any) -> dict[str, int]:
            return {}

        def close(self) -> None:
            return None

    asleep = Bounds(flush_interval=3600, first_items=0, wake_events=10**6, wake_bytes=2**40)
    transport = Transport([Nowhere()], bounds=asleep)
    langchain.install(Recorder(transport.publish))
    return transport.flush


def watched(
    callback: Callable[..., None], inside: list[float], own: float = 0.0
) -> Callable[..., None]:
    """Add the seconds that a callback takes to *inside*, without those of the watch itself."""
    clock = time.perf_counter

    def call(*args: Any, **kwargs: Any) -> None:
        began = clock()
        callback(*args, **kwargs)
        inside[0] += clock() - began - own

    return call


def watch_itself() -> float:
    """Measure what a watch sees of a callback that does nothing, in seconds: the median."""
    inside = [0.0]
    call = watched(Idle.on_chat_model_start, inside)
    spent = []
    for _ in range(10_000):
        before = inside[0]
        call(None, None, None, run_id=None, parent_run_id=None, tags=None, metadata=None)
        spent.append(inside[0] - before)
    return statistics.median(spent)


def begin_watched() -> Callable[[], Any]:
    """Trace LangChain, with a watch on the callbacks."""
    deliver = begin_tracing()
    from instrument.integrations.langchain.handler import Handler

    own = watch_itself()
    for name in CALLBACKS:
        setattr(Handler, name, watched(getattr(Handler, name), INSIDE, own))
    return deliver


def begin_idle() -> Callable[[], Any]:
    """Register the handler that does nothing."""
    register_configure_hook(Always(), True, Idle)
    return deliver_nothing


ROLES: dict[str, Callable[[], Callable[[], Any]]] = {
    "bare": lambda: deliver_nothing,
    "idle": begin_idle,
    "traced": begin_tracing,
    "inside": begin_watched,
}

INSIDE = [0.0]
"""Seconds that our callbacks have taken, where there is a watch on them."""


def block(call: Callable[[], Any], clock: Callable[[], float]) -> float:
    """Measure one call, in microseconds of this clock: the median of a block."""
    spent = []
    for _ in range(CALLS):
        began = clock()
        call()
        spent.append(clock() - began)
    return statistics.median(spent) * 1e6


def work(role: str) -> None:
    """Be one of the processes: measure a block of the case whose number each line names."""
    between = ROLES[role]()
    clock = time.thread_time if role != "inside" else partial(INSIDE.__getitem__, 0)
    for case in CASES * WARM_UP_BLOCKS:
        block(case.call, clock)
        between()
    gc.collect()
    gc.freeze()
    gc.disable()
    for line in sys.stdin:
        print(block(CASES[int(line)].call, clock), flush=True)
        between()
        gc.collect()


class Worker:
    """One of the processes, as seen from here."""

    def __init__(self, role: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), "--role", role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, number: int) -> float:
        """Measure a block of one case."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(number, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def end(self) -> None:
        """End the process."""
        self._process.communicate()


def measure(rounds: int) -> list[dict[str, float]]:
    """Give the microseconds a call of each case takes in each role: the median of the teams."""
    medians: list[dict[str, list[float]]] = [{role: [] for role in ROLES} for _ in CASES]
    for _ in range(TEAMS):
        team = {role: Worker(role) for role in ROLES}
        seen: list[dict[str, list[float]]] = [{role: [] for role in ROLES} for _ in CASES]
        for _ in range(rounds):
            for number, times in enumerate(seen):
                for role, worker in team.items():
                    times[role].append(worker.measure(number))
        for worker in team.values():
            worker.end()
        for kept, times in zip(medians, seen, strict=True):
            for role in ROLES:
                kept[role].append(statistics.quantiles(times[role], n=QUIET)[0])
    return [{role: statistics.median(kept[role]) for role in ROLES} for kept in medians]


def report(rounds: int) -> int:
    """Measure, print, and fail when a budget is missed."""
    version, python = langchain_core.VERSION, sys.version.split()[0]
    print(f"langchain-core {version}, Python {python}: CPU us in the caller's thread")
    print(
        f"{'':26}{'bare call':>10}{'traced':>8}{'ratio':>7}  |"
        f"{'idle':>6}{'ours':>7}{'whole':>7}{'inside':>8} a pair"
    )
    over = False
    for case, times in zip(CASES, measure(rounds), strict=True):
        bare, idle, traced, inside = (times[role] for role in ROLES)
        ours, inside = (traced - idle) / case.runs, inside / case.runs
        over = over or inside > BUDGET_US
        print(
            f"{case.name:26}{bare:10.0f}{traced:8.0f}{traced / bare:7.2f}  |"
            f"{(idle - bare) / case.runs:6.1f}{ours:7.1f}{(traced - bare) / case.runs:7.1f}"
            f"{inside:8.1f}   budget {BUDGET_US:.0f} {'OVER' if inside > BUDGET_US else 'ok'}"
        )
    return int(over)


def main() -> int:
    """Read the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20, help="blocks of each call and process")
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        work(options.role)
        return 0
    return report(options.rounds)


if __name__ == "__main__":
    raise SystemExit(main())
