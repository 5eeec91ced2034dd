"""The token counts of a model's answer, wherever a version of LangChain has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Final

from ...run import JSON, Usage

_DETAILS: Final = (
    ("prompt_tokens_details", "cached_tokens", "cached"),
    ("prompt_tokens_details", "audio_tokens", "audio_in"),
    ("completion_tokens_details", "reasoning_tokens", "reasoning"),
    ("completion_tokens_details", "audio_tokens", "audio_out"),
)


def read_usage(choices: list[dict[str, JSON]], llm_output: JSON) -> Usage | None:
    """
    Read the usage of one prompt.

    Every choice repeats the whole, so one of them counts. A stream and the newer APIs have it in
    the message alone, text models in `llm_output` alone.
    """
    for choice in choices:
        usage = _standard(choice.get("usage_metadata"))
        if usage is not None:
            return usage
    for told in _told(choices, llm_output):
        for name in ("token_usage", "usage"):
            usage = _provider(told.get(name))
            if usage is not None:
                return usage
    return None


def is_cache_hit(choices: list[dict[str, JSON]]) -> bool:
    """Tell an answer that came from LangChain's own cache: it repeats the usage, at no cost."""
    told = (choice.get("usage_metadata") for choice in choices)
    return any(isinstance(usage, dict) and usage.get("total_cost") == 0 for usage in told)


def add_up(usages: Iterable[Usage | None]) -> Usage | None:
    """Add up what several calls for one run took; a count that none of them has stays absent."""
    known = [usage for usage in usages if usage is not None]
    if len(known) < 2:
        return known[0] if known else None
    total = {}
    for field in fields(Usage):
        counts = [count for usage in known if (count := getattr(usage, field.name)) is not None]
        total[field.name] = sum(counts) if counts else None
    return Usage(**total)


def _told(choices: list[dict[str, JSON]], llm_output: JSON) -> Iterator[dict[str, JSON]]:
    if isinstance(llm_output, dict):
        yield llm_output
    for choice in choices:
        for name in ("response_metadata", "info"):
            told = choice.get(name)
            if isinstance(told, dict):
                yield told


def _standard(usage: JSON) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    into, out = usage.get("input_token_details"), usage.get("output_token_details")
    return _usage(
        prompt=_count(usage.get("input_tokens")),
        completion=_count(usage.get("output_tokens")),
        total=_count(usage.get("total_tokens")),
        cached=_detail(into, "cache_read"),
        reasoning=_detail(out, "reasoning"),
        audio_in=_detail(into, "audio"),
        audio_out=_detail(out, "audio"),
    )


def _provider(usage: JSON) -> Usage | None:
    """Read what the provider sent, in OpenAI's words or in Anthropic's."""
    if not isinstance(usage, dict):
        return None
    prompt = _count(usage.get("prompt_tokens", usage.get("input_tokens")))
    completion = _count(usage.get("completion_tokens", usage.get("output_tokens")))
    total = _count(usage.get("total_tokens"))
    parts: dict[str, int | None] = {}
    for group, name, part in _DETAILS:
        details = usage.get(group)
        parts[part] = _count(details.get(name)) if isinstance(details, dict) else None
    return _usage(prompt=prompt, completion=completion, total=total, **parts)


def _usage(**counts: int | None) -> Usage | None:
    if all(count is None for count in counts.values()):
        return None
    return Usage(**counts)


def _detail(details: JSON, name: str) -> int | None:
    """Add up the counts of this name, also under a service tier (`priority_cache_read`)."""
    if not isinstance(details, dict):
        return None
    counts = [
        count
        for key, value in details.items()
        if (key == name or key.endswith("_" + name)) and (count := _count(value)) is not None
    ]
    return sum(counts) if counts else None


def _count(value: JSON) -> int | None:
    return value if type(value) is int and value >= 0 else None
