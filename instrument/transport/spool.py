"""
What is accepted, on disk: it outlives this process, and the next one delivers it.

Each process appends to files of its own and holds their locks. Items lie in a lane's memory and in
a file at once; when memory has no room they lie in the file alone, and are taken from there again.
What a destination has settled is noted in the file, and a file with nothing left in it is removed.
A file whose owner is gone is taken over by whoever finds it first. Nothing here raises: without a
disk to write to, everything goes on in memory.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, final

from ..guard import notices
from .appender import Appender
from .bounds import SpoolOptions
from .folder import Folder, Listed, Lock, try_lock
from .held import Held, Place
from .segment import Framed

Book: TypeAlias = Callable[[str, str, int], None]
"""Told of a destination, what happened to items that lay on disk alone, and how many they were."""

Taken: TypeAlias = "tuple[Place, bytes, int]"
"""Where an item lies, what is in its frame, and which of the items there it is."""

ADOPTED = "adopted"
"""What happened to items of a file that was taken over; all other words are reasons of a loss."""

UNSEEN_SHARE = 16
"""Part of `max_bytes` that is written before the folder is looked at again."""


@final
class Spool:
    """
    The files of one process. One thread at a time may use it.

    Args:
        names: The destinations that this process has.
        book: Told what becomes of items that are in no lane's memory.
        clock: Monotonic seconds.
        wall: Seconds since the epoch.

    Attributes:
        ask: Has `force` called, now or soon; for whoever has a thread for that to set.
    """

    def __init__(
        self,
        options: SpoolOptions,
        names: Iterable[str],
        book: Book,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        lock: Lock = try_lock,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self._options = options
        self._names = frozenset(names)
        self._book = book
        self.ask: Callable[[], object] = self.force
        self._clock = clock
        self._wall = wall
        self._folder = Folder(options.path, lock)
        self._files: dict[str, Held] = {}
        self._waiting: Counter[str] = Counter()
        self._orphans: deque[Listed] = deque()
        self._left_alone: dict[str, int] = {}
        self._next_scan = -math.inf
        self._last_sync = -math.inf
        self._total = 0
        self._unseen = options.max_bytes
        self._appender = Appender(
            self._folder, options, self._files, self._make_room, self._let_go, (clock, wall)
        )

    # What comes in

    def append(self, frame: Framed) -> Place | None:
        """Write items, and give where the first lies, the others after it; None if in memory only."""
        return self._appender.append(frame)

    def commit(self) -> None:
        """Have what was written forced to the disk, if that is to be done now."""
        if self._options.sync == "batch" or self._is_due():
            self._have_forced()

    # What is over, or leaves memory

    def settle(self, name: str, places: Sequence[Place]) -> None:
        """Take note that a destination needs these items no more."""
        for file, own in _by_file(places).items():
            file.in_memory[name] -= len(own)
            if file.is_alive and (file.count or file.strangers):
                file.settle(name, own)
            if file.is_alive:
                self._let_go(file)

    def leave(self, name: str, places: Sequence[Place]) -> None:
        """Take note that these items are no longer in memory."""
        for file, place in places:
            file.in_memory[name] -= 1
            file.waiting.setdefault(name, deque()).append(place)
            self._waiting[name] += 1

    def waits(self, name: str) -> int:
        """Say how many items of a destination lie on disk alone."""
        return self._waiting[name]

    def take(self, name: str, max_items: int, max_bytes: int) -> list[Taken]:
        """Read items of a destination that lie on disk alone, the oldest first."""
        taken: list[Taken] = []
        if not self._waiting[name]:
            return taken
        for file in sorted(self._files.values(), key=lambda each: each.name):
            waiting = file.waiting.get(name) or deque()
            start, body = -1, None
            while waiting and len(taken) < max_items and max_bytes > 0:
                place = waiting.popleft()
                self._waiting[name] -= 1
                if start != file.start_of(place):
                    start = file.start_of(place)
                    body = file.fetch(start)
                    max_bytes -= len(body or b"")
                if body is None:
                    self._lost(name, "spool_corrupt", 1)
                    continue
                file.in_memory[name] += 1
                taken.append(((file, place), body, place - start))
            self._let_go(file)
        return taken

    def _let_go(self, file: Held) -> bool:
        """Remove a file with nothing left in it, or leave it to those for whom something is."""
        if file.count:
            return False
        if file.strangers:
            self._left_alone[file.name] = file.size
            file.close()
        else:
            self._folder.remove(file.name)
            file.close()
        del self._files[file.name]
        return True

    # What other processes left, and what is too much

    def due(self) -> float:
        """Say when `tend` has something to do."""
        if self._appender.is_off:
            return math.inf
        if self._orphans and self._may_adopt():
            return -math.inf
        is_dirty = self._options.sync == "interval" and any(
            file.is_dirty for file in self._files.values()
        )
        sync = self._last_sync + self._options.sync_interval if is_dirty else math.inf
        return min(self._next_scan, sync)

    def tend(self) -> None:
        """Do what is due: look for files without an owner, remove what is too old, sync."""
        now = self._clock()
        if self._appender.is_off or now < self.due():
            return
        if self._is_due():
            self._have_forced()
        if now >= self._next_scan:
            self._next_scan = now + self._options.scan_interval
            self._scan()
        while self._orphans and self._may_adopt():
            self._adopt(self._orphans.popleft())

    def _is_due(self) -> bool:
        """Say whether it is time to force what was written to the disk."""
        options, since = self._options, self._clock() - self._last_sync
        return options.sync == "interval" and since >= options.sync_interval

    def _have_forced(self) -> None:
        self._last_sync = self._clock()
        self.ask()

    def force(self) -> None:
        """Force all that was written to the disk; may be done beside all else here."""
        for file in [each for each in list(self._files.values()) if each.is_dirty]:
            is_new = file.is_own and not file.is_named
            if not file.sync():
                self.counts["unsynced"] += 1
            elif is_new:
                with contextlib.suppress(OSError):
                    self._folder.sync()
                file.is_named = True

    def _may_adopt(self) -> bool:
        adopted = sum(file.size for file in self._files.values() if not file.is_own)
        return adopted < self._options.adopt_bytes

    def _scan(self) -> None:
        wall = self._wall()
        listed = self._folder.listing()
        self._folder.sweep(wall)
        names = {each.name for each in listed}
        self._left_alone = {name: size for name, size in self._left_alone.items() if name in names}
        self._orphans.clear()
        for each in listed:
            if wall - each.since > self._options.max_age:
                self._evict(each, "expired")
            elif each.name not in self._files and self._left_alone.get(each.name) != each.size:
                self._orphans.append(each)

    def _adopt(self, listed: Listed) -> None:
        """Take over a file whose owner is gone."""
        if listed.name in self._files or listed.size > self._options.max_bytes:
            return
        fd = self._folder.adopt(listed.name)
        if fd is None:
            return
        file = self._taken_over(listed.name, fd)
        contents = file.contents()
        if contents is None or contents.is_strange:
            self._left_alone[listed.name] = file.size
            file.close()
            return
        self._lost("", "spool_corrupt", contents.damaged)
        file.load(contents, self._names)
        self._files[listed.name] = file
        for name, places in file.waiting.items():
            self._waiting[name] += len(places)
            self.counts[ADOPTED] += len(places)
            self._book(name, ADOPTED, len(places))
        self._let_go(file)

    def _taken_over(self, name: str, fd: int) -> Held:
        """Hold a file that is locked now: its owner may have written since it was listed."""
        return Held(name, fd, os.fstat(fd).st_size, self._clock(), is_own=False)

    def _make_room(self, size: int) -> bool:
        """Remove the oldest files until so many more bytes are within bounds."""
        most = self._options.max_bytes - size
        self._unseen += size
        if self._unseen < most // UNSEEN_SHARE and self._total + self._unseen <= most:
            return True
        listed = self._folder.listing()
        total = self._total = sum(each.size for each in listed)
        self._unseen = size
        for each in listed:
            if total <= most:
                return True
            if self._evict(each, "spool_full"):
                total -= each.size
        return total <= most

    def _evict(self, listed: Listed, reason: str) -> bool:
        """Remove a file with all that is in it, unless another process owns it; say if it is gone."""
        file = self._files.get(listed.name)
        if file is None:
            return self._evict_orphan(listed, reason)
        for name, places in file.waiting.items():
            self._waiting[name] -= len(places)
            self._lost(name, reason, len(places))
        file.waiting.clear()
        self._folder.remove(file.name)
        file.close()
        del self._files[file.name]
        return True

    def _evict_orphan(self, listed: Listed, reason: str) -> bool:
        fd = self._folder.adopt(listed.name)
        if fd is None:
            return False
        file = self._taken_over(listed.name, fd)
        contents = file.contents()
        self._lost("", reason, 1 if contents is None else max(1, contents.total))
        self._folder.remove(listed.name)
        file.close()
        return True

    def _lost(self, name: str, reason: str, count: int) -> None:
        if not count:
            return
        self.dropped[reason] += count
        if name:
            self._book(name, reason, count)
        notices.say(
            f"the spool: lost, {reason}",
            "the spool in %s: %d items are lost (%s); stats() has the counts",
            self._options.path,
            count,
            reason,
        )

    # The end, and the counts

    def close(self) -> None:
        """Leave what is in the files to the next process."""
        self._appender.is_off = True
        if self._options.sync != "none":
            self.force()
        for file in list(self._files.values()):
            if file.is_gone:
                for name, places in file.waiting.items():
                    self._lost(name, "spool_removed", len(places))
            if not self._let_go(file):
                file.close()
        self._files.clear()

    def forget(self) -> None:
        """In a forked child: let go of the parent's files without touching them."""
        self._appender.is_off = True
        for file in list(self._files.values()):
            file.close(release=False)
        self._files.clear()

    def as_dict(self) -> dict[str, Any]:
        """Copy the counts, and say whether the disk takes what is recorded."""
        return {
            "path": self._options.path,
            "state": "disk" if self._appender.works and not self._appender.is_off else "memory",
            "files": len(self._files),
            "bytes": sum(file.size for file in list(self._files.values())),
            "spooled": self._waiting.total(),
            "written": self._appender.counts["written"],
            "adopted": self.counts[ADOPTED],
            "unspooled": self._appender.counts["unspooled"],
            "unsynced": self.counts["unsynced"],
            "dropped": dict(self.dropped),
        }


def _by_file(places: Sequence[Place]) -> dict[Held, list[int]]:
    """Sort places by the file they are in."""
    by_file: dict[Held, list[int]] = {}
    for file, place in places:
        by_file.setdefault(file, []).append(place)
    return by_file
