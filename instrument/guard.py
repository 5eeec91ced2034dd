"""
The one place where our own failures stop.

`with guard("read a response"):` around our code, never around the application's. A failure is
counted under its name, said in one log line a minute, and swallowed; what is no `Exception`
(KeyboardInterrupt, SystemExit, cancellation) passes. Neither the message of the failure nor any
value is logged, because either may hold a prompt.
"""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, final

if TYPE_CHECKING:
    import logging

WARNING = 30
"""What `logging` calls so."""

QUIET_SECONDS = 60.0
"""How long a warning that was given is not repeated, in seconds."""


def logger() -> logging.Logger:
    """Give our logger. Its module takes a fifth of what `import instrument` may: not before need."""
    import logging

    return logging.getLogger("instrument")


class _Saying(Exception):  # noqa: N818 - it is no error
    """Stands before the failure that is told of, whose message may hold a prompt."""


class Notices:
    """Warnings that are said once in `QUIET_SECONDS` for each subject, and counted always."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._said: dict[str, float] = {}

    def say(self, subject: str, message: str, *values: object, level: int = WARNING) -> None:
        """Count *subject*, and log the message unless the subject was logged a moment ago."""
        self.counts[subject] += 1
        now = time.monotonic()
        if now - self._said.get(subject, -QUIET_SECONDS) < QUIET_SECONDS:
            return
        self._said[subject] = now
        try:
            log = logger()
        except ImportError:  # the interpreter is ending
            return
        if not log.hasHandlers():  # Python then writes the bare message to stderr
            message = f"instrument: {message}"
        try:
            raise _Saying from None  # noqa: TRY301 - to be what is handled while the line is logged
        except _Saying:  # so it is this that a broken log handler prints as its error's context
            log.log(level, message, *values)

    def clear(self) -> None:
        """Forget every count, as a forked child does."""
        self.counts.clear()
        self._said.clear()


notices = Notices()


@final
class guard:  # noqa: N801 - it reads as the keyword it stands for
    """
    Stop our own failure here: count it under *what*, log it, and go on after the block.

    `guard.strict = True` lets every failure through, so that tests see them.
    """

    strict: ClassVar[bool] = False

    __slots__ = ("what",)

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception) or guard.strict:
            return False
        self._count(error, traceback)
        return True

    def stop(self, error: Exception) -> None:
        """
        Do what the end of the block does, where a block would cost more than what is in it.

        For the application's hot path: `except Exception as error: GUARD.stop(error)`.
        """
        if guard.strict:
            raise error
        self._count(error, error.__traceback__)

    def _count(self, error: Exception, traceback: TracebackType | None) -> None:
        while traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
        place = "?"
        if traceback is not None:
            place = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
        kind = type(error).__name__
        notices.say(f"failed to {self.what}", "could not %s: %s at %s", self.what, kind, place)
