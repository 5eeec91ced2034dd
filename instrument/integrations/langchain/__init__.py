"""LangChain and LangGraph: a callback handler, and its registration for the whole process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, final

import wrapt

from ...context import lookouts
from ...guard import guard
from ...recorder import Recorder
from . import closing, nodes
from .linking import look
from .nodes import Source

if TYPE_CHECKING:
    from .handler import CallbackHandler, Handler

__all__ = ["CallbackHandler", "install"]

HOOKS: Final = "langchain_core.tracers.context"
"""The module that lets handlers be registered; LangChain imports it before it asks for them."""


@final
class _Everywhere:
    """
    What LangChain takes for a context variable that holds a handler, in every thread and context.

    It is registered once in a process, because there is no way to take that back, and gives nothing
    while tracing is off.
    """

    def __init__(self) -> None:
        self.recorders: list[Recorder] = []
        self._registered = False
        self._handler: Handler | None = None

    def get(self) -> Handler | None:
        """Give the handler, while tracing is on."""
        return self._handler if self.recorders else None

    def recorder(self) -> Recorder | None:
        """Give the recorder that the handler uses."""
        return self.recorders[-1] if self.recorders else None

    def register(self, module: Any) -> None:
        """Register with LangChain."""
        if self._registered:
            return
        with guard("register with LangChain"):
            from .handler import Handler

            self._handler = Handler(Source(self.recorder))
            module.register_configure_hook(self, True, Handler)
            self._registered = True


everywhere: Final = _Everywhere()


def install(recorder: Recorder) -> Callable[[], None]:
    """Trace every LangChain run into *recorder*; the result takes it back."""
    take_back = closing.install()
    everywhere.recorders.append(recorder)
    wrapt.register_post_import_hook(everywhere.register, HOOKS)
    if look not in lookouts:
        lookouts.append(look)

    def undo() -> None:
        if recorder in everywhere.recorders:
            everywhere.recorders.remove(recorder)
        if not everywhere.recorders and look in lookouts:
            lookouts.remove(look)
        take_back()

    return undo


def __getattr__(name: str) -> Any:
    """Import what needs LangChain only when it is asked for."""
    if name == "CallbackHandler":
        from .handler import CallbackHandler

        return CallbackHandler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=nodes.registry.clear)
