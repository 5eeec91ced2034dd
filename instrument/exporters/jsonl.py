"""
A file of JSON lines: every ended run, feedback and user event, one object a line, without loss.

Several processes may write to one file, and die at any moment: a batch is appended with one call,
and a line that is not whole is passed over by `read`. When the file is full it becomes `FILE.1`, that
`FILE.2`, and so on; the last one goes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import final

from ..codec import Storable, decode, encode
from ..guard import guard
from ..run import ConfigError, Item, Run, Trace
from ._base import Environment, Limits

ENV = ("INSTRUMENT_JSONL",)

MAX_BYTES = 100 * 1024 * 1024
"""Size at which a file is full, in bytes."""

MAX_FILES = 5
"""How many files there are at most, the one that is written to among them."""

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_OWNER = stat.S_IRUSR | stat.S_IWUSR


def from_env(env: Environment) -> Jsonl:
    """Make the exporter for the file that `INSTRUMENT_JSONL` names."""
    path = env.get("INSTRUMENT_JSONL")
    if not path:
        raise ConfigError("set INSTRUMENT_JSONL to a file, such as runs.jsonl")
    return Jsonl(Path(path).expanduser())


@final
class Jsonl:
    """
    Append items to a file.

    Args:
        path: The file; it and its folder are made by the first write, the file for its owner alone.
        max_bytes: Size at which a new file is begun.
        max_files: How many files there are at most, this one among them.

    Raises:
        ConfigError: A bound is not positive, or the path is a folder.
    """

    name = "jsonl"
    limits = Limits(max_items=500, max_bytes=4_000_000)
    whole_traces = False

    def __init__(
        self, path: str | Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES
    ) -> None:
        self.path = Path(path).absolute()
        if self.path.is_dir():
            raise ConfigError(f"the JSON lines must go to a file, and {self.path} is a folder")
        if max_bytes < 1 or max_files < 1:
            raise ConfigError("max_bytes and max_files of the JSON lines must be more than 0")
        self._max_bytes = max_bytes
        self._max_files = max_files

    def wants(self, item: Item) -> bool:
        """Take everything that is over: a run that is open stands in it once, ended."""
        if isinstance(item, Run):
            return item.duration is not None
        return not isinstance(item, Trace)

    def write(self, items: Sequence[Item]) -> Mapping[str, int]:
        """
        Append items.

        Raises:
            OSError: Nothing was written, or no whole batch: disk full, read-only, no such folder.
        """
        lines = [line for item in items if (line := line_of(item))]
        if lines:
            self._append(b"".join(lines))
        lost = len(items) - len(lines)
        return {"unwritable": lost} if lost else {}

    def close(self) -> None:
        """Nothing is held open between two batches."""

    def _append(self, data: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        size = size_of(self.path)
        if size and size + len(data) > self._max_bytes:
            rotate(self.path, self._max_files)
            size = 0
        descriptor = os.open(self.path, _FLAGS, _OWNER)
        try:
            if size and not ends_with_newline(self.path):
                data = b"\n" + data  # somebody died in the middle of a line
            while data:
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)


def line_of(item: Item) -> bytes:
    """Write an item as a line; nothing when that cannot be, so that it alone is lost."""
    with guard("write an item down as JSON"):
        if not isinstance(item, Trace):
            return encode(item) + b"\n"
    return b""


def size_of(path: Path) -> int:
    """Size of a file in bytes, 0 when there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def ends_with_newline(path: Path) -> bool:
    """Say whether the last line of a file, which is not empty, is whole."""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def rotate(path: Path, files: int) -> None:
    """Move each file one number up, the last one over the edge."""
    names = [path, *(numbered(path, number) for number in range(1, files))]
    for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
        with suppress(FileNotFoundError):  # another process was quicker, or there are not so many
            newer.replace(older)
    if files == 1:
        path.unlink(missing_ok=True)


def numbered(path: Path, number: int) -> Path:
    """Name an older file: `runs.jsonl.1`."""
    return path.with_name(f"{path.name}.{number}")


def read(path: str | Path) -> Iterator[Storable]:
    """
    Go through the items of one file, in the order in which they were written.

    A line that is no item, as a process leaves one that dies, is passed over.

    Raises:
        OSError: The file cannot be read.
    """
    with Path(path).open("rb") as file:
        for line in file:
            with suppress(ValueError):
                yield decode(line)
