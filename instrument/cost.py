"""
What a model call cost, in US dollars, by the prices of its provider on its day.

Prices come from the package `genai-prices`, when that is installed (`llm-instrument[cost]`), without
any network. What it does not know stays unknown: None, never zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeAlias, final

from .guard import guard
from .run import Kind, Run, Usage

Price: TypeAlias = "Callable[[Run], Decimal | None]"
"""Says what a run cost, in US dollars; None when that is not known."""

PRICED: frozenset[Kind] = frozenset({"llm", "embedding"})
"""Kinds that cost something by themselves; a chain or an agent costs what its calls do."""

PRICES = 4_096
"""How many prices (of one model, in one half of an hour) are kept."""

_ORDINARY = frozenset({"auto", "default", "standard"})
_HALF_HOUR = 30


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


def cost_of(run: Run) -> Decimal | None:
    """
    Say what a run cost, in US dollars.

    None for what is no model call, has no token counts, or is of a model, provider or tier whose
    price is not known, and wherever `genai-prices` is not installed. Never raises.
    """
    with guard("price a run"):
        price, usage = price_of(run), run.usage
        if price is not None and usage is not None:
            return _calculated(price, counts_of(usage))
    return None


def price_of(run: Run) -> Any:
    """Find the price of a run, as an object of the package's; None when its cost is unknown."""
    answer, usage = run.answer, run.usage
    if run.kind not in PRICED or answer is None or answer.provider is None or usage is None:
        return None
    model = answer.model or run.name
    price = _price(answer.provider, model, answer.service_tier, _moment(run.started_at))
    return price if price is not None and _covers(price, usage, run.kind) else None


@final
class Bill:
    """
    What many runs cost: the tokens of each price are added up first, and then priced once.

    That is the same sum, and ten times as fast; a price that depends on the length of the prompt is
    applied to each run by itself.
    """

    def __init__(self) -> None:
        self._counts: dict[int, tuple[Any, Counter[str]]] = {}
        self._sum = Decimal(0)
        self._known = self._unknown = 0

    def add(self, run: Run) -> None:
        """Add a run that is a model call."""
        price, usage = None, run.usage
        with guard("price a run"):
            price = price_of(run)
        if price is None or usage is None:
            self._unknown += 1
        elif is_linear(price):
            self._known += 1
            _, counts = self._counts.setdefault(id(price), (price, Counter()))
            for name, tokens in counts_of(usage).items():
                counts[name] += tokens
        else:
            self._add(_calculated(price, counts_of(usage)))

    def _add(self, cost: Decimal | None) -> None:
        if cost is None:
            self._unknown += 1
        else:
            self._known += 1
            self._sum += cost

    def cost(self) -> Cost:
        """Say what it comes to."""
        sums = [_calculated(price, counts) for price, counts in self._counts.values()]
        known = self._sum + sum((each for each in sums if each is not None), Decimal(0))
        return Cost(known if self._known else None, self._unknown)


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


def _moment(at: datetime) -> datetime:
    """Cut a time to the half hour: prices change at these at most, some with the time of day."""
    minute = at.minute - at.minute % _HALF_HOUR
    return at.replace(minute=minute, second=0, microsecond=0)


@lru_cache(maxsize=PRICES)
def _price(provider: str, model: str, tier: str | None, at: datetime) -> Any:
    """Look up what a model costs at a time, as the package's own object; None when unknown."""
    library = _library()
    if library is None:
        return None
    usual = _looked_up(library, model, provider_id=provider, genai_request_timestamp=at)
    if tier is None or tier in _ORDINARY:
        return usual
    special = _looked_up(
        library,
        model,
        provider_id=provider,
        genai_request_timestamp=at,
        price_context={"service_tier": tier},
    )
    return None if special == usual else special  # the same, because it knows no such tier


def _looked_up(library: Any, model: str, **where: Any) -> Any:
    try:
        found = library.calc_price(library.Usage(input_tokens=1), model, **where)
    except (LookupError, ValueError, TypeError):  # a TypeError of those without `price_context`
        return None
    return found.model_price


def _covers(price: Any, usage: Usage, kind: Kind) -> bool:
    """Say whether everything that is to be paid was counted, adds up and has a price."""
    sent, answered = usage.prompt, usage.completion
    if kind == "embedding":
        answered = answered or 0
    if sent is None or answered is None:
        return False
    if max(usage.cached or 0, usage.audio_in or 0) > sent or (usage.audio_out or 0) > answered:
        return False
    parts = {
        "input_mtok": sent,
        "output_mtok": answered,
        "input_audio_mtok": usage.audio_in,
        "output_audio_mtok": usage.audio_out,
    }
    return all(getattr(price, name) is not None for name, tokens in parts.items() if tokens)


def is_linear(price: Any) -> bool:
    """Say whether twice the tokens cost twice as much."""
    return all(value is None or isinstance(value, Decimal) for value in vars(price).values())


def counts_of(usage: Usage) -> dict[str, int]:
    """Name the counts as the package does; a part that is 0 needs no price."""
    counts = {
        "input_tokens": usage.prompt,
        "output_tokens": usage.completion,
        "cache_read_tokens": usage.cached,
        "input_audio_tokens": usage.audio_in,
        "output_audio_tokens": usage.audio_out,
    }
    return {name: tokens for name, tokens in counts.items() if tokens}


def _calculated(price: Any, counts: Mapping[str, int]) -> Decimal | None:
    try:
        result: Decimal = price.calc_price(_library().Usage(**counts))["total_price"]
    except (LookupError, ValueError):  # it cannot make sense of the counts
        return None
    return result
