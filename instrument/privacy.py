"""
What may leave: content is dropped or redacted here, on the worker, before any destination.

Fails closed: when the application's `redact` raises, the content is dropped and counted, not sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import orjson

from .guard import guard
from .run import JSON, Error, Feedback, Item, Run, Snapshot
from .snapshot import snapshot

Redact: TypeAlias = "Callable[[JSON], JSON]"

WITHHELD = Snapshot(b'"<redaction failed>"')
"""What stands for content that `redact` could not clean."""

_TEXT_PARAMS = ("tools", "functions", "prediction", "response_format", "user", "metadata")
"""Parameters of a request that hold what an application wrote, rather than a setting."""


def filter_for(*, capture_content: bool, redact: Redact | None) -> Callable[[Item], Item]:
    """Make the function that every item passes before any destination sees it."""
    if not capture_content:
        return without_content
    if redact is None:
        return unchanged
    return Redaction(redact)


def unchanged(item: Item) -> Item:
    """Let the item pass as it is."""
    return item


def without_content(item: Item) -> Item:
    """Take out everything that anybody wrote; keep names, times, counts and ids."""
    if isinstance(item, Feedback):
        return replace(item, comment=None)
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
    return snapshot({name: values[name] for name in values if name not in _TEXT_PARAMS})


class Redaction:
    """Pass each piece of content of a run through the application's *redact*."""

    def __init__(self, redact: Redact) -> None:
        self._redact = redact

    def __call__(self, item: Item) -> Item:
        """Clean one item."""
        if isinstance(item, Feedback):
            return replace(item, comment=self._text(item.comment))
        if not isinstance(item, Run):
            return item
        return replace(
            item,
            input=self._snapshot(item.input),
            output=self._snapshot(item.output),
            params=self._params(item.params),
            error=self._error(item.error),
            answer=item.answer and replace(item.answer, logprobs=None),
            metadata=self._values(item.metadata),
        )

    def _snapshot(self, data: Snapshot | None) -> Snapshot | None:
        if data is None:
            return None
        with guard("redact content"):
            return snapshot(self._redact(orjson.loads(data)))
        return WITHHELD

    def _params(self, data: Snapshot | None) -> Snapshot | None:
        cleaned = self._snapshot(data)
        return snapshot({}) if cleaned == WITHHELD else cleaned

    def _values(self, values: object) -> dict[str, JSON]:
        with guard("redact content"):
            cleaned = self._redact(orjson.loads(snapshot(values)))
            if isinstance(cleaned, dict):
                return cleaned
        return {}

    def _text(self, text: str | None) -> str | None:
        if text is None:
            return None
        with guard("redact content"):
            return str(self._redact(text))
        return "<redaction failed>"

    def _error(self, error: Error | None) -> Error | None:
        if error is None:
            return None
        return replace(
            error, message=self._text(error.message) or "", stack=self._text(error.stack)
        )
