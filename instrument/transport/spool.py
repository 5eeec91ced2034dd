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
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat
from typing import Any, Literal, TypeAlias, final

from ..guard import notices
from . import segment
from .folder import Folder, Listed, Lock, NoLocksError, try_lock
from .held import Held, Place

Sync: TypeAlias = Literal["none", "batch", "interval"]
Book: TypeAlias = Callable[[str, str, int], None]
"""Told of a destination, what happened to items that lay on disk alone, and how many they were."""

ADOPTED = "adopted"
"""What happened to items of a file that was taken over; all other words are reasons of a loss."""

CHUNK_ITEMS = 64
"""Items that are written at once: few enough that the memory for them is used again and again."""

UNSEEN_SHARE = 16
"""Part of `max_bytes` that is written before the folder is looked at again."""

KIB = 1024
MIB = 1024 * KIB


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolOptions:
    """
    Where the spool is and how much it may hold. Times are seconds.

    Attributes:
        path: The folder, which other processes may use too.
        sync: When written items are forced to the disk: never (they outlive the process, not the
            machine), after each batch, or every `sync_interval`.
        max_bytes: What the folder may hold, files of all processes counted.
        max_age: How long a file is kept.
        window: How long a record waits at most before it is written.
        segment_bytes: Size at which a new file is begun.
        segment_age: The same by age, as long as there are not more than `young_files`.
        adopt_bytes: What is taken over of other processes at a time.
        scan_interval: Time between two looks at the folder for files without an owner.
        retry_interval: Time until the next try after something could not be written.
    """

    path: str
    sync: Sync = "batch"
    max_bytes: int = 64 * MIB
    max_age: float = 7 * 24 * 3600.0
    window: float = 0.05
    sync_interval: float = 0.5
    segment_bytes: int = MIB
    segment_age: float = 5.0
    young_files: int = 16
    adopt_bytes: int = 8 * MIB
    scan_interval: float = 30.0
    retry_interval: float = 5.0


