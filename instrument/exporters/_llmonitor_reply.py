"""What LLMonitor says of each event of a batch, in the reply to it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any, TypeAlias

import orjson

from ..run import Feedback, Item, Run

_DELIVERED = ("already exists", "run_pkey")
_REFUSALS = (
    ("type uuid", "bad_id"),
    ("Unicode escape", "bad_text"),
    ("type json", "bad_text"),
    ("not-null", "missing_field"),
    ("type integer", "bad_number"),
    ("index row", "too_large"),
)
"""What a refusal says, and the reason that it is counted under; `refused` for any other."""

Result: TypeAlias = "dict[str, Any]"
Outcomes: TypeAlias = "dict[tuple[str, str], str | None]"
"""For a run and an event of it, why that was refused."""


def read_results(body: bytes) -> list[Result]:
    """Read the results of a 200, a list under `results` or bare; an empty reply has none."""
    try:
        reply = orjson.loads(body)
    except ValueError:
        return []
    if isinstance(reply, dict):
        reply = reply.get("results")
    if not isinstance(reply, list):
        return []
    return [result for result in reply if isinstance(result, dict)]


def refusal(result: Result) -> str | None:
    """Say why an event was refused, in a word; a start that the server has already was not."""
    if result.get("success") is not False:
        return None
    said = str(result.get("error"))
    if any(words in said for words in _DELIVERED):
        return None
    return next((reason for words, reason in _REFUSALS if words in said), "refused")


def match(events: Sequence[Result], results: Sequence[Result]) -> Outcomes:
    """Give each event its result: the next one with its id, else the one in its place."""
    by_id: defaultdict[str, deque[Result]] = defaultdict(deque)
    for result in results:
        by_id[str(result.get("id"))].append(result)
    in_place = len(events) == len(results)
    outcomes: Outcomes = {}
    for number, event in enumerate(events):
        run_id, result = event["runId"], results[number] if in_place else {}
        if by_id[run_id]:
            result = by_id[run_id].popleft()
        key = (run_id, event["event"])
        outcomes[key] = refusal(result) or outcomes.get(key)
    return outcomes


def outcome(item: Item, outcomes: Outcomes) -> str | None:
    """Say why an item was not stored; without its start an end is lost, whatever its result."""
    if not isinstance(item, Run):
        return outcomes.get((item.run_id, "feedback")) if isinstance(item, Feedback) else None
    begun = outcomes.get((item.id, "start"))
    if item.duration is None or begun:
        return begun
    return outcomes.get((item.id, "end")) or outcomes.get((item.id, "error"))
