"""Write items to the newest file of a spool, and begin another when that one is full or fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import final

from ..guard import notices
from .bounds import SpoolOptions
from .folder import Folder, NoLocksError
from .held import Held, Place
from .segment import Framed


@final
class Appender:
    """
    Appends for one process; without a disk to write to, it says so once and tries again later.

    Args:
        files: The files of this process by name; new ones are added.
        make_room: Told how many bytes a new file may take; says whether there is room for them.
        discard: Told of a new file that takes nothing.

    Attributes:
        works: The last try to write succeeded.
        is_off: There will be no other.
    """

    def __init__(
        self,
        folder: Folder,
        options: SpoolOptions,
        files: dict[str, Held],
        make_room: Callable[[int], bool],
        discard: Callable[[Held], object],
        clocks: tuple[Callable[[], float], Callable[[], float]],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.works = True
        self.is_off = False
        self._folder = folder
        self._options = options
        self._segment_bytes = min(options.segment_bytes, options.max_bytes // 4)
        self._files = files
        self._make_room = make_room
        self._discard = discard
        self._clock, self._wall = clocks
        self._current: Held | None = None
        self._next_try = float("-inf")

    def append(self, frame: Framed) -> Place | None:
        """Write items, and give where the first lies, the others after it; None if in memory only."""
        pieces, size, groups = frame
        total = sum([count for count, _ in groups])
        file = self._written(pieces, size)
        if file is None:
            self.counts["unspooled"] += total
            return None
        for count, names in groups:
            for name in names:
                file.in_memory[name] += count
        self.counts["written"] += total
        start = file.size - size
        file.starts.append(start)
        return file, start

    def _written(self, pieces: tuple[bytes, bytes], size: int) -> Held | None:
        """Write to a file that has room, else to a new one; give it, or None."""
        if size > self._options.max_bytes // 4:
            return None
        if self.is_off or self._clock() < self._next_try:
            return None
        while (file := self._usable(size)) is not None:
            if file.append(pieces, size):
                self.works = True
                return file
            self._current = None
            if file.size == 0:  # a new one: it is not the file, it is the disk
                self._discard(file)
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
        if not file.is_alive:
            return True
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
        if self.works:
            self.works = False
            notices.say(
                "the spool cannot be written",
                "the spool in %s cannot be written to: %s; what is recorded lies in memory only",
                self._options.path,
                why,
            )
