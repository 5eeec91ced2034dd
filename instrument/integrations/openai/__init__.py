"""OpenAI and everything that speaks its protocol through the `openai` package."""

from __future__ import annotations

from ._tap import install

__all__ = ["install"]
