"""Cost: by the provider's prices on the day of the call; what is not known is never zero."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal

import orjson
import pytest

from instrument.cost import Bill, Cost, available, cost_of, dollars, total, written
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
def test_a_bill_is_the_sum():
    """A bill comes to what its runs cost one by one, prices that depend on the length included."""
    usage = Usage(prompt=300_000, completion=7, cached=5)
    gemini = Answer(provider="google", model="gemini-2.5-pro")
    runs = [
        RUN,
        replace(RUN, usage=usage),
        replace(RUN, usage=usage, answer=gemini),
        replace(RUN, usage=Usage(prompt=10, completion=7), answer=gemini),
        replace(RUN, usage=None),
    ]
    bill = Bill()
    for run in runs:
        bill.add(run)

    assert bill.cost() == total(runs) == Cost(sum(map(cost_of, runs[:4])), 1)


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
        "from instrument.cost import available, _price\n"
        "import datetime\n"
        "assert not available()\n"
        "assert _price('openai', 'gpt-4o', None, datetime.datetime.now()) is None\n"
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
