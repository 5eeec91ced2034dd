"""The composition root, and the only module with a mutable global: what `instrument()` put up."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, final

from . import recorder as recorders
from . import told
from .context import bound
from .ends import Uvicorn
from .guard import guard, logger, notices
from .recorder import Note, Recorder, own_id
from .run import ConfigError, Feedback, UserEvent

# What only a traced process needs is imported when tracing begins: `import instrument` stays light.
if TYPE_CHECKING:
    from . import config
    from .transport import Flushed

EXIT_SECONDS = 5.0
"""How long the end of the process takes at most, in seconds."""

TEARDOWN_SECONDS = 0.25
"""The part of it in which no delivery is waited for any more: threads and files are let go."""

DELIVERY_SECONDS = 2.0
"""How long uvicorn's end and that of a worker of `multiprocessing` wait for deliveries."""

SIGTERM_SECONDS = 4.0
"""The part of it that SIGTERM takes, where the application decides what comes next."""


@final
class Client:
    """
    What `instrument()` puts up: a recorder, a transport, and the patches on the SDKs.

    Attributes:
        is_asked: Whether the application asked for it, and not a handler that needs a recorder.
    """

    def __init__(self, settings: config.Settings, *, is_asked: bool) -> None:
        from .privacy import filter_for
        from .serverless import RootEnds
        from .sigterm import Sigterm, watch_worker
        from .transport import Bounds, SpoolOptions, Transport

        self.settings = settings
        self.is_asked = is_asked
        self._sigterm = Sigterm(self._terminate, EXIT_SECONDS)
        self._worker_sigterm = Sigterm(
            lambda _: self.deliver(), DELIVERY_SECONDS, is_inherited=False
        )
        self.transport = Transport(
            settings.exporters,
            process=filter_for(
                capture_content=settings.capture_content,
                scan_secrets=settings.scan_secrets,
                redact=settings.redact,
                hash_key=settings.hash_key,
            ),
            bounds=Bounds(flush_interval=settings.flush_interval),
            spool=None
            if settings.spool is None
            else SpoolOptions(path=settings.spool, sync=settings.spool_sync),
            on_start=partial(watch_worker, self._worker_sigterm),
        )
        publish = self.transport.publish
        if settings.flush_at_root_end:
            publish = RootEnds(self.transport).publish
        self.recorder = Recorder(
            publish, sample_rate=settings.sample_rate, user_id=settings.user_id
        )
        self.exit_seconds = EXIT_SECONDS - TEARDOWN_SECONDS
        self._undo: list[Callable[[], None]] = []

    def install(self) -> None:
        """Begin to trace."""
        from . import integrations

        with guard("look into the spool"):
            self.transport.wake()

        self._undo = [*integrations.install_all(self.recorder), Uvicorn(self.deliver).install()]
        self._undo.append(self._worker_sigterm.uninstall)
        recorders.installed.append(self.recorder)
        if self.settings.flush_on_sigterm:
            self._sigterm.install()
            self._undo.append(self._sigterm.uninstall)

    def deliver(self) -> None:
        """Deliver before an end by a signal; streams that are open end here."""
        self.recorder.end_streams()
        self.transport.flush(DELIVERY_SECONDS)

    def _terminate(self, is_end: bool) -> None:
        """Deliver before SIGTERM does what it does: end the process, or call the application."""
        if is_end:
            self.recorder.end_streams()
            self.transport.shutdown(EXIT_SECONDS - TEARDOWN_SECONDS)
            return
        began = time.monotonic()
        self.transport.flush(SIGTERM_SECONDS)
        spent = min(SIGTERM_SECONDS, time.monotonic() - began)
        self.exit_seconds = EXIT_SECONDS - TEARDOWN_SECONDS - spent

    def uninstall(self) -> None:
        """Trace nothing new, and take back what is still ours; what runs now ends as it would."""
        self.recorder.enabled = False
        if self.recorder in recorders.installed:
            recorders.installed.remove(self.recorder)
        while self._undo:
            with guard("take back a patch"):
                self._undo.pop()()


_client: Client | None = None
_turn = threading.RLock()  # held by whoever switches tracing on or off


