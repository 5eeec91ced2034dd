"""For tests: a fake OpenAI server at the wire."""

from .fake_openai import FakeOpenAI

__all__ = ["FakeOpenAI"]
