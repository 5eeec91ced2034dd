"""
One file of a spool that is ours: append, read back, settle. Plain file operations, no policy.

One thread does all that, but for `sync`, which another may do beside it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, final

from . import segment
from .folder import unlock

READ_BYTES = 128 * 1024
"""What is read at once for one frame; a larger one takes a second read."""

SYNC_SECONDS = 1.0
"""How long the end waits for a disk that is still being forced."""


@final
@dataclass(slots=True, eq=False)
class Held:
    """
    A file whose lock we have.

    Attributes:
        size: How much of it is whole frames, in bytes.
        since: When we began to hold it, by the monotonic clock.
        is_own: We made it; otherwise its process is gone.
        is_alive: The file is still there and ours.
        is_named: Its name is on the disk too.
        is_dirty: There is something in it that may not be on the disk yet.
        starts: Offsets of the frames that hold items, in order.
        waiting: For each destination the places of the items that are nowhere but here.
        in_memory: For each destination how many of its items a lane holds as well.
        strangers: How many items wait for destinations that this process does not have.
    """

    name: str
    fd: int
    size: int
    since: float
    is_own: bool
    is_alive: bool = True
    is_named: bool = False
    is_dirty: bool = False
    starts: list[int] = field(default_factory=list)
    waiting: dict[str, deque[int]] = field(default_factory=dict)
    in_memory: Counter[str] = field(default_factory=Counter)
    strangers: int = 0
    _syncing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def count(self) -> int:
        """How many items wait that concern this process, each counted for each destination."""
        return self.in_memory.total() + sum(map(len, self.waiting.values()))

    @property
    def is_gone(self) -> bool:
        """Whether somebody removed the file."""
        return os.fstat(self.fd).st_nlink == 0

    def append(self, pieces: Sequence[bytes], size: int) -> bool:
        """Write a frame at the end; what was written only in part is cut off again."""
        try:
            written = os.writev(self.fd, pieces)
        except OSError:
            return False
        if written == size:
            self.size += written
            self.is_dirty = True
            return True
        with contextlib.suppress(OSError):
            os.ftruncate(self.fd, self.size)
        return False

    def sync(self) -> bool:
        """Have all of it on the disk; False when that fails, or takes too long already."""
        if not self._syncing.acquire(timeout=SYNC_SECONDS):
            return False
        try:
            if self.is_alive:
                self.is_dirty = False  # first: what is written meanwhile makes it so again
                getattr(os, "fdatasync", os.fsync)(self.fd)
        except OSError:
            return False
        finally:
            self._syncing.release()
            if not self.is_alive:  # whoever closed it meanwhile left the rest to us
                self._close_unused()
        return True

    def settle(self, name: str, places: Sequence[int]) -> None:
        """
        Write down that a destination needs these items no more.

        When the disk is full this is not written, and they are sent again if the process dies.
        """
        is_dirty = self.is_dirty
        frame = segment.settled_frame(name, places)
        self.append([frame], len(frame))
        self.is_dirty = is_dirty  # there is no hurry with it

    def start_of(self, place: int) -> int:
        """Say where the frame begins that an item is in."""
        return self.starts[bisect_right(self.starts, place) - 1]

    def fetch(self, start: int) -> bytes | None:
        """Read the items of a frame back; None when it is not intact any more."""
        try:
            data = os.pread(self.fd, READ_BYTES, start)
            size = segment.size_at(data)
            if size > len(data):
                data += os.pread(self.fd, min(size, self.size) - len(data), start + len(data))
        except OSError:
            return None
        frame = segment.frame_at(data, 0)
        return None if frame is None or frame.kind != segment.ITEMS else segment.body_of(frame)

    def contents(self) -> segment.Contents | None:
        """Read the whole file; None when the system does not let us."""
        try:
            data = os.pread(self.fd, self.size, 0)
            while len(data) < self.size and (more := os.pread(self.fd, self.size, len(data))):
                data += more
        except OSError:
            return None
        return segment.read(data)

    def load(self, contents: segment.Contents, names: Iterable[str]) -> None:
        """Take over what waits in a file that another process left."""
        self.size = contents.end
        self.starts = contents.starts
        for name, places in contents.waiting.items():
            if name in names:
                self.waiting[name] = deque(places)
            else:
                self.strangers += len(places)
        with contextlib.suppress(OSError):
            os.ftruncate(self.fd, contents.end)  # what its process did not finish

    def close(self, *, release: bool = True) -> None:
        """Let go of it; a forked child does so without *release*, because the lock is its parent's."""
        self.is_alive = False
        if not release:
            self._close()
            return
        with contextlib.suppress(OSError):
            unlock(self.fd)
        self._close_unused()

    def _close_unused(self) -> None:
        """Close it unless it is being forced to the disk: who does that closes it afterwards."""
        if self._syncing.acquire(blocking=False):
            self._close()
            self._syncing.release()

    def _close(self) -> None:
        fd, self.fd = self.fd, -1
        with contextlib.suppress(OSError):
            os.close(fd)


Place: TypeAlias = "tuple[Held, int]"
"""Where an item lies: the file, and the place in it."""

Places: TypeAlias = "tuple[Place, ...]"
"""Where an item lies on disk: nowhere, at one place, or, for a tree, at one for each run."""


def is_safe(place: Place) -> bool:
    """Whether what lies there would outlive this process."""
    return place[0].is_alive
