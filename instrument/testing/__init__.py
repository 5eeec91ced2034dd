"""For tests: `capture()`, the runs of a block, and `FakeOpenAI`, a server at the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .capture import capture

if TYPE_CHECKING:
    from .fake_openai import FakeOpenAI

__all__ = ["FakeOpenAI", "capture"]


def __getattr__(name: str) -> Any:
    """Import the server only when it is asked for: pytest imports this in every test run."""
    if name == "FakeOpenAI":
        from .fake_openai import FakeOpenAI

        return FakeOpenAI
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
