"""
Trace every OpenAI and LangChain call of a process, without breaking, slowing or changing one.

::

    from instrument import instrument

    instrument()

The names below, `instrument.testing`, and the exporters' classes are the public surface; all else
may change between releases. How it is built, in one direction::

    the application's thread                     one worker thread (+ at most 4 senders)

    openai SDK -- tap on its HTTP edge --+              +- lane: llmonitor --+
    LangChain --- callback handler ------+-> record --> decode, redact ------+-> sender -> backend
    own code ---- trace() ---------------+              +- lane: sqlite -----> the store

Start reading at `run` (the words), then `recorder`, then one file of `exporters`.

PYTEST_DONT_REWRITE (there is a plugin of ours, so pytest would warn where this is imported before
it: in a program that `instrument run` started.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .client import (
    feedback,
    flush,
    instrument,
    shutdown,
    stats,
    track,
    uninstrument,
)
from .context import context
from .run import ConfigError
from .scope import trace
from .told import interaction

if TYPE_CHECKING:
    from .integrations.langchain import CallbackHandler
    from .trubrics_client import Trubrics

__all__ = [
    "CallbackHandler",
    "ConfigError",
    "Trubrics",
    "context",
    "feedback",
    "flush",
    "instrument",
    "interaction",
    "shutdown",
    "stats",
    "trace",
    "track",
    "uninstrument",
]


def __getattr__(name: str) -> Any:
    """Import what not everybody needs only when it is asked for."""
    if name == "CallbackHandler":
        from .integrations.langchain import CallbackHandler

        return CallbackHandler
    if name == "Trubrics":
        from .trubrics_client import Trubrics

        return Trubrics
    if name == "__version__":
        from importlib.metadata import version

        return version("llm-instrument")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
