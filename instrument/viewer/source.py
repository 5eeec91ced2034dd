"""The store as the pages see it: it need not be there yet, and what was added up is kept a while."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias, final

from .. import cost
from ..store import EVERYTHING, Field, Filters, Overview, Store, StoreError

SLOTS = 48
"""Stretches of time in a chart, at most."""

MAX_CHOICES = 100
"""Models and tags that are offered."""

STEP_SECONDS = 10
"""How long "now" stays the same, so that what was added up until now is of use again."""

View: TypeAlias = "dict[str, Any]"
"""What a template shows."""


class NotFoundError(Exception):
    """There is no such trace, run, user or thread; the sentence says so."""


def utc_now() -> datetime:
    """Tell the time."""
    return datetime.now(timezone.utc)


@final
class Source:
    """
    A store at *path*, from whenever it is there.

    Raises:
        StoreError: From every method: the store is there and cannot be read.
    """

    def __init__(self, path: Path, now: Callable[[], datetime] = utc_now) -> None:
        self.path = path
        self.now = now
        self._adding = Lock()
        # The last argument of both is what makes an answer old: the store's state, or the minute.
        self._overview = lru_cache(maxsize=32)(self._read_overview)
        self._values = lru_cache(maxsize=8)(self._read_values)

    def store(self) -> Store | None:
        """Open the store, or say that there is none yet."""
        return Store(self.path) if self.path.exists() else None

    def needed(self) -> Store:
        """
        Open the store.

        Raises:
            NotFoundError: There is none yet.
        """
        store = self.store()
        if store is None:
            raise NotFoundError("There are no runs yet.")
        return store

    def moment(self) -> datetime:
        """Tell the time roughly."""
        now = self.now()
        return now.replace(second=now.second // STEP_SECONDS * STEP_SECONDS, microsecond=0)

    def overview(self, filters: Filters, latest: int) -> Overview:
        """Add runs up over time, once for each state of the store."""
        with self._adding:  # whoever asks for the same meanwhile waits, and has it too
            return self._overview(filters, latest)

    def values(self, field: Field) -> list[str]:
        """Return the values of a field by name, at most a minute old."""
        return self._values(field, int(self.now().timestamp() // 60))

    def warm(self) -> None:
        """Add up what the first page shows before anybody asks for it, and load the prices."""
        with suppress(StoreError):
            store = self.store()
            if store is not None:
                self.overview(EVERYTHING, store.latest())
                self.values("tag")
        cost.available()

    def _read_overview(self, filters: Filters, _latest: int) -> Overview:
        return self.needed().overview(filters, SLOTS)

    def _read_values(self, field: Field, _minute: int) -> list[str]:
        return sorted(each.value for each in self.needed().values(field, MAX_CHOICES))