def instrument(  # noqa: PLR0913 - each setting is one keyword, to be read in one place
    *,
    exporters: Sequence[str | config.AnyExporter] | None = None,
    user_id: str | None = None,
    capture_content: bool | None = None,
    scan_secrets: bool | None = None,
    redact: config.Redact | None = None,
    hash_user_ids: bool | str | None = None,
    sample_rate: float | None = None,
    flush_interval: float | None = None,
    spool: str | os.PathLike[str] | None = None,
    spool_sync: Literal["none", "batch", "interval"] | None = None,
    flush_at_root_end: bool | None = None,
    flush_on_sigterm: bool | None = None,
) -> None:
    """
    Trace every OpenAI and LangChain call of this process from now on.

    Call it once, anywhere: before or after the SDKs are imported and their clients are made. A
    second call changes nothing; but the first takes the place of what a `CallbackHandler` that was
    made before it has begun by itself. What is left out comes from the environment, else the default.

    Args:
        exporters: Where runs go: names or exporter objects. By default every backend whose key is
            in the environment, else the local store.
        user_id: The user of every run for which nothing nearer names one.
        capture_content: False keeps prompts, answers and their like out of every destination.
        scan_secrets: False leaves what looks like a key or a token as it is.
        redact: Called with each piece of content, a JSON value, before any destination; returns
            what may leave. When it raises, the content is dropped.
        hash_user_ids: Send user ids as hashes under a key: this text, or for True what
            INSTRUMENT_HASH_KEY holds.
        sample_rate: Share of trees that are recorded, 0.0 to 1.0.
        flush_interval: Seconds that a run waits at most before it is sent.
        spool: A folder in which all that is accepted lies until it is delivered, so that the next
            process delivers what this one does not, however it ends. By default there is none.
        spool_sync: When that is forced to the disk: "none" (it outlives the process, not the
            machine), "batch" (the default), "interval" (every half second).
        flush_at_root_end: Wait for the delivery, 2 seconds at most, whenever a run without a parent
            ends; for processes that are frozen between two requests. By default only where the
            environment says that this is such a platform.
        flush_on_sigterm: On SIGTERM deliver, 5 seconds at most, and then do what would have been
            done: call the handler that was there before, or die of it. Off by default.

    Raises:
        ConfigError: A setting cannot be used; the sentence says the remedy.
    """
    _switch_on({name: value for name, value in locals().items() if value is not None})


def _switch_on(options: dict[str, Any], *, is_asked: bool = True) -> None:
    from . import config

    if config.disabled():
        return
    before = None
    with _turn:
        if _client is None or not _client.recorder.enabled:
            before = _start(config.read(options), is_asked=is_asked)
        elif is_asked and not _client.is_asked:
            if options:
                settings = config.read(options)
                _client.uninstall()
                before = _start(settings, is_asked=True)
            _client.is_asked = True
        elif options:
            notices.say(
                "instrument() called again",
                "instrument() is on already and its settings stay: call uninstrument() first",
            )
    if before is not None:
        before.transport.shutdown(EXIT_SECONDS)


def _start(settings: config.Settings, *, is_asked: bool) -> Client | None:
    """Put everything up; give what was up before, whose transport is still to end."""
    global _client
    before, _client = _client, Client(settings, is_asked=is_asked)
    if before is None:
        atexit.register(_at_exit)
        _end_with_worker()
    _client.install()
    _say_where(settings)
    return before


def uninstrument() -> None:
    """
    Stop tracing: SDKs are as they were, and what was recorded is delivered.

    Runs that are open stay so until they end, and are delivered then.
    """
    client = _uninstall()
    if client is not None:
        client.transport.flush(EXIT_SECONDS)


def _uninstall() -> Client | None:
    """Trace nothing new; give what was put up, if anything was."""
    with _turn:
        if _client is not None:
            _client.uninstall()
        return _client


def flush(timeout: float = EXIT_SECONDS) -> Flushed:
    """
    Deliver what is recorded, now.

    Args:
        timeout: Seconds to wait at most.

    Returns:
        How many items were delivered, still wait, and were dropped meanwhile.
    """
    if _client is None:
        return _nothing()
    return _client.transport.flush(timeout)


def shutdown(timeout: float = EXIT_SECONDS) -> Flushed:
    """
    Stop tracing, deliver what is recorded, and end the worker. Runs at exit by itself.

    Args:
        timeout: Seconds to wait at most; what is not delivered by then stays in the spool, or is
            dropped and counted when there is none.
    """
    client = _uninstall()
    return _nothing() if client is None else client.transport.shutdown(timeout)


def _nothing() -> Flushed:
    from .transport import Flushed

    return Flushed(delivered=0, pending=0, dropped=0)


