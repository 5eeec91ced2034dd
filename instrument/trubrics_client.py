"""
The documented Trubrics client, on this package's own transport.

`Trubrics(api_key).track(...)` needs no `instrument()`, and two clients with different keys do not
know of each other. The same object is an exporter: `instrument(exporters=[Trubrics(runs="answers")])`.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any, final

from . import config
from .exporters import trubrics
from .exporters._base import Request, Response, Verdict
from .guard import logger as own_logger
from .recorder import Note
from .run import JSON, Exchange, UserEvent
from .snapshot import plain
from .told import utc
from .transport import Bounds, Flushed, Transport

MIN_FLUSH_INTERVAL = 1.0
"""Seconds; a shorter interval is raised to it, as the vendor's client does."""

EXIT_SECONDS = 5.0
"""How long `flush`, `close` and the end of the process wait for deliveries, in seconds."""

TEXT, OBJECT, NUMBER = (str,), (Mapping,), (int, float)

KINDS: Mapping[str, tuple[type, ...]] = {
    "event": TEXT,
    "user_id": TEXT,
    "prompt": TEXT,
    "generation": TEXT,
    "prompt_event_name": TEXT,
    "generation_event_name": TEXT,
    "assistant_id": TEXT,
    "thread_id": TEXT,
    "properties": OBJECT,
    "timestamp": (datetime,),
    "latency": NUMBER,
    "flush_interval": NUMBER,
    "flush_batch_size": (int,),
    "logger": (logging.Logger,),
}
"""What each argument must be, by its name."""

OPTIONAL = frozenset({"assistant_id", "thread_id", "properties", "timestamp", "latency", "logger"})
"""Arguments that may be None."""


