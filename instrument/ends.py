"""
The ends of a process that `atexit` never hears of, and what is delivered before them.

`with Pool() as pool:` ends its workers by SIGTERM, and uvicorn, once it has shut down in order, ends
itself by the SIGTERM that it was sent. Wherever else that signal ends a process at once, it does so
with us too: a handler in Python runs only when the main thread comes back to Python.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any, TypeAlias, final

from .guard import guard

DELIVERY_SECONDS = 2.0
"""How long the end by a signal waits for deliveries, in seconds."""

SERVER = "uvicorn.server"

Deliver: TypeAlias = Callable[[], object]


@final
class Termination:
    """
    What a worker of `multiprocessing` does when it is told to end.

    Args:
        deliver: Called before the end.
    """

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver

    def watch(self) -> None:
        """Handle SIGTERM if this is a worker, and nobody else handles or ignores it."""
        with guard("watch for the end of a worker"):
            if is_worker() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, self)

    def __call__(self, number: int, _: FrameType | None) -> None:
        """Deliver, and let the signal do what it would have done."""
        with guard("deliver before the end of a worker"):
            self._deliver()
        if signal.getsignal(number) is not self:
            return  # another handler has called this one, and decides what comes next
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def is_worker() -> bool:
    """Say whether `multiprocessing` started this process, and this is its main thread."""
    module = sys.modules.get("multiprocessing.process")
    if module is None or module.parent_process() is None:
        return False
    return threading.current_thread() is threading.main_thread()


@final
class Uvicorn:
    """
    What is put on uvicorn's server, so that it delivers before it ends by a signal.

    Args:
        deliver: Called on a thread, so that what else the loop runs goes on.
    """

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._put: tuple[Any, Any, Any] | None = None
        self._wanted = True

    def install(self) -> Callable[[], None]:
        """Wrap the server when it is imported; the result takes that back."""
        import wrapt  # it takes 30 ms, which `import instrument` has not

        wrapt.register_post_import_hook(self.apply, SERVER)
        return self.undo

    def apply(self, module: Any) -> None:
        """Wrap the server's `shutdown`."""
        server = getattr(module, "Server", None)
        before = getattr(server, "__dict__", {}).get("shutdown")
        if self._wanted and server is not None and before is not None:
            with guard("wrap uvicorn's shutdown"):
                import wrapt

                wrapt.wrap_function_wrapper(server, "shutdown", self._shut_down)
                self._put = (server, before, server.__dict__["shutdown"])

    def undo(self) -> None:
        """Take it back if it is still ours."""
        self._wanted = False
        if self._put is None:
            return
        server, before, ours = self._put
        if server.__dict__.get("shutdown") is ours:
            server.shutdown = before

    async def _shut_down(
        self, wrapped: Callable[..., Awaitable[Any]], server: Any, args: Any, kwargs: Any
    ) -> Any:
        result = await wrapped(*args, **kwargs)
        # Releases before 0.29 have no such list, and do not end by the signal either.
        if self._wanted and signal.SIGTERM in getattr(server, "_captured_signals", ()):
            import asyncio

            with guard("deliver before uvicorn ends"):
                await asyncio.get_running_loop().run_in_executor(None, self._deliver)
        return result