def stats() -> dict[str, Any]:
    """
    Say what became of everything that was recorded.

    Returns:
        The intake's and each exporter's ledger (accepted = delivered + queued + spooled + dropped
        by reason), the spool's files if there is one, and our own failures by kind.
    """
    ledger = {} if _client is None else _client.transport.stats()
    return {**ledger, "failures": dict(notices.counts)}


def feedback(
    run_id: str,
    *,
    thumb: Literal["up", "down"] | None = None,
    score: float | None = None,
    comment: str | None = None,
    user_id: str | None = None,
) -> None:
    """
    Say what somebody thought of a run, at any time after it.

    Args:
        run_id: Id of the run, as `trace` gives it, or LangChain's own `run_id`.
        thumb: `up` or `down`.
        score: Any number; its scale is yours.
        comment: What they said.
        user_id: Who said it; None takes what is bound.

    Raises:
        ValueError: There is nothing in it, or *thumb* is another word.
    """
    if thumb is None and score is None and comment is None:
        raise ValueError("an empty feedback says nothing: give thumb, score or comment")
    if thumb not in {None, "up", "down"}:
        raise ValueError(f"thumb is {thumb!r}: use 'up' or 'down'")
    _tell(
        Feedback(
            run_id=own_id(str(run_id)),
            at=datetime.now(timezone.utc),
            thumb=thumb,
            score=score,
            comment=comment,
            user_id=user_id or bound.get().user_id,
        )
    )


def _tell(item: Feedback | UserEvent) -> None:
    """Publish what is not a run to whoever records now, else to the transport that is still up."""
    on = recorder()
    if on is not None:
        on.publish(Note(item))
    elif _client is not None:
        _client.transport.publish(Note(item))


def track(
    event: str,
    *,
    user_id: str | None = None,
    properties: Mapping[str, Any] | None = None,
    timestamp: datetime | None = None,
) -> None:
    """
    Send something that a user did to every destination that has such a thing.

    Args:
        event: What was done (`Sign Up`, `Copy answer`).
        user_id: Who did it; None takes what is bound, else the configured user.
        properties: More about it.
        timestamp: When; None is now, and a time without a zone is UTC.

    Raises:
        TypeError: The event or the user id is not a string.
    """
    made = told.user_event(event, user_id=user_id, properties=properties, timestamp=timestamp)
    on = recorder()
    default = None if on is None else on.user_id
    _tell(replace(made, user_id=made.user_id or default))


def recorder() -> Recorder | None:
    """Give the recorder that is on, if any."""
    return recorders.installed[-1] if recorders.installed else None


def start() -> Recorder | None:
    """Put everything up from the environment alone, for whoever needs a recorder now."""
    with guard("start"):
        try:
            _switch_on({}, is_asked=False)
        except ConfigError as error:
            notices.say("wrong settings", "nothing is traced: %s", error)
    return recorder()


recorders.starters.append(start)


def _say_where(settings: config.Settings) -> None:
    """Say once on stderr where the runs are, when nobody chose a destination."""
    from . import config
    from .sigterm import is_worker

    names = ", ".join(exporter.name for exporter in settings.exporters)
    logger().info("tracing to %s", names)
    if settings.chosen or config.quiet() or is_worker():  # a worker's parent has said it
        return
    path = getattr(settings.exporters[0], "path", "the local store")
    with guard("say where the runs are"):
        sys.stderr.write(
            f"instrument: no key is set, so runs go to {path}; "
            "see them with: python -m instrument show\n"
        )


def _at_exit() -> None:
    if _client is not None:
        with guard("deliver at exit"):
            _client.recorder.end_streams()
            _client.transport.shutdown(_client.exit_seconds)


def _end_with_worker() -> None:
    """
    Deliver at the end of a worker of `multiprocessing` that begins to trace by itself.

    It ends by `os._exit`, after its own finalizers and without atexit.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is None:
        return
    with guard("prepare a worker"):
        if sys.modules["multiprocessing.process"].parent_process() is not None:
            _finalize(util)
        else:  # it may become a worker yet: what it does is unpickled before it knows that it is one
            util.register_after_fork(util, _finalize)


def _finalize(util: ModuleType) -> None:
    util.Finalize(None, _at_exit, exitpriority=0)


def _after_fork() -> None:
    """In a forked child: what the parent has open stays the parent's."""
    global _turn  # noqa: PLW0603 - nobody else may take its place
    _turn = threading.RLock()  # the thread that held it may not be here
    if _client is None:
        return
    _client.recorder.after_fork()
    # A worker of `multiprocessing` forgets its parent's finalizers, and then calls what is here.
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        with guard("prepare a forked worker"):
            util.register_after_fork(util, _finalize)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
