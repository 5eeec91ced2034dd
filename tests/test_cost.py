"""Cost: by the provider's prices on the day of the call; what is not known is never zero."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal

import orjson
import pytest

from instrument.cost import (
    Cost,
    Plan,
    Tariff,
    available,
    charge,
    cost_of,
    counts_of,
    dollars,
    plan_of,
    tariff_of,
    total,
    written,
)
from instrument.exporters.honeyhive import HoneyHive
from instrument.exporters.llmonitor import LLMonitor
from instrument.exporters.trubrics import Trubrics
from instrument.run import Answer, Error, Run, Usage

priced = pytest.mark.skipif(
    importlib.util.find_spec("genai_prices") is None, reason="genai-prices is not installed"
)

ANSWER = Answer(provider="openai", model="gpt-4o-2024-08-06")
RUN = Run(
    id="00000000-0000-4000-8000-000000000001",
    trace_id="00000000-0000-4000-8000-000000000001",
    parent_id=None,
    kind="llm",
    name="gpt-4o",
    started_at=datetime(2025, 5, 1, 12, 10, tzinfo=timezone.utc),
    duration=1.0,
    usage=Usage(prompt=1_000_000, completion=100_000, total=1_100_000),
    answer=ANSWER,
)

LONG = Usage(prompt=300_000, completion=7, cached=5)
GEMINI = Answer(provider="google", model="gemini-2.5-pro")


@priced
def test_tokens_by_price():
    """2.50 dollars a million tokens in and 10 out: what OpenAI asked for gpt-4o in 2025."""
    assert cost_of(RUN) == Decimal("3.5")


@priced
def test_cached_tokens_are_cheaper():
    """Cached tokens are a part of the prompt, at their own price."""
    usage = replace(RUN.usage, cached=1_000_000)

    assert cost_of(replace(RUN, usage=usage)) == Decimal("2.25")


@priced
def test_the_price_of_the_day():
    """The price is that of the day of the call: o3 became cheaper in June 2025."""
    model = replace(RUN, answer=replace(ANSWER, model="o3"))

    assert cost_of(replace(model, started_at=datetime(2025, 5, 1, tzinfo=timezone.utc))) == 14
    assert cost_of(replace(model, started_at=datetime(2025, 8, 1, tzinfo=timezone.utc))) == Decimal(
        "2.8"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"usage": None},
        {"usage": Usage(prompt=5)},
        {"usage": Usage(completion=5)},
        {"answer": None},
        {"answer": replace(ANSWER, provider=None)},
        {"answer": replace(ANSWER, provider="local")},
        {"answer": replace(ANSWER, model="our-own-7b")},
        {"answer": replace(ANSWER, service_tier="flex")},
        {"answer": Answer(provider="azure", model="phi-4-reasoning:free")},
        {"usage": Usage(prompt=9, completion=3, cached=20)},
        {"kind": "chain"},
    ],
    ids=lambda changes: str(next(iter(changes.values())))[:60],
)
def test_unknown_stays_unknown(changes):
    """Without a count, or a price for that model, provider or tier, there is no cost; not zero."""
    assert cost_of(replace(RUN, **changes)) is None


@priced
def test_audio_needs_a_price_of_its_own():
    """Spoken tokens are not charged as if they were written ones."""
    usage = replace(RUN.usage, audio_in=10)
    spoken = replace(RUN, usage=usage)
    realtime = replace(ANSWER, model="gpt-4o-realtime-preview")

    assert cost_of(spoken) is None
    assert cost_of(replace(spoken, answer=realtime)) is not None


@priced
def test_service_tiers():
    """A tier that has a price of its own is charged by it; one that has none is not known."""
    autumn = replace(RUN, started_at=datetime(2026, 11, 1, tzinfo=timezone.utc))
    answer = replace(GEMINI, model="gemini-3.8-flash-lite-tts")
    usual, flex, odd = (
        cost_of(replace(autumn, answer=replace(answer, service_tier=tier)))
        for tier in ("default", "flex", "odd")
    )
    if flex is None:
        pytest.skip("this release of genai-prices does not know the tier")

    assert flex == usual / 2
    assert odd is None


@priced
def test_parts_whose_price_nobody_says():
    """Tokens that are both cached and spoken have no price, and are not charged as one of these."""
    usage = Usage(prompt=100, completion=10, audio_in=10)
    realtime = replace(RUN, answer=replace(ANSWER, model="gpt-realtime"))

    assert cost_of(replace(realtime, usage=usage)) is not None
    assert cost_of(replace(realtime, usage=replace(usage, cached=20))) is None


@priced
def test_embeddings_have_no_completion():
    """The cost of an embedding is that of its input."""
    answer = Answer(provider="openai", model="text-embedding-3-small")
    run = replace(RUN, kind="embedding", usage=Usage(prompt=1_000_000), answer=answer)

    assert cost_of(run) == Decimal("0.02")


def test_total_says_what_it_leaves_out():
    """A sum counts the calls whose price is not known; failed ones cost nothing."""
    chain = replace(RUN, kind="chain")
    failed = replace(RUN, usage=None, error=Error("no", "RateLimitError"))
    runs = [chain, RUN, RUN, replace(RUN, name="other"), failed]

    cost = total(runs, lambda run: None if run.name == "other" else Decimal("0.5"))

    assert cost == Cost(Decimal(1), 1)
    assert written(cost) == "$1.00 + ?"
    assert total([chain]) == Cost(None, 0)


@priced
@pytest.mark.parametrize(
    "run",
    [
        RUN,
        replace(RUN, usage=LONG),
        replace(RUN, usage=LONG, answer=GEMINI),
        replace(RUN, usage=Usage(prompt=10, completion=7), answer=GEMINI),
        replace(RUN, usage=LONG, answer=Answer(provider="perplexity", model="sonar-pro")),
    ],
    ids=lambda run: f"{run.answer.model}-{run.usage.prompt}",
)
def test_many_calls_at_once(run):
    """A thousand calls of a kind cost a thousand times as much, what is paid for each included."""
    counts = {name: 1_000 * tokens for name, tokens in counts_of(run).items()}
    prompt = run.usage.prompt

    many = charge(tariff_of(run), run.started_at, counts, runs=1_000, longest=prompt)

    assert many == 1_000 * cost_of(run) > 0


@priced
def test_plans():
    """What is charged otherwise from some day on, by the hour or for a long prompt, is known."""
    june = int(datetime(2025, 6, 10, tzinfo=timezone.utc).timestamp())

    assert june in plan_of("openai", "o3").changes
    assert plan_of("google", "gemini-2.5-pro").steps == (200_000,)
    assert plan_of("deepseek", "deepseek-chat").daily
    assert plan_of("openai", "our-own-7b") == Plan()


def test_what_is_no_call_has_no_tariff():
    """Only an answered model call has a tariff; it is empty when too little of it is known."""
    assert tariff_of(replace(RUN, kind="chain")) is None
    assert tariff_of(replace(RUN, duration=None)) is None
    assert tariff_of(replace(RUN, usage=None)) == Tariff()
    assert tariff_of(replace(RUN, answer=None)) == Tariff()
    assert tariff_of(RUN) == Tariff("openai", "gpt-4o-2024-08-06", "", "prompt completion")


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, ""),
        (Decimal(0), "$0.00"),
        (Decimal("0.0000525"), "$0.000052"),
        (Decimal("0.0021"), "$0.0021"),
        (Decimal("0.1234"), "$0.12"),
        (Decimal("1234.567"), "$1,234.57"),
    ],
)
def test_amounts_are_read_at_a_glance(amount, text):
    """Small amounts have two digits that count, large ones cents."""
    assert dollars(amount) == text


def test_nothing_is_loaded_before_it_is_needed():
    """Importing the package, or a run without tokens, loads no prices."""
    code = "import sys, instrument, instrument.cost; assert 'genai_prices' not in sys.modules"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_the_package():
    """Where genai-prices is not installed, every cost is unknown and nothing fails."""
    code = (
        "import sys; sys.modules['genai_prices'] = None\n"
        "from instrument.cost import Plan, Tariff, available, charge, plan_of\n"
        "import datetime\n"
        "tariff = Tariff('openai', 'gpt-4o', '', 'prompt')\n"
        "assert not available()\n"
        "assert charge(tariff, datetime.datetime.now(), {'prompt': 5}) is None\n"
        "assert plan_of('openai', 'gpt-4o') == Plan()\n"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@priced
def test_available():
    """Whoever shows costs can ask whether there are prices at all."""
    assert available()


def fields_of(exporter):
    """Encode a run with a user, and return the fields that its cost would stand in."""
    [request] = exporter.encode([replace(RUN, user_id="ada")], ()).requests
    body = orjson.loads(request.body)
    events = body if isinstance(body, list) else body["events"]
    return events[0].get("properties") or events[0]["metadata"]


@pytest.mark.parametrize("exporter", [HoneyHive, Trubrics])
def test_destinations_that_have_a_place_for_it(exporter):
    """HoneyHive's metadata and Trubrics' properties have the cost as a number, when it is known."""
    assert fields_of(exporter("key", cost=lambda _: Decimal("0.0021")))["cost"] == 0.0021
    assert "cost" not in fields_of(exporter("key", cost=lambda _: None))
    assert "cost" not in fields_of(exporter("key", cost=None))


def test_destinations_that_work_it_out_themselves():
    """LLMonitor's server has prices of its own, and no field for ours."""
    [request] = LLMonitor(key="key").encode([RUN], ()).requests

    assert b"cost" not in request.body
