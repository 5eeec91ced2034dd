"""
The end of uvicorn, which `atexit` never hears of, and what is delivered before it.

Once it has shut down in order, uvicorn ends itself by the SIGTERM that it was sent.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeAlias, final

from .guard import guard
from .patches import Patches, Wrapped

SERVER = "uvicorn.server"

Deliver: TypeAlias = Callable[[], object]


@final
class Uvicorn:
    """
    What is put on uvicorn's server, so that it delivers before it ends by a signal.

    Args:
        deliver: Called on a thread, so that what else the loop runs goes on.
    """

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._patches = Patches()

    def install(self) -> Callable[[], None]:
        """Wrap the server when it is imported; the result takes that back."""
        self._patches.when_imported(SERVER, self.apply)
        return self.undo

    def apply(self, module: Any) -> None:
        """Wrap the server's `shutdown`."""
        server = getattr(module, "Server", None)
        if server is not None and "shutdown" in vars(server):
            with guard("wrap uvicorn's shutdown"):
                self._patches.put(server, "shutdown", self._shut_down)

    def undo(self) -> None:
        """Take it back if it is still ours."""
        self._patches.undo()

    def _shut_down(self, wrapped: Wrapped) -> Wrapped:
        @wraps(wrapped)
        async def shutdown(server: Any, /, *args: Any, **kwargs: Any) -> Any:
            result = await wrapped(server, *args, **kwargs)
            # Releases before 0.29 have no such list, and do not end by the signal either.
            if self._patches.wanted and signal.SIGTERM in getattr(server, "_captured_signals", ()):
                import asyncio

                with guard("deliver before uvicorn ends"):
                    await asyncio.get_running_loop().run_in_executor(None, self._deliver)
            return result

        return shutdown
