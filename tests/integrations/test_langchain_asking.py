# ruff: noqa: RUF012 - pydantic copies the defaults of its models
"""Models that ask other models: who stands under whom, and what is counted once."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("langchain_core", reason="langchain-core is not installed")

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda

from tests.integrations.langchain_fakes import FakeChat, traced


@pytest.fixture
def runs():
    with traced(with_openai=False) as runs:
        yield runs
        runs.check()


class Asking(FakeChat):
    """A chat model that asks other ones, and hands on the last answer with what all have cost."""

    others: list[Any] = []
    own: Any = None

    def _result(self, answers):
        usage = dict(answers[-1].usage_metadata or {})
        for answer in answers[:-1]:
            usage = {key: count + answer.usage_metadata[key] for key, count in usage.items()}
        answer = answers[-1].model_copy(update={"usage_metadata": self.own or usage or None})
        return ChatResult(generations=[ChatGeneration(message=answer)])

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return self._result([other.invoke(messages) for other in self.others])

    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        return self._result([await other.ainvoke(messages) for other in self.others])


class Inner(FakeChat):
    """The one that is asked."""


@pytest.mark.parametrize("within", ["nothing", "a chain", "another"])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_model_that_asks_others(runs, within, asynchronous):
    """A model that another one asks stands under it, and what it costs counts once."""
    asking: Any = Asking(others=[Inner(), Inner()])
    above = {"nothing": "", "a chain": "chain > ", "another": "Asking > "}[within]
    if within == "a chain":
        asking = RunnableLambda(lambda x: x, name="first") | asking
        asking = asking.with_config(run_name="chain")
    elif within == "another":
        asking = Asking(others=[asking])
    if asynchronous:
        await asking.ainvoke("hi")
    else:
        asking.invoke("hi")

    assert runs.paths("llm") == sorted(
        [f"{above}Asking", *[f"{above}Asking > Inner"] * 2, *["Asking"] * (within == "another")]
    )
    assert sum(run.usage.total for run in runs.of("llm") if run.usage) == 24


def test_model_that_hands_on_one_of_several(runs):
    """An answer that is handed on as it came brings its usage along, which counts once."""

    class Guarded(Asking):
        def _result(self, answers):
            return ChatResult(generations=[ChatGeneration(message=answers[-1])])

    guard = Inner(usage={"input_tokens": 3, "output_tokens": 1, "total_tokens": 4})
    Guarded(others=[guard, Inner()]).invoke("hi")

    assert sorted((run.name, run.usage and run.usage.total) for run in runs.of("llm")) == [
        *[("Guarded", None), ("Inner", 4), ("Inner", 12)]
    ]


def test_model_that_costs_more_than_those_it_asks(runs):
    """What a model has spent itself is its own."""
    Asking(others=[Inner()], own={"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}).invoke(
        "hi"
    )

    assert {run.name: run.usage.total for run in runs.ended} == {"Inner": 12, "Asking": 2}


def test_model_that_is_asked_by_way_of_others(runs):
    """What stands between the two, such as a retry, changes nothing of that."""
    Asking(others=[Inner().with_retry(), Inner().with_fallbacks([Inner()])]).invoke("hi")

    assert sum(run.usage.total for run in runs.of("llm") if run.usage) == 24


def test_prompts_of_one_call_stand_side_by_side(runs):
    """The runs of several prompts do not stand under each other, also below a model that asks."""

    class Many(Asking):
        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            return self.others[0].generate([messages, messages, messages]) and self._result(
                [AIMessage("done")]
            )

    Many(others=[Inner()]).generate([[HumanMessage("a")], [HumanMessage("b")]])

    assert runs.paths() == sorted(["Many"] * 2 + ["Many > Inner"] * 6)


def test_chain_that_a_model_runs(runs):
    """So does a chain that a model's own method runs."""

    class Chained(Asking):
        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            return self._result([(RunnableLambda(lambda x: x, name="in") | Inner()).invoke("x")])

    Chained().invoke("hi")

    assert runs.paths("llm") == ["Chained", "Chained > RunnableSequence > Inner"]


def test_model_that_a_callback_asks(runs):
    """A model that the application asks in a callback is no part of the call that it hears of."""

    class Asks(BaseCallbackHandler):
        run_inline = True

        def on_llm_end(self, *args, **kwargs):
            if not asked:
                asked.append(Inner().invoke("hi"))

    asked: list[Any] = []
    FakeChat().invoke("hi", {"callbacks": [Asks()]})

    assert runs.paths() == ["FakeChat", "Inner"]