@final
class Trubrics(trubrics.Trubrics):
    """
    Send what users did, and prompts with their answers, to Trubrics, without making anybody wait.

    Args:
        api_key: The project's key; None takes `TRUBRICS_API_KEY` from the environment.
        host: The whole prefix of the API; None takes `TRUBRICS_HOST`, else the hosted one.
        flush_interval: Seconds that an event waits at most, at least 1.
        flush_batch_size: Events that trigger a flush, and the most in one request, 1 to 100.
        logger: Takes the client's messages. By default the logger `instrument.trubrics`, at the
            level ERROR unless it has been given another.
        runs: Which runs are sent by an object that is used as an exporter: `all` or `answers`.

    Raises:
        ConfigError: There is no key, or it or the host cannot be right.
        TypeError: An argument is of a wrong type; the message names it.
    """

    def __init__(
        self,
        api_key: str | None = None,
        host: str | None = None,
        flush_interval: float = 10,
        flush_batch_size: int = 20,
        logger: logging.Logger | None = None,
        *,
        runs: trubrics.Runs = "all",
    ) -> None:
        check(flush_interval=flush_interval, flush_batch_size=flush_batch_size, logger=logger)
        self._logger = logger or quiet_logger()
        # Whoever gives no logger hears of a changed setting all the same.
        say = (logger or own_logger()).warning
        interval = max(MIN_FLUSH_INTERVAL, flush_interval)
        size = min(max(1, flush_batch_size), trubrics.MAX_ITEMS)
        if interval != flush_interval:
            say("flush_interval of %s s is too short: it is set to %s s", flush_interval, interval)
        if size != flush_batch_size:
            say("flush_batch_size of %s is not 1 to 100: it is set to %s", flush_batch_size, size)
        super().__init__(
            api_key or config.variable("TRUBRICS_API_KEY"),
            host or config.variable("TRUBRICS_HOST") or trubrics.HOST,
            runs=runs,
            max_items=size,
        )
        self._bounds = Bounds(flush_interval=interval)
        self._lock = threading.Lock()
        self._transport: Transport | None = None
        self._closed = False

    def track(
        self,
        *,
        event: str,
        user_id: str,
        properties: Mapping[str, Any] | None = None,
        timestamp: datetime | None = None,
    ) -> None:
        """
        Send an event of a user.

        Args:
            event: What the user did.
            user_id: Who did it; without one the event is dropped, and counted.
            properties: More about it.
            timestamp: When; None is now, and a time without a zone is UTC.

        Raises:
            TypeError: An argument is of a wrong type; the message names it.
        """
        check(event=event, user_id=user_id, properties=properties, timestamp=timestamp)
        said = copied(properties) or {}
        self._publish(
            Note(UserEvent(name=event, at=utc(timestamp), user_id=user_id, properties=said))
        )

    def track_llm(  # noqa: PLR0913 - the documented signature
        self,
        *,
        user_id: str,
        prompt: str,
        generation: str,
        assistant_id: str | None = None,
        properties: Mapping[str, Any] | None = None,
        timestamp: datetime | None = None,
        latency: float | None = None,
        thread_id: str | None = None,
        prompt_event_name: str = "Prompt",
        generation_event_name: str = "Generation",
    ) -> None:
        """
        Send a prompt and its answer.

        Args:
            user_id: Who asked; without one the pair is dropped, and counted.
            prompt: What the user said.
            generation: What the assistant answered.
            assistant_id: Who answered, typically the name of the model.
            properties: More about both.
            timestamp: When the answer was there; None is now, and a time without a zone is UTC.
            latency: Seconds between prompt and answer.
            thread_id: The conversation.
            prompt_event_name: What the destination calls the prompt.
            generation_event_name: What it calls the answer.

        Raises:
            TypeError: An argument is of a wrong type; the message names it.
        """
        check(
            user_id=user_id,
            prompt=prompt,
            generation=generation,
            assistant_id=assistant_id,
            properties=properties,
            timestamp=timestamp,
            latency=latency,
            thread_id=thread_id,
            prompt_event_name=prompt_event_name,
            generation_event_name=generation_event_name,
        )
        exchange = Exchange(
            user_id=user_id,
            prompt=prompt,
            answer=generation,
            at=utc(timestamp),
            latency=latency,
            assistant_id=assistant_id,
            thread_id=thread_id or None,
            properties=copied(properties),
            prompt_event=prompt_event_name,
            answer_event=generation_event_name,
        )
        self._publish(Note(exchange, len(prompt) + len(generation)))

    def flush(self, timeout: float = EXIT_SECONDS) -> Flushed:
        """
        Deliver what was tracked, now.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            How many events were delivered, still wait, and were dropped meanwhile.
        """
        return self._told(
            Flushed(0, 0, 0) if self._transport is None else self._transport.flush(timeout)
        )

    def close(self, timeout: float = EXIT_SECONDS) -> Flushed:
        """
        Deliver what was tracked and end the client. Runs at exit by itself.

        Args:
            timeout: Seconds to wait at most; what is not delivered by then is dropped.
        """
        with self._lock:
            self._closed = True
            transport, self._transport = self._transport, None
        atexit.unregister(self.close)
        return self._told(Flushed(0, 0, 0) if transport is None else transport.shutdown(timeout))

    def verdict(self, request: Request, response: Response) -> Verdict | None:
        """Say on the client's logger what became of a request, without a word of what it held."""
        number = len(request.items)
        if 200 <= response.status < 300:
            self._logger.info("%d events sent to Trubrics", number)
        else:
            self._logger.error("Trubrics refused %d events with status %d", number, response.status)
        return super().verdict(request, response)

    def _publish(self, note: Note) -> None:
        with self._lock:
            if self._transport is None and not self._closed:
                self._transport = Transport([self], bounds=self._bounds)
                atexit.register(self.close)
            transport = self._transport
        if transport is None:
            self._logger.error("an event was tracked after close() and is lost")
        else:
            transport.publish(note)
            self._logger.debug("an event has been queued")

    def _told(self, flushed: Flushed) -> Flushed:
        if flushed.pending or flushed.dropped:
            self._logger.error(
                "%d events wait still, and %d were dropped", flushed.pending, flushed.dropped
            )
        return flushed


def check(**arguments: object) -> None:
    """
    Check arguments by their names.

    Raises:
        TypeError: One is of a wrong type.
    """
    for name, value in arguments.items():
        if value is None and name in OPTIONAL:
            continue
        kinds = KINDS[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")


def copied(properties: Mapping[str, Any] | None) -> Mapping[str, JSON] | None:
    """Copy properties into plain JSON that is nobody else's to change."""
    if properties is None:
        return None
    made = plain(dict(properties))
    return made if isinstance(made, dict) else {}


def quiet_logger() -> logging.Logger:
    """Return the client's own logger, at ERROR unless somebody chose another level."""
    logger = logging.getLogger("instrument.trubrics")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.ERROR)
    return logger
