"""
The end of uvicorn, which `atexit` never hears of, and what is delivered before it.

Once it has shut down in order, uvicorn ends itself by the SIGTERM that it was sent.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, final

from .guard import guard

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
