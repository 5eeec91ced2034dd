"""For tests: `capture()`, the runs of a block, and `FakeOpenAI`, a server at the wire."""

from .capture import capture
from .fake_openai import FakeOpenAI

__all__ = ["FakeOpenAI", "capture"]
