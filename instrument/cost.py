"""
What a model call cost, in US dollars, by the prices of its provider on its day.

Prices come from the package `genai-prices`, when that is installed (`llm-instrument[cost]`), without
any network. What it does not know stays unknown: None, never zero. Many calls are priced at once:
those of one `Tariff`, between two changes of its price (`Plan`), are charged for the sum of their
tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from datetime import date, datetime, timezone
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias, final

from .guard import guard
from .run import Kind, Run

Price: TypeAlias = "Callable[[Run], Decimal | None]"
"""Says what a run cost, in US dollars; None when that is not known."""

PRICED: frozenset[Kind] = frozenset({"llm", "embedding"})
"""Kinds that cost something by themselves; a chain or an agent costs what its calls do."""

PRICES = 4_096
"""How many prices (of one tariff, between two changes) are kept."""

COUNTS: Mapping[str, str] = {
    "prompt": "input_tokens",
    "completion": "output_tokens",
    "cached": "cache_read_tokens",
    "audio_in": "input_audio_tokens",
    "audio_out": "output_audio_tokens",
}
"""Counts of `Usage` that are charged for, and what the package calls them."""

_CHARGED: Mapping[str, str] = {
    "prompt": "input_mtok",
    "completion": "output_mtok",
    "audio_in": "input_audio_mtok",
    "audio_out": "output_audio_mtok",
}
"""Counts for which there must be a price, and what the package calls that."""

_WHOLE = {"cached": "prompt", "audio_in": "prompt", "audio_out": "completion"}
"""Counts that are a part of another."""

_MILLION = 1_000_000

HALF_HOUR = 1_800
"""Seconds within which no price changes."""

_ORDINARY = frozenset({"", "auto", "default", "standard"})


@final
class Tariff(NamedTuple):
    """
    What the price of a call is looked up by; empty for a call of which too little is known.

    Attributes:
        model: The one that answered.
        tier: The service tier; "" for none.
        parts: Names of the counts that are not 0, with spaces between.
    """

    provider: str = ""
    model: str = ""
    tier: str = ""
    parts: str = ""


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """
    How the price of a model changes.

    Attributes:
        changes: When it did, in seconds since 1970, ascending.
        daily: Whether it also depends on the hour; it is the same within half an hour.
        steps: Tokens of a prompt above which the whole call is charged by another price, ascending.
    """

    changes: tuple[int, ...] = ()
    daily: bool = False
    steps: tuple[int, ...] = ()


@final
class Rates(NamedTuple):
    """
    What is to be paid, in US dollars.

    Attributes:
        request: For each call.
        tokens: For each token of a count; of a part of another count, what it costs more or less.
    """

    request: Decimal
    tokens: Mapping[str, Decimal]


@final
@dataclass(frozen=True, slots=True)
class Cost:
    """
    What several runs cost.

    Attributes:
        known: US dollars of those calls whose price is known; None when there is none.
        unknown: How many model calls there are beside them.
    """

    known: Decimal | None = None
    unknown: int = 0

    def __add__(self, other: Cost) -> Cost:
        """Add up what is known, and count what is not."""
        amounts = [each for each in (self.known, other.known) if each is not None]
        known = sum(amounts, Decimal(0)) if amounts else None
        return Cost(known, self.unknown + other.unknown)


def cost_of(run: Run) -> Decimal | None:
    """
    Say what a run cost, in US dollars.

    None for what is no model call, has no token counts, or is of a model, provider or tier whose
    price is not known, and wherever `genai-prices` is not installed. Never raises.
    """
    with guard("price a run"):
        counts = counts_of(run)
        if run.kind in PRICED and counts:
            return charge(_tariff(run, counts), run.started_at, counts)
    return None


def tariff_of(run: Run) -> Tariff | None:
    """Say what a run is charged as; None for what is no model call, or has not been answered."""
    if not is_call(run):
        return None
    counts = counts_of(run)
    return Tariff() if counts is None else _tariff(run, counts)


def counts_of(run: Run) -> Mapping[str, int] | None:
    """Return what a run is charged for; None when it was not counted, or does not add up."""
    usage = run.usage
    sent, answered = (None, None) if usage is None else (usage.prompt, usage.completion)
    if run.kind == "embedding":
        answered = answered or 0
    if usage is None or sent is None or answered is None:
        return None
    if (usage.cached or 0) + (usage.audio_in or 0) > sent or (usage.audio_out or 0) > answered:
        return None
    return {name: getattr(usage, name) or 0 for name in COUNTS}


def charge(
    tariff: Tariff, at: datetime, counts: Mapping[str, int], *, runs: int = 1, longest: int = 0
) -> Decimal | None:
    """
    Say what calls of one tariff cost, in US dollars; None when that is not known.

    Args:
        tariff: What they are charged as.
        at: When one of them was; no change of their plan lies between any two.
        counts: Their tokens added up, by the names in `COUNTS`.
        runs: How many they are.
        longest: Tokens of the longest prompt, none of them beyond another step of their plan; 0
            when there is but one.
    """
    plan = plan_of(tariff.provider, tariff.model)
    longest = longest or counts["prompt"]
    level = sum(longest > step for step in plan.steps)
    prompt = plan.steps[level - 1] + 1 if level else 0
    rates = _rates(tariff, _moment(at, plan), prompt)
    if rates is None:
        return None
    return sum((counts[name] * rate for name, rate in rates.tokens.items()), runs * rates.request)


def _tariff(run: Run, counts: Mapping[str, int]) -> Tariff:
    answer = run.answer
    if answer is None or answer.provider is None:
        return Tariff()
    parts = " ".join(name for name in COUNTS if counts[name])
    return Tariff(answer.provider, answer.model or run.name, answer.service_tier or "", parts)


def is_call(run: Run) -> bool:
    """Say whether a run has something to be paid for: a model call that got an answer."""
    return run.kind in PRICED and run.duration is not None and not (run.error and not run.usage)


def total(runs: Iterable[Run], price: Price = cost_of) -> Cost:
    """Add up what the model calls among *runs* cost."""
    calls = [run for run in runs if is_call(run)]
    known = [cost for cost in map(price, calls) if cost is not None]
    return Cost(sum(known, Decimal(0)) if known else None, len(calls) - len(known))


def dollars(cost: Decimal | None) -> str:
    """Write an amount so that it is read at a glance: cents, or two digits that count; else ""."""
    if cost is None:
        return ""
    if cost == 0 or cost >= Decimal("0.995"):
        return f"${cost:,.2f}"
    places = max(2, 1 - cost.adjusted())
    return f"${cost:.{places}f}"


def written(cost: Cost) -> str:
    """Write a sum; what is not known of it shows as `+ ?`."""
    amount = dollars(cost.known)
    return f"{amount} + ?" if amount and cost.unknown else amount


def available() -> bool:
    """Say whether there are any prices."""
    return _library() is not None


@lru_cache(maxsize=1)
def _library() -> Any:
    """Load the package, once; None when it is not there."""
    try:
        import genai_prices
    except ImportError:
        return None
    return genai_prices


def _moment(at: datetime, plan: Plan) -> datetime:
    """Choose one time for all at which the price is the same."""
    seconds = at.timestamp() // HALF_HOUR * HALF_HOUR
    if not plan.daily:
        seconds = max((each for each in plan.changes if each <= seconds), default=0)
    return datetime.fromtimestamp(seconds, timezone.utc)


@lru_cache(maxsize=PRICES)
def plan_of(provider: str, model: str) -> Plan:
    """Say how the price of a model changes; one whose price is unknown has none that does."""
    found = _looked_up(model, provider_id=provider)
    if found is None:
        return Plan()
    always = found.model.prices
    variants = getattr(found.model, "price_variants", None) or []  # which older releases have not
    dated = [*(always if isinstance(always, list) else []), *variants]
    prices = [each.prices for each in dated] + ([] if isinstance(always, list) else [always])
    limits = [each.constraint for each in dated if each.constraint is not None]
    days = {each.start_date for each in limits if hasattr(each, "start_date")}
    return Plan(
        changes=tuple(sorted(map(_midnight, days))),
        daily=not all(hasattr(each, "start_date") for each in limits),
        steps=tuple(sorted({tier.start for price in prices for tier in _tiers(price)})),
    )


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp())


def _tiers(price: Any) -> Iterator[Any]:
    for value in vars(price).values():
        yield from getattr(value, "tiers", ())


@lru_cache(maxsize=PRICES)
def _rates(tariff: Tariff, at: datetime, prompt: int) -> Rates | None:
    """Say what a tariff comes to, at a time and for a prompt so long; None when unknown."""
    price = _price(tariff, at)
    if price is None:
        return None
    price = _level(price, prompt)
    parts = tariff.parts.split()
    priced = all(getattr(price, _CHARGED[part]) is not None for part in parts if part in _CHARGED)
    if not priced or _calculated(price, dict.fromkeys(parts, _MILLION)) is None:
        return None
    request = _calculated(price, {}) or Decimal(0)
    return Rates(request, {part: _rate(price, part) for part in parts})


def _rate(price: Any, part: str) -> Decimal:
    """Say what one token more of a count costs."""
    whole = {_WHOLE[part]: _MILLION} if part in _WHOLE else {}
    more, less = (_calculated(price, each) for each in ({**whole, part: _MILLION}, whole))
    return Decimal(0) if more is None or less is None else (more - less) / _MILLION


def _price(tariff: Tariff, at: datetime) -> Any:
    """Look up what a tariff costs at a time, as the package's own object; None when unknown."""
    where = {"provider_id": tariff.provider, "genai_request_timestamp": at}
    usual = _looked_up(tariff.model, **where)
    if usual is None or tariff.tier in _ORDINARY:
        return usual and usual.model_price
    special = _looked_up(tariff.model, price_context={"service_tier": tariff.tier}, **where)
    if special is None or special.model_price == usual.model_price:  # it knows no such tier
        return None
    return special.model_price


def _level(price: Any, prompt: int) -> Any:
    """Choose the prices of a prompt so long, where they depend on that."""
    chosen = copy(price)
    for name, value in list(vars(price).items()):
        if hasattr(value, "tiers"):
            reached = [tier.price for tier in value.tiers if prompt > tier.start]
            vars(chosen)[name] = reached[-1] if reached else value.base
    return chosen


def _looked_up(model: str, **where: Any) -> Any:
    """Find a model and its price; None when there is no such, and without the package."""
    library = _library()
    if library is None:
        return None
    try:
        return library.calc_price(library.Usage(input_tokens=1), model, **where)
    except (LookupError, ValueError, TypeError):  # a TypeError of those without `price_context`
        return None


def _calculated(price: Any, counts: Mapping[str, int]) -> Decimal | None:
    named = {COUNTS[name]: tokens for name, tokens in counts.items()}
    try:
        result: Decimal = price.calc_price(_library().Usage(**named))["total_price"]
    except (LookupError, ValueError):  # it cannot make sense of the counts
        return None
    return result
