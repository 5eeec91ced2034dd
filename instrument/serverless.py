"""
Deliver when a root run ends, where the process may be frozen as soon as it has answered.

Such a platform gives no time after the answer: what then waits for its batch arrives minutes later,
or never. The thread that ends a root run waits for the delivery, which is the one moment that is
certain to lie before the answer. The thread of an event loop does not wait, because all else that the
loop runs would wait too: there the delivery is begun at once.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, final

from .guard import guard

if TYPE_CHECKING:  # settings ask `freezes`, and need no transport for it
    from .recorder import Carried
    from .transport import Transport

ROOT_SECONDS = 2.0
"""How long the end of a root run waits for deliveries, in seconds."""

PLATFORMS: tuple[tuple[str, ...], ...] = (
    ("AWS_LAMBDA_FUNCTION_NAME",),
    ("AWS_LAMBDA_RUNTIME_API",),
    ("K_SERVICE", "FUNCTION_TARGET"),  # functions on Google's Cloud Run
    ("FUNCTIONS_WORKER_RUNTIME",),  # Azure Functions
    ("VERCEL",),
)
"""Variables that such a platform sets for each function."""


def freezes(env: Mapping[str, str]) -> bool:
    """Say whether this environment is one of those platforms."""
    return any(all(map(env.get, names)) for names in PLATFORMS)


@final
class RootEnds:
    """
    Pass records on, and have everything delivered after each that ends a root run.

    Args:
        transport: Takes the records.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def publish(self, record: Carried) -> None:
        """Take a record, as `Transport.publish` does; where it ends a tree, wait for the delivery."""
        self._transport.publish(record)
        if ends_root(record):
            with guard("deliver at the end of a root"):
                if is_in_loop():
                    self._transport.hasten(ROOT_SECONDS)
                else:
                    self._transport.flush(ROOT_SECONDS)


def ends_root(record: object) -> bool:
    """Say whether a record is the end of a run that has no parent."""
    run = getattr(record, "run", None)
    is_ended = getattr(record, "duration", None) is not None
    return is_ended and run is not None and run.parent_id is None


def is_in_loop() -> bool:
    """Say whether this thread runs an event loop at this moment."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