@final
class Chunk:
    """Framed items that are written at once, and how many there are for which destinations."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.sizes: list[int] = []
        self.size = 0
        self.tally: Counter[tuple[str, ...]] = Counter()

    def add(self, names: tuple[str, ...], head: bytes, body: bytes) -> None:
        """Add an item."""
        self.pieces += (head, body)
        self.sizes.append(len(head) + len(body))
        self.size += self.sizes[-1]
        self.tally[names] += 1


@final
class Spool:
    """
    The files of one process. One thread at a time may use it.

    Args:
        names: The destinations that this process has.
        book: Told what becomes of items that are in no lane's memory.
        clock: Monotonic seconds.
        wall: Seconds since the epoch.
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
        self.is_off = False
        self._options = options
        self._segment_bytes = min(options.segment_bytes, options.max_bytes // 4)
        self._names = frozenset(names)
        self._book = book
        self._clock = clock
        self._wall = wall
        self._folder = Folder(options.path, lock)
        self._files: dict[str, Held] = {}
        self._current: Held | None = None
        self._waiting: Counter[str] = Counter()
        self._orphans: deque[Listed] = deque()
        self._left_alone: dict[str, int] = {}
        self._next_scan = -math.inf
        self._next_try = -math.inf
        self._last_sync = -math.inf
        self._works = True
        self._total = 0
        self._unseen = options.max_bytes

    # What comes in

    def append(self, batch: Iterable[tuple[tuple[str, ...], bytes | None]]) -> list[Place | None]:
        """
        Write items with the names of their destinations, and give where each lies.

        None stands for an item that could not be written, and lies in memory only.
        """
        places: list[Place | None] = []
        chunk = Chunk()
        for names, body in batch:
            head = b"" if body is None else segment.item_head(names, body)
            size = len(head) + len(body or b"")
            if chunk.sizes and (
                len(chunk.sizes) >= CHUNK_ITEMS or chunk.size + size > self._room()
            ):
                places += self._write(chunk)
                chunk = Chunk()
            if body is not None:
                chunk.add(names, head, body)
                continue
            places += [*self._write(chunk), None]
            chunk = Chunk()
            self.counts["unspooled"] += 1
        places += self._write(chunk)
        self._sync(self._clock(), always=self._options.sync == "batch")
        return places

    def _room(self) -> int:
        """Say how many bytes the file that is written to still takes."""
        return self._segment_bytes - (0 if self._current is None else self._current.size)

    def _write(self, chunk: Chunk) -> Sequence[Place | None]:
        fits = 0 < chunk.size <= self._options.max_bytes // 4
        file = self._written(chunk) if fits else None
        count = len(chunk.sizes)
        if file is None:
            self.counts["unspooled"] += count
            return [None] * count
        for names, of_them in chunk.tally.items():
            file.in_memory.update(dict.fromkeys(names, of_them))
        self.counts["written"] += count
        offsets = accumulate(chunk.sizes[:-1], initial=file.size - chunk.size)
        return list(zip(repeat(file), offsets, strict=False))

    def _written(self, chunk: Chunk) -> Held | None:
        """Write to a file that has room, else to a new one; give it, or None."""
        if self.is_off or self._clock() < self._next_try:
            return None
        while (file := self._usable(chunk.size)) is not None:
            if file.append(chunk.pieces, chunk.size):
                self._works = True
                return file
            self._current = None
            if file.size == 0:  # a new one: it is not the file, it is the disk
                self._let_go(file)
                self._trouble("it takes no more")
                return None
        return None

    def _usable(self, size: int) -> Held | None:
        file = self._current
        if file is not None and self._is_over(file, size):
            file = self._current = None
        if file is None:
            file = self._current = self._begin(size)
        return file

    def _is_over(self, file: Held, size: int) -> bool:
        options = self._options
        is_old = self._clock() - file.since > options.segment_age
        if is_old and len(self._files) < options.young_files:
            return True
        return (file.size > 0 and file.size + size > self._segment_bytes) or file.is_gone

    def _begin(self, size: int) -> Held | None:
        """Begin a new file, if there is room for it in the folder."""
        try:
            if not self._make_room(max(size, self._segment_bytes)):
                self._trouble("it is full")
                return None
            name, fd = self._folder.create(self._wall())
        except NoLocksError as error:
            self.is_off = True
            self._trouble(f"no locks there ({error.strerror})")
            return None
        except OSError as error:
            self._trouble(error.strerror or type(error).__name__)
            return None
        file = self._files[name] = Held(name, fd, 0, self._clock(), is_own=True)
        return file

    def _trouble(self, why: str) -> None:
        """Go on in memory, and say so once."""
        self._next_try = self._clock() + self._options.retry_interval
        if self._works:
            self._works = False
            notices.say(
                "the spool cannot be written",
                "the spool in %s cannot be written to: %s; what is recorded lies in memory only",
                self._options.path,
                why,
            )

    # What is over, or leaves memory

    def settle(self, name: str, places: Sequence[Place]) -> None:
        """Take note that a destination needs these items no more."""
        for file, offsets in _by_file(places).items():
            file.in_memory[name] -= len(offsets)
            if file.is_alive and (file.count or file.strangers):
                file.settle(name, offsets)
            if file.is_alive:
                self._let_go(file)

    def leave(self, name: str, places: Sequence[Place]) -> None:
        """Take note that these items are no longer in memory."""
        for file, offset in places:
            file.in_memory[name] -= 1
            file.waiting.setdefault(name, deque()).append(offset)
            self._waiting[name] += 1

    def waits(self, name: str) -> int:
        """Say how many items of a destination lie on disk alone."""
        return self._waiting[name]

    def take(self, name: str, max_items: int, max_bytes: int) -> list[tuple[Place, bytes]]:
        """Read items of a destination that lie on disk alone, the oldest first."""
        taken: list[tuple[Place, bytes]] = []
        if not self._waiting[name]:
            return taken
        for file in sorted(self._files.values(), key=lambda each: each.name):
            waiting = file.waiting.get(name) or deque()
            while waiting and len(taken) < max_items and max_bytes > 0:
                offset = waiting.popleft()
                self._waiting[name] -= 1
                body = file.fetch(offset)
                if body is None:
                    self._lost(name, "spool_corrupt", 1)
                    continue
                file.in_memory[name] += 1
                taken.append(((file, offset), body))
                max_bytes -= len(body)
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
        if file is self._current:
            self._current = None
        return True

    # What other processes left, and what is too much

    def due(self) -> float:
        """Say when `tend` has something to do."""
        if self.is_off:
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
        if self.is_off or now < self.due():
            return
        if self._options.sync == "interval":
            self._sync(now)
        if now >= self._next_scan:
            self._next_scan = now + self._options.scan_interval
            self._scan()
        while self._orphans and self._may_adopt():
            self._adopt(self._orphans.popleft())

    def _sync(self, now: float, *, always: bool = False) -> None:
        if not always and (
            self._options.sync == "none" or now - self._last_sync < self._options.sync_interval
        ):
            return
        self._last_sync = now
        for file in [each for each in self._files.values() if each.is_dirty]:
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
        file = Held(listed.name, fd, listed.size, self._clock(), is_own=False)
        contents = file.contents()
        if contents is None or contents.is_strange:
            self._left_alone[listed.name] = listed.size
            file.close()
            return
        self._lost("", "spool_corrupt", contents.damaged)
        file.load(contents, self._names)
        self._files[listed.name] = file
        for name, offsets in file.waiting.items():
            self._waiting[name] += len(offsets)
            self.counts[ADOPTED] += len(offsets)
            self._book(name, ADOPTED, len(offsets))
        self._let_go(file)

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
        for name, offsets in file.waiting.items():
            self._waiting[name] -= len(offsets)
            self._lost(name, reason, len(offsets))
        file.waiting.clear()
        self._folder.remove(file.name)
        file.close()
        del self._files[file.name]
        if file is self._current:
            self._current = None
        return True

    def _evict_orphan(self, listed: Listed, reason: str) -> bool:
        fd = self._folder.adopt(listed.name)
        if fd is None:
            return False
        file = Held(listed.name, fd, listed.size, self._clock(), is_own=False)
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
        self.is_off = True
        self._sync(self._clock(), always=self._options.sync != "none")
        for file in list(self._files.values()):
            if file.is_gone:
                for name, offsets in file.waiting.items():
                    self._lost(name, "spool_removed", len(offsets))
            if not self._let_go(file):
                file.close()
        self._files.clear()

    def forget(self) -> None:
        """In a forked child: let go of the parent's files without touching them."""
        self.is_off = True
        for file in list(self._files.values()):
            file.close(release=False)
        self._files.clear()

    def as_dict(self) -> dict[str, Any]:
        """Copy the counts, and say whether the disk takes what is recorded."""
        return {
            "path": self._options.path,
            "state": "disk" if self._works and not self.is_off else "memory",
            "files": len(self._files),
            "bytes": sum(file.size for file in list(self._files.values())),
            "spooled": self._waiting.total(),
            "written": self.counts["written"],
            "adopted": self.counts[ADOPTED],
            "unspooled": self.counts["unspooled"],
            "unsynced": self.counts["unsynced"],
            "dropped": dict(self.dropped),
        }


def _by_file(places: Sequence[Place]) -> dict[Held, list[int]]:
    """Sort places by the file they are in."""
    offsets: dict[Held, list[int]] = {}
    for file, offset in places:
        offsets.setdefault(file, []).append(offset)
    return offsets
