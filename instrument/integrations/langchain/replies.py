"""
A model's answer, kept by its string.

Most answers are one text, or calls of tools, from one message. Such a text needs no copy, because
nobody can change it; what the provider said about it is written down.
"""

from __future__ import annotations

from typing import Any, Final, final

import orjson

from ...run import JSON, Snapshot
from ...snapshot import Unfold, clean, snapshot
from .rows import MARK, roles, says_nothing

TOLD: Final = ("tool_calls", "usage_metadata", "response_metadata", "info")
"""What is said about a text, in this order; `llm_output` follows."""

REPLY_BYTES: Final = 128
"""What an answer weighs beside its text and what is said about it, in bytes."""


@final
class Reply:
    """
    The answer of one message, with nothing odd about it; its length is its weight in bytes.

    Attributes:
        text: What it says.
        told: What is said about it, a JSON list in the order of `TOLD`.
    """

    __slots__ = ("text", "told")

    def __init__(self, text: str, told: Snapshot) -> None:
        self.text = text
        self.told = told

    def __len__(self) -> int:
        return len(self.text) + len(self.told) + REPLY_BYTES


def keep_reply(generation: Any, llm_output: Any, unfold: Unfold) -> Reply | None:
    """Keep an answer; None when it is no usual message, or has more than a text and tool calls."""
    given = generation.__dict__
    message = given.get("message")
    if roles.get(type(message)) != "assistant":
        return None
    try:
        return _keep(message.__dict__, given.get("generation_info"), llm_output, unfold)
    except (KeyError, TypeError, AttributeError):  # it lacks a field, or that is something else
        return None


def _keep(fields: dict[str, Any], info: Any, llm_output: Any, unfold: Unfold) -> Reply | None:
    text, more = fields["content"], fields["additional_kwargs"]
    provider = fields["response_metadata"]
    is_odd = type(text) is not str or fields["name"] or fields["invalid_tool_calls"]
    if is_odd or (more and not says_nothing(more)):
        return None
    if provider:
        info = None
    told = [fields["tool_calls"], fields["usage_metadata"], provider, info, llm_output]
    return Reply(text, snapshot(told, unfold))


# ---- from here on: the worker's thread ----


def choice_of(reply: Reply) -> tuple[dict[str, JSON], JSON]:
    """Give the answer as the choice that `shots` makes of any other, and `llm_output`."""
    choice: dict[str, JSON] = {MARK: "assistant", "content": clean(reply.text)}
    told = orjson.loads(reply.told)
    if not isinstance(told, list):  # it was too large, and its name stands for it
        return choice, None
    *said, llm_output = told
    choice.update(zip(TOLD, said, strict=True))
    return choice, llm_output
