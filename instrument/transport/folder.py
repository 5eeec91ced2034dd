"""
The files of a spool and who owns them: create, take over, list, remove.

A file belongs to the process that holds its lock (`flock`), which the system takes back however the
process ends. A file gets its name only when it is locked, so nobody sees one that has no owner yet.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

Lock: TypeAlias = Callable[[int], bool]
"""Lock an open file; False when somebody else has it. Raises OSError where there are no locks."""

if sys.platform == "win32":

    def try_lock(fd: int) -> bool:
        """Say that there are no such locks here."""
        raise OSError(errno.ENOTSUP, "this platform has no flock")

    def unlock(fd: int) -> None:
        """Do nothing."""

else:
    import fcntl

    def try_lock(fd: int) -> bool:
        """Lock an open file; False when somebody else has it."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(fd: int) -> None:
        """Unlock it, for a child that still has it open too."""
        fcntl.flock(fd, fcntl.LOCK_UN)


TEMPORARY_SECONDS = 60.0
"""How old a file without a name must be to count as left behind."""

_NAME = re.compile(r"(\d{20})-[0-9a-f]{12}\.spool")
_TEMPORARY = re.compile(rf"\.{_NAME.pattern}\.tmp")
_OPEN = os.O_RDWR | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


class NoLocksError(OSError):
    """The file system, or the platform, has no locks."""


@final
@dataclass(frozen=True, slots=True)
class Listed:
    """A file of a spool: its name, its size in bytes, and when it was begun or last written to."""

    name: str
    size: int
    since: float


@final
class Folder:
    """
    A folder that any number of processes may share.

    Args:
        path: The folder; made when it is needed, for nobody else to read.
    """

    def __init__(self, path: str, lock: Lock = try_lock) -> None:
        self.path = path
        self._lock = lock

    def create(self, wall: float) -> tuple[str, int]:
        """
        Make a file that is ours; give its name and its descriptor.

        Raises:
            NoLocksError: There are no locks here.
            OSError: It cannot be made.
        """
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        name = f"{int(wall * 1e9):020d}-{os.urandom(6).hex()}.spool"
        hidden = self._at(f".{name}.tmp")
        fd = os.open(hidden, _OPEN | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            self._lock_new(fd)
            os.rename(hidden, self._at(name))
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                os.unlink(hidden)
            raise
        return name, fd

    def _lock_new(self, fd: int) -> None:
        try:
            self._lock(fd)
        except OSError as error:
            raise NoLocksError(error.errno, error.strerror) from error

    def adopt(self, name: str) -> int | None:
        """Make a file ours and give its descriptor; None when it has an owner, or is gone."""
        path = self._at(name)
        try:
            fd = os.open(path, _OPEN | getattr(os, "O_NONBLOCK", 0))
        except OSError:
            return None
        try:
            if self._is_ours(fd) and self._lock(fd) and os.path.samestat(os.stat(path), _stat(fd)):
                return fd
        except OSError:  # it went away meanwhile, or there are no locks
            pass
        os.close(fd)
        return None

    @staticmethod
    def _is_ours(fd: int) -> bool:
        """Say whether it is a plain file of this user: nobody else may put words into our mouth."""
        found = _stat(fd)
        return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()

    def remove(self, name: str) -> None:
        """Remove a file, which we have locked."""
        with contextlib.suppress(OSError):
            os.unlink(self._at(name))

    def sync(self) -> None:
        """Have the names of new files on the disk."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def listing(self) -> list[Listed]:
        """List the files of all processes, oldest first; those of other kinds are left out."""
        listed: list[Listed] = []
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    match = _NAME.fullmatch(entry.name)
                    if match is not None:
                        with contextlib.suppress(OSError):
                            found = entry.stat(follow_symlinks=False)
                            since = min(int(match[1]) / 1e9, found.st_mtime)
                            listed.append(Listed(entry.name, found.st_size, since))
        except OSError:
            return []
        return sorted(listed, key=lambda each: each.name)

    def sweep(self, wall: float) -> None:
        """Remove what a process left that died before its new file had a name."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self.path):
                path = self._at(name)
                if not _TEMPORARY.fullmatch(name):
                    continue
                if wall - os.stat(path).st_mtime < TEMPORARY_SECONDS:
                    continue
                fd = self.adopt(name)
                if fd is not None:
                    os.unlink(path)
                    os.close(fd)

    def _at(self, name: str) -> str:
        return os.path.join(self.path, name)


def _stat(fd: int) -> os.stat_result:
    return os.fstat(fd)
