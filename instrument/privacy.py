"""
What may leave: every item passes here, on the worker, before any destination, spool and store.

In this order: content is taken out altogether, or secrets are masked and the application's `redact`
has its say; then user ids are hashed. Each fails closed: what could not be cleaned is not sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import orjson

from .guard import guard
from .identity import hide_user
from .run import JSON, Error, Exchange, Feedback, Item, Run, Snapshot, UserEvent
from .secrets import mask, mask_text
from .snapshot import snapshot

Redact: TypeAlias = "Callable[[JSON], JSON]"
Filter: TypeAlias = "Callable[[Item], Item]"

WITHHELD = "<redaction failed>"
"""What stands for content that `redact` could not clean."""

_WORDS = frozenset(
    {
        "modalities",
        "prompt_cache_retention",
        "reasoning_effort",
        "service_tier",
        "tool_choice",
        "truncation",
        "verbosity",
    }
)
"""Parameters of a request whose words are the provider's own; of all others only numbers are kept."""


def filter_for(
    *,
    capture_content: bool = True,
    scan_secrets: bool = True,
    redact: Redact | None = None,
    hash_key: bytes | None = None,
) -> Filter:
    """Make the function that every item passes before any destination sees it."""
    steps: list[Filter] = []
    if not capture_content:
        steps.append(without_content)
    if scan_secrets:
        steps.append(Cleaning(_masked, mask_text))
    if redact is not None:
        steps.append(_redaction(redact))
    if hash_key is not None:
        steps.append(lambda item: hide_user(item, hash_key))

    def process(item: Item) -> Item:
        for step in steps:
            item = step(item)
        return item

    return process


def without_content(item: Item) -> Item:
    """Take out everything that anybody wrote; keep names, times, counts, ids and what was bound."""
    if isinstance(item, Feedback):
        return replace(item, comment=None)
    if isinstance(item, Exchange):
        return replace(item, prompt="", answer="", properties=None)
    if not isinstance(item, Run):
        return item
    answer = item.answer and replace(item.answer, logprobs=None)
    error = item.error and Error(item.error.type, item.error.type, status=item.error.status)
    return replace(
        item, input=None, output=None, params=_settings(item.params), answer=answer, error=error
    )


def _settings(params: Snapshot | None) -> Snapshot | None:
    if params is None:
        return None
    values = orjson.loads(params)
    return snapshot({name: value for name, value in values.items() if _is_setting(name, value)})


def _is_setting(name: str, value: JSON) -> bool:
    if name == "stream_options" and isinstance(value, dict):
        return all(isinstance(option, bool) for option in value.values())
    if name in _WORDS and isinstance(value, list):
        return all(isinstance(word, str) for word in value)
    return (
        value is None
        or isinstance(value, (int, float))
        or (name in _WORDS and isinstance(value, str))
    )


class Cleaning:
    """
    Pass each piece of content of an item through two functions, one for JSON and one for text.

    Args:
        clean: From a snapshot to the one that may leave.
        clean_text: The same for plain text.
    """

    def __init__(
        self, clean: Callable[[Snapshot], Snapshot], clean_text: Callable[[str], str]
    ) -> None:
        self._clean = clean
        self._clean_text = clean_text

    def __call__(self, item: Item) -> Item:
        """Clean one item."""
        if isinstance(item, Run):
            return self._run(item)
        if isinstance(item, Feedback):
            return replace(item, comment=self._text(item.comment))
        if isinstance(item, UserEvent):
            return replace(item, properties=self._values(item.properties))
        if isinstance(item, Exchange):
            return replace(
                item,
                prompt=self._clean_text(item.prompt),
                answer=self._clean_text(item.answer),
                properties=item.properties and self._values(item.properties),
            )
        return item

    def _run(self, run: Run) -> Run:
        error = run.error
        if error is not None:
            message, stack = self._clean_text(error.message), self._text(error.stack)
            error = replace(error, message=message, stack=stack)
        answer = run.answer
        if answer is not None and answer.logprobs is not None:
            answer = replace(answer, logprobs=self._snapshot(answer.logprobs))
        cleaned = {
            "input": self._snapshot(run.input),
            "output": self._snapshot(run.output),
            "params": self._params(run.params),
            "error": error,
            "answer": answer,
            "tags": self._tags(run.tags),
            "metadata": self._values(run.metadata),
            "user_props": run.user_props and self._values(run.user_props),
        }
        changed: dict[str, Any] = {
            name: value for name, value in cleaned.items() if value is not getattr(run, name)
        }
        return replace(run, **changed) if changed else run

    def _snapshot(self, data: Snapshot | None) -> Snapshot | None:
        return None if data is None else self._clean(data)

    def _params(self, data: Snapshot | None) -> Snapshot | None:
        cleaned = self._snapshot(data)
        return Snapshot(b"{}") if cleaned is not None and cleaned[:1] != b"{" else cleaned

    def _tags(self, tags: Sequence[str]) -> Sequence[str]:
        cleaned = tuple(map(self._clean_text, tags))
        return tags if cleaned == tuple(tags) else cleaned

    def _text(self, text: str | None) -> str | None:
        return None if text is None else self._clean_text(text)

    def _values(self, values: Mapping[str, JSON]) -> Mapping[str, JSON]:
        if not values:
            return values
        before = snapshot(values)
        after = self._clean(before)
        if after == before:
            return values
        cleaned = orjson.loads(after)
        return cleaned if isinstance(cleaned, dict) else {}


def _masked(data: Snapshot) -> Snapshot:
    return Snapshot(mask(data))


def _redaction(redact: Redact) -> Cleaning:
    def clean(data: Snapshot) -> Snapshot:
        with guard("redact content"):
            return snapshot(redact(orjson.loads(data)))
        return snapshot(WITHHELD)

    def clean_text(text: str) -> str:
        with guard("redact content"):
            cleaned = redact(text)
            return cleaned if isinstance(cleaned, str) else WITHHELD
        return WITHHELD

    return Cleaning(clean, clean_text)
